use crate::{
    DataLoss, OpenError, Snapshot,
    builder::Builder,
    direct::Direct,
    expiry::Expirer,
    ledger::{Outcome, Write},
    published::Published,
    sequencer::Sequencer,
    wall::Wall,
    watch::MemoryWatcher,
};
use async_trait::async_trait;
use bytes::Bytes;
use kubeplane_clock::SharedClock;
use kubeplane_store_trait::{
    BoxWatcher, Capabilities, Deleted, Error, Key, KeyRange, ListOptions, Page, Read, ReadAt,
    Result, Revision, Store, StoreStatus, WriteOptions,
};
use std::{ops::Deref, path::Path, sync::Arc, time::Duration};
use tokio::task::coop::consume_budget;

/// The embedded store. Clones are handles of the same store; the last one closes it.
///
/// Readers never wait: they see the latest published state through one atomic pointer. Without a data directory
/// a write is about a microsecond; with one it is about one flush of the disk, shared with all writes that wait.
///
/// When the log cannot be written or flushed, the writes under way end as `Indeterminate`, and every later one, and
/// [`status`](Store::status), as `Unavailable` with the cause, until the directory is opened again. What was
/// acknowledged stays readable.
#[derive(Debug, Clone)]
pub struct MemoryStore {
    inner: Arc<Handle>,
}

/// What the users of a store share. The last that goes closes the store, even while the task that deletes expired
/// entries has hold of its inside for a moment.
#[derive(Debug)]
pub(crate) struct Handle(Arc<Inner>);

impl Deref for Handle {
    type Target = Arc<Inner>;

    fn deref(&self) -> &Arc<Inner> {
        &self.0
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.close();
    }
}

#[derive(Debug)]
pub(crate) struct Inner {
    published: Arc<Published>,
    engine: Engine,
    clock: SharedClock,
    max_value: usize,
    expirer: Expirer,
    losses: Vec<DataLoss>,
}

/// How writes are done.
#[derive(Debug)]
pub(crate) enum Engine {
    /// At once, in memory only.
    Direct(Direct),
    /// By the thread that writes the log.
    Logged(Sequencer),
}

impl MemoryStore {
    /// An empty store that keeps nothing on disk.
    #[must_use]
    pub fn new() -> Self {
        Builder::default().ephemeral()
    }

