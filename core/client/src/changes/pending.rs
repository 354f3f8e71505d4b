use crate::{
    Change, ObjectKey,
    cache::{Cache, Reader},
    object::Object,
};
use parking_lot::Mutex;
use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    task::{Context, Poll, Waker},
};

/// How many changes may wait before objects that came and went unseen are left out.
const SLOW_READER: usize = 16_384;
/// How many places are kept for what may come once nothing waits.
const KEPT: usize = 256;

/// The changes one reader has not taken yet, per object and in the order of their first arrival.
pub(crate) struct Pending {
    inner: Mutex<Inner>,
    /// Of what its reader wants to know; everything without.
    wanted: Option<Wanted>,
}

pub(super) type Wanted = Box<dyn Fn(&Change<dyn Object>) -> bool + Send + Sync>;

struct Inner {
    order: VecDeque<Arc<ObjectKey>>,
    changes: HashMap<Arc<ObjectKey>, Waiting>,
    count: usize,
    closed: bool,
    waker: Option<Waker>,
}

/// The changes of one object: nearly always one, so that the first needs no memory of its own.
#[derive(Default)]
struct Waiting {
    first: Option<Change<dyn Object>>,
    rest: VecDeque<Change<dyn Object>>,
}

impl Waiting {
    fn last_mut(&mut self) -> Option<&mut Change<dyn Object>> {
        self.rest.back_mut().or(self.first.as_mut())
    }

    fn push(&mut self, change: Change<dyn Object>) {
        match &self.first {
            None => self.first = Some(change),
            Some(_) => self.rest.push_back(change),
        }
    }

    fn pop_last(&mut self) {
        if self.rest.pop_back().is_none() {
            self.first = None;
        }
    }

    fn pop_first(&mut self) -> Option<Change<dyn Object>> {
        std::mem::replace(&mut self.first, self.rest.pop_front())
    }

    fn is_empty(&self) -> bool {
        self.first.is_none()
    }
}

impl Pending {
    /// What is there, and every change from then on.
    pub(super) fn of(cache: &Cache, wanted: Option<Wanted>) -> Arc<Self> {
        let pending = Arc::new(Self { wanted, ..Self::new() });
        cache.attach(&pending);
        pending
    }

    fn new() -> Self {
        let inner = Inner {
            order: VecDeque::new(),
            changes: HashMap::new(),
            count: 0,
            closed: false,
            waker: None,
        };
        Self { inner: Mutex::new(inner), wanted: None }
    }

    fn push(&self, key: &Arc<ObjectKey>, change: Change<dyn Object>) {
        let mut inner = self.inner.lock();
        inner.push(key, change);
        if let Some(waker) = inner.waker.take() {
            waker.wake();
        }
    }

