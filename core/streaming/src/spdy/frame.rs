use bytes::Bytes;

/// A block of names and values; names are lower case, a name may repeat.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Headers(Vec<(String, String)>);

impl Headers {
    /// No headers.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// These headers and one more.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.0.push((name.to_ascii_lowercase(), value.into()));
        self
    }

    /// The first value of `name`, whatever its case.
    #[must_use]
    pub fn first(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// Every name and value, in the order they came.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

/// Why a stream was reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResetStatus(pub u32);

impl ResetStatus {
    /// The peer broke the protocol.
    pub const PROTOCOL_ERROR: Self = Self(1);
    /// The stream was refused before anything was done with it.
    pub const REFUSED: Self = Self(3);
    /// The stream is no longer wanted.
    pub const CANCEL: Self = Self(5);
}

/// One frame of a SPDY/3.1 connection.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Frame {
    /// Opens a stream.
    SynStream {
        /// The new stream.
        id: u32,
        /// The stream it belongs to, or zero.
        associated: u32,
        /// Zero is the most urgent, seven the least.
        priority: u8,
        /// What the stream is for.
        headers: Headers,
        /// The opener sends nothing.
        fin: bool,
        /// The other side may send nothing.
        unidirectional: bool,
    },
    /// Accepts a stream.
    SynReply {
        /// The stream.
        id: u32,
        /// More about it.
        headers: Headers,
        /// The accepter sends nothing.
        fin: bool,
    },
    /// Ends both directions of a stream at once.
    Reset {
        /// The stream.
        id: u32,
        /// Why.
        status: ResetStatus,
    },
    /// Settings, as (flags and number, value); nothing depends on them.
    Settings(Vec<(u32, u32)>),
    /// Asks for an answer, or is one.
    Ping(u32),
    /// No further stream is accepted.
    GoAway {
        /// The last stream that was accepted.
        last_good: u32,
        /// Why.
        status: u32,
    },
    /// More headers of a stream.
    Headers {
        /// The stream.
        id: u32,
        /// More about it.
        headers: Headers,
        /// The sender sends nothing more.
        fin: bool,
    },
    /// More room for the data of a stream; Kubernetes peers neither send nor obey it.
    WindowUpdate {
        /// The stream.
        id: u32,
        /// In bytes.
        delta: u32,
    },
    /// Data of a stream, or a part of it: large frames are handed on as they arrive.
    Data {
        /// The stream.
        id: u32,
        /// The data.
        bytes: Bytes,
        /// The sender sends nothing more.
        fin: bool,
    },
}
