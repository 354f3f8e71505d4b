use crate::{published::Published, state::State};
use futures::Stream;
use kubeplane_store_trait::{Error, KeyRange, Result, Revision, WatchBatch, Watcher};
use parking_lot::Mutex;
use std::{
    collections::HashMap,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

/// The most events in one batch; a batch may end only between revisions.
const BATCH: usize = 512;

/// The watchers of one store.
#[derive(Debug, Default)]
pub(crate) struct Watchers {
    cursors: HashMap<u64, Arc<Cursor>>,
    next: u64,
    closed: bool,
}

/// What one watcher still has to deliver. The events themselves are in the shared history.
#[derive(Debug)]
struct Cursor {
    range: KeyRange,
    position: Mutex<Position>,
}

#[derive(Debug)]
struct Position {
    /// The revision of the first event that was not delivered yet.
    pending: Option<u64>,
    /// Up to where the history has been looked through for this watcher.
    through: u64,
    progress: bool,
    closed: bool,
    waker: Option<Waker>,
}

impl Watchers {
    /// Tells every watcher that `state` was published; returns who is to be woken.
    pub(crate) fn advance(&self, state: &State, before: u64) -> Vec<Waker> {
        let mut wakers = Vec::new();
        for cursor in self.cursors.values() {
            let mut position = cursor.position.lock();
            if state.revision <= position.through {
                continue;
            }
            if position.pending.is_none() {
                let after = before.max(position.through);
                position.pending = first_match(state, &cursor.range, after);
            }
            position.through = state.revision;
            if position.pending.is_some() || position.progress {
                wakers.extend(position.waker.take());
            }
        }
        wakers
    }

    /// Ends every watcher after what it still has to deliver.
    pub(crate) fn close(&mut self) -> Vec<Waker> {
        self.closed = true;
        let mut wakers = Vec::new();
        for cursor in self.cursors.values() {
            let mut position = cursor.position.lock();
            position.closed = true;
            wakers.extend(position.waker.take());
        }
        wakers
    }

    pub(crate) fn len(&self) -> usize {
        self.cursors.len()
    }

    fn insert(&mut self, cursor: Cursor) -> (u64, Arc<Cursor>) {
        let cursor = Arc::new(cursor);
        self.next += 1;
        self.cursors.insert(self.next, cursor.clone());
        (self.next, cursor)
    }
}

fn first_match(state: &State, range: &KeyRange, after: u64) -> Option<u64> {
    let mut changes = state.changes_after(after);
    changes.find(|change| range.contains(&change.key)).map(|change| change.revision)
}

/// A cursor into the shared history.
#[derive(Debug)]
pub(crate) struct MemoryWatcher {
    published: Arc<Published>,
    id: u64,
    cursor: Arc<Cursor>,
    ended: bool,
}

impl MemoryWatcher {
    pub(crate) fn start(published: &Arc<Published>, range: &KeyRange, after: u64) -> Result<Self> {
        // Under the registry's lock no publication can slip between the look at the state and the entry.
        let mut watchers = published.watchers().lock();
        let state = published.state();
        state.check_kept(after)?;
        let position = Position {
            pending: first_match(&state, range, after),
            through: state.revision.max(after),
            progress: false,
            closed: watchers.closed,
            waker: None,
        };
        let cursor = Cursor { range: range.clone(), position: Mutex::new(position) };
        let (id, cursor) = watchers.insert(cursor);
        drop(watchers);
        Ok(Self { published: published.clone(), id, cursor, ended: false })
    }

    fn take(&self, context: &Context<'_>) -> Poll<Result<WatchBatch>> {
        let mut position = self.cursor.position.lock();
        let state = self.published.state();
        if let Some(from) = position.pending {
            if from <= state.compacted {
                return Poll::Ready(Err(Error::Lagged));
            }
            return Poll::Ready(Ok(collect(&state, &self.cursor.range, &mut position, from)));
        }
        if position.progress && state.revision >= position.through {
            position.progress = false;
            let through = Revision(position.through);
            return Poll::Ready(Ok(WatchBatch { events: Vec::new(), through }));
        }
        if position.closed {
            return Poll::Ready(Err(Error::Unavailable { reason: "the store was closed".into() }));
        }
        position.waker = Some(context.waker().clone());
        Poll::Pending
    }
}

fn collect(state: &State, range: &KeyRange, position: &mut Position, from: u64) -> WatchBatch {
    position.pending = None;
    let mut batch = WatchBatch { events: Vec::new(), through: Revision(position.through) };
    for change in state.changes_after(from - 1) {
        if change.revision > position.through {
            break;
        }
        if !range.contains(&change.key) {
            continue;
        }
        if batch.events.len() == BATCH {
            position.pending = Some(change.revision);
            batch.through = Revision(change.revision - 1);
            break;
        }
        batch.events.push(change.event());
    }
    batch
}

impl Stream for MemoryWatcher {
    type Item = Result<WatchBatch>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let taken = self.take(context);
        if matches!(taken, Poll::Ready(Err(_))) {
            self.ended = true;
        }
        taken.map(Some)
    }
}

impl Watcher for MemoryWatcher {
    fn request_progress(self: Pin<&mut Self>) {
        let mut position = self.cursor.position.lock();
        position.progress = true;
        if let Some(waker) = position.waker.take() {
            drop(position);
            waker.wake();
        }
    }
}

impl Drop for MemoryWatcher {
    fn drop(&mut self) {
        self.published.watchers().lock().cursors.remove(&self.id);
    }
}
