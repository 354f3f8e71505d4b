use super::ModelStore;
use crate::{Error, KeyRange, Result, Revision, WatchBatch, Watcher};
use futures::Stream;
use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};
use tokio::time::Sleep;

/// How many events make a full batch; it grows to the end of its last revision.
const BATCH: usize = 64;

/// A place in the log.
pub struct ModelWatcher {
    store: ModelStore,
    id: u64,
    range: KeyRange,
    /// Every change of the range up to here was delivered.
    through: Revision,
    /// A bookmark was asked for.
    asked: bool,
    ended: bool,
    /// Wakes the watcher when the next entry expires, as nobody else would.
    expiry: Option<Pin<Box<Sleep>>>,
}

impl ModelWatcher {
    pub(super) fn new(store: ModelStore, id: u64, range: KeyRange, after: Revision) -> Self {
        Self { store, id, range, through: after, asked: false, ended: false, expiry: None }
    }

    /// What there is to deliver now; `Lagged` when some of it has been compacted away.
    fn batch(&mut self) -> Option<Result<WatchBatch>> {
        let (range, after, asked) = (&self.range, self.through, self.asked);
        let (taken, reached) = self.store.with(|state| {
            if after < state.compacted {
                return (Some(Err(Error::Lagged)), after);
            }
            let new = state.log.partition_point(|event| event.revision() <= after);
            let mut batch = WatchBatch { events: Vec::new(), through: after.max(state.revision) };
            for event in state.log[new..].iter().filter(|event| range.contains(event.key())) {
                let last = batch.events.last().map_or(Revision(0), crate::Event::revision);
                if batch.events.len() >= BATCH && event.revision() > last {
                    batch.through = last;
                    break;
                }
                batch.events.push(event.clone());
            }
            let bookmark = asked && state.revision >= after;
            let reached = batch.through;
            ((bookmark || !batch.events.is_empty()).then_some(Ok(batch)), reached)
        });
        // Also without a batch: what was looked through and held nothing may be compacted.
        self.through = reached;
        self.asked &= taken.is_none();
        self.ended = matches!(taken, Some(Err(_)));
        taken
    }
}

impl Stream for ModelWatcher {
    type Item = Result<WatchBatch>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if this.ended {
            return Poll::Ready(None);
        }
        // First the waker, then the look: what is written in between wakes.
        this.store.shared.lock().watchers.insert(this.id, Some(context.waker().clone()));
        loop {
            if let Some(batch) = this.batch() {
                return Poll::Ready(Some(batch));
            }
            let deadline = this.store.with(|state| state.next_deadline());
            this.expiry = deadline.map(|at| Box::pin(tokio::time::sleep_until(at)));
            let due = this.expiry.as_mut().map(|expiry| expiry.as_mut().poll(context));
            if due.is_none_or(|due| due.is_pending()) {
                return Poll::Pending;
            }
        }
    }
}

impl Watcher for ModelWatcher {
    fn request_progress(self: Pin<&mut Self>) {
        let this = self.get_mut();
        this.asked = true;
        if let Some(waker) =
            this.store.shared.lock().watchers.get_mut(&this.id).and_then(Option::take)
        {
            waker.wake();
        }
    }
}

impl Drop for ModelWatcher {
    fn drop(&mut self) {
        self.store.shared.lock().watchers.remove(&self.id);
    }
}

impl fmt::Debug for ModelWatcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ModelWatcher")
            .field("range", &self.range)
            .field("through", &self.through)
            .finish_non_exhaustive()
    }
}
