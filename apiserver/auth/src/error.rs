/// Why an authenticator could not be made or a token not be issued.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An authority's certificate is malformed.
    #[error("malformed authority: {0}")]
    Authority(String),
    /// A signing key is malformed or cannot sign.
    #[error("signing key: {0}")]
    Key(String),
}
