use crate::{
    MemoryStore, OpenError,
    ledger::{HistoryLimits, Ledger},
    log::{
        appender::{LogFile, Sink},
        directory::Directory,
        recover::{Recovered, recover},
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
    /// After the operating system has it: it survives the death of the process, but not of the machine.
    Process,
}

/// The options of a [`MemoryStore`].
#[derive(Debug, Clone)]
pub struct Builder {
    path: Option<PathBuf>,
    durability: Durability,
    snapshot_after: u64,
    history: HistoryLimits,
    max_value: usize,
    clock: SharedClock,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            path: None,
            durability: Durability::Disk,
            snapshot_after: 16 * 1024 * 1024,
            history: HistoryLimits {
                age: Duration::from_secs(300),
                revisions: 100_000,
                bytes: 64 * 1024 * 1024,
            },
            max_value: 1_572_864,
            clock: kubeplane_clock::real(),
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

    /// Bytes of log after which a snapshot takes its place (16 MiB); never before the log has outgrown the
    /// last snapshot. The directory holds at most about two snapshots and twice this.
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

    /// Opens the store. With a directory this blocks while the data is read.
    ///
    /// # Errors
    /// See [`OpenError`]; none without a directory.
    pub fn open(self) -> Result<MemoryStore, OpenError> {
        match self.path.clone() {
            Some(path) => self.open_durable(&path, |log| Box::new(log)),
            None => Ok(self.ephemeral()),
        }
    }

    pub(crate) fn ephemeral(self) -> MemoryStore {
        let ledger = Ledger::new(State::empty(), self.history);
        let published = Arc::new(Published::new(ledger.state.clone()));
        let engine = Engine::Direct(parking_lot::Mutex::new(ledger));
        MemoryStore::assemble(published, engine, self.clock, self.max_value)
    }

    /// Opens the directory; `wrap` may stand between the store and its log.
    pub(crate) fn open_durable(
        self,
        path: &Path,
        wrap: impl FnOnce(LogFile) -> Box<dyn Sink>,
    ) -> Result<MemoryStore, OpenError> {
        let directory = Directory::lock(path)?;
        let wall = Wall::of(&*self.clock);
        let now = self.clock.elapsed();
        let Recovered { ledger, log, logged, snapshot_size } =
            recover(&directory, self.history, wall, now)?;
        let sync = self.durability == Durability::Disk;
        let log = match log {
            Some((revision, len)) => LogFile::resume(&directory, revision, len, sync),
            None => LogFile::create(&directory, ledger.state.revision, sync),
        };
        let log = log.map_err(OpenError::io(path))?;
        let published = Arc::new(Published::new(ledger.state.clone()));
        let start = Start {
            ledger,
            published: published.clone(),
            clock: self.clock.clone(),
            directory,
            sink: wrap(log),
            sync,
            snapshot_after: self.snapshot_after,
            logged,
            snapshot_size,
        };
        let sequencer = Sequencer::spawn(start).map_err(OpenError::io(path))?;
        let engine = Engine::Logged(sequencer);
        Ok(MemoryStore::assemble(published, engine, self.clock, self.max_value))
    }
}
