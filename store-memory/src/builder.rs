use crate::{
    MemoryStore, OpenError, Snapshot,
    direct::Direct,
    ledger::{HistoryLimits, Ledger},
    log::{
        appender::LogFile,
        directory::Directory,
        disk::{Disk, SystemDisk},
        recover::{Reading, Recovered, recover},
    },
    published::Published,
    sequencer::{Sequencer, Start},
    state::State,
    store::Engine,
    wall::Wall,
};
use kubeplane_clock::SharedClock;
use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

/// When a write of a store with a data directory is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Durability {
    /// After it is on the disk: it survives a loss of power.
    #[default]
    Disk,
    /// After the operating system has it: it survives the death of the process, but not of the machine, so that the
    /// store does not call itself [`durable`](kubeplane_store_trait::Capabilities::durable).
    Process,
}

/// The options of a [`MemoryStore`].
#[derive(Debug, Clone)]
pub struct Builder {
    path: Option<PathBuf>,
    durability: Durability,
    relaxed: Vec<Vec<u8>>,
    accept_data_loss: bool,
    disk: Arc<dyn Disk>,
    snapshot_after: u64,
    history: HistoryLimits,
    max_value: usize,
    clock: SharedClock,
    snapshot: Option<Snapshot>,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            path: None,
            durability: Durability::Disk,
            relaxed: Vec::new(),
            accept_data_loss: false,
            disk: Arc::new(SystemDisk),
            snapshot_after: 64 * 1024 * 1024,
            history: HistoryLimits {
                age: Duration::from_secs(300),
                revisions: 100_000,
                bytes: 64 * 1024 * 1024,
            },
            max_value: 1_572_864,
            clock: kubeplane_clock::real(),
            snapshot: None,
        }
    }
}

impl Builder {
    /// Keeps the data in this directory, which is made if needed. Without one the data lives as long as the store.
    #[must_use]
    pub fn path(mut self, path: impl AsRef<Path>) -> Self {
        self.path = Some(path.as_ref().to_owned());
        self
    }

    /// When a write is acknowledged; only with a directory.
    #[must_use]
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// Lets writes of keys that begin with one of these be acknowledged before they are on the disk, as with
    /// [`Durability::Process`]: for what is written again soon anyway, such as leases and events.
    ///
    /// A write that is not so named still waits for the disk, and for all that was written before it; order never
    /// changes, and a relaxed write behind one that waits is acknowledged with it. The death of the process loses
    /// nothing. The death of the machine may lose relaxed writes that were acknowledged in the last tenth of a
    /// second or during a flush, always the last ones of all writes, never one of which an acknowledged write that
    /// is not relaxed came after. What was lost may have been seen by readers and watchers, and its revisions
    /// are given out again.
    #[must_use]
    pub fn relaxed<P: AsRef<[u8]>>(mut self, prefixes: impl IntoIterator<Item = P>) -> Self {
        self.relaxed = prefixes.into_iter().map(|prefix| prefix.as_ref().to_vec()).collect();
        self
    }

    /// Opens a directory with [damage](OpenError::Corrupt) too, and drops what is damaged: of a snapshot the
    /// damaged parts, of a log everything behind the damage. [`MemoryStore::data_loss`] says what. The revision
    /// jumps by 1,000,000,000 and the history ends there, so that nobody takes one state for another; the
    /// damaged files stay in the directory with `dropped-` before their names.
    #[must_use]
    pub fn accept_data_loss(mut self, accept: bool) -> Self {
        self.accept_data_loss = accept;
        self
    }

    /// Bytes of log after which a snapshot takes its place (64 MiB); never before the log is twice as large as the last
    /// snapshot, so that of what is written at most a third is snapshots.
    ///
    /// Writers go on while it is written, slowly, beside them: as fast as it goes once the log has grown as much again,
    /// and if that is not fast enough, they wait for it. So the directory holds at most about two snapshots and three
    /// times this, or eight snapshots where those are large. Only while snapshots fail, as on a full disk, the
    /// log grows on; that is told by [`StoreStatus::trouble`](kubeplane_store_trait::StoreStatus::trouble) and
    /// in the log, and tried again after a pause.
    #[must_use]
    pub fn snapshot_after(mut self, bytes: u64) -> Self {
        self.snapshot_after = bytes;
        self
    }

    /// How much history is kept for exact reads and watches: no older than `age` (5 minutes), no more than
    /// `revisions` (100,000), and no more than about `bytes` in memory (64 MiB).
    #[must_use]
    pub fn history(mut self, age: Duration, revisions: usize, bytes: usize) -> Self {
        self.history = HistoryLimits { age, revisions, bytes };
        self
    }

    /// The largest value in bytes (1.5 MiB, as etcd's); at most 64 MiB.
    #[must_use]
    pub fn max_value(mut self, bytes: usize) -> Self {
        self.max_value = bytes.min(64 * 1024 * 1024);
        self
    }

    /// The clock by which entries expire and history ages.
    #[must_use]
    pub fn clock(mut self, clock: SharedClock) -> Self {
        self.clock = clock;
        self
    }

    /// Begins with everything a snapshot has, its history too; without a directory only. The entries
    /// are shared with the other store until they change.
    /// Entries expire when they would have if the clock shows the same time as that of the snapshot's store.
    #[must_use]
    pub fn snapshot(mut self, snapshot: &Snapshot) -> Self {
        self.snapshot = Some(snapshot.clone());
        self
    }

    /// Opens the store. With a directory this blocks while the data is read.
    ///
    /// # Errors
    /// See [`OpenError`]; none without a directory.
    pub fn open(self) -> Result<MemoryStore, OpenError> {
        match self.path.clone() {
            Some(path) => self.open_durable(&path),
            None => Ok(self.ephemeral()),
        }
    }

    #[cfg(test)]
    pub(crate) fn disk(mut self, disk: Arc<dyn Disk>) -> Self {
        self.disk = disk;
        self
    }

    pub(crate) fn ephemeral(self) -> MemoryStore {
        let state = self.snapshot.map_or_else(State::empty, |snapshot| snapshot.state());
        let ledger = Ledger::new(state, self.history);
        let published = Arc::new(Published::new(ledger.state.clone()));
        let direct = Direct::new(ledger, published.clone(), self.clock.clone());
        let engine = Engine::Direct(direct);
        MemoryStore::assemble(published, engine, self.clock, self.max_value, Vec::new())
    }

    fn open_durable(self, path: &Path) -> Result<MemoryStore, OpenError> {
        let directory = Directory::lock(path, self.disk)?;
        let reading = Reading {
            limits: self.history,
            wall: Wall::of(&*self.clock),
            now: self.clock.elapsed(),
            accept_data_loss: self.accept_data_loss,
        };
        let Recovered { ledger, log, logged, snapshot_size, losses } =
            recover(&directory, reading)?;
        let sync = self.durability == Durability::Disk;
        let log = match log {
            Some(tail) => LogFile::resume(&directory, tail, sync),
            None => LogFile::create(&directory, ledger.state.revision),
        };
        let log = log.map_err(OpenError::io(path))?;
        let published = Arc::new(Published::new(ledger.state.clone()));
        let start = Start {
            ledger,
            published: published.clone(),
            clock: self.clock.clone(),
            directory,
            log,
            sync,
            relaxed: self.relaxed,
            snapshot_after: self.snapshot_after,
            logged,
            snapshot_size,
        };
        let sequencer = Sequencer::spawn(start).map_err(OpenError::io(path))?;
        let engine = Engine::Logged(sequencer);
        Ok(MemoryStore::assemble(published, engine, self.clock, self.max_value, losses))
    }
}
