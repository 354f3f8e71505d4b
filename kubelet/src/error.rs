use std::{io, path::PathBuf};

/// What fallible functions of this crate return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why the kubelet could not do something.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The configuration cannot work.
    #[error("invalid kubelet configuration: {message}")]
    Config {
        /// What is wrong with it.
        message: String,
    },
    /// A certificate or key is not usable.
    #[error("cannot use the {what} of the kubelet: {message}")]
    Certificate {
        /// Which one.
        what: &'static str,
        /// What is wrong with it.
        message: String,
    },
    /// The port of the kubelet's server cannot be opened.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address asked for.
        address: std::net::SocketAddr,
        /// The cause.
        source: io::Error,
    },
    /// A file or directory of the kubelet could not be read or written.
    #[error("{path}: {source}", path = path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The API server refused or could not be reached.
    #[error("{}", crate::api::message(.0))]
    Api(#[source] Box<kube::Error>),
    /// The container runtime refused or could not be reached.
    #[error(transparent)]
    Runtime(#[from] kubeplane_runtime_cri::Error),
    /// An object a pod refers to does not exist.
    #[error("{kind} {name:?} not found")]
    NotFound {
        /// The kind in lower case and singular, as in `configmap`.
        kind: String,
        /// The name of the object.
        name: String,
    },
    /// The pod asks for something that cannot be provided, in the words users see.
    #[error("{message}")]
    Pod {
        /// What and why.
        message: String,
    },
}

impl Error {
    pub(crate) fn file(path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self::File { path: path.into(), source }
    }

    pub(crate) fn pod(message: impl Into<String>) -> Self {
        Self::Pod { message: message.into() }
    }

    pub(crate) fn config(message: impl Into<String>) -> Self {
        Self::Config { message: message.into() }
    }

    pub(crate) fn certificate(what: &'static str, message: impl ToString) -> Self {
        Self::Certificate { what, message: message.to_string() }
    }

    /// Whether the API server said that there is no such object.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        match self {
            Self::Api(error) => crate::api::is_status(error, 404),
            Self::NotFound { .. } => true,
            _ => false,
        }
    }
}

impl From<kube::Error> for Error {
    fn from(error: kube::Error) -> Self {
        Self::Api(Box::new(error))
    }
}
