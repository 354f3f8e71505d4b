use crate::{published::Published, slots::Slots, state::State};
use futures::Stream;
use kubeplane_store_trait::{Error, KeyRange, Result, Revision, WatchBatch, Watcher};
use std::{
    collections::HashMap,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

/// The most events in one batch; a batch may end only between revisions.
const BATCH: usize = 512;

/// The watchers of one store, by what they watch: what was written is looked at once for all that
/// watch the same range.
#[derive(Debug, Default)]
pub(crate) struct Watchers {
    groups: Slots<Group>,
    by_range: HashMap<KeyRange, usize>,
    /// The last revision that was told.
    through: u64,
    closed: bool,
}

/// Those who watch one range.
#[derive(Debug)]
struct Group {
    range: KeyRange,
    cursors: Slots<Cursor>,
    /// How many ask for progress.
    asking: usize,
}

/// What one watcher still has to deliver. The events themselves are in the shared history.
#[derive(Debug, Default)]
struct Cursor {
    /// The revision of the first event that was not delivered yet. Without one, everything through the last
    /// revision told was.
    pending: Option<u64>,
    /// Up to where the history has been looked through for this watcher alone.
    through: u64,
    asks: bool,
    waker: Option<Waker>,
}

impl Watchers {
    pub(crate) fn starting_at(revision: u64) -> Self {
        Self { through: revision, ..Self::default() }
    }

    /// Tells every watcher that `state` was published after the one at `before`; returns who is to be woken.
    pub(crate) fn advance(&mut self, state: &State, before: u64) -> Vec<Waker> {
        self.through = state.revision;
        let mut wakers = Vec::new();
        for group in self.groups.iter_mut() {
            let first = first_match(state, &group.range, before);
            if first.is_none() && group.asking == 0 {
                continue;
            }
            for cursor in group.cursors.iter_mut() {
                if cursor.pending.is_none() && cursor.through < state.revision {
                    cursor.pending = match first {
                        Some(_) if cursor.through > before => {
                            first_match(state, &group.range, cursor.through)
                        }
                        first => first,
                    };
                }
                if cursor.pending.is_some() || cursor.asks {
                    wakers.extend(cursor.waker.take());
                }
            }
        }
        wakers
    }

    /// Ends every watcher after what it still has to deliver.
    pub(crate) fn close(&mut self) -> Vec<Waker> {
        self.closed = true;
        let cursors = self.groups.iter_mut().flat_map(|group| group.cursors.iter_mut());
        cursors.filter_map(|cursor| cursor.waker.take()).collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.groups.iter().map(|group| group.cursors.len()).sum()
    }

    fn insert(&mut self, range: &KeyRange, cursor: Cursor) -> Place {
        let group = match self.by_range.get(range) {
            Some(group) => *group,
            None => {
                let group = Group { range: range.clone(), cursors: Slots::default(), asking: 0 };
                let group = self.groups.insert(group);
                self.by_range.insert(range.clone(), group);
                group
            }
        };
        let cursors = self.groups.at_mut(group).map(|group| &mut group.cursors);
        Place { group, cursor: cursors.map_or(usize::MAX, |cursors| cursors.insert(cursor)) }
    }

    fn remove(&mut self, place: Place) {
        let Some(group) = self.groups.at_mut(place.group) else { return };
        if group.cursors.remove(place.cursor).is_some_and(|cursor| cursor.asks) {
            group.asking -= 1;
        }
        if group.cursors.len() == 0
            && let Some(group) = self.groups.remove(place.group)
        {
            self.by_range.remove(&group.range);
        }
    }
}

/// Where a watcher's cursor is.
#[derive(Debug, Clone, Copy)]
struct Place {
    group: usize,
    cursor: usize,
}

fn first_match(state: &State, range: &KeyRange, after: u64) -> Option<u64> {
    let mut changes = state.changes_after(after);
    changes.find(|change| range.contains(change.key())).map(|change| change.revision)
}

/// What a watcher finds when it looks at its cursor.
enum Look {
    /// Events from this revision on, to be taken from this state.
    Events(u64, Arc<State>),
    /// None, but it asked how far it has come.
    Progress(u64),
    Closed,
    Nothing,
}

/// A cursor into the shared history.
#[derive(Debug)]
pub(crate) struct MemoryWatcher {
    published: Arc<Published>,
    range: KeyRange,
    place: Place,
    ended: bool,
}

impl MemoryWatcher {
    pub(crate) fn start(published: &Arc<Published>, range: &KeyRange, after: u64) -> Result<Self> {
        // The history may be long, and every publication needs the registry's lock: most of it is looked through
        // without.
        let state = published.state();
        state.check_kept(after)?;
        let pending = first_match(&state, range, after);
        Self::enter(published, range, after, (pending, state.revision))
    }

    /// Enters the registry. `seen`: the first event after `after` in the state of a revision, and that revision.
    fn enter(
        published: &Arc<Published>,
        range: &KeyRange,
        after: u64,
        seen: (Option<u64>, u64),
    ) -> Result<Self> {
        // Under the registry's lock no publication can slip between the look at the state and the entry.
        let mut watchers = published.watchers().lock();
        let state = published.state();
        state.check_kept(after)?;
        let (pending, revision) = seen;
        let pending = pending.or_else(|| first_match(&state, range, after.max(revision)));
        let cursor = Cursor { pending, through: state.revision.max(after), ..Cursor::default() };
        let place = watchers.insert(range, cursor);
        drop(watchers);
        Ok(Self { published: published.clone(), range: range.clone(), place, ended: false })
    }

    /// Calls `act` with the cursor, how many of its group ask for progress, and up to where all were told.
    fn with_cursor<T>(
        &self,
        act: impl FnOnce(&mut Cursor, &mut usize, u64, bool) -> T,
    ) -> Option<T> {
        let watchers = &mut *self.published.watchers().lock();
        let group = watchers.groups.at_mut(self.place.group)?;
        let cursor = group.cursors.at_mut(self.place.cursor)?;
        Some(act(cursor, &mut group.asking, watchers.through, watchers.closed))
    }

    fn look(&self, context: &Context<'_>) -> Look {
        let look = self.with_cursor(|cursor, asking, through, closed| {
            if let Some(from) = cursor.pending.take() {
                // What is published from here on is told to this cursor again.
                let state = self.published.state();
                cursor.through = cursor.through.max(state.revision);
                return Look::Events(from, state);
            }
            // What can be read already and was not told yet is told next: the bookmark comes behind it.
            if cursor.asks && through >= cursor.through.max(self.published.state().revision) {
                cursor.asks = false;
                *asking -= 1;
                return Look::Progress(through);
            }
            if closed {
                return Look::Closed;
            }
            match &mut cursor.waker {
                Some(waker) => waker.clone_from(context.waker()),
                empty => *empty = Some(context.waker().clone()),
            }
            Look::Nothing
        });
        look.unwrap_or(Look::Closed)
    }

    fn take(&self, context: &Context<'_>) -> Poll<Result<WatchBatch>> {
        match self.look(context) {
            Look::Events(from, state) => Poll::Ready(self.collect(from, &state)),
            Look::Progress(through) => {
                let through = Revision(through);
                Poll::Ready(Ok(WatchBatch { events: Vec::new(), through }))
            }
            Look::Closed => {
                Poll::Ready(Err(Error::Unavailable { reason: "the store was closed".into() }))
            }
            Look::Nothing => Poll::Pending,
        }
    }

    fn collect(&self, from: u64, state: &State) -> Result<WatchBatch> {
        if from <= state.compacted {
            return Err(Error::Lagged);
        }
        let matching =
            state.changes_after(from - 1).filter(|change| self.range.contains(change.key()));
        let mut events = Vec::new();
        let mut rest = None;
        for change in matching {
            if events.len() == BATCH {
                rest = Some(change.revision);
                break;
            }
            events.push(change.event());
        }
        if rest.is_some() {
            self.with_cursor(|cursor, _, _, _| cursor.pending = rest);
        }
        let through = rest.map_or(state.revision, |rest| rest - 1);
        Ok(WatchBatch { events, through: Revision(through) })
    }
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
        let waker = self.with_cursor(|cursor, asking, _, _| {
            *asking += usize::from(!cursor.asks);
            cursor.asks = true;
            cursor.waker.take()
        });
        if let Some(waker) = waker.flatten() {
            waker.wake();
        }
    }
}

