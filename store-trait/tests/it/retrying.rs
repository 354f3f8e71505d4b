//! What a caller does about a store that is now and then unavailable.

use async_trait::async_trait;
use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use kubeplane_store_trait::{
    BoxWatcher, Capabilities, Deleted, Error, Key, KeyRange, ListOptions, Page, Read, ReadAt,
    Result, Retry, Revision, Store, StoreStatus, WatchBatch, Watcher, WriteOptions,
};
use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};
use tokio::sync::Notify;

/// A store that repeats what was surely not applied, and goes on with watches where they broke.
#[derive(Debug)]
pub(crate) struct Retrying(pub(crate) Arc<dyn Store>);

/// Makes a call until it was answered.
macro_rules! retried {
    ($call:expr) => {
        loop {
            match $call.await {
                Err(error) if error.retry() == Retry::Safe => tokio::task::yield_now().await,
                other => break other,
            }
        }
    };
}

#[async_trait]
impl Store for Retrying {
    fn capabilities(&self) -> Capabilities {
        self.0.capabilities()
    }

    async fn get(&self, key: &Key, at: ReadAt) -> Result<Read> {
        retried!(self.0.get(key, at))
    }

    async fn list(&self, range: &KeyRange, options: ListOptions) -> Result<Page> {
        retried!(self.0.list(range, options))
    }

    async fn create(&self, key: &Key, value: Bytes, options: WriteOptions) -> Result<Revision> {
        retried!(self.0.create(key, value.clone(), options))
    }

    async fn update(
        &self,
        key: &Key,
        value: Bytes,
        expected: Revision,
        options: WriteOptions,
    ) -> Result<Revision> {
        retried!(self.0.update(key, value.clone(), expected, options))
    }

    async fn delete(&self, key: &Key, expected: Revision) -> Result<Deleted> {
        retried!(self.0.delete(key, expected))
    }

    async fn watch(&self, range: &KeyRange, after: Revision) -> Result<BoxWatcher> {
        let inner = retried!(self.0.watch(range, after))?;
        let asked = Arc::new(Notify::new());
        let follow = Follow {
            store: self.0.clone(),
            range: range.clone(),
            through: after,
            inner: Some(inner),
            asked: asked.clone(),
        };
        let batches = stream::unfold(follow, |mut follow| async move {
            let item = follow.next().await?;
            Some((item, follow))
        });
        Ok(Box::pin(RetryingWatcher { batches: batches.boxed(), asked }))
    }

    async fn compact(&self, through: Revision) -> Result<()> {
        retried!(self.0.compact(through))
    }

    async fn revision(&self) -> Result<Revision> {
        retried!(self.0.revision())
    }

    async fn status(&self) -> Result<StoreStatus> {
        retried!(self.0.status())
    }
}

struct Follow {
    store: Arc<dyn Store>,
    range: KeyRange,
    through: Revision,
    /// `None` after an error that repeating cannot help.
    inner: Option<BoxWatcher>,
    asked: Arc<Notify>,
}

impl Follow {
    async fn next(&mut self) -> Option<Result<WatchBatch>> {
        loop {
            let inner = self.inner.as_mut()?;
            let item = tokio::select! {
                biased;
                () = self.asked.notified() => {
                    inner.as_mut().request_progress();
                    continue;
                }
                item = inner.next() => item,
            };
            match item {
                Some(Ok(batch)) => {
                    self.through = batch.through;
                    return Some(Ok(batch));
                }
                Some(Err(error)) if error.retry() == Retry::Safe => {
                    if let Err(error) = self.again().await {
                        self.inner = None;
                        return Some(Err(error));
                    }
                }
                other => {
                    self.inner = None;
                    return other;
                }
            }
        }
    }

    async fn again(&mut self) -> Result<()> {
        let (store, range, through) = (&self.store, &self.range, self.through);
        match retried!(store.watch(range, through)) {
            Ok(mut inner) => {
                // A request may have gone down with the old watch.
                inner.as_mut().request_progress();
                self.inner = Some(inner);
                Ok(())
            }
            // The reader was still behind what has been compacted meanwhile.
            Err(Error::Compacted { .. }) => Err(Error::Lagged),
            Err(error) => Err(error),
        }
    }
}

struct RetryingWatcher {
    batches: stream::BoxStream<'static, Result<WatchBatch>>,
    asked: Arc<Notify>,
}

impl Stream for RetryingWatcher {
    type Item = Result<WatchBatch>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.batches.as_mut().poll_next(context)
    }
}

impl Watcher for RetryingWatcher {
    fn request_progress(self: Pin<&mut Self>) {
        self.asked.notify_one();
    }
}
