use std::time::Duration;
use tonic::Code;

/// What every method of a runtime returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a runtime did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no such sandbox, container or image.
    #[error("{message}")]
    NotFound {
        /// What was looked for.
        message: String,
    },
    /// The name is taken by something else that still exists.
    #[error("{message}")]
    AlreadyExists {
        /// What exists.
        message: String,
    },
    /// The request can never succeed as it is.
    #[error("{message}")]
    InvalidArgument {
        /// What is wrong with it.
        message: String,
    },
    /// The sandbox or container is not in a state that allows this.
    #[error("{message}")]
    FailedPrecondition {
        /// The state and what it forbids.
        message: String,
    },
    /// The runtime does not offer this.
    #[error("{message}")]
    Unimplemented {
        /// What is not offered.
        message: String,
    },
    /// The runtime cannot be reached; nothing is known about the request.
    #[error("{message}")]
    Unavailable {
        /// What was tried.
        message: String,
        /// Why it failed.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// The time given to the request ran out.
    #[error("{message}")]
    DeadlineExceeded {
        /// What took too long.
        message: String,
    },
    /// The runtime has no room left.
    #[error("{message}")]
    ResourceExhausted {
        /// What ran out.
        message: String,
    },
    /// The registry refuses the credentials.
    #[error("{message}")]
    Unauthorized {
        /// What was refused.
        message: String,
    },
    /// Anything else, in the runtime's words.
    #[error("{message}")]
    Internal {
        /// What the runtime said.
        message: String,
        /// The cause, where there is one.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
}

/// Whether and how it makes sense to ask again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// The same request can succeed later.
    Later,
    /// The same request fails again.
    Never,
}

impl Error {
    /// `NotFound` of a named thing, in the words runtimes use.
    #[must_use]
    pub fn not_found(kind: &str, id: &str) -> Self {
        Self::NotFound { message: format!("{kind} {id:?}: not found") }
    }

    /// `InvalidArgument` with these words.
    #[must_use]
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::InvalidArgument { message: message.into() }
    }

    /// `FailedPrecondition` with these words.
    #[must_use]
    pub fn precondition(message: impl Into<String>) -> Self {
        Self::FailedPrecondition { message: message.into() }
    }

    /// `Unimplemented` with these words.
    #[must_use]
    pub fn unimplemented(message: impl Into<String>) -> Self {
        Self::Unimplemented { message: message.into() }
    }

    /// `DeadlineExceeded` of `what` after `limit`.
    #[must_use]
    pub fn deadline(what: &str, limit: Duration) -> Self {
        Self::DeadlineExceeded { message: format!("{what}: timeout of {limit:?} exceeded") }
    }

    /// `Internal` with these words.
    #[must_use]
    pub fn internal(message: impl Into<String>) -> Self {
        Self::Internal { message: message.into(), source: None }
    }

    /// `Internal` with these words because of `source`.
    #[must_use]
    pub fn caused(
        message: impl Into<String>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::Internal { message: message.into(), source: Some(source.into()) }
    }

    /// Whether what was asked for does not exist.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. })
    }

    /// Whether the runtime does not offer what was asked for.
    #[must_use]
    pub fn is_unimplemented(&self) -> bool {
        matches!(self, Self::Unimplemented { .. })
    }

    /// Whether the same request can succeed later.
    #[must_use]
    pub fn retry(&self) -> Retry {
        match self {
            Self::InvalidArgument { .. } | Self::Unimplemented { .. } | Self::NotFound { .. } => {
                Retry::Never
            }
            _ => Retry::Later,
        }
    }
}

impl From<tonic::Status> for Error {
    fn from(status: tonic::Status) -> Self {
        let message = status.message().to_owned();
        match status.code() {
            Code::NotFound => Self::NotFound { message },
            Code::AlreadyExists => Self::AlreadyExists { message },
            Code::InvalidArgument | Code::OutOfRange => Self::InvalidArgument { message },
            Code::FailedPrecondition => Self::FailedPrecondition { message },
            Code::Unimplemented => Self::Unimplemented { message },
            Code::DeadlineExceeded => Self::DeadlineExceeded { message },
            Code::ResourceExhausted => Self::ResourceExhausted { message },
            Code::Unauthenticated | Code::PermissionDenied => Self::Unauthorized { message },
            Code::Unavailable => Self::Unavailable { message, source: Some(Box::new(status)) },
            _ => Self::Internal { message, source: Some(Box::new(status)) },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_of_the_protocol_become_classes() {
        assert!(Error::from(tonic::Status::not_found("no")).is_not_found());
        assert!(Error::from(tonic::Status::unimplemented("no")).is_unimplemented());
        let unavailable = Error::from(tonic::Status::unavailable("gone"));
        assert_eq!(unavailable.retry(), Retry::Later);
        assert_eq!(unavailable.to_string(), "gone");
        assert_eq!(Error::invalid("bad").retry(), Retry::Never);
    }
}
