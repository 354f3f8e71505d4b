use crate::{BoxWatcher, Key, KeyRange, Result};
use async_trait::async_trait;
use bytes::Bytes;
use std::{
    fmt::{self, Debug},
    time::Duration,
};

/// A point in the store's one total order of writes. Zero comes before every write.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub u64);

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A stored value and the revision of the write that put it there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its key.
    pub key: Key,
    /// Its value; empty in keys-only lists.
    pub value: Bytes,
    /// The revision of its last write.
    pub revision: Revision,
    /// The revision of its creation.
    pub created: Revision,
}

/// Which state a read sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ReadAt {
    /// The latest, linearizable: every write acknowledged before the call is seen.
    #[default]
    Latest,
    /// Exactly the state at this revision.
    Exact(Revision),
}

/// What a get found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Read {
    /// The entry, if there is one.
    pub entry: Option<Entry>,
    /// The revision the read was made at.
    pub revision: Revision,
}

/// How to list.
#[derive(Debug, Clone, Copy, Default)]
pub struct ListOptions {
    /// Which state to read.
    pub at: ReadAt,
    /// The most entries to return; `None` means all.
    pub limit: Option<usize>,
    /// Leave the values out.
    pub keys_only: bool,
    /// Return no entries, only the count.
    pub count_only: bool,
}

/// A part of a list, in key order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The entries.
    pub entries: Vec<Entry>,
    /// The revision all of them were read at.
    pub revision: Revision,
    /// How many entries of the range follow behind the last one returned (with `count_only`, all of them).
    pub remaining: u64,
}

/// How to write.
#[derive(Debug, Clone, Copy, Default)]
pub struct WriteOptions {
    /// Delete the entry by itself this long after the write; needs [`Capabilities::ttl`].
    pub ttl: Option<Duration>,
}

/// What a delete removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deleted {
    /// The entry as it was.
    pub previous: Entry,
    /// The revision of the delete itself.
    pub revision: Revision,
}

/// What a store can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    /// Entries can expire.
    pub ttl: bool,
    /// Acknowledged writes survive a crash of the process.
    pub durable: bool,
    /// The largest value, in bytes.
    pub max_value: usize,
}

/// How the store is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreStatus {
    /// The latest revision.
    pub revision: Revision,
    /// The oldest revision that can be read exactly and watched after.
    pub compacted: Revision,
    /// Bytes on disk or in memory, whichever the store is bounded by.
    pub size: u64,
}

/// A revisioned key-value store with watches.
///
/// # Contract
/// * Every successful write gets a fresh revision, larger than all before; one total order for all keys.
/// * Nothing is visible to a reader or watcher before it is as durable as [`Capabilities`] promises.
/// * An [`Error::Unavailable`](crate::Error::Unavailable) write was surely not applied; an
///   [`Error::Indeterminate`](crate::Error::Indeterminate) one may have been.
///
/// # Cancellation
/// Dropping a read's future has no effect. Dropping a write's future leaves its outcome open: it may
/// still be applied, whole, never in part.
#[async_trait]
pub trait Store: Debug + Send + Sync + 'static {
    /// What the store can do; the same for its whole life.
    fn capabilities(&self) -> Capabilities;

    /// Reads one entry.
    ///
    /// # Errors
    /// `Compacted` or `Future` for an exact revision that is not kept or not reached; `Unavailable`.
    async fn get(&self, key: &Key, at: ReadAt) -> Result<Read>;

    /// Reads the entries of a range in key order, all from one revision. The next page is asked with
    /// [`KeyRange::after`] the last key and [`ReadAt::Exact`] of the first page's revision.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    async fn list(&self, range: &KeyRange, options: ListOptions) -> Result<Page>;

    /// Stores a value under a key that must not exist.
    ///
    /// # Errors
    /// `Exists` with the current entry; `TooLarge`; `Unavailable`; `Indeterminate`.
    async fn create(&self, key: &Key, value: Bytes, options: WriteOptions) -> Result<Revision>;

    /// Replaces the value of an entry whose last write is at `expected`.
    ///
    /// # Errors
    /// `Conflict` with the current entry, or `None` when it is gone; `TooLarge`; `Unavailable`; `Indeterminate`.
    async fn update(
        &self,
        key: &Key,
        value: Bytes,
        expected: Revision,
        options: WriteOptions,
    ) -> Result<Revision>;

    /// Removes an entry whose last write is at `expected`.
    ///
    /// # Errors
    /// As [`update`](Self::update).
    async fn delete(&self, key: &Key, expected: Revision) -> Result<Deleted>;

    /// Delivers every event of the range with a revision greater than `after`, in order, then goes on.
    /// When it returns, the watch is established: no later write can be missed.
    ///
    /// # Errors
    /// `Compacted` when `after` is older than what is kept; `Unavailable`. A revision in the future waits.
    async fn watch(&self, range: &KeyRange, after: Revision) -> Result<BoxWatcher>;

    /// Forgets the history before `through`; the state at `through` itself stays readable.
    ///
    /// # Errors
    /// `Compacted` when that was done already; `Future`; `Unavailable`.
    async fn compact(&self, through: Revision) -> Result<()>;

    /// Whether the store calls [`compact`](Self::compact) by itself, so that nobody else need do it from time
    /// to time: one that several servers share agrees on who does. The same for its whole life.
    fn compacts_itself(&self) -> bool {
        false
    }

    /// The latest revision: not before any write acknowledged before the call, linearizable like a read of
    /// [`ReadAt::Latest`]. It is the cheapest question a store can answer; a cache asks it before each
    /// consistent read. The default asks for the [`status`](Self::status).
    ///
    /// # Errors
    /// `Unavailable`.
    async fn revision(&self) -> Result<Revision> {
        Ok(self.status().await?.revision)
    }

    /// How the store is, for people and metrics. Its revision is linearizable as that of
    /// [`revision`](Self::revision); the rest may be of another moment or member, and may cost more to find.
    ///
    /// # Errors
    /// `Unavailable`.
    async fn status(&self) -> Result<StoreStatus>;
}
