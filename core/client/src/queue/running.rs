//! Work under way, which no histogram shows before it ends: how much, and since when.

use super::metrics::QueueName;
use kubeplane_clock::SharedClock;
use parking_lot::Mutex;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, gauge::ConstGauge},
};
use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Weak},
    time::Duration,
};

/// When the items being worked on were taken, with how many at each time.
type Starts = Mutex<BTreeMap<Duration, usize>>;

/// The work under way of one queue.
#[derive(Debug)]
pub(super) struct Running(Arc<Starts>);

impl Running {
    pub(super) fn begin(&self, at: Duration) {
        *self.0.lock().entry(at).or_default() += 1;
    }

    pub(super) fn end(&self, began: Duration) {
        let mut starts = self.0.lock();
        if let Some(count) = starts.get_mut(&began) {
            *count -= 1;
            if *count == 0 {
                starts.remove(&began);
            }
        }
    }
}

#[derive(Clone)]
struct Queue {
    name: String,
    clock: SharedClock,
    starts: Weak<Starts>,
}

/// The queues whose work under way is shown.
#[derive(Clone, Default)]
pub(super) struct Unfinished(Arc<Mutex<Vec<Queue>>>);

impl fmt::Debug for Unfinished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.lock().iter().map(|queue| queue.name.clone())).finish()
    }
}

impl Unfinished {
    pub(super) fn running(&self, name: &str, clock: &SharedClock) -> Running {
        let starts = Arc::new(Starts::default());
        let mut queues = self.0.lock();
        queues.retain(|queue| queue.starts.strong_count() > 0);
        queues.push(Queue {
            name: name.to_owned(),
            clock: clock.clone(),
            starts: Arc::downgrade(&starts),
        });
        Running(starts)
    }

    /// Seconds spent so far, all items together and the oldest alone, by queue name.
    fn seconds(&self) -> BTreeMap<String, (f64, f64)> {
        let mut all = BTreeMap::new();
        for queue in self.0.lock().iter() {
            let Some(starts) = queue.starts.upgrade() else { continue };
            let now = queue.clock.elapsed();
            let (sum, longest): &mut (f64, f64) = all.entry(queue.name.clone()).or_default();
            for (start, count) in starts.lock().iter() {
                let spent = now.saturating_sub(*start).as_secs_f64();
                *sum += spent * u32::try_from(*count).map_or(f64::MAX, f64::from);
                *longest = longest.max(spent);
            }
        }
        all
    }
}

impl Collector for Unfinished {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let seconds = self.seconds();
        if seconds.is_empty() {
            return Ok(());
        }
        let mut gauges = |name: &str, help: &str, pick: fn(&(f64, f64)) -> f64| {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (name, spent) in &seconds {
                let label = QueueName { name: name.clone() };
                ConstGauge::new(pick(spent)).encode(family.encode_family(&label)?)?;
            }
            Ok::<_, fmt::Error>(())
        };
        gauges(
            "workqueue_unfinished_work_seconds",
            "Seconds of work under way, all items together",
            |(sum, _)| *sum,
        )?;
        gauges(
            "workqueue_longest_running_processor_seconds",
            "Seconds since the oldest item under way was taken",
            |(_, longest)| *longest,
        )
    }
}
