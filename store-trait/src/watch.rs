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
/// * **Ordered and unique.** Events come in the order of their revisions, each once.
/// * **Atomic.** All events of one revision are in one batch, as when several entries expire together.
/// * **Reliable.** Nothing between two delivered events is skipped: a list at A and the events after A, up to B, make
///   the list at B.
/// * **Resumable.** A new watch after any `through` that was delivered goes on without gap or repetition, as long as
///   the revision is not compacted.
/// * **Bookmarks.** A batch without events says that the reader has everything up to its `through`. It is never ahead
///   of an event still to come, and `through` never goes back.
/// * **Bounded.** A reader that is too slow for what is kept for it gets exactly one
///   [`Error::Lagged`](crate::Error::Lagged), after a correct prefix, and then the end. A reader that waits is never
///   too slow, however long nothing happens.
/// * **One error.** Any error is the last item before the end. [`Error::retry`](crate::Error::retry) tells whether the
///   same watch can be made again; after `Lagged` and `Compacted` one lists again.
///
/// # Cancellation
/// Waiting for the next batch can be given up at any point without losing one. Dropping the watcher frees all that
/// the store holds for it.
pub trait Watcher: Stream<Item = Result<WatchBatch>> + Send {
    /// Asks for a bookmark soon, even if nothing changes: at the latest revision of the store as of the request, or a
    /// later one. Returns at once; a reader that needs it asks again after a while.
    fn request_progress(self: Pin<&mut Self>);
}

/// A boxed watcher.
pub type BoxWatcher = Pin<Box<dyn Watcher>>;
