use async_trait::async_trait;
use kubeplane_store_memory::{Builder, MemoryStore};
use kubeplane_store_trait::{Store, conformance::Factory};
use parking_lot::Mutex;
use std::{path::Path, sync::Arc};
use tempfile::TempDir;

/// Without a directory.
#[derive(Default)]
pub(crate) struct Ephemeral {
    latest: Mutex<Option<MemoryStore>>,
}

#[async_trait]
impl Factory for Ephemeral {
    async fn fresh(&self) -> Arc<dyn Store> {
        let store = MemoryStore::new();
        *self.latest.lock() = Some(store.clone());
        Arc::new(store)
    }

    async fn reopen(&self, _: Arc<dyn Store>) -> Option<Arc<dyn Store>> {
        None
    }

    fn watchers(&self) -> Option<usize> {
        self.latest.lock().as_ref().map(MemoryStore::watchers)
    }
}

/// What the disk holds at this moment, as after the death of the process: nothing is flushed or closed first.
fn frozen(from: &Path) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    for file in std::fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
    }
    copy
}

/// In a directory.
pub(crate) struct Durable {
    directory: TempDir,
    options: fn(Builder) -> Builder,
}

impl Durable {
    pub(crate) fn new() -> Self {
        Self::with(|builder| builder)
    }

    /// With further options.
    pub(crate) fn with(options: fn(Builder) -> Builder) -> Self {
        Self { directory: tempfile::tempdir().unwrap(), options }
    }

    fn open(&self, path: &Path) -> Arc<dyn Store> {
        Arc::new((self.options)(MemoryStore::builder().path(path)).open().unwrap())
    }
}

#[async_trait]
impl Factory for Durable {
    async fn fresh(&self) -> Arc<dyn Store> {
        self.open(self.directory.path())
    }

    async fn reopen(&self, store: Arc<dyn Store>) -> Option<Arc<dyn Store>> {
        drop(store);
        Some(self.fresh().await)
    }

    async fn crash(&self, store: Arc<dyn Store>) -> Option<Arc<dyn Store>> {
        let copy = frozen(self.directory.path());
        drop(store);
        // The store reads all of it on opening; what it writes later goes down with the test.
        Some(self.open(copy.path()))
    }
}

/// Durable, with a snapshot after nearly every write.
pub(crate) struct Snapshotting(TempDir);

impl Snapshotting {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }
}

#[async_trait]
impl Factory for Snapshotting {
    async fn fresh(&self) -> Arc<dyn Store> {
        let builder = MemoryStore::builder().path(self.0.path()).snapshot_after(64);
        Arc::new(builder.open().unwrap())
    }

    async fn reopen(&self, store: Arc<dyn Store>) -> Option<Arc<dyn Store>> {
        drop(store);
        Some(self.fresh().await)
    }
}
