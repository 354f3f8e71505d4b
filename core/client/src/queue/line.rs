//! A queue of numbers: all that a work queue does, once for all types of items.

use super::{QueueOptions, limit::Limiter, metrics::QueueGauges};
use kubeplane_clock::SharedClock;
use parking_lot::Mutex;
use std::{cmp::Reverse, collections::BTreeMap, time::Duration};
use tokio::sync::Notify;

/// The numbers that wait, are worked on, or failed.
///
/// What acts on a number says whether anything is known of it afterwards; if not, it may come to mean another
/// item.
pub(super) struct Line {
    clock: SharedClock,
    state: Mutex<State>,
    wake: Notify,
    gauges: QueueGauges,
}

struct State {
    entries: Vec<Entry>,
    ready: BTreeMap<Place, usize>,
    delayed: BTreeMap<Slot, usize>,
    sequence: u64,
    /// How many were added and not taken.
    added: usize,
    /// How many were taken and are not done.
    taken: usize,
    limiter: Limiter,
    shut_down: bool,
}

/// A deadline, and what tells equal ones apart.
type Slot = (Duration, u64);
/// A priority, the highest first, and which of equals came first.
type Place = (Reverse<i32>, u64);

#[derive(Debug, Default)]
struct Entry {
    added: Option<Duration>,
    taken: Option<Duration>,
    delayed: Option<Slot>,
    failures: u32,
    /// That of the last add.
    priority: i32,
    /// Where it stands when it is ready.
    place: Option<Place>,
}

impl Entry {
    fn is_known(&self) -> bool {
        self.added.is_some() || self.taken.is_some() || self.delayed.is_some() || self.failures > 0
    }
}

impl Line {
    pub(super) fn new(clock: SharedClock, options: &QueueOptions) -> Self {
        let state = State {
            entries: Vec::new(),
            ready: BTreeMap::new(),
            delayed: BTreeMap::new(),
            sequence: 0,
            added: 0,
            taken: 0,
            limiter: Limiter::new(options),
            shut_down: false,
        };
        let gauges = options.metrics.queue(&options.name, &clock);
        Self { clock, state: Mutex::new(state), wake: Notify::new(), gauges }
    }

    /// With the priority that it had last when none is given.
    pub(super) fn add(&self, number: usize, priority: Option<i32>) -> bool {
        let now = self.clock.elapsed();
        let mut state = self.state.lock();
        let wake = state.add(number, priority, now, &self.gauges);
        let known = state.keeps(number);
        drop(state);
        if wake {
            self.wake.notify_one();
        }
        known
    }

    pub(super) fn add_after(&self, number: usize, delay: Duration) -> bool {
        self.gauges.retries.inc();
        if delay.is_zero() {
            return self.add(number, None);
        }
        let now = self.clock.elapsed();
        let mut state = self.state.lock();
        let sooner = !state.shut_down && state.delay(number, now.saturating_add(delay));
        let known = state.keeps(number);
        drop(state);
        if sooner {
            // Every sleeping worker must look at the new nearest deadline.
            self.wake.notify_waiters();
            self.wake.notify_one();
        }
        known
    }

    pub(super) fn add_rate_limited(&self, number: usize) -> bool {
        let now = self.clock.elapsed();
        let failures = self.note_failure(number);
        let pause = self.state.lock().limiter.pause(failures, now);
        self.add_after(number, pause)
    }

    pub(super) fn note_failure(&self, number: usize) -> u32 {
        let mut state = self.state.lock();
        let entry = state.entry(number);
        entry.failures = entry.failures.saturating_add(1);
        entry.failures
    }

    pub(super) fn forget(&self, number: usize) -> bool {
        let mut state = self.state.lock();
        state.entry(number).failures = 0;
        state.keeps(number)
    }

    pub(super) fn failures(&self, number: usize) -> u32 {
        self.state.lock().entry(number).failures
    }

    /// Takes the next number; `None` when all was shut down and nothing is left.
    pub(super) async fn take(&self) -> Option<usize> {
        loop {
            let woken = self.wake.notified();
            tokio::pin!(woken);
            // Registered before looking, so that an add in between is not missed.
            woken.as_mut().enable();
            let now = self.clock.elapsed();
            let next = {
                let mut state = self.state.lock();
                state.promote(now, &self.gauges);
                if let Some(number) = state.take(now, &self.gauges) {
                    if !state.ready.is_empty() {
                        self.wake.notify_one();
                    }
                    return Some(number);
                }
                if state.shut_down {
                    return None;
                }
                state.delayed.keys().next().map(|(at, _)| at.saturating_sub(now))
            };
            match next {
                Some(pause) => {
                    tokio::select! {
                        biased;
                        () = woken => {}
                        () = self.clock.sleep(pause) => {}
                    }
                }
                None => woken.await,
            }
        }
    }

