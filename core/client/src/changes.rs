use crate::ObjectKey;
use futures::Stream;
use parking_lot::Mutex;
use std::{
    collections::{HashMap, VecDeque},
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

/// What happened to one object, as a reader of a cache sees it.
#[derive(Debug)]
pub enum Change<K> {
    /// An object that was not there.
    Added(Arc<K>),
    /// The same object (by uid) in a newer state; states in between may have been skipped.
    Updated {
        /// The state this reader saw before.
        old: Arc<K>,
        /// The state now.
        new: Arc<K>,
    },
    /// An object that is gone, in its last known state.
    Deleted(Arc<K>),
}

impl<K> Clone for Change<K> {
    fn clone(&self) -> Self {
        match self {
            Self::Added(object) => Self::Added(object.clone()),
            Self::Updated { old, new } => Self::Updated { old: old.clone(), new: new.clone() },
            Self::Deleted(object) => Self::Deleted(object.clone()),
        }
    }
}

impl<K> Change<K> {
    /// The newest state the change shows.
    #[must_use]
    pub fn object(&self) -> &Arc<K> {
        match self {
            Self::Added(object) | Self::Deleted(object) => object,
            Self::Updated { new, .. } => new,
        }
    }

    /// The state before, when the object was known.
    #[must_use]
    pub fn old(&self) -> Option<&Arc<K>> {
        match self {
            Self::Updated { old, .. } => Some(old),
            _ => None,
        }
    }

    /// Whether the object is gone.
    #[must_use]
    pub fn is_deleted(&self) -> bool {
        matches!(self, Self::Deleted(_))
    }
}

/// How many changes may wait before objects that came and went unseen are left out.
const SLOW_READER: usize = 16_384;

/// The changes one reader has not taken yet, per object and in the order of their first arrival.
pub(crate) struct Pending<K> {
    inner: Mutex<Inner<K>>,
}

struct Inner<K> {
    order: VecDeque<ObjectKey>,
    changes: HashMap<ObjectKey, VecDeque<Change<K>>>,
    count: usize,
    closed: bool,
    waker: Option<Waker>,
}

impl<K> Pending<K> {
    pub(crate) fn new() -> Self {
        let inner = Inner {
            order: VecDeque::new(),
            changes: HashMap::new(),
            count: 0,
            closed: false,
            waker: None,
        };
        Self { inner: Mutex::new(inner) }
    }

    pub(crate) fn push(&self, key: &ObjectKey, change: Change<K>) {
        let mut inner = self.inner.lock();
        inner.push(key, change);
        if let Some(waker) = inner.waker.take() {
            waker.wake();
        }
    }

    pub(crate) fn close(&self) {
        let mut inner = self.inner.lock();
        inner.closed = true;
        if let Some(waker) = inner.waker.take() {
            waker.wake();
        }
    }

    fn poll(&self, context: &Context<'_>) -> Poll<Option<Change<K>>> {
        let mut inner = self.inner.lock();
        if let Some(change) = inner.pop() {
            return Poll::Ready(Some(change));
        }
        if inner.closed {
            return Poll::Ready(None);
        }
        inner.waker = Some(context.waker().clone());
        Poll::Pending
    }
}

impl<K> Inner<K> {
    fn push(&mut self, key: &ObjectKey, change: Change<K>) {
        let slow = self.count >= SLOW_READER;
        if !self.changes.contains_key(key) {
            self.order.push_back(key.clone());
        }
        let waiting = self.changes.entry(key.clone()).or_default();
        let merged = match (waiting.back_mut(), &change) {
            (
                Some(Change::Added(seen) | Change::Updated { new: seen, .. }),
                Change::Updated { new, .. },
            ) => {
                *seen = new.clone();
                true
            }
            (Some(Change::Added(_)), Change::Deleted(_)) if slow => {
                waiting.pop_back();
                self.count -= 1;
                true
            }
            _ => false,
        };
        if !merged {
            waiting.push_back(change);
            self.count += 1;
        } else if waiting.is_empty() {
            self.changes.remove(key);
            self.forget_stale();
        }
    }

    /// Keeps the order from growing with keys that have nothing waiting any more.
    fn forget_stale(&mut self) {
        if self.order.len() > 2 * self.changes.len() + 1024 {
            let changes = &self.changes;
            self.order.retain(|key| changes.contains_key(key));
        }
    }

    fn pop(&mut self) -> Option<Change<K>> {
        while let Some(key) = self.order.pop_front() {
            let Some(waiting) = self.changes.get_mut(&key) else {
                continue;
            };
            let change = waiting.pop_front();
            if waiting.is_empty() {
                self.changes.remove(&key);
            } else {
                self.order.push_back(key);
            }
            if change.is_some() {
                self.count -= 1;
                return change;
            }
        }
        None
    }
}

/// The changes of an informer's objects, from its present state on; ends when the informer stops.
///
/// A reader that falls behind sees fewer, larger steps: updates of one object collapse into one.
pub struct Changes<K> {
    pending: Arc<Pending<K>>,
}

impl<K> Changes<K> {
    pub(crate) fn new(pending: Arc<Pending<K>>) -> Self {
        Self { pending }
    }
}

impl<K> fmt::Debug for Changes<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Changes").finish_non_exhaustive()
    }
}