    pub(super) fn poll(&self, context: &Context<'_>) -> Poll<Option<Change<dyn Object>>> {
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

impl Reader for Pending {
    fn tell(&self, key: &Arc<ObjectKey>, change: &Change<dyn Object>) {
        if self.wanted.as_ref().is_none_or(|wanted| wanted(change)) {
            self.push(key, change.clone());
        }
    }

    fn close(&self) {
        let mut inner = self.inner.lock();
        inner.closed = true;
        if let Some(waker) = inner.waker.take() {
            waker.wake();
        }
    }
}

impl Inner {
    fn push(&mut self, key: &Arc<ObjectKey>, change: Change<dyn Object>) {
        let slow = self.count >= SLOW_READER;
        let waiting = match self.changes.get_mut(key) {
            Some(waiting) => waiting,
            None => {
                self.order.push_back(key.clone());
                self.changes.entry(key.clone()).or_default()
            }
        };
        let merged = match (waiting.last_mut(), &change) {
            (
                Some(Change::Added(seen) | Change::Updated { new: seen, .. }),
                Change::Updated { new, .. },
            ) => {
                *seen = new.clone();
                true
            }
            (Some(Change::Added(_)), Change::Deleted(_)) if slow => {
                waiting.pop_last();
                self.count -= 1;
                true
            }
            _ => false,
        };
        if !merged {
            waiting.push(change);
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

    /// A reader gets everything at once at the start, and little at a time from then on.
    fn give_back(&mut self) {
        if self.changes.is_empty() && self.changes.capacity() > KEPT {
            self.changes.shrink_to_fit();
            self.order.clear();
            self.order.shrink_to_fit();
        }
    }

    fn pop(&mut self) -> Option<Change<dyn Object>> {
        while let Some(key) = self.order.pop_front() {
            let Some(waiting) = self.changes.get_mut(&key) else {
                continue;
            };
            let change = waiting.pop_first();
            if waiting.is_empty() {
                self.changes.remove(&key);
            } else {
                self.order.push_back(key);
            }
            if change.is_some() {
                self.count -= 1;
                self.give_back();
                return change;
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Changes;
    use futures::{FutureExt, StreamExt};
    use k8s_openapi::{api::core::v1::ConfigMap, apimachinery::pkg::apis::meta::v1::ObjectMeta};

    fn pending() -> (Arc<Pending>, Changes<ConfigMap>) {
        let pending = Arc::new(Pending::new());
        (pending.clone(), Changes::new(pending))
    }

    fn map(version: u32) -> Arc<dyn Object> {
        let resource_version = Some(version.to_string());
        let metadata = ObjectMeta { resource_version, ..ObjectMeta::default() };
        Arc::new(ConfigMap { metadata, ..ConfigMap::default() })
    }

    fn updated(old: u32, new: u32) -> Change<dyn Object> {
        Change::Updated { old: map(old), new: map(new) }
    }

    fn next(changes: &mut Changes<ConfigMap>) -> Option<String> {
        let version = |map: &ConfigMap| map.metadata.resource_version.clone().unwrap_or_default();
        let change = changes.next().now_or_never()??;
        Some(match change {
            Change::Added(object) => format!("+{}", version(&object)),
            Change::Updated { old, new } => format!("{}>{}", version(&old), version(&new)),
            Change::Deleted(object) => format!("-{}", version(&object)),
        })
    }

    #[test]
    fn a_reader_is_told_of_what_it_wants_to_know() {
        let wanted: Wanted = Box::new(|change| !matches!(change, Change::Updated { .. }));
        let pending = Arc::new(Pending { wanted: Some(wanted), ..Pending::new() });
        let mut changes = Changes::new(pending.clone());
        let key = Arc::new(ObjectKey::new("a", "b"));
        for change in [Change::Added(map(1)), updated(1, 2), Change::Deleted(map(2))] {
            pending.tell(&key, &change);
        }
        assert_eq!(next(&mut changes).as_deref(), Some("+1"));
        assert_eq!(next(&mut changes).as_deref(), Some("-2"));
        pending.tell(&key, &updated(3, 4));
        assert_eq!(next(&mut changes), None);
    }

    #[test]
    fn updates_collapse_while_the_reader_is_away() {
        let (pending, mut changes) = pending();
        let key = Arc::new(ObjectKey::new("a", "b"));
        pending.push(&key, Change::Added(map(1)));
        pending.push(&key, updated(1, 2));
        pending.push(&key, updated(2, 3));
        assert_eq!(next(&mut changes).as_deref(), Some("+3"));
        pending.push(&key, updated(3, 4));
        pending.push(&key, updated(4, 5));
        pending.push(&key, Change::Deleted(map(5)));
        assert_eq!(next(&mut changes).as_deref(), Some("3>5"));
        assert_eq!(next(&mut changes).as_deref(), Some("-5"));
        assert_eq!(next(&mut changes), None);
    }

    #[test]
    fn an_object_that_came_and_went_is_seen_by_a_reader_that_keeps_up() {
        let (pending, mut changes) = pending();
        let key = Arc::new(ObjectKey::new("a", "b"));
        pending.push(&key, Change::Added(map(1)));
        pending.push(&key, Change::Deleted(map(1)));
        pending.push(&key, Change::Added(map(2)));
        let seen: Vec<_> = std::iter::from_fn(|| next(&mut changes)).collect();
        assert_eq!(seen, ["+1", "-1", "+2"]);
    }

    #[test]
    fn what_waits_for_a_stuck_reader_is_bounded() {
        let (pending, mut changes) = pending();
        let one = map(1);
        for n in 0..100_000 {
            let key = Arc::new(ObjectKey::new("a", n.to_string()));
            pending.push(&key, Change::Added(one.clone()));
            pending.push(&key, Change::Deleted(one.clone()));
        }
        let held = pending.inner.lock().order.len();
        assert!(pending.inner.lock().count <= SLOW_READER + 1 && held <= 2 * SLOW_READER + 1024);
        pending.close();
        while next(&mut changes).is_some() {}
        assert!(pending.inner.lock().changes.capacity() <= KEPT);
        assert!(changes.next().now_or_never().is_some_and(|end| end.is_none()));
    }
}
