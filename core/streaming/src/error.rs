use std::io;

/// What fallible calls of this crate return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a streaming connection could not be made or broke.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The request does not ask for an upgrade that is known here; answer 400.
    #[error("unable to upgrade: {reason}")]
    NotAnUpgrade {
        /// What is missing.
        reason: String,
    },
    /// Client and server share no protocol; answer 403.
    #[error(
        "unable to upgrade: unable to negotiate protocol: client supports {requested:?}, server accepts {accepted:?}"
    )]
    NoCommonProtocol {
        /// What the client asked for.
        requested: Vec<String>,
        /// What could have been asked for.
        accepted: Vec<&'static str>,
    },
    /// A page of nowhere asks for a watch over WebSocket; answer 403.
    #[error("unable to upgrade: header origin names no origin")]
    NoOrigin,
    /// The query asks for streams that make no sense; answer 400.
    #[error("{reason}")]
    BadOptions {
        /// What is wrong.
        reason: String,
    },
    /// The server answered a request for an upgrade with something else.
    #[error("unable to upgrade connection: {status}: {body}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The start of what the server said.
        body: String,
    },
    /// The peer broke the protocol.
    #[error("protocol error: {reason}")]
    Protocol {
        /// How.
        reason: String,
    },
    /// The peer refused a stream.
    #[error("stream reset")]
    StreamReset,
    /// The connection is gone.
    #[error("connection closed")]
    Closed,
    /// The byte stream below failed.
    #[error("{0}")]
    Io(#[from] io::Error),
}

impl Error {
    pub(crate) fn protocol(reason: impl Into<String>) -> Self {
        Self::Protocol { reason: reason.into() }
    }

    pub(crate) fn not_an_upgrade(reason: impl Into<String>) -> Self {
        Self::NotAnUpgrade { reason: reason.into() }
    }

    /// The HTTP status to answer with, where a request could not be upgraded.
    #[must_use]
    pub fn http_status(&self) -> u16 {
        match self {
            Self::NotAnUpgrade { .. } | Self::BadOptions { .. } => 400,
            Self::NoCommonProtocol { .. } | Self::NoOrigin => 403,
            _ => 500,
        }
    }
}
