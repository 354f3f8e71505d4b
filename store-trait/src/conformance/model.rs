//! The shortest backend that keeps the whole contract, to read and to hold others against.

mod state;
mod watcher;

pub use state::ModelState;
pub use watcher::ModelWatcher;

use super::Factory;
use crate::{
    BoxWatcher, Capabilities, Deleted, Key, KeyRange, ListOptions, Page, Read, ReadAt, Result,
    Revision, Store, StoreStatus, WriteOptions,
};
use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use std::{collections::BTreeMap, sync::Arc, task::Waker};
use tokio::time::Instant;

/// What the clones of a store share.
#[derive(Debug, Default)]
struct Shared {
    state: ModelState,
    /// Every watcher, and whom to wake when there is news for it.
    watchers: BTreeMap<u64, Option<Waker>>,
    next: u64,
}

/// A store in plain maps behind one lock, which lives as long as its clones. It needs tokio's clock for expiries.
#[derive(Debug, Clone, Default)]
pub struct ModelStore {
    shared: Arc<Mutex<Shared>>,
}

impl ModelStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A store with what another one left behind.
    #[must_use]
    pub fn open(state: ModelState) -> Self {
        let shared = Shared { state, ..Shared::default() };
        Self { shared: Arc::new(Mutex::new(shared)) }
    }

    /// A copy of all that is stored.
    #[must_use]
    pub fn state(&self) -> ModelState {
        self.with(|state| state.clone())
    }

    /// How many watchers are alive.
    #[must_use]
    pub fn watchers(&self) -> usize {
        self.shared.lock().watchers.len()
    }

    /// Does something to the state, after what is due has expired; watchers see the change as a whole.
    pub fn with<T>(&self, act: impl FnOnce(&mut ModelState) -> T) -> T {
        let mut shared = self.shared.lock();
        let before = (shared.state.revision, shared.state.compacted);
        shared.state.expire(Instant::now());
        let done = act(&mut shared.state);
        if before != (shared.state.revision, shared.state.compacted) {
            shared.watchers.values_mut().filter_map(Option::take).for_each(Waker::wake);
        }
        done
    }

    /// Starts a watcher; see [`Store::watch`].
    ///
    /// # Errors
    /// `Compacted` when `after` is no longer kept.
    pub fn follow(&self, range: &KeyRange, after: Revision) -> Result<ModelWatcher> {
        self.with(|state| state.check_kept(after))?;
        let mut shared = self.shared.lock();
        shared.next += 1;
        let id = shared.next;
        shared.watchers.insert(id, None);
        drop(shared);
        Ok(ModelWatcher::new(self.clone(), id, range.clone(), after))
    }
}

#[async_trait]
impl Store for ModelStore {
    fn capabilities(&self) -> Capabilities {
        Capabilities { ttl: true, durable: false, max_value: ModelState::MAX_VALUE }
    }

    async fn get(&self, key: &Key, at: ReadAt) -> Result<Read> {
        self.with(|state| state.get(key, at))
    }

    async fn list(&self, range: &KeyRange, options: ListOptions) -> Result<Page> {
        self.with(|state| state.list(range, options))
    }

    async fn create(&self, key: &Key, value: Bytes, options: WriteOptions) -> Result<Revision> {
        self.with(|state| state.create(key, value, options))
    }

    async fn update(
        &self,
        key: &Key,
        value: Bytes,
        expected: Revision,
        options: WriteOptions,
    ) -> Result<Revision> {
        self.with(|state| state.update(key, value, expected, options))
    }

    async fn delete(&self, key: &Key, expected: Revision) -> Result<Deleted> {
        self.with(|state| state.delete(key, expected))
    }

    async fn watch(&self, range: &KeyRange, after: Revision) -> Result<BoxWatcher> {
        Ok(Box::pin(self.follow(range, after)?))
    }

    async fn compact(&self, through: Revision) -> Result<()> {
        self.with(|state| state.compact(through))
    }

    async fn revision(&self) -> Result<Revision> {
        Ok(self.with(|state| state.revision))
    }

    async fn status(&self) -> Result<StoreStatus> {
        Ok(self.with(|state| state.status()))
    }
}

/// Makes [`ModelStore`]s, and opens their state again as others open their files.
#[derive(Debug, Default)]
pub struct ModelFactory {
    latest: Mutex<Option<ModelStore>>,
}

impl ModelFactory {
    fn hold(&self, store: ModelStore) -> Arc<dyn Store> {
        *self.latest.lock() = Some(store.clone());
        Arc::new(store)
    }
}

#[async_trait]
impl Factory for ModelFactory {
    async fn fresh(&self) -> Arc<dyn Store> {
        self.hold(ModelStore::new())
    }

    async fn reopen(&self, _: Arc<dyn Store>) -> Option<Arc<dyn Store>> {
        let state = self.latest.lock().as_ref()?.state();
        Some(self.hold(ModelStore::open(state)))
    }

    fn watchers(&self) -> Option<usize> {
        self.latest.lock().as_ref().map(ModelStore::watchers)
    }
}
