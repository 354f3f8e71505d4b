use crate::{Entry, Key, Revision};

/// What a store call returns.
pub type Result<T> = std::result::Result<T, Error>;

/// Whether a caller may repeat a failed call as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// Repeating cannot help.
    Never,
    /// Nothing was applied: repeat after a pause.
    Safe,
    /// It may have been applied: read before writing again.
    ReadFirst,
}

/// Why a store call failed.
///
/// Each says surely whether a write was applied: only [`Indeterminate`](Self::Indeterminate) leaves it open.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A create found the key taken.
    #[error("key {key} exists at revision {}", current.revision)]
    Exists {
        /// The key.
        key: Key,
        /// What is stored under it.
        current: Entry,
    },
    /// An update or delete found another revision than expected, or nothing at all.
    #[error("key {key} is not at the expected revision")]
    Conflict {
        /// The key.
        key: Key,
        /// What was stored when it was compared; `None` when the key is gone.
        current: Option<Entry>,
    },
    /// The revision asked for is no longer kept.
    #[error("revision {requested} is compacted; the oldest kept is {oldest}")]
    Compacted {
        /// What was asked for.
        requested: Revision,
        /// The oldest revision that can still be read.
        oldest: Revision,
    },
    /// The revision asked for has not been reached.
    #[error("revision {requested} is in the future; the latest is {latest}")]
    Future {
        /// What was asked for.
        requested: Revision,
        /// The latest revision.
        latest: Revision,
    },
    /// The value is larger than the store takes.
    #[error("value of {size} bytes is larger than {limit}")]
    TooLarge {
        /// Its size in bytes.
        size: usize,
        /// The largest size taken, in bytes.
        limit: usize,
    },
    /// A watcher fell so far behind that events were lost to it; it has ended.
    #[error("the watcher fell behind and was ended")]
    Lagged,
    /// The store cannot be reached or refuses work; the call was surely not applied and never will be.
    #[error("store unavailable: {reason}")]
    Unavailable {
        /// What happened.
        reason: String,
    },
    /// A write may or may not have been applied, or may still be.
    #[error("outcome of the write is unknown: {reason}")]
    Indeterminate {
        /// What happened.
        reason: String,
    },
    /// Stored data is damaged: nothing read from it is to be believed.
    #[error("store is corrupt: {reason}")]
    Corrupt {
        /// Where and how.
        reason: String,
    },
}

impl Error {
    /// Whether the call may be repeated.
    #[must_use]
    pub fn retry(&self) -> Retry {
        match self {
            Self::Unavailable { .. } => Retry::Safe,
            Self::Indeterminate { .. } => Retry::ReadFirst,
            _ => Retry::Never,
        }
    }
}
