mod limit;
mod metrics;
mod running;
#[cfg(test)]
mod tests;

pub use metrics::QueueMetrics;

use kubeplane_clock::SharedClock;
use limit::Limiter;
use metrics::QueueGauges;
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    fmt::{self, Debug},
    hash::Hash,
    sync::Arc,
    time::Duration,
};
use tokio::sync::Notify;

/// How a [`WorkQueue`] spaces out retries.
#[derive(Debug, Clone)]
pub struct QueueOptions {
    /// The `name` label of the queue's metrics.
    pub name: String,
    /// The pause after the first failure of an item; doubled with each further one.
    pub first_pause: Duration,
    /// The longest pause.
    pub longest_pause: Duration,
    /// Rate-limited adds per second, over all items.
    pub rate: f64,
    /// How many rate-limited adds may come at once.
    pub burst: u32,
    /// Where the queue counts.
    pub metrics: QueueMetrics,
}

impl QueueOptions {
    /// The original's defaults: 5 ms to 1000 s per item, ten per second with a burst of a hundred overall.
    #[must_use]
    pub fn named(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            first_pause: Duration::from_millis(5),
            longest_pause: Duration::from_secs(1000),
            rate: 10.0,
            burst: 100,
            metrics: QueueMetrics::default(),
        }
    }

    /// The same, counting into `metrics`.
    #[must_use]
    pub fn with_metrics(self, metrics: QueueMetrics) -> Self {
        Self { metrics, ..self }
    }
}

/// A queue in which equal items wait once, are worked on by one worker at a time, and come again after that
/// when they were added meanwhile.
///
/// # Contract
/// Every [`take`](Self::take) is followed by one [`done`](Self::done). Clones share one queue.
pub struct WorkQueue<T> {
    shared: Arc<Shared<T>>,
}

struct Shared<T> {
    clock: SharedClock,
    state: Mutex<State<T>>,
    wake: Notify,
    gauges: QueueGauges,
}

struct State<T> {
    ready: VecDeque<T>,
    dirty: HashSet<T>,
    working: HashMap<T, Duration>,
    added_at: HashMap<T, Duration>,
    delayed: BTreeMap<(Duration, u64), T>,
    delayed_at: HashMap<T, (Duration, u64)>,
    sequence: u64,
    failures: HashMap<T, u32>,
    limiter: Limiter,
    shut_down: bool,
}

impl<T> Clone for WorkQueue<T> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone() }
    }
}

impl<T> fmt::Debug for WorkQueue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkQueue")
            .field("ready", &self.shared.state.lock().ready.len())
            .finish_non_exhaustive()
    }
}

impl<T: Clone + Eq + Hash> WorkQueue<T> {
    /// An empty queue.
    #[must_use]
    pub fn new(clock: SharedClock, options: &QueueOptions) -> Self {
        let state = State {
            ready: VecDeque::new(),
            dirty: HashSet::new(),
            working: HashMap::new(),
            added_at: HashMap::new(),
            delayed: BTreeMap::new(),
            delayed_at: HashMap::new(),
            sequence: 0,
            failures: HashMap::new(),
            limiter: Limiter::new(options),
            shut_down: false,
        };
        let gauges = options.metrics.queue(&options.name, &clock);
        let shared = Shared { clock, state: Mutex::new(state), wake: Notify::new(), gauges };
        Self { shared: Arc::new(shared) }
    }

    /// Adds `item`, unless it waits already.
    pub fn add(&self, item: T) {
        let now = self.shared.clock.elapsed();
        if self.shared.state.lock().add(item, now, &self.shared.gauges) {
            self.shared.wake.notify_one();
        }
    }

    /// Adds `item` after `delay`; of several delays of one item the shortest counts.
    pub fn add_after(&self, item: T, delay: Duration) {
        self.shared.gauges.retries.inc();
        if delay.is_zero() {
            return self.add(item);
        }
        let now = self.shared.clock.elapsed();
        let mut state = self.shared.state.lock();
        if !state.shut_down && state.delay(item, now.saturating_add(delay)) {
            drop(state);
            // Every sleeping worker must look at the new nearest deadline.
            self.shared.wake.notify_waiters();
            self.shared.wake.notify_one();
        }
    }

    /// Adds `item` after a pause that grows with its failures and with the overall rate.
    pub fn add_rate_limited(&self, item: T) {
        let now = self.shared.clock.elapsed();
        let failures = self.note_failure(&item);
        let mut state = self.shared.state.lock();
        let pause = state.limiter.pause(failures, now);
        drop(state);
        self.add_after(item, pause);
    }

