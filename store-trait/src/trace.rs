use crate::{
    BoxWatcher, Capabilities, Deleted, Error, Key, KeyRange, ListOptions, Page, Read, ReadAt,
    Result, Revision, Store, StoreStatus, WriteOptions,
};
use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use std::{collections::VecDeque, sync::Arc};

/// What was asked of a store.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Operation {
    /// A get.
    Get(Key, ReadAt),
    /// A list.
    List(KeyRange, ReadAt),
    /// A create.
    Create(Key),
    /// An update from an expected revision.
    Update(Key, Revision),
    /// A delete at an expected revision.
    Delete(Key, Revision),
    /// A watch after a revision.
    Watch(KeyRange, Revision),
    /// A compaction.
    Compact(Revision),
    /// A question for the latest revision.
    Revision,
    /// A question for the status.
    Status,
}

/// A call that was answered.
#[derive(Debug, Clone)]
pub struct Call {
    /// What was asked.
    pub operation: Operation,
    /// The revision of the answer, or why there was none. A watch and a compaction answer with their own revision.
    pub outcome: Result<Revision>,
}

/// A store whose calls are logged (level trace, target `kubeplane_store_trait::trace`) and remembered.
#[derive(Debug)]
pub struct TraceStore {
    inner: Arc<dyn Store>,
    calls: Mutex<VecDeque<Call>>,
    kept: usize,
}

impl TraceStore {
    /// `inner`, with the last `kept` calls remembered; zero only logs them.
    #[must_use]
    pub fn new(inner: Arc<dyn Store>, kept: usize) -> Self {
        Self { inner, calls: Mutex::default(), kept }
    }

    /// The store behind.
    #[must_use]
    pub fn inner(&self) -> &Arc<dyn Store> {
        &self.inner
    }

    /// The remembered calls in the order of their answers; they are forgotten.
    #[must_use]
    pub fn take_calls(&self) -> Vec<Call> {
        self.calls.lock().drain(..).collect()
    }

    fn note<T>(
        &self,
        operation: Operation,
        result: Result<T>,
        revision: impl FnOnce(&T) -> Revision,
    ) -> Result<T> {
        let outcome = result.as_ref().map(revision).map_err(Error::clone);
        match &outcome {
            Ok(revision) => tracing::trace!(?operation, %revision, "store call"),
            Err(error) => tracing::trace!(?operation, %error, "store call"),
        }
        let mut calls = self.calls.lock();
        if self.kept > 0 {
            if calls.len() == self.kept {
                calls.pop_front();
            }
            calls.push_back(Call { operation, outcome });
        }
        result
    }
}

#[async_trait]
impl Store for TraceStore {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn get(&self, key: &Key, at: ReadAt) -> Result<Read> {
        let result = self.inner.get(key, at).await;
        self.note(Operation::Get(key.clone(), at), result, |read| read.revision)
    }

    async fn list(&self, range: &KeyRange, options: ListOptions) -> Result<Page> {
        let result = self.inner.list(range, options).await;
        self.note(Operation::List(range.clone(), options.at), result, |page| page.revision)
    }

    async fn create(&self, key: &Key, value: Bytes, options: WriteOptions) -> Result<Revision> {
        let result = self.inner.create(key, value, options).await;
        self.note(Operation::Create(key.clone()), result, |revision| *revision)
    }

    async fn update(
        &self,
        key: &Key,
        value: Bytes,
        expected: Revision,
        options: WriteOptions,
    ) -> Result<Revision> {
        let result = self.inner.update(key, value, expected, options).await;
        self.note(Operation::Update(key.clone(), expected), result, |revision| *revision)
    }

    async fn delete(&self, key: &Key, expected: Revision) -> Result<Deleted> {
        let result = self.inner.delete(key, expected).await;
        self.note(Operation::Delete(key.clone(), expected), result, |deleted| deleted.revision)
    }

    async fn watch(&self, range: &KeyRange, after: Revision) -> Result<BoxWatcher> {
        let result = self.inner.watch(range, after).await;
        self.note(Operation::Watch(range.clone(), after), result, |_| after)
    }

    async fn compact(&self, through: Revision) -> Result<()> {
        let result = self.inner.compact(through).await;
        self.note(Operation::Compact(through), result, |()| through)
    }

    fn compacts_itself(&self) -> bool {
        self.inner.compacts_itself()
    }

    async fn revision(&self) -> Result<Revision> {
        let result = self.inner.revision().await;
        self.note(Operation::Revision, result, |revision| *revision)
    }

    async fn status(&self) -> Result<StoreStatus> {
        let result = self.inner.status().await;
        self.note(Operation::Status, result, |status| status.revision)
    }
}
