//! The store, with every call timed.

use crate::metrics::ApiMetrics;
use async_trait::async_trait;
use bytes::Bytes;
use kubeplane_clock::SharedClock;
use kubeplane_store_trait::{
    BoxWatcher, Capabilities, Deleted, Key, KeyRange, ListOptions, Page, Read, ReadAt, Result,
    Revision, Store, StoreStatus, WriteOptions,
};
use std::sync::Arc;

/// A store whose calls are timed.
#[derive(Debug)]
pub(crate) struct Timed {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: SharedClock,
    pub(crate) metrics: ApiMetrics,
}

impl Timed {
    async fn timed<T>(&self, operation: &'static str, call: impl Future<Output = T>) -> T {
        let start = self.clock.elapsed();
        let output = call.await;
        self.metrics.store(operation, self.clock.elapsed().saturating_sub(start));
        output
    }
}

#[async_trait]
impl Store for Timed {
    fn capabilities(&self) -> Capabilities {
        self.store.capabilities()
    }

    async fn get(&self, key: &Key, at: ReadAt) -> Result<Read> {
        self.timed("get", self.store.get(key, at)).await
    }

    async fn list(&self, range: &KeyRange, options: ListOptions) -> Result<Page> {
        self.timed("list", self.store.list(range, options)).await
    }

    async fn create(&self, key: &Key, value: Bytes, options: WriteOptions) -> Result<Revision> {
        self.timed("create", self.store.create(key, value, options)).await
    }

    async fn update(
        &self,
        key: &Key,
        value: Bytes,
        expected: Revision,
        options: WriteOptions,
    ) -> Result<Revision> {
        self.timed("update", self.store.update(key, value, expected, options)).await
    }

    async fn delete(&self, key: &Key, expected: Revision) -> Result<Deleted> {
        self.timed("delete", self.store.delete(key, expected)).await
    }

    async fn watch(&self, range: &KeyRange, after: Revision) -> Result<BoxWatcher> {
        self.timed("watch", self.store.watch(range, after)).await
    }

    async fn compact(&self, through: Revision) -> Result<()> {
        self.timed("compact", self.store.compact(through)).await
    }

    async fn revision(&self) -> Result<Revision> {
        self.timed("revision", self.store.revision()).await
    }

    async fn status(&self) -> Result<StoreStatus> {
        self.timed("status", self.store.status()).await
    }
}
