//! The queues of one priority level, and who is served of it.
//!
//! Fair queuing as in the original: each queue has a time of its own at which its next request would be served if all
//! queues were served bit by bit and side by side; the one that would end first is served first.

use super::{Asked, Limits, Queuing, dealer::Hand};
use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    ops::Bound,
    time::Duration,
};
use tokio::sync::oneshot;

/// What a request is taken to need before it is known.
const ESTIMATE: Work = Work(300_000);

/// Work in seat-seconds, by 10^-8.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(in super::super) struct Work(i64);

impl Work {
    fn of(seats: f64, time: Duration) -> Self {
        Self((seats * time.as_secs_f64() * 1e8).round() as i64)
    }

    fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    fn minus(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// So many times the estimate.
    pub(in super::super) fn estimated(requests: usize) -> Self {
        Self(ESTIMATE.0.saturating_mul(i64::try_from(requests).unwrap_or(i64::MAX)))
    }
}

/// As the original prints it.
impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let amount = self.0.max(0);
        write!(f, "{}.{:08}ss", amount / 100_000_000, amount % 100_000_000)
    }
}

/// A request in a queue or being served.
#[derive(Debug)]
pub(in super::super) struct Entry {
    pub(in super::super) asked: Asked,
    pub(in super::super) arrived: Duration,
    /// Since when it is served, if it is.
    pub(in super::super) began: Option<Duration>,
    /// How far the level was when it arrived.
    progress: Work,
}

#[derive(Debug)]
struct Place {
    id: u64,
    entry: Entry,
    tell: oneshot::Sender<()>,
}

/// A queue that somebody stands in or is served from.
#[derive(Debug, Default)]
pub(in super::super) struct Queue {
    waiting: VecDeque<Place>,
    serving: BTreeMap<u64, Entry>,
}

impl Queue {
    /// Who waits, the first first.
    pub(in super::super) fn waiting(&self) -> impl ExactSizeIterator<Item = &Entry> {
        self.waiting.iter().map(|place| &place.entry)
    }

    /// Who is served.
    pub(in super::super) fn serving(&self) -> impl ExactSizeIterator<Item = &Entry> {
        self.serving.values()
    }
}

/// How requests ended up, since the level is there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in super::super) struct Counts {
    pub(in super::super) dispatched: u64,
    pub(in super::super) rejected: u64,
    pub(in super::super) cancelled: u64,
}

/// One priority level.
#[derive(Debug, Default)]
pub(in super::super) struct Level {
    pub(in super::super) limits: Limits,
    pub(in super::super) used: usize,
    pub(in super::super) waiting: usize,
    /// It is no more, and ends with those who are in it.
    pub(in super::super) ending: bool,
    pub(in super::super) counts: Counts,
    /// By index; those that are not there are empty.
    pub(in super::super) queues: BTreeMap<usize, Queue>,
    /// Who is served without a queue.
    pub(in super::super) unqueued: BTreeMap<u64, Entry>,
    /// When the next of each queue would be served.
    starts: Vec<Work>,
    /// How far the level would be with what is in each queue.
    progress: Work,
    synced: Duration,
    /// How many hands were dealt.
    dealt: usize,
    /// The queue served last.
    last: usize,
}

impl Level {
    /// Notes how far the level is now; before anything of it changes.
    pub(super) fn sync(&mut self, now: Duration) {
        let since = now.saturating_sub(self.synced);
        self.synced = now;
        if !self.queues.is_empty() {
            let wanted = self.used - self.unqueued.len() + self.waiting;
            let seats = wanted.min(self.limits.nominal.max(self.used));
            let ratio = seats as f64 / self.queues.len() as f64;
            self.progress = self.progress.plus(Work::of(ratio, since));
        }
    }

    pub(super) fn entry(&self, asked: Asked, now: Duration) -> Entry {
        Entry { asked, arrived: now, began: None, progress: self.progress }
    }

    /// The queue of a flow: the shortest of its hand.
    pub(super) fn choose(&mut self, hash: u64, queuing: Queuing) -> usize {
        let hand = Hand::deal(hash, queuing.queues, queuing.hand);
        let offset = self.dealt;
        self.dealt = self.dealt.wrapping_add(1);
        hand.round(offset).min_by_key(|index| self.length(*index)).unwrap_or_default()
    }