impl Drop for MemoryWatcher {
    fn drop(&mut self) {
        self.published.watchers().lock().remove(self.place);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed test says where")]
mod tests {
    use super::{MemoryWatcher, first_match};
    use crate::{
        ledger::{HistoryLimits, Ledger, Write},
        published::Published,
        state::State,
    };
    use futures::{FutureExt, StreamExt};
    use kubeplane_store_trait::{Key, KeyRange, Watcher};
    use std::{pin::Pin, sync::Arc, time::Duration};

    fn world() -> (Ledger, Arc<Published>) {
        let age = Duration::from_secs(300);
        let limits = HistoryLimits { age, revisions: 1000, bytes: 1 << 20 };
        let ledger = Ledger::new(State::empty(), limits);
        let published = Arc::new(Published::new(ledger.state.clone()));
        (ledger, published)
    }

    fn write(ledger: &mut Ledger, name: &str) -> Arc<State> {
        let key = Key::new(name.to_owned()).unwrap();
        let write = Write::Create { key, value: "x".into(), ttl: None };
        ledger.apply(write, Duration::ZERO).unwrap();
        Arc::new(ledger.state.clone())
    }

    #[test]
    fn what_is_published_while_a_watch_starts_is_delivered() {
        let range = KeyRange::prefix("a/");
        for known in [false, true] {
            let (mut ledger, published) = world();
            for name in if known { &["b/1", "a/1"][..] } else { &["b/1"] } {
                published.publish(State::clone(&write(&mut ledger, name))).wake();
            }
            let state = published.state();
            let seen = (first_match(&state, &range, 1), state.revision);
            for name in ["b/2", "a/2", "a/3"] {
                published.publish(State::clone(&write(&mut ledger, name))).wake();
            }
            let mut watcher = MemoryWatcher::enter(&published, &range, 1, seen).unwrap();
            let batch = watcher.next().now_or_never().unwrap().unwrap().unwrap();
            let keys: Vec<_> = batch.events.iter().map(|event| event.key().to_string()).collect();
            assert_eq!(keys, if known { &["a/1", "a/2", "a/3"][..] } else { &["a/2", "a/3"] });
            assert!(watcher.next().now_or_never().is_none(), "each once");
        }
    }

    #[test]
    fn a_bookmark_is_not_behind_what_can_be_read_already() {
        let (mut ledger, published) = world();
        let range = KeyRange::prefix("a/");
        let mut watcher = MemoryWatcher::start(&published, &range, 1).unwrap();
        let state = write(&mut ledger, "b/1");
        let old = published.show(state.clone());
        Pin::new(&mut watcher).request_progress();
        assert!(watcher.next().now_or_never().is_none(), "a read sees more than was told");
        published.tell(&state, old).wake();
        let bookmark = watcher.next().now_or_never().unwrap().unwrap().unwrap();
        assert_eq!((bookmark.through.0, bookmark.events.len()), (state.revision, 0));
    }
}
