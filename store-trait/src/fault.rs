use crate::{
    BoxWatcher, Capabilities, Deleted, Error, Key, KeyRange, ListOptions, Page, Read, ReadAt,
    Result, Revision, Store, StoreStatus, WatchBatch, Watcher, WriteOptions,
};
use async_trait::async_trait;
use bytes::Bytes;
use futures::Stream;
use parking_lot::Mutex;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use std::{
    collections::BTreeMap,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

/// One thing that goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// The call does not reach the store: `Unavailable`.
    Refused,
    /// A write does not reach the store, but nobody knows: `Indeterminate`. A read is refused.
    RequestLost,
    /// A write is applied, but its answer is lost: `Indeterminate`. A read is refused.
    AnswerLost,
    /// A watch ends with `Unavailable` after this many batches. Any other call is refused.
    WatchBroken {
        /// How many batches come before.
        after: usize,
    },
}

/// When things go wrong. Calls are counted from zero; `capabilities` is none.
#[derive(Debug, Default)]
pub struct FaultPlan {
    at: BTreeMap<u64, Fault>,
    chance: Option<(StdRng, f64)>,
    /// What may happen by chance; everything when empty.
    only: Vec<Fault>,
    calls: u64,
}

impl FaultPlan {
    /// Nothing goes wrong, except what is added with [`at`](Self::at).
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// Each call goes wrong with this probability (0 to 1), the same ones for the same seed.
    #[must_use]
    pub fn seeded(seed: u64, probability: f64) -> Self {
        let chance = (StdRng::seed_from_u64(seed), probability.clamp(0.0, 1.0));
        Self { chance: Some(chance), ..Self::default() }
    }

    /// By chance, only these faults happen.
    #[must_use]
    pub fn only(mut self, faults: impl Into<Vec<Fault>>) -> Self {
        self.only = faults.into();
        self
    }

    /// Lets the call of this number go wrong.
    #[must_use]
    pub fn at(mut self, call: u64, fault: Fault) -> Self {
        self.at.insert(call, fault);
        self
    }

    fn next(&mut self) -> Option<Fault> {
        let call = self.calls;
        self.calls += 1;
        if let Some(fault) = self.at.remove(&call) {
            return Some(fault);
        }
        let (chance, probability) = self.chance.as_mut()?;
        if !chance.random_bool(*probability) {
            return None;
        }
        if !self.only.is_empty() {
            return self.only.get(chance.random_range(0..self.only.len())).copied();
        }
        Some(match chance.random_range(0..4) {
            0 => Fault::RequestLost,
            1 => Fault::AnswerLost,
            2 => Fault::WatchBroken { after: chance.random_range(0..4) },
            _ => Fault::Refused,
        })
    }
}

/// A store whose calls go wrong by plan.
#[derive(Debug)]
pub struct FaultStore {
    inner: Arc<dyn Store>,
    plan: Mutex<FaultPlan>,
}

impl FaultStore {
    /// `inner`, disturbed by `plan`.
    #[must_use]
    pub fn new(inner: Arc<dyn Store>, plan: FaultPlan) -> Self {
        Self { inner, plan: Mutex::new(plan) }
    }

    /// Goes on with another plan, whose calls are counted from zero.
    pub fn set_plan(&self, plan: FaultPlan) {
        *self.plan.lock() = plan;
    }

    /// The store behind.
    #[must_use]
    pub fn inner(&self) -> &Arc<dyn Store> {
        &self.inner
    }

    fn read(&self) -> Result<()> {
        match self.plan.lock().next() {
            Some(_) => Err(refused()),
            None => Ok(()),
        }
    }

    async fn write<T>(&self, write: impl Future<Output = Result<T>> + Send) -> Result<T> {
        let fault = self.plan.lock().next();
        match fault {
            None => write.await,
            Some(Fault::RequestLost) => Err(lost()),
            Some(Fault::AnswerLost) => {
                // A write that failed for a reason of its own failed surely; only success can be lost.
                write.await?;
                Err(lost())
            }
            Some(_) => Err(refused()),
        }
    }
}

fn refused() -> Error {
    Error::Unavailable { reason: "planned fault".into() }
}

fn lost() -> Error {
    Error::Indeterminate { reason: "planned fault".into() }
}

#[async_trait]
impl Store for FaultStore {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn get(&self, key: &Key, at: ReadAt) -> Result<Read> {
        self.read()?;
        self.inner.get(key, at).await
    }

    async fn list(&self, range: &KeyRange, options: ListOptions) -> Result<Page> {
        self.read()?;
        self.inner.list(range, options).await
    }

    async fn create(&self, key: &Key, value: Bytes, options: WriteOptions) -> Result<Revision> {
        self.write(self.inner.create(key, value, options)).await
    }

    async fn update(
        &self,
        key: &Key,
        value: Bytes,
        expected: Revision,
        options: WriteOptions,
    ) -> Result<Revision> {
        self.write(self.inner.update(key, value, expected, options)).await
    }

    async fn delete(&self, key: &Key, expected: Revision) -> Result<Deleted> {
        self.write(self.inner.delete(key, expected)).await
    }

    async fn watch(&self, range: &KeyRange, after: Revision) -> Result<BoxWatcher> {
        let fault = self.plan.lock().next();
        match fault {
            None => self.inner.watch(range, after).await,
            Some(Fault::WatchBroken { after: batches }) => {
                let inner = self.inner.watch(range, after).await?;
                Ok(Box::pin(BrokenWatcher { inner: Some(inner), left: batches }))
            }
            Some(_) => Err(refused()),
        }
    }

    async fn compact(&self, through: Revision) -> Result<()> {
        self.write(self.inner.compact(through)).await
    }

    fn compacts_itself(&self) -> bool {
        self.inner.compacts_itself()
    }

    async fn revision(&self) -> Result<Revision> {
        self.read()?;
        self.inner.revision().await
    }

    async fn status(&self) -> Result<StoreStatus> {
        self.read()?;
        self.inner.status().await
    }
}

/// Ends with an error after a number of batches.
struct BrokenWatcher {
    inner: Option<BoxWatcher>,
    left: usize,
}

impl Stream for BrokenWatcher {
    type Item = Result<WatchBatch>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        let Some(inner) = this.inner.as_mut() else {
            return Poll::Ready(None);
        };
        if this.left == 0 {
            this.inner = None;
            return Poll::Ready(Some(Err(refused())));
        }
        let polled = inner.as_mut().poll_next(context);
        if polled.is_ready() {
            this.left -= 1;
        }
        polled
    }
}

impl Watcher for BrokenWatcher {
    fn request_progress(mut self: Pin<&mut Self>) {
        if let Some(inner) = self.inner.as_mut() {
            inner.as_mut().request_progress();
        }
    }
}
