//! Why the API server cannot be built or cannot run.

use std::net::SocketAddr;

/// What building or running the server fails with.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Another process listens there.
    #[error("cannot listen on {address}: the port is in use by another process")]
    PortInUse {
        /// The address asked for.
        address: SocketAddr,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The serving certificate or key is not usable.
    #[error("TLS: {reason}")]
    Tls {
        /// Why.
        reason: String,
    },
    /// Two definitions claim the same resource of the same version.
    #[error("{resource} is defined twice in version {version}")]
    Duplicate {
        /// The resource.
        resource: kubeplane_core::GroupResource,
        /// The version.
        version: String,
    },
    /// The versions to serve are not among those there are.
    #[error(transparent)]
    Versions(#[from] crate::versions::VersionsError),
    /// The store refused.
    #[error("store: {0}")]
    Store(#[from] kubeplane_store_trait::Error),
}

/// What building or running the server returns.
pub type Result<T> = std::result::Result<T, Error>;