impl<K> Stream for Changes<K> {
    type Item = Change<K>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Change<K>>> {
        self.pending.poll(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::{FutureExt, StreamExt};

    fn pending() -> (Arc<Pending<u32>>, Changes<u32>) {
        let pending = Arc::new(Pending::new());
        (pending.clone(), Changes::new(pending))
    }

    fn next(changes: &mut Changes<u32>) -> Option<String> {
        let change = changes.next().now_or_never()??;
        Some(match change {
            Change::Added(object) => format!("+{object}"),
            Change::Updated { old, new } => format!("{old}>{new}"),
            Change::Deleted(object) => format!("-{object}"),
        })
    }

    #[test]
    fn updates_collapse_while_the_reader_is_away() {
        let (pending, mut changes) = pending();
        let key = ObjectKey::new("a", "b");
        pending.push(&key, Change::Added(Arc::new(1)));
        pending.push(&key, Change::Updated { old: Arc::new(1), new: Arc::new(2) });
        pending.push(&key, Change::Updated { old: Arc::new(2), new: Arc::new(3) });
        assert_eq!(next(&mut changes).as_deref(), Some("+3"));
        pending.push(&key, Change::Updated { old: Arc::new(3), new: Arc::new(4) });
        pending.push(&key, Change::Updated { old: Arc::new(4), new: Arc::new(5) });
        pending.push(&key, Change::Deleted(Arc::new(5)));
        assert_eq!(next(&mut changes).as_deref(), Some("3>5"));
        assert_eq!(next(&mut changes).as_deref(), Some("-5"));
        assert_eq!(next(&mut changes), None);
    }

    #[test]
    fn an_object_that_came_and_went_is_seen_by_a_reader_that_keeps_up() {
        let (pending, mut changes) = pending();
        let key = ObjectKey::new("a", "b");
        pending.push(&key, Change::Added(Arc::new(1)));
        pending.push(&key, Change::Deleted(Arc::new(1)));
        pending.push(&key, Change::Added(Arc::new(2)));
        let seen: Vec<_> = std::iter::from_fn(|| next(&mut changes)).collect();
        assert_eq!(seen, ["+1", "-1", "+2"]);
    }

    #[test]
    fn what_waits_for_a_stuck_reader_is_bounded() {
        let (pending, mut changes) = pending();
        for n in 0..100_000 {
            let key = ObjectKey::new("a", n.to_string());
            pending.push(&key, Change::Added(Arc::new(n)));
            pending.push(&key, Change::Deleted(Arc::new(n)));
        }
        let held = pending.inner.lock().order.len();
        assert!(pending.inner.lock().count <= SLOW_READER + 1 && held <= 2 * SLOW_READER + 1024);
        pending.close();
        while next(&mut changes).is_some() {}
        assert!(changes.next().now_or_never().is_some_and(|end| end.is_none()));
    }
}
