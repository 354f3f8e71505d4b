use crate::{
    OpenError,
    log::{
        directory::Directory,
        disk::SystemDisk,
        pace::Pace,
        snapshot::{self, Chunks, Loaded},
    },
    state::{Record, State},
    wall::Wall,
};
use bytes::Bytes;
use kubeplane_store_trait::Revision;
use std::{
    io::{self, Write},
    path::Path,
    sync::Arc,
};

/// Everything in a store at one revision. It stays as it is while the store goes on, and keeps in memory what it needs.
///
/// Its file has the format of the snapshots in a data directory, checksums included; a file that was cut short is told
/// from a whole one.
///
/// ```
/// use kubeplane_store_memory::{MemoryStore, Snapshot};
/// use kubeplane_store_trait::{Key, Store, WriteOptions};
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// # let home = tempfile::tempdir().unwrap();
/// # let (file, directory) = (home.path().join("saved"), home.path().join("restored"));
/// let store = MemoryStore::new();
/// let key = Key::new("/registry/pods/default/web").unwrap();
/// store.create(&key, "{}".into(), WriteOptions::default()).await?;
/// store.snapshot().write_to(std::fs::File::create(&file)?)?;
///
/// let restored = Snapshot::restore(&file, &directory, 1_000_000)?;
/// assert_eq!(restored.entries, 1);
/// assert!(MemoryStore::open(&directory)?.revision().await? > store.revision().await?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct Snapshot {
    state: Arc<State>,
    wall: Wall,
}

/// What a snapshot's file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct SnapshotInfo {
    /// The revision of the store.
    pub revision: Revision,
    /// How many entries.
    pub entries: u64,
    /// The size of the file, in bytes.
    pub size: u64,
    /// A checksum of all entries with their revisions.
    pub hash: u32,
}

impl Snapshot {
    pub(crate) fn new(state: Arc<State>, wall: Wall) -> Self {
        Self { state, wall }
    }

    /// The state for another store to go on from.
    pub(crate) fn state(&self) -> State {
        let state = State::clone(&self.state);
        State { history: state.history.fork(state.revision), ..state }
    }

    /// The entries, in order of their keys.
    pub(crate) fn records(&self) -> Vec<Arc<Record>> {
        self.state.entries.iter().cloned().collect()
    }

    /// The revision it was taken at.
    #[must_use]
    pub fn revision(&self) -> Revision {
        Revision(self.state.revision)
    }

    /// The bytes of its file, in parts of about 256 KiB, or of one value where that is larger.
    pub fn chunks(&self) -> impl Iterator<Item = Bytes> + Send + 'static {
        Chunks::new(self.state.clone(), self.wall).map(Bytes::from)
    }

    /// Writes its file and flushes `out`; making that durable is up to the caller.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write_to(&self, mut out: impl Write) -> io::Result<()> {
        for chunk in Chunks::new(self.state.clone(), self.wall) {
            out.write_all(&chunk)?;
        }
        out.flush()
    }

    /// Reads a file whole and says what it holds.
    ///
    /// # Errors
    /// `Corrupt`, with the place, when it is damaged or cut short; `Version`; `Io`.
    pub fn inspect(file: impl AsRef<Path>) -> Result<SnapshotInfo, OpenError> {
        Ok(info(&snapshot::read(file.as_ref(), None, wall())?))
    }

    /// Makes a data directory of a file: the entries with their revisions. The store in it starts at the snapshot's
    /// revision plus `bump`, without a history. A bump larger than the number of writes since the snapshot
    /// was taken keeps everybody who saw those from taking an old state for a later one; they are told that
    /// their revision is compacted.
    ///
    /// # Errors
    /// As [`inspect`](Self::inspect), before anything is made; `NotEmpty` when there is a store in the directory
    /// already, `InUse` when it is running.
    pub fn restore(
        file: impl AsRef<Path>,
        directory: impl AsRef<Path>,
        bump: u64,
    ) -> Result<SnapshotInfo, OpenError> {
        let path = directory.as_ref();
        let wall = wall();
        let loaded = snapshot::read(file.as_ref(), None, wall)?;
        let found = info(&loaded);
        let directory = Directory::lock(path, Arc::new(SystemDisk))?;
        let contents = directory.contents().map_err(OpenError::io(path))?;
        if !(contents.snapshots.is_empty() && contents.logs.is_empty()) {
            return Err(OpenError::NotEmpty { path: path.to_owned() });
        }
        let revision = loaded.revision.saturating_add(bump);
        let state = Arc::new(State::of(loaded.records, revision));
        let size = snapshot::write(&directory, &state, wall, &Pace::hurried())
            .map_err(OpenError::io(path))?;
        Ok(SnapshotInfo { revision: Revision(revision), size, ..found })
    }

    pub(crate) fn read_records(file: &Path, wall: Wall) -> Result<Vec<Arc<Record>>, OpenError> {
        Ok(snapshot::read(file, None, wall)?.records)
    }
}

fn info(loaded: &Loaded) -> SnapshotInfo {
    SnapshotInfo {
        revision: Revision(loaded.revision),
        entries: loaded.records.len() as u64,
        size: loaded.size,
        hash: loaded.hash,
    }
}

/// The wall clock of the machine; what is read and written with one and the same keeps its times of expiry.
fn wall() -> Wall {
    Wall::of(&*kubeplane_clock::real())
}