    /// Counts a failure of `item` without adding it; how many there were since it was forgotten last.
    pub fn note_failure(&self, item: &T) -> u32 {
        let mut state = self.shared.state.lock();
        let failures = state.failures.entry(item.clone()).or_default();
        *failures = failures.saturating_add(1);
        *failures
    }

    /// Forgets the failures of `item`, after a success.
    pub fn forget(&self, item: &T) {
        self.shared.state.lock().failures.remove(item);
    }

    /// How often `item` failed or was added rate-limited since it was forgotten last.
    #[must_use]
    pub fn failures(&self, item: &T) -> u32 {
        self.shared.state.lock().failures.get(item).copied().unwrap_or_default()
    }

    /// The next item; `None` when the queue was shut down and nothing is left.
    ///
    /// # Cancellation
    /// No item is lost: one is taken only when it is returned.
    pub async fn take(&self) -> Option<T> {
        loop {
            let woken = self.shared.wake.notified();
            tokio::pin!(woken);
            // Registered before looking, so that an add in between is not missed.
            woken.as_mut().enable();
            let now = self.shared.clock.elapsed();
            let next = {
                let mut state = self.shared.state.lock();
                state.promote(now, &self.shared.gauges);
                if let Some(item) = state.take(now, &self.shared.gauges) {
                    if !state.ready.is_empty() {
                        self.shared.wake.notify_one();
                    }
                    return Some(item);
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
                        () = self.shared.clock.sleep(pause) => {}
                    }
                }
                None => woken.await,
            }
        }
    }

    /// The work on `item` ended; it becomes ready again when it was added meanwhile.
    pub fn done(&self, item: &T) {
        let now = self.shared.clock.elapsed();
        let mut state = self.shared.state.lock();
        if let Some(since) = state.working.remove(item) {
            self.shared.gauges.running.end(since);
            self.shared.gauges.work_duration.observe(now.saturating_sub(since).as_secs_f64());
        }
        if state.dirty.contains(item) {
            state.ready.push_back(item.clone());
            drop(state);
            self.shared.wake.notify_one();
        }
    }

    /// Takes no more items; what is ready is still given out, what is delayed is dropped.
    pub fn shut_down(&self) {
        let mut state = self.shared.state.lock();
        state.shut_down = true;
        state.delayed.clear();
        state.delayed_at.clear();
        drop(state);
        self.shared.wake.notify_waiters();
        self.shared.wake.notify_one();
    }

    /// How many items are ready and not taken.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shared.state.lock().ready.len()
    }

    /// Whether nothing is ready.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether nothing is ready, delayed or being worked on.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        let state = self.shared.state.lock();
        state.dirty.is_empty() && state.working.is_empty() && state.delayed.is_empty()
    }
}

impl<T: Clone + Eq + Hash> State<T> {
    /// Whether a worker has something new to do.
    fn add(&mut self, item: T, now: Duration, gauges: &QueueGauges) -> bool {
        if self.shut_down || !self.dirty.insert(item.clone()) {
            return false;
        }
        gauges.adds.inc();
        gauges.depth.inc();
        self.added_at.entry(item.clone()).or_insert(now);
        if self.working.contains_key(&item) {
            return false;
        }
        self.ready.push_back(item);
        true
    }

    /// Whether `item` now waits until `at`, rather than until some earlier time.
    fn delay(&mut self, item: T, at: Duration) -> bool {
        match self.delayed_at.get(&item) {
            Some((earlier, _)) if *earlier <= at => return false,
            Some(later) => {
                self.delayed.remove(later);
            }
            None => {}
        }
        self.sequence += 1;
        let slot = (at, self.sequence);
        self.delayed_at.insert(item.clone(), slot);
        self.delayed.insert(slot, item);
        true
    }

    fn promote(&mut self, now: Duration, gauges: &QueueGauges) {
        while let Some(first) = self.delayed.first_entry() {
            if first.key().0 > now {
                return;
            }
            let item = first.remove();
            self.delayed_at.remove(&item);
            self.add(item, now, gauges);
        }
    }

    fn take(&mut self, now: Duration, gauges: &QueueGauges) -> Option<T> {
        let item = self.ready.pop_front()?;
        self.dirty.remove(&item);
        gauges.depth.dec();
        if let Some(added) = self.added_at.remove(&item) {
            gauges.queue_duration.observe(now.saturating_sub(added).as_secs_f64());
        }
        gauges.running.begin(now);
        self.working.insert(item.clone(), now);
        Some(item)
    }
}
