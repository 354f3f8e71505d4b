mod limit;
mod line;
mod metrics;
mod numbers;
mod running;
#[cfg(test)]
mod tests;

pub use metrics::QueueMetrics;

use kubeplane_clock::SharedClock;
use line::Line;
use numbers::Numbers;
use parking_lot::Mutex;
use std::{fmt, hash::Hash, sync::Arc, time::Duration};

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
    /// Locked before the line's state, never the other way round.
    numbers: Mutex<Numbers<T>>,
    line: Line,
}

impl<T> Clone for WorkQueue<T> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone() }
    }
}

impl<T> fmt::Debug for WorkQueue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkQueue").field("ready", &self.shared.line.len()).finish_non_exhaustive()
    }
}

impl<T: Clone + Eq + Hash> WorkQueue<T> {
    /// An empty queue.
    #[must_use]
    pub fn new(clock: SharedClock, options: &QueueOptions) -> Self {
        let numbers = Mutex::new(Numbers::new());
        Self { shared: Arc::new(Shared { numbers, line: Line::new(clock, options) }) }
    }

    /// Adds `item` with priority 0, unless it waits already.
    pub fn add(&self, item: T) {
        self.add_prioritized(item, 0);
    }

    /// Adds `item`, unless it waits already: then it becomes more urgent, if this is a higher priority. Of what is ready the
    /// highest priority is taken first, whatever its sign, and of equals what came first. What comes again after a delay
    /// has the priority with which it was added last.
    pub fn add_prioritized(&self, item: T, priority: i32) {
        self.reserved(&item, |line, number| line.add(number, Some(priority)));
    }

    /// Adds `item` after `delay`; of several delays of one item the shortest counts.
    pub fn add_after(&self, item: T, delay: Duration) {
        self.reserved(&item, |line, number| line.add_after(number, delay));
    }

    /// Adds `item` after a pause that grows with its failures and with the overall rate.
    pub fn add_rate_limited(&self, item: T) {
        self.reserved(&item, |line, number| line.add_rate_limited(number));
    }

    /// Counts a failure of `item` without adding it; how many there were since it was forgotten last.
    pub fn note_failure(&self, item: &T) -> u32 {
        let mut numbers = self.shared.numbers.lock();
        let number = numbers.reserve(item);
        self.shared.line.note_failure(number)
    }

    /// Forgets the failures of `item`, after a success.
    pub fn forget(&self, item: &T) {
        self.known(item, Line::forget);
    }

    /// How often `item` failed or was added rate-limited since it was forgotten last.
    #[must_use]
    pub fn failures(&self, item: &T) -> u32 {
        let numbers = self.shared.numbers.lock();
        numbers.known(item).map_or(0, |number| self.shared.line.failures(number))
    }

    /// The next item; `None` when the queue was shut down and nothing is left.
    ///
    /// # Cancellation
    /// No item is lost: one is taken only when it is returned.
    pub async fn take(&self) -> Option<T> {
        loop {
            let number = self.shared.line.take().await?;
            let item = self.shared.numbers.lock().item(number);
            if item.is_some() {
                return item;
            }
        }
    }

    /// The work on `item` ended; it becomes ready again when it was added meanwhile.
    pub fn done(&self, item: &T) {
        self.known(item, Line::done);
    }

    /// Takes no more items; what is ready is still given out, what is delayed is dropped.
    pub fn shut_down(&self) {
        self.shared.line.shut_down();
    }

    /// How many items are ready and not taken.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shared.line.len()
    }

    /// Whether nothing is ready.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether nothing is ready, delayed or being worked on.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.shared.line.is_idle()
    }

    fn reserved(&self, item: &T, act: impl FnOnce(&Line, usize) -> bool) {
        let mut numbers = self.shared.numbers.lock();
        let number = numbers.reserve(item);
        if !act(&self.shared.line, number) {
            numbers.release(number);
        }
    }

    fn known(&self, item: &T, act: fn(&Line, usize) -> bool) {
        let mut numbers = self.shared.numbers.lock();
        let Some(number) = numbers.known(item) else { return };
        if !act(&self.shared.line, number) {
            numbers.release(number);
        }
    }
}
