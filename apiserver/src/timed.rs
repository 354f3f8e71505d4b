//! The store, with every call timed, counted and traced.

use crate::{
    metrics::{ApiMetrics, CallLabels},
    registry::Registry,
};
use arc_swap::ArcSwap;
use async_trait::async_trait;
use bytes::Bytes;
use kubeplane_clock::SharedClock;
use kubeplane_core::GroupResource;
use kubeplane_store_trait::{
    BoxWatcher, Capabilities, Deleted, Error, Key, KeyRange, ListOptions, Page, Read, ReadAt,
    Result, Revision, Store, StoreStatus, WriteOptions,
};
use std::{
    collections::BTreeMap,
    ops::Bound,
    sync::{Arc, OnceLock, Weak},
};
use tracing::Instrument;

/// A store whose calls are timed.
#[derive(Debug)]
pub(crate) struct Timed {
    store: Arc<dyn Store>,
    clock: SharedClock,
    metrics: ApiMetrics,
    registry: OnceLock<Weak<Registry>>,
    known: ArcSwap<Known>,
}

/// Whose objects are kept under which prefix, as of a generation of the registry.
#[derive(Debug, Default)]
struct Known {
    generation: Option<u64>,
    prefixes: BTreeMap<Vec<u8>, GroupResource>,
}

impl Timed {
    pub(crate) fn new(store: Arc<dyn Store>, clock: SharedClock, metrics: ApiMetrics) -> Self {
        Self { store, clock, metrics, registry: OnceLock::new(), known: ArcSwap::default() }
    }

    /// Names the resources of keys from now on.
    pub(crate) fn name_by(&self, registry: &Arc<Registry>) {
        // Set once, when the server is built.
        let _ = self.registry.set(Arc::downgrade(registry));
    }

    /// The labels of a call about these keys.
    fn labels(&self, operation: &'static str, key: &[u8]) -> CallLabels {
        let known = self.known();
        let before =
            known.prefixes.range::<[u8], _>((Bound::Unbounded, Bound::Included(key))).next_back();
        match before.filter(|(prefix, _)| key.starts_with(prefix)) {
            Some((_, found)) => CallLabels {
                group: found.group.clone(),
                operation,
                resource: found.resource.clone(),
            },
            None => CallLabels { group: "".into(), operation, resource: "".into() },
        }
    }

    fn known(&self) -> Arc<Known> {
        let known = self.known.load_full();
        let Some(registry) = self.registry.get().and_then(Weak::upgrade) else { return known };
        let generation = Some(registry.generation());
        if known.generation == generation {
            return known;
        }
        let prefixes = registry
            .all()
            .into_iter()
            .map(|resource| (resource.prefix().as_bytes().to_vec(), resource.group_resource()));
        let fresh = Arc::new(Known { generation, prefixes: prefixes.collect() });
        self.known.store(fresh.clone());
        fresh
    }

    async fn timed<T>(
        &self,
        operation: &'static str,
        key: &[u8],
        call: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        let labels = self.labels(operation, key);
        let span = tracing::debug_span!("store", operation, resource = &*labels.resource);
        let start = self.clock.elapsed();
        let output = call.instrument(span).await;
        // That another write came first is an answer, no failure.
        let failed = output
            .as_ref()
            .is_err_and(|error| !matches!(error, Error::Exists { .. } | Error::Conflict { .. }));
        let took = self.clock.elapsed().saturating_sub(start);
        self.metrics.store.called(&labels, failed, took);
        output
    }
}

#[async_trait]
impl Store for Timed {
    fn capabilities(&self) -> Capabilities {
        self.store.capabilities()
    }

    async fn get(&self, key: &Key, at: ReadAt) -> Result<Read> {
        self.timed("get", key.as_bytes(), self.store.get(key, at)).await
    }

    async fn list(&self, range: &KeyRange, options: ListOptions) -> Result<Page> {
        self.timed("list", range.start(), self.store.list(range, options)).await
    }

    async fn create(&self, key: &Key, value: Bytes, options: WriteOptions) -> Result<Revision> {
        self.timed("create", key.as_bytes(), self.store.create(key, value, options)).await
    }

    async fn update(
        &self,
        key: &Key,
        value: Bytes,
        expected: Revision,
        options: WriteOptions,
    ) -> Result<Revision> {
        let call = self.store.update(key, value, expected, options);
        self.timed("update", key.as_bytes(), call).await
    }

    async fn delete(&self, key: &Key, expected: Revision) -> Result<Deleted> {
        self.timed("delete", key.as_bytes(), self.store.delete(key, expected)).await
    }

    async fn watch(&self, range: &KeyRange, after: Revision) -> Result<BoxWatcher> {
        self.timed("watch", range.start(), self.store.watch(range, after)).await
    }

    async fn compact(&self, through: Revision) -> Result<()> {
        self.timed("compact", b"", self.store.compact(through)).await
    }

    fn compacts_itself(&self) -> bool {
        self.store.compacts_itself()
    }

    async fn revision(&self) -> Result<Revision> {
        self.timed("revision", b"", self.store.revision()).await
    }

    async fn status(&self) -> Result<StoreStatus> {
        self.timed("status", b"", self.store.status()).await
    }
}
