//! The store of a test cluster: memory, with every write recorded, and with what goes wrong by plan.

use super::{
    faults::{Fault, Faults, SERVER},
    history::{History, Write, WriteKind},
};
use async_trait::async_trait;
use bytes::Bytes;
use kubeplane_clock::SharedClock;
use kubeplane_store_memory::MemoryStore;
use kubeplane_store_trait::{
    BoxWatcher, Capabilities, Deleted, Error, Key, KeyRange, ListOptions, Page, Read, ReadAt,
    Result, Revision, Store, StoreStatus, WriteOptions,
};

#[derive(Debug)]
pub(super) struct TestStore {
    pub(super) inner: MemoryStore,
    pub(super) clock: SharedClock,
    pub(super) faults: Faults,
    pub(super) history: History,
}

fn requester() -> String {
    kubeplane_apiserver::requester().map_or_else(|| SERVER.to_owned(), |user| user.name.clone())
}

impl TestStore {
    async fn disturb(&self, operation: &str, writes: bool) -> Result<()> {
        match self.faults.of_call(&requester(), operation, writes) {
            Some(Fault::StoreFailure) => Err(Error::Unavailable { reason: "planned fault".into() }),
            Some(Fault::StoreDelay(delay)) => {
                self.clock.sleep(delay).await;
                Ok(())
            }
            Some(Fault::Compaction) => self.forget().await,
            _ => Ok(()),
        }
    }

    /// Compacts through the latest revision.
    pub(super) async fn forget(&self) -> Result<()> {
        match self.inner.compact(self.inner.revision().await?).await {
            Err(Error::Compacted { .. }) => Ok(()),
            other => other,
        }
    }

    fn note(&self, kind: WriteKind, key: &Key, value: Bytes, revision: Revision) {
        self.history.push(Write {
            revision: revision.0,
            at: self.clock.now(),
            by: requester(),
            kind,
            key: String::from_utf8_lossy(key.as_bytes()).into_owned(),
            value,
        });
    }
}

#[async_trait]
impl Store for TestStore {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn get(&self, key: &Key, at: ReadAt) -> Result<Read> {
        self.disturb("get", false).await?;
        self.inner.get(key, at).await
    }

    async fn list(&self, range: &KeyRange, options: ListOptions) -> Result<Page> {
        self.disturb("list", false).await?;
        self.inner.list(range, options).await
    }

    async fn create(&self, key: &Key, value: Bytes, options: WriteOptions) -> Result<Revision> {
        self.disturb("create", true).await?;
        let revision = self.inner.create(key, value.clone(), options).await?;
        self.note(WriteKind::Create, key, value, revision);
        Ok(revision)
    }

    async fn update(
        &self,
        key: &Key,
        value: Bytes,
        expected: Revision,
        options: WriteOptions,
    ) -> Result<Revision> {
        self.disturb("update", true).await?;
        let revision = self.inner.update(key, value.clone(), expected, options).await?;
        self.note(WriteKind::Update, key, value, revision);
        Ok(revision)
    }

    async fn delete(&self, key: &Key, expected: Revision) -> Result<Deleted> {
        self.disturb("delete", true).await?;
        let deleted = self.inner.delete(key, expected).await?;
        self.note(WriteKind::Delete, key, Bytes::new(), deleted.revision);
        Ok(deleted)
    }

    async fn watch(&self, range: &KeyRange, after: Revision) -> Result<BoxWatcher> {
        self.inner.watch(range, after).await
    }

    async fn compact(&self, through: Revision) -> Result<()> {
        self.inner.compact(through).await
    }

    /// So that old revisions can be read as long as the test runs.
    fn compacts_itself(&self) -> bool {
        true
    }

    async fn revision(&self) -> Result<Revision> {
        self.disturb("revision", false).await?;
        self.inner.revision().await
    }

    async fn status(&self) -> Result<StoreStatus> {
        self.inner.status().await
    }
}