    /// The store in a data directory, with every option at its default. Blocks while the data is read.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(path: impl AsRef<Path>) -> std::result::Result<Self, OpenError> {
        Self::builder().path(path).open()
    }

    /// The options.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// How many watchers are alive.
    #[must_use]
    pub fn watchers(&self) -> usize {
        self.inner.published.watchers().lock().len()
    }

    /// What was dropped when the store was opened; empty unless
    /// [`Builder::accept_data_loss`] was asked for and needed.
    #[must_use]
    pub fn data_loss(&self) -> &[DataLoss] {
        &self.inner.losses
    }

    /// Everything that is stored now. It costs nothing to take: no writer waits, also not while it is written out.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::new(self.inner.published.state(), Wall::of(&*self.inner.clock))
    }

    /// Makes the store hold what a snapshot's file holds, by one write for each entry that differs: revisions go on
    /// upward, and watchers see what changes as they see every other change. All of it becomes visible at once.
    /// Returns the latest revision behind it.
    ///
    /// For a store that is not running, [`Snapshot::restore`] makes a directory of the file.
    ///
    /// # Errors
    /// `Corrupt` when the file cannot be read or is no whole snapshot; `TooLarge` when what differs comes to more than
    /// a gigabyte (of keys, values and some bytes for each), and then nothing was done; as every write.
    pub async fn replace(&self, file: impl AsRef<Path>) -> Result<Revision> {
        let (file, wall) = (file.as_ref().to_owned(), Wall::of(&*self.inner.clock));
        let read = move || Snapshot::read_records(&file, wall);
        let read = tokio::task::spawn_blocking(read).await;
        let corrupt = |reason: String| Error::Corrupt { reason };
        let records = read.map_err(|error| corrupt(error.to_string()))?;
        let records = records.map_err(|error| corrupt(error.to_string()))?;
        self.write(Write::Replace { records }).await.and_then(written)
    }

    /// Makes the store hold what a snapshot holds, as [`replace`](Self::replace) does.
    ///
    /// # Errors
    /// `TooLarge` as there; as every write.
    pub async fn replace_with(&self, snapshot: &Snapshot) -> Result<Revision> {
        self.write(Write::Replace { records: snapshot.records() }).await.and_then(written)
    }

    /// Takes no more writes, finishes those under way, ends the watchers and releases the data directory. The last
    /// handle that is dropped does the same, but blocks its thread meanwhile. Reads go on working.
    ///
    /// # Cancellation
    /// Closing goes on when the future is dropped.
    pub async fn close(&self) {
        let inner = self.inner.clone();
        // A failed join is a panic of the writer, which was reported where it was seen.
        let _ = tokio::task::spawn_blocking(move || inner.close()).await;
    }

    pub(crate) fn assemble(
        published: Arc<Published>,
        engine: Engine,
        clock: SharedClock,
        max_value: usize,
        losses: Vec<DataLoss>,
    ) -> Self {
        let expirer = Expirer::default();
        let inner = Inner { published, engine, clock, max_value, expirer, losses };
        Self { inner: Arc::new(Handle(Arc::new(inner))) }
    }

    fn check_size(&self, value: &Bytes) -> Result<()> {
        let (size, limit) = (value.len(), self.inner.max_value);
        if size > limit { Err(Error::TooLarge { size, limit }) } else { Ok(()) }
    }

    async fn write(&self, write: Write) -> Result<Outcome> {
        let outcome = self.inner.submit(write).await;
        self.inner.expirer.ensure(&self.inner);
        outcome
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl Inner {
    pub(crate) fn clock(&self) -> &SharedClock {
        &self.clock
    }

    pub(crate) fn published(&self) -> &Arc<Published> {
        &self.published
    }

    pub(crate) fn next_deadline(&self) -> Option<Duration> {
        self.published.next_deadline()
    }

    pub(crate) async fn expire(&self) -> Result<()> {
        self.submit(Write::Expire).await.map(|_| ())
    }

    async fn submit(&self, write: Write) -> Result<Outcome> {
        match &self.engine {
            Engine::Direct(direct) => {
                // It never waits, and yet lets other tasks of the thread have their turn.
                consume_budget().await;
                direct.submit(write)
            }
            Engine::Logged(sequencer) => sequencer.submit(write).await,
        }
    }

    fn close(&self) {
        match &self.engine {
            Engine::Direct(direct) => direct.close(),
            Engine::Logged(sequencer) => sequencer.close(),
        }
        self.published.close();
    }
}

#[async_trait]
impl Store for MemoryStore {
    fn capabilities(&self) -> Capabilities {
        let durable = match &self.inner.engine {
            Engine::Direct(_) => false,
            Engine::Logged(sequencer) => sequencer.sync(),
        };
        Capabilities { ttl: true, durable, max_value: self.inner.max_value }
    }

    async fn get(&self, key: &Key, at: ReadAt) -> Result<Read> {
        self.inner.expirer.ensure(&self.inner);
        consume_budget().await;
        self.inner.published.state().get(key, at)
    }

    async fn list(&self, range: &KeyRange, options: ListOptions) -> Result<Page> {
        self.inner.expirer.ensure(&self.inner);
        consume_budget().await;
        self.inner.published.state().list(range, options)
    }

    async fn create(&self, key: &Key, value: Bytes, options: WriteOptions) -> Result<Revision> {
        self.check_size(&value)?;
        let write = Write::Create { key: key.clone(), value, ttl: options.ttl };
        self.write(write).await.and_then(written)
    }

    async fn update(
        &self,
        key: &Key,
        value: Bytes,
        expected: Revision,
        options: WriteOptions,
    ) -> Result<Revision> {
        self.check_size(&value)?;
        let write = Write::Update { key: key.clone(), value, expected, ttl: options.ttl };
        self.write(write).await.and_then(written)
    }

    async fn delete(&self, key: &Key, expected: Revision) -> Result<Deleted> {
        match self.write(Write::Delete { key: key.clone(), expected }).await? {
            Outcome::Deleted(deleted) => Ok(deleted),
            other => Err(unexpected(&other)),
        }
    }

    async fn watch(&self, range: &KeyRange, after: Revision) -> Result<BoxWatcher> {
        self.inner.expirer.ensure(&self.inner);
        Ok(Box::pin(MemoryWatcher::start(&self.inner.published, range, after.0)?))
    }

    async fn compact(&self, through: Revision) -> Result<()> {
        self.write(Write::Compact { through }).await.map(|_| ())
    }

    async fn revision(&self) -> Result<Revision> {
        self.inner.expirer.ensure(&self.inner);
        Ok(Revision(self.inner.published.state().revision))
    }

    async fn status(&self) -> Result<StoreStatus> {
        self.inner.expirer.ensure(&self.inner);
        let mut trouble = None;
        if let Engine::Logged(sequencer) = &self.inner.engine {
            if let Some(reason) = sequencer.failure() {
                return Err(Error::Unavailable { reason: reason.clone() });
            }
            trouble = sequencer.trouble();
        }
        let state = self.inner.published.state();
        Ok(StoreStatus {
            revision: Revision(state.revision),
            compacted: Revision(state.compacted),
            size: state.size,
            trouble,
        })
    }
}

fn written(outcome: Outcome) -> Result<Revision> {
    match outcome {
        Outcome::Written(revision) => Ok(revision),
        other => Err(unexpected(&other)),
    }
}

fn unexpected(outcome: &Outcome) -> Error {
    Error::Indeterminate { reason: format!("a write was answered with {outcome:?}") }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed test says where")]
mod tests {
    use super::*;
    use crate::Durability;

    #[test]
    fn durable_is_what_survives_the_death_of_the_machine() {
        let durable = |builder: Builder| builder.open().unwrap().capabilities().durable;
        assert!(!durable(MemoryStore::builder()));
        for (durability, expected) in [(Durability::Disk, true), (Durability::Process, false)] {
            let directory = tempfile::tempdir().unwrap();
            let builder = MemoryStore::builder().path(directory.path()).durability(durability);
            assert_eq!(durable(builder), expected, "{durability:?}");
        }
    }

    #[test]
    fn the_last_handle_releases_the_directory_whoever_is_looking_inside() {
        let directory = tempfile::tempdir().unwrap();
        let store = MemoryStore::open(directory.path()).unwrap();
        let (other, inside) = (store.clone(), store.inner.0.clone());
        drop(store);
        assert!(MemoryStore::open(directory.path()).is_err());
        drop(other);
        MemoryStore::open(directory.path()).unwrap();
        drop(inside);
    }
}
