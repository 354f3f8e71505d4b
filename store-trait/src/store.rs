use crate::{BoxWatcher, Key, KeyRange, Keys, Result};
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
    /// Its value.
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
    /// The most entries to return; `None` means all, zero none.
    pub limit: Option<usize>,
    /// Return no entries, only their [keys](Page::keys).
    pub keys_only: bool,
    /// Return no entries, only the count.
    pub count_only: bool,
}

/// A part of a list, in key order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    /// The entries; none where only their keys were asked for.
    pub entries: Vec<Entry>,
    /// Where only the keys were asked for: those of what would be the entries.
    pub keys: Keys,
    /// The revision all of them were read at.
    pub revision: Revision,
    /// How many entries of the range follow behind the last one or its key, at the same revision; with `count_only`
    /// or a limit of zero all of them.
    pub remaining: u64,
}

/// How to write.
#[derive(Debug, Clone, Copy, Default)]
pub struct WriteOptions {
    /// Delete the entry by itself this long after the write, or somewhat later, never sooner. Watchers see a delete
    /// like any other. Needs [`Capabilities::ttl`]; without, it is ignored.
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
    /// Acknowledged writes survive a crash of the process, and of the machine as far as its disks keep their word.
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
    /// What somebody should look after though everything is still done: in words, for people.
    pub trouble: Option<String>,
}