    pub(super) fn done(&self, number: usize) -> bool {
        let now = self.clock.elapsed();
        let mut state = self.state.lock();
        let again = state.done(number, now, &self.gauges);
        let known = state.keeps(number);
        drop(state);
        if again {
            self.wake.notify_one();
        }
        known
    }

    pub(super) fn shut_down(&self) {
        let mut state = self.state.lock();
        state.shut_down = true;
        state.delayed.clear();
        state.entries.iter_mut().for_each(|entry| entry.delayed = None);
        drop(state);
        self.wake.notify_waiters();
        self.wake.notify_one();
    }

    pub(super) fn len(&self) -> usize {
        self.state.lock().ready.len()
    }

    pub(super) fn is_idle(&self) -> bool {
        let state = self.state.lock();
        state.added == 0 && state.taken == 0 && state.delayed.is_empty()
    }
}

impl State {
    fn entry(&mut self, number: usize) -> &mut Entry {
        if self.entries.len() <= number {
            self.entries.resize_with(number + 1, Entry::default);
        }
        &mut self.entries[number]
    }

    /// Whether anything is known of `number`; if not, nothing is left of it.
    fn keeps(&mut self, number: usize) -> bool {
        let entry = self.entry(number);
        let known = entry.is_known();
        if !known {
            *entry = Entry::default();
        }
        known
    }

    /// Whether a worker has something new to do.
    fn add(
        &mut self,
        number: usize,
        priority: Option<i32>,
        now: Duration,
        gauges: &QueueGauges,
    ) -> bool {
        if self.shut_down {
            return false;
        }
        let entry = self.entry(number);
        let priority = priority.unwrap_or(entry.priority);
        if entry.added.is_some() {
            self.raise(number, priority);
            return false;
        }
        entry.added = Some(now);
        entry.priority = priority;
        let ready = entry.taken.is_none();
        self.added += 1;
        gauges.adds.inc();
        gauges.depth.inc();
        if ready {
            self.stand(number);
        }
        ready
    }

    /// Puts a number that is ready behind those of its priority.
    fn stand(&mut self, number: usize) {
        self.sequence += 1;
        let place = (Reverse(self.entry(number).priority), self.sequence);
        self.entry(number).place = Some(place);
        self.ready.insert(place, number);
    }

    /// What waits keeps the highest priority it was added with.
    fn raise(&mut self, number: usize, priority: i32) {
        let entry = self.entry(number);
        if priority <= entry.priority {
            return;
        }
        entry.priority = priority;
        if let Some(place) = entry.place {
            self.ready.remove(&place);
            self.stand(number);
        }
    }

    /// Whether `number` now waits until `at`, rather than until some earlier time.
    fn delay(&mut self, number: usize, at: Duration) -> bool {
        match self.entry(number).delayed {
            Some((earlier, _)) if earlier <= at => return false,
            Some(later) => {
                self.delayed.remove(&later);
            }
            None => {}
        }
        self.sequence += 1;
        let slot = (at, self.sequence);
        self.entry(number).delayed = Some(slot);
        self.delayed.insert(slot, number);
        true
    }

    fn promote(&mut self, now: Duration, gauges: &QueueGauges) {
        while let Some(first) = self.delayed.first_entry() {
            if first.key().0 > now {
                return;
            }
            let number = first.remove();
            self.entry(number).delayed = None;
            self.add(number, None, now, gauges);
        }
    }

    fn take(&mut self, now: Duration, gauges: &QueueGauges) -> Option<usize> {
        let (_, number) = self.ready.pop_first()?;
        let entry = self.entry(number);
        entry.place = None;
        entry.taken = Some(now);
        if let Some(added) = entry.added.take() {
            self.added -= 1;
            gauges.queue_duration.observe(now.saturating_sub(added).as_secs_f64());
        }
        self.taken += 1;
        gauges.depth.dec();
        gauges.running.begin(now);
        Some(number)
    }

    /// Whether `number` was added while it was worked on, and so is ready again.
    fn done(&mut self, number: usize, now: Duration, gauges: &QueueGauges) -> bool {
        let entry = self.entry(number);
        let Some(since) = entry.taken.take() else {
            return false;
        };
        let again = entry.added.is_some();
        self.taken -= 1;
        gauges.running.end(since);
        gauges.work_duration.observe(now.saturating_sub(since).as_secs_f64());
        if again {
            self.stand(number);
        }
        again
    }
}
