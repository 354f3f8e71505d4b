//! The model store with one flaw: what a flaw does not touch is right.

use async_trait::async_trait;
use bytes::Bytes;
use futures::Stream;
use kubeplane_store_trait::{
    BoxWatcher, Capabilities, Deleted, Key, KeyRange, ListOptions, Page, Read, ReadAt, Result,
    Revision, Store, StoreStatus, WatchBatch, Watcher, WriteOptions,
    conformance::{Factory, ModelState, ModelStore, ModelWatcher},
};
use parking_lot::Mutex;
use std::{
    collections::VecDeque,
    fmt::Debug,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

/// After so many calls a case that no longer ends is stopped.
const CALLS: usize = 50_000;

/// What a mutant does otherwise than the model.
pub(crate) trait Flaw: Default + Debug + Send + Sync + 'static {
    fn get(&self, state: &mut ModelState, key: &Key, at: ReadAt) -> Result<Read> {
        state.get(key, at)
    }

    fn list(&self, state: &mut ModelState, range: &KeyRange, options: ListOptions) -> Result<Page> {
        state.list(range, options)
    }

    fn create(
        &self,
        state: &mut ModelState,
        key: &Key,
        value: Bytes,
        options: WriteOptions,
    ) -> Result<Revision> {
        state.create(key, value, options)
    }

    fn update(
        &self,
        state: &mut ModelState,
        key: &Key,
        value: Bytes,
        expected: Revision,
        options: WriteOptions,
    ) -> Result<Revision> {
        state.update(key, value, expected, options)
    }

    fn delete(&self, state: &mut ModelState, key: &Key, expected: Revision) -> Result<Deleted> {
        state.delete(key, expected)
    }

    fn compact(&self, state: &mut ModelState, through: Revision) -> Result<()> {
        state.compact(through)
    }

    fn status(&self, state: &mut ModelState) -> StoreStatus {
        state.status()
    }

    fn watch(&self, model: &ModelStore, range: &KeyRange, after: Revision) -> Result<ModelWatcher> {
        model.follow(range, after)
    }

    /// What the reader gets in place of an item.
    fn deliver(&self, _watch: &mut Watch, item: Result<WatchBatch>) -> Vec<Result<WatchBatch>> {
        vec![item]
    }

    fn bookmarks(&self) -> bool {
        true
    }

    /// Whether a write that is visible takes a while until it is acknowledged.
    fn pauses(&self) -> bool {
        false
    }

    /// A write that paused was acknowledged.
    fn acknowledged(&self, _written: Revision) {}

    /// The caller of a write that paused is gone.
    fn abandoned(&self, _state: &mut ModelState, _written: Revision) {}

    fn reopened(&self, _state: &mut ModelState) {}
}

/// A watch of a broken store.
pub(crate) struct Watch {
    pub(crate) inner: Pin<Box<ModelWatcher>>,
    pub(crate) model: ModelStore,
    pub(crate) range: KeyRange,
    /// How many events came so far.
    pub(crate) count: usize,
}

#[derive(Debug)]
pub(crate) struct Broken<F> {
    model: ModelStore,
    flaw: Arc<F>,
    calls: AtomicUsize,
}

impl<F: Flaw> Broken<F> {
    /// Lets the others in between, as a store with work to do would.
    async fn turn(&self) {
        let calls = self.calls.fetch_add(1, Ordering::Relaxed);
        assert!(calls < CALLS, "the case does not end");
        tokio::task::yield_now().await;
    }

    async fn settle(&self, written: Revision) {
        if !self.flaw.pauses() {
            return;
        }
        let mut pause = Pause { store: self, written, done: false };
        for _ in 0..5 {
            tokio::task::yield_now().await;
        }
        pause.done = true;
        self.flaw.acknowledged(written);
    }
}

struct Pause<'a, F: Flaw> {
    store: &'a Broken<F>,
    written: Revision,
    done: bool,
}

impl<F: Flaw> Drop for Pause<'_, F> {
    fn drop(&mut self) {
        if !self.done {
            self.store.model.with(|state| self.store.flaw.abandoned(state, self.written));
        }
    }
}

