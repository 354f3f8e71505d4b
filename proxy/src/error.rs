//! What can go wrong.

/// The result of a fallible operation of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why the proxy cannot start or go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// nftables cannot be used here.
    #[error("nftables cannot be used here: {reason}")]
    Unavailable {
        /// What the attempt showed.
        reason: String,
    },
    /// The `nft` program could not be run.
    #[error("running nft: {source}")]
    Program {
        /// The cause.
        #[from]
        source: std::io::Error,
    },
    /// nft refused a transaction; nothing of it was done.
    #[error("nft refused a transaction of {lines} lines: {reason}")]
    Refused {
        /// The length of the transaction.
        lines: usize,
        /// What nft said.
        reason: String,
    },
    /// A configuration value that makes no sense.
    #[error("{field}: {reason}")]
    Config {
        /// The field of [`ProxyConfig`](crate::ProxyConfig).
        field: &'static str,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// An informer's stream ended though nobody stopped the proxy.
    #[error("the informers were stopped")]
    InformersStopped,
}