/// A revisioned key-value store with watches.
///
/// # Contract
/// * **Order.** Every successful write gets a revision of its own, larger than all before it, over all keys and for
///   ever: also after a crash, also when the newest entry was deleted. Only entries that expire together may share one.
///   A write that is refused takes none.
/// * **Linearizable.** Writes, reads of [`ReadAt::Latest`] and [`revision`](Self::revision) take effect at one moment
///   between call and return. Whoever has seen a revision, by an answer, a read or a watch, never reads an older state.
/// * **Durable.** When a write returns `Ok` it is as durable as [`Capabilities::durable`] promises, and before that
///   no reader and no watcher sees it: what was seen once is never undone.
/// * **Whole.** A write is done entirely or not at all, whatever happens to its caller or to the store.
///
/// # What failed, and what then
/// | error | was it applied | repeat |
/// |---|---|---|
/// | [`Unavailable`](crate::Error::Unavailable) | surely not | as it was, after a pause |
/// | [`Indeterminate`](crate::Error::Indeterminate) (writes only) | perhaps, perhaps only later | read first |
/// | all others | surely not | would fail again until something changes |
///
/// [`Error::retry`](crate::Error::retry) tells the same. A store that cannot exclude that a write was done must say
/// `Indeterminate`, never `Unavailable`; one that can no longer keep what it promises (a failed flush of the disk)
/// refuses every further write.
///
/// # Cancellation
/// Dropping the future of a read, a watch or a question has no effect but to free what it held. Dropping a write's
/// future is like losing its answer: it may not be applied, or be applied, now or a little later, once and whole.
#[async_trait]
pub trait Store: Debug + Send + Sync + 'static {
    /// What the store can do; the same for its whole life.
    fn capabilities(&self) -> Capabilities;

    /// Reads one entry. The latest state is linearizable; an exact revision shows the entry as it was then, also if
    /// it was deleted since, and may be repeated with the same answer until it is compacted.
    ///
    /// # Errors
    /// `Compacted` or `Future` for an exact revision that is not kept or not reached; `Unavailable`.
    ///
    /// # Cancellation
    /// Without effect.
    async fn get(&self, key: &Key, at: ReadAt) -> Result<Read>;

    /// Reads the entries of a range in key order, all from one revision, linearizable as [`get`](Self::get) is. The
    /// next page is asked with [`KeyRange::after`] the last key and [`ReadAt::Exact`] of the first page's revision, so
    /// that all pages show one state whatever is written meanwhile.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    ///
    /// # Cancellation
    /// Without effect.
    async fn list(&self, range: &KeyRange, options: ListOptions) -> Result<Page>;

    /// Stores a value under a key that must not exist, and returns the revision of the write. Of many concurrent
    /// creates of one key exactly one succeeds.
    ///
    /// On return the entry is durable, visible to every later read and on its way to the watchers.
    ///
    /// # Errors
    /// `Exists` with the current entry; `TooLarge`; `Unavailable`; `Indeterminate`. Repeating after the last can find
    /// `Exists` with the caller's own write.
    ///
    /// # Cancellation
    /// It may still be applied; see the trait.
    async fn create(&self, key: &Key, value: Bytes, options: WriteOptions) -> Result<Revision>;

    /// Replaces the value of an entry whose last write is at `expected`, and returns the revision of the write. Its
    /// expiry is replaced too: by the one of `options`, or by none. Compare and write are one step: no other write
    /// of the key comes between.
    ///
    /// On return the entry is durable, visible to every later read and on its way to the watchers.
    ///
    /// # Errors
    /// `Conflict` with the current entry as of the comparison, or `None` when it is gone; `TooLarge`; `Unavailable`;
    /// `Indeterminate`. Repeating after the last is safe, as `expected` lets it be applied only once, but can find
    /// `Conflict` with the caller's own write.
    ///
    /// # Cancellation
    /// It may still be applied; see the trait.
    async fn update(
        &self,
        key: &Key,
        value: Bytes,
        expected: Revision,
        options: WriteOptions,
    ) -> Result<Revision>;

    /// Removes an entry whose last write is at `expected`; returns it and the revision of the delete. A key that is
    /// created again later is new: it has another creation revision, and no expiry left over.
    ///
    /// On return the delete is durable, visible to every later read and on its way to the watchers.
    ///
    /// # Errors
    /// As [`update`](Self::update).
    ///
    /// # Cancellation
    /// It may still be applied; see the trait.
    async fn delete(&self, key: &Key, expected: Revision) -> Result<Deleted>;

    /// Delivers every event of the range with a revision greater than `after`, in order, then goes on; see
    /// [`Watcher`](crate::Watcher). When it returns, the watch is established: no later write can be missed. It shows
    /// nothing that a read could not see. After a revision in the future it waits, and delivers what comes behind it.
    ///
    /// # Errors
    /// `Compacted` when `after` is older than what is kept (the compaction point itself is not); `Unavailable`.
    /// Repeating is always safe.
    ///
    /// # Cancellation
    /// Without effect.
    async fn watch(&self, range: &KeyRange, after: Revision) -> Result<BoxWatcher>;

    /// Forgets the history before `through`; the state at `through` itself stays readable and can be watched after.
    /// It is no write: it takes no revision, and no watcher that has seen everything through it notices.
    ///
    /// On return older revisions are refused; a durable store remembers the point when it is opened again.
    ///
    /// # Errors
    /// `Compacted` when that was done already; `Future`; `Unavailable`; `Indeterminate`. Repeating is always safe.
    ///
    /// # Cancellation
    /// It may still be done.
    async fn compact(&self, through: Revision) -> Result<()>;

    /// Whether the store calls [`compact`](Self::compact) by itself, so that nobody else need do it from time
    /// to time: one that several servers share agrees on who does. The same for its whole life.
    fn compacts_itself(&self) -> bool {
        false
    }

    /// The latest revision, linearizable: every write acknowledged before the call is at or before it, and
    /// [`ReadAt::Exact`] of it can be read. It is the cheapest question a store can answer, asked before each
    /// consistent read of a cache. The default asks for the [`status`](Self::status).
    ///
    /// # Errors
    /// `Unavailable`.
    ///
    /// # Cancellation
    /// Without effect.
    async fn revision(&self) -> Result<Revision> {
        Ok(self.status().await?.revision)
    }

    /// How the store is, for people and metrics. Only its `revision` is linearizable, as [`revision`](Self::revision)
    /// is. The rest may be of another moment, or of the one member that answered (etcd tells the size of that
    /// member's file), and may cost several calls to find: ask for it now and then, not for each read.
    ///
    /// # Errors
    /// `Unavailable`.
    ///
    /// # Cancellation
    /// Without effect.
    async fn status(&self) -> Result<StoreStatus>;
}