    /// How many wait in a queue.
    pub(super) fn length(&self, index: usize) -> usize {
        self.queues.get(&index).map_or(0, |queue| queue.waiting.len())
    }

    /// When the next of a queue would be served.
    pub(in super::super) fn start(&self, index: usize) -> Work {
        self.starts.get(index).copied().unwrap_or_default()
    }

    fn start_mut(&mut self, index: usize) -> &mut Work {
        if self.starts.len() <= index {
            self.starts.resize(index + 1, Work::default());
        }
        &mut self.starts[index]
    }

    /// The queue, which begins now if it was empty.
    fn queue(&mut self, index: usize) -> &mut Queue {
        if !self.queues.contains_key(&index) {
            *self.start_mut(index) = self.progress;
        }
        self.queues.entry(index).or_default()
    }

    /// Serves a request, of this queue or of none.
    pub(super) fn serve(&mut self, index: Option<usize>, id: u64, mut entry: Entry, now: Duration) {
        entry.began = Some(now);
        self.used += 1;
        self.counts.dispatched += 1;
        let Some(index) = index else {
            self.unqueued.insert(id, entry);
            return;
        };
        self.queue(index).serving.insert(id, entry);
        let start = self.start_mut(index);
        *start = start.plus(ESTIMATE);
        self.last = index;
        self.bound(index);
    }

    /// Lets a request wait.
    pub(super) fn push(&mut self, index: usize, id: u64, entry: Entry) -> oneshot::Receiver<()> {
        let (tell, told) = oneshot::channel();
        self.queue(index).waiting.push_back(Place { id, entry, tell });
        self.waiting += 1;
        self.bound(index);
        told
    }

    /// Serves the next that waits; false when nobody does.
    pub(super) fn serve_next(&mut self, now: Duration) -> bool {
        let Some(index) = self.next_queue() else { return false };
        let Some(place) = self.queue(index).waiting.pop_front() else { return false };
        self.waiting -= 1;
        self.last = index;
        if place.tell.send(()).is_ok() {
            self.serve(Some(index), place.id, place.entry, now);
        } else {
            self.bound(index);
            self.tidy(index);
        }
        true
    }

    /// The queue whose first would end first; those after the last one before those up to it.
    fn next_queue(&self) -> Option<usize> {
        let after: (Bound<usize>, Bound<usize>) = (Bound::Excluded(self.last), Bound::Unbounded);
        let round = self.queues.range::<usize, _>(after).chain(self.queues.range(..=self.last));
        let waited = round.filter(|(_, queue)| !queue.waiting.is_empty());
        waited.map(|(index, _)| *index).min_by_key(|index| self.start(*index))
    }

    /// Somebody was served.
    pub(super) fn finish(&mut self, index: Option<usize>, id: u64, now: Duration) {
        self.used = self.used.saturating_sub(1);
        let Some(index) = index else {
            self.unqueued.remove(&id);
            return;
        };
        let served = self.queues.get_mut(&index).and_then(|queue| queue.serving.remove(&id));
        let took = served.and_then(|entry| entry.began).map(|began| now.saturating_sub(began));
        let start = self.start_mut(index);
        *start = start.minus(ESTIMATE).plus(Work::of(1.0, took.unwrap_or_default()));
        self.bound(index);
        self.tidy(index);
    }

    /// Somebody waits no longer.
    pub(super) fn leave(&mut self, index: usize, id: u64) {
        self.counts.rejected += 1;
        self.counts.cancelled += 1;
        let Some(queue) = self.queues.get_mut(&index) else { return };
        let before = queue.waiting.len();
        queue.waiting.retain(|place| place.id != id);
        self.waiting -= before - queue.waiting.len();
        self.bound(index);
        self.tidy(index);
    }

    /// Nobody is served before he came.
    fn bound(&mut self, index: usize) {
        let first = self.queues.get(&index).and_then(|queue| queue.waiting.front());
        if let Some(arrived) = first.map(|place| place.entry.progress) {
            let start = self.start_mut(index);
            *start = arrived.max(*start);
        }
    }

    fn tidy(&mut self, index: usize) {
        let empty = |queue: &Queue| queue.waiting.is_empty() && queue.serving.is_empty();
        if self.queues.get(&index).is_some_and(empty) {
            self.queues.remove(&index);
        }
    }
}
