use crate::{Entry, Key, Result, Revision};
use futures::Stream;
use std::pin::Pin;

/// One change of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The key was created or replaced.
    Put {
        /// The entry as it now is.
        entry: Entry,
        /// The entry as it was; `None` for a creation.
        previous: Option<Entry>,
    },
    /// The key was deleted or expired.
    Delete {
        /// The key.
        key: Key,
        /// The entry as it was.
        previous: Option<Entry>,
        /// The revision of the delete.
        revision: Revision,
    },
}

impl Event {
    /// The key that changed.
    #[must_use]
    pub fn key(&self) -> &Key {
        match self {
            Self::Put { entry, .. } => &entry.key,
            Self::Delete { key, .. } => key,
        }
    }

    /// The revision of the change.
    #[must_use]
    pub fn revision(&self) -> Revision {
        match self {
            Self::Put { entry, .. } => entry.revision,
            Self::Delete { revision, .. } => *revision,
        }
    }
}

/// Events that belong together, in order. Without events it is a bookmark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchBatch {
    /// The changes; all events of one revision are in one batch.
    pub events: Vec<Event>,
    /// Every change of the range up to and including this revision has been delivered.
    pub through: Revision,
}

/// A stream of batches.
///
/// # Contract
/// Events are ordered by revision, unique, and never skipped. A reader that is too slow gets one
/// [`Error::Lagged`](crate::Error::Lagged) and the end. Any error ends the stream; a new watch after the
/// last `through` continues without a gap. Dropping the watcher frees it.
pub trait Watcher: Stream<Item = Result<WatchBatch>> + Send {
    /// Asks for a bookmark soon, even if nothing changes.
    fn request_progress(self: Pin<&mut Self>);
}

/// A boxed watcher.
pub type BoxWatcher = Pin<Box<dyn Watcher>>;
