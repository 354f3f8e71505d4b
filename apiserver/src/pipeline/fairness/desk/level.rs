//! The queues of one priority level, and who is served of it.
//!
//! Fair queuing as in the original: each queue has a time of its own at which its next request would be served if all
//! queues were served bit by bit and side by side; the one that would end first is served first.

use super::{Asked, Limits, Queuing, borrowing::Demand, dealer::Hand};
use crate::{metrics::Seats, pipeline::fairness::estimate::Width};
use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    ops::Bound,
    time::Duration,
};
use tokio::sync::oneshot;

/// How long a request is taken to be served before it is known.
const ESTIMATE: Duration = Duration::from_millis(3);

/// Work in seat-seconds, by 10^-8.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(in super::super) struct Work(i64);

impl Work {
    pub(in super::super) fn of(seats: f64, time: Duration) -> Self {
        Self((seats * time.as_secs_f64() * 1e8).round() as i64)
    }

    /// All that a request is taken to need.
    fn whole(width: Width) -> Self {
        Self::estimate(width).plus(Self::of(width.last as f64, width.linger))
    }

    /// What it is taken to need until it is answered.
    fn estimate(width: Width) -> Self {
        Self::of(width.seats as f64, ESTIMATE)
    }

    fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    fn minus(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
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

impl Entry {
    /// The same with no more seats at the end than these.
    pub(super) fn within(mut self, seats: usize) -> Self {
        self.asked.width = self.asked.width.within(seats);
        self
    }
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
    /// All that those who wait need.
    pub(in super::super) work: Work,
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

    fn take(&mut self, at: usize) -> Option<Place> {
        let place = self.waiting.remove(at)?;
        self.work = self.work.minus(Work::whole(place.entry.asked.width));
        Some(place)
    }
}

/// Seats that a request keeps for a while after it was answered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lingering {
    pub(super) queued: bool,
    pub(super) seats: usize,
    pub(super) time: Duration,
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
    /// The seats it has until the next adjustment.
    pub(in super::super) current: usize,
    /// Seats that are taken, also those that linger.
    pub(in super::super) used: usize,
    /// Requests that are served.
    pub(in super::super) executing: usize,
    pub(in super::super) waiting: usize,
    waiting_seats: usize,
    pub(super) demand: Demand,
    /// It is no more, and ends with those who are in it.
    pub(in super::super) ending: bool,
    pub(in super::super) counts: Counts,
    /// By index; those that are not there are empty.
    pub(in super::super) queues: BTreeMap<usize, Queue>,
    /// Who is served without a queue.
    pub(in super::super) unqueued: BTreeMap<u64, Entry>,
    unqueued_seats: usize,
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
    pub(super) fn of(limits: Limits, now: Duration) -> Self {
        let lent = limits.nominal.saturating_sub(limits.kept);
        let current = limits.nominal.saturating_sub(lent / 2);
        let demand = Demand::from(now);
        Self { limits, current, demand, synced: now, ..Self::default() }
    }

    /// What metrics show of it.
    pub(super) fn shown(&self) -> Seats {
        let Limits { nominal, kept, most, .. } = self.limits;
        let Demand { high, average, deviation, smoothed, .. } = self.demand;
        let demand = [high as f64, average, deviation, smoothed];
        Seats { nominal, lower: kept, upper: most, current: self.current, demand }
    }

    /// Nobody is in it.
    pub(in super::super) fn is_idle(&self) -> bool {
        self.executing == 0 && self.waiting == 0
    }

    /// Notes how far the level is now; before anything of it changes.
    pub(super) fn sync(&mut self, now: Duration) {
        let since = now.saturating_sub(self.synced);
        self.synced = self.synced.max(now);
        if !self.queues.is_empty() {
            let wanted = self.used.saturating_sub(self.unqueued_seats) + self.waiting_seats;
            let ratio = wanted.min(self.current) as f64 / self.queues.len() as f64;
            self.progress = self.progress.plus(Work::of(ratio, since));
        }
    }

    pub(super) fn entry(&self, asked: Asked, now: Duration) -> Entry {
        Entry { asked, arrived: now, began: None, progress: self.progress }
    }

    /// Whether so many seats are there. Who is wider than the whole level is served when nobody else is.
    pub(super) fn has_room(&self, seats: usize) -> bool {
        if self.limits.exempt {
            return true;
        }
        match seats > self.current {
            true => self.executing == 0,
            false => self.used + seats <= self.current,
        }
    }

    /// The queue of a flow: that of its hand in which the least work waits.
    pub(super) fn choose(&mut self, hash: u64, queuing: Queuing) -> usize {
        let hand = Hand::deal(hash, queuing.queues, queuing.hand);
        let offset = self.dealt;
        self.dealt = self.dealt.wrapping_add(1);
        let work = |index: &usize| self.queues.get(index).map(|queue| queue.work);
        hand.round(offset).min_by_key(|index| work(index).unwrap_or_default()).unwrap_or_default()
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
        let (seats, work) = (entry.asked.width.most(), Work::whole(entry.asked.width));
        self.executing += 1;
        self.used += seats;
        self.counts.dispatched += 1;
        match index {
            None => {
                self.unqueued_seats += seats;
                self.unqueued.insert(id, entry);
            }
            Some(index) => {
                self.queue(index).serving.insert(id, entry);
                let start = self.start_mut(index);
                *start = start.plus(work);
                self.last = index;
                self.bound(index);
            }
        }
        self.note(now);
    }

    /// Lets a request wait.
    pub(super) fn push(
        &mut self,
        index: usize,
        id: u64,
        entry: Entry,
        now: Duration,
    ) -> oneshot::Receiver<()> {
        let (tell, told) = oneshot::channel();
        let width = entry.asked.width;
        let queue = self.queue(index);
        queue.work = queue.work.plus(Work::whole(width));
        queue.waiting.push_back(Place { id, entry, tell });
        self.waiting += 1;
        self.waiting_seats += width.most();
        self.bound(index);
        self.note(now);
        told
    }

    /// Serves those who wait, as long as there are seats for the next.
    pub(super) fn dispatch(&mut self, now: Duration) {
        while self.waiting > 0 && self.used < self.current && self.serve_next(now) {}
    }

    /// Serves the next that waits; false when there is no seat for it.
    fn serve_next(&mut self, now: Duration) -> bool {
        let Some(index) = self.next_queue() else { return false };
        let first = self.queues.get(&index).and_then(|queue| queue.waiting.front());
        let Some(seats) = first.map(|place| place.entry.asked.width.most()) else { return false };
        if !self.has_room(seats) {
            return false;
        }
        let Some(place) = self.queue(index).take(0) else { return false };
        self.waiting -= 1;
        self.waiting_seats = self.waiting_seats.saturating_sub(seats);
        self.last = index;
        if place.tell.send(()).is_ok() {
            let entry = place.entry.within(self.current);
            self.serve(Some(index), place.id, entry, now);
        } else {
            self.bound(index);
            self.tidy(index);
            self.note(now);
        }
        true
    }

    /// The queue whose first would end first; those after the last one before those up to it.
    fn next_queue(&self) -> Option<usize> {
        let after: (Bound<usize>, Bound<usize>) = (Bound::Excluded(self.last), Bound::Unbounded);
        let round = self.queues.range::<usize, _>(after).chain(self.queues.range(..=self.last));
        let end = |(index, queue): (&usize, &Queue)| {
            let work = Work::whole(queue.waiting.front()?.entry.asked.width);
            Some((*index, self.start(*index).plus(work)))
        };
        round.filter_map(end).min_by_key(|(_, end)| *end).map(|(index, _)| index)
    }

    /// Somebody was served; the seats that are not given back yet.
    pub(super) fn finish(
        &mut self,
        index: Option<usize>,
        id: u64,
        now: Duration,
    ) -> Option<Lingering> {
        let served = match index {
            None => self.unqueued.remove(&id),
            Some(index) => self.queues.get_mut(&index)?.serving.remove(&id),
        };
        let Entry { asked: Asked { width, .. }, began, .. } = served?;
        self.executing = self.executing.saturating_sub(1);
        if let Some(index) = index {
            let took = now.saturating_sub(began.unwrap_or(now));
            let took = Work::of(width.seats as f64, took);
            let start = self.start_mut(index);
            *start = start.minus(Work::estimate(width)).plus(took);
            self.bound(index);
            self.tidy(index);
        }
        let seats = Lingering { queued: index.is_some(), seats: width.most(), time: width.linger };
        if !seats.time.is_zero() {
            return Some(seats);
        }
        self.release(seats, now);
        None
    }

    /// Seats are given back.
    pub(super) fn release(&mut self, seats: Lingering, now: Duration) {
        self.used = self.used.saturating_sub(seats.seats);
        if !seats.queued {
            self.unqueued_seats = self.unqueued_seats.saturating_sub(seats.seats);
        }
        self.note(now);
    }

    /// Somebody waits no longer.
    pub(super) fn leave(&mut self, index: usize, id: u64, now: Duration) {
        self.counts.rejected += 1;
        self.counts.cancelled += 1;
        let Some(queue) = self.queues.get_mut(&index) else { return };
        let place = queue.waiting.iter().position(|place| place.id == id);
        if let Some(place) = place.and_then(|place| queue.take(place)) {
            self.waiting -= 1;
            let seats = place.entry.asked.width.most();
            self.waiting_seats = self.waiting_seats.saturating_sub(seats);
        }
        self.bound(index);
        self.tidy(index);
        self.note(now);
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

    /// Notes how many seats are wanted now.
    fn note(&mut self, now: Duration) {
        self.demand.set(self.used + self.waiting_seats, now);
    }
}
