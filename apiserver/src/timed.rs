//! The store, with every call timed, counted and traced.

use crate::{
    metrics::{ApiMetrics, Calls, Operation},
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
    /// About what is no object.
    other: Arc<Calls>,
}

/// Whose objects are kept under which prefix, as of a generation of the registry.
#[derive(Debug, Default)]
struct Known {
    generation: Option<u64>,
    prefixes: BTreeMap<Vec<u8>, Arc<Calls>>,
}

impl Timed {
    pub(crate) fn new(store: Arc<dyn Store>, clock: SharedClock, metrics: ApiMetrics) -> Self {
        let other = Arc::new(Calls::of(GroupResource::new("", "")));
        Self { store, clock, metrics, registry: OnceLock::new(), known: ArcSwap::default(), other }
    }

    /// Names the resources of keys from now on.
    pub(crate) fn name_by(&self, registry: &Arc<Registry>) {
        // Set once, when the server is built.
        let _ = self.registry.set(Arc::downgrade(registry));
    }

    /// Where calls about these keys are counted.
    fn calls(&self, key: &[u8]) -> Arc<Calls> {
        let known = self.known();
        let before =
            known.prefixes.range::<[u8], _>((Bound::Unbounded, Bound::Included(key))).next_back();
        let found = before.filter(|(prefix, _)| key.starts_with(prefix));
        found.map_or(&self.other, |(_, calls)| calls).clone()
    }

    fn known(&self) -> Arc<Known> {
        let known = self.known.load_full();
        let Some(registry) = self.registry.get().and_then(Weak::upgrade) else { return known };
        let generation = Some(registry.generation());
        if known.generation == generation {
            return known;
        }
        let prefixes = registry.all().into_iter().map(|resource| {
            let calls = Calls::of(resource.group_resource());
            (resource.prefix().as_bytes().to_vec(), Arc::new(calls))
        });
        let fresh = Arc::new(Known { generation, prefixes: prefixes.collect() });
        self.known.store(fresh.clone());
        fresh
    }

    async fn timed<T>(
        &self,
        operation: Operation,
        key: &[u8],
        call: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        let calls = self.calls(key);
        let span = tracing::debug_span!(
            "store",
            operation = operation.as_str(),
            resource = calls.resource()
        );
        let start = self.clock.elapsed();
        let output = call.instrument(span).await;
        // That another write came first is an answer, no failure.
        let failed = output
            .as_ref()
            .is_err_and(|error| !matches!(error, Error::Exists { .. } | Error::Conflict { .. }));
        let took = self.clock.elapsed().saturating_sub(start);
        self.metrics.store.called(&calls, operation, failed, took);
        output
    }
}

#[async_trait]
impl Store for Timed {
    fn capabilities(&self) -> Capabilities {
        self.store.capabilities()
    }

    async fn get(&self, key: &Key, at: ReadAt) -> Result<Read> {
        self.timed(Operation::Get, key.as_bytes(), self.store.get(key, at)).await
    }

    async fn list(&self, range: &KeyRange, options: ListOptions) -> Result<Page> {
        self.timed(Operation::List, range.start(), self.store.list(range, options)).await
    }

    async fn create(&self, key: &Key, value: Bytes, options: WriteOptions) -> Result<Revision> {
        self.timed(Operation::Create, key.as_bytes(), self.store.create(key, value, options)).await
    }

    async fn update(
        &self,
        key: &Key,
        value: Bytes,
        expected: Revision,
        options: WriteOptions,
    ) -> Result<Revision> {
        let call = self.store.update(key, value, expected, options);
        self.timed(Operation::Update, key.as_bytes(), call).await
    }

    async fn delete(&self, key: &Key, expected: Revision) -> Result<Deleted> {
        self.timed(Operation::Delete, key.as_bytes(), self.store.delete(key, expected)).await
    }

    async fn watch(&self, range: &KeyRange, after: Revision) -> Result<BoxWatcher> {
        self.timed(Operation::Watch, range.start(), self.store.watch(range, after)).await
    }

    async fn compact(&self, through: Revision) -> Result<()> {
        self.timed(Operation::Compact, b"", self.store.compact(through)).await
    }

    fn compacts_itself(&self) -> bool {
        self.store.compacts_itself()
    }

    async fn revision(&self) -> Result<Revision> {
        self.timed(Operation::Revision, b"", self.store.revision()).await
    }

    async fn status(&self) -> Result<StoreStatus> {
        self.timed(Operation::Status, b"", self.store.status()).await
    }
}