#[async_trait]
impl<F: Flaw> Store for Broken<F> {
    fn capabilities(&self) -> Capabilities {
        self.model.capabilities()
    }

    async fn get(&self, key: &Key, at: ReadAt) -> Result<Read> {
        self.turn().await;
        self.model.with(|state| self.flaw.get(state, key, at))
    }

    async fn list(&self, range: &KeyRange, options: ListOptions) -> Result<Page> {
        self.turn().await;
        self.model.with(|state| self.flaw.list(state, range, options))
    }

    async fn create(&self, key: &Key, value: Bytes, options: WriteOptions) -> Result<Revision> {
        self.turn().await;
        let written = self.model.with(|state| self.flaw.create(state, key, value, options))?;
        self.settle(written).await;
        Ok(written)
    }

    async fn update(
        &self,
        key: &Key,
        value: Bytes,
        expected: Revision,
        options: WriteOptions,
    ) -> Result<Revision> {
        self.turn().await;
        let write = |state: &mut _| self.flaw.update(state, key, value, expected, options);
        let written = self.model.with(write)?;
        self.settle(written).await;
        Ok(written)
    }

    async fn delete(&self, key: &Key, expected: Revision) -> Result<Deleted> {
        self.turn().await;
        let deleted = self.model.with(|state| self.flaw.delete(state, key, expected))?;
        self.settle(deleted.revision).await;
        Ok(deleted)
    }

    async fn watch(&self, range: &KeyRange, after: Revision) -> Result<BoxWatcher> {
        self.turn().await;
        let inner = Box::pin(self.flaw.watch(&self.model, range, after)?);
        let watch = Watch { inner, model: self.model.clone(), range: range.clone(), count: 0 };
        Ok(Box::pin(BrokenWatcher { watch, flaw: self.flaw.clone(), queue: VecDeque::new() }))
    }

    async fn compact(&self, through: Revision) -> Result<()> {
        self.turn().await;
        self.model.with(|state| self.flaw.compact(state, through))
    }

    async fn status(&self) -> Result<StoreStatus> {
        self.turn().await;
        Ok(self.model.with(|state| self.flaw.status(state)))
    }
}

struct BrokenWatcher<F> {
    watch: Watch,
    flaw: Arc<F>,
    queue: VecDeque<Result<WatchBatch>>,
}

impl<F: Flaw> Stream for BrokenWatcher<F> {
    type Item = Result<WatchBatch>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            if let Some(item) = this.queue.pop_front() {
                return Poll::Ready(Some(item));
            }
            match this.watch.inner.as_mut().poll_next(context) {
                Poll::Ready(Some(item)) => {
                    let events = item.as_ref().map_or(0, |batch| batch.events.len());
                    this.queue.extend(this.flaw.deliver(&mut this.watch, item));
                    this.watch.count += events;
                }
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

impl<F: Flaw> Watcher for BrokenWatcher<F> {
    fn request_progress(mut self: Pin<&mut Self>) {
        if self.flaw.bookmarks() {
            self.watch.inner.as_mut().request_progress();
        }
    }
}

/// Makes broken stores.
#[derive(Default)]
pub(crate) struct BrokenFactory<F> {
    latest: Mutex<Option<(ModelStore, Arc<F>)>>,
}

impl<F: Flaw> BrokenFactory<F> {
    fn hold(&self, model: ModelStore, flaw: Arc<F>) -> Arc<dyn Store> {
        *self.latest.lock() = Some((model.clone(), flaw.clone()));
        Arc::new(Broken { model, flaw, calls: AtomicUsize::new(0) })
    }
}

#[async_trait]
impl<F: Flaw> Factory for BrokenFactory<F> {
    async fn fresh(&self) -> Arc<dyn Store> {
        self.hold(ModelStore::new(), Arc::default())
    }

    async fn reopen(&self, _: Arc<dyn Store>) -> Option<Arc<dyn Store>> {
        let (model, flaw) = self.latest.lock().take()?;
        let mut state = model.state();
        flaw.reopened(&mut state);
        Some(self.hold(ModelStore::open(state), flaw))
    }

    fn watchers(&self) -> Option<usize> {
        self.latest.lock().as_ref().map(|(model, _)| model.watchers())
    }
}
