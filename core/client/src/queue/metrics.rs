use super::running::{Running, Unfinished};
use kubeplane_clock::SharedClock;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};

/// The `name` label.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct QueueName {
    pub(super) name: String,
}

/// The metrics of all work queues of a process, under the original's names.
#[derive(Debug, Clone)]
pub struct QueueMetrics {
    depth: Family<QueueName, Gauge>,
    adds: Family<QueueName, Counter>,
    retries: Family<QueueName, Counter>,
    queue_duration: Family<QueueName, Histogram>,
    work_duration: Family<QueueName, Histogram>,
    unfinished: Unfinished,
}

/// The metrics of one queue.
#[derive(Debug)]
pub(super) struct QueueGauges {
    pub(super) depth: Gauge,
    pub(super) adds: Counter,
    pub(super) retries: Counter,
    pub(super) queue_duration: Histogram,
    pub(super) work_duration: Histogram,
    pub(super) running: Running,
}

fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(10e-9, 10.0, 10))
}

impl Default for QueueMetrics {
    fn default() -> Self {
        Self {
            depth: Family::default(),
            adds: Family::default(),
            retries: Family::default(),
            queue_duration: Family::new_with_constructor(seconds),
            work_duration: Family::new_with_constructor(seconds),
            unfinished: Unfinished::default(),
        }
    }
}

impl QueueMetrics {
    /// Adds the metrics to what `registry` exposes.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "workqueue_depth",
            "Items ready or to be repeated, by queue",
            self.depth.clone(),
        );
        registry.register("workqueue_adds", "Items added, by queue", self.adds.clone());
        registry.register("workqueue_retries", "Delayed adds, by queue", self.retries.clone());
        let waited = "Seconds an item waited before it was taken";
        registry.register("workqueue_queue_duration_seconds", waited, self.queue_duration.clone());
        let worked = "Seconds the work on an item took";
        registry.register("workqueue_work_duration_seconds", worked, self.work_duration.clone());
        registry.register_collector(Box::new(self.unfinished.clone()));
    }

    pub(super) fn queue(&self, name: &str, clock: &SharedClock) -> QueueGauges {
        let running = self.unfinished.running(name, clock);
        let name = QueueName { name: name.to_owned() };
        QueueGauges {
            depth: self.depth.get_or_create(&name).clone(),
            adds: self.adds.get_or_create(&name).clone(),
            retries: self.retries.get_or_create(&name).clone(),
            queue_duration: self.queue_duration.get_or_create(&name).clone(),
            work_duration: self.work_duration.get_or_create(&name).clone(),
            running,
        }
    }
}
