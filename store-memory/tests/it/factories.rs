use async_trait::async_trait;
use kubeplane_store_memory::MemoryStore;
use kubeplane_store_trait::{Store, conformance::Factory};
use std::sync::Arc;
use tempfile::TempDir;

pub(crate) struct Ephemeral;

#[async_trait]
impl Factory for Ephemeral {
    async fn fresh(&self) -> Arc<dyn Store> {
        Arc::new(MemoryStore::new())
    }

    async fn reopen(&self, _: Arc<dyn Store>) -> Option<Arc<dyn Store>> {
        None
    }
}

pub(crate) struct Durable(TempDir);

impl Durable {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }
}

#[async_trait]
impl Factory for Durable {
    async fn fresh(&self) -> Arc<dyn Store> {
        Arc::new(MemoryStore::open(self.0.path()).unwrap())
    }

    async fn reopen(&self, store: Arc<dyn Store>) -> Option<Arc<dyn Store>> {
        drop(store);
        Some(self.fresh().await)
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
