use kubeplane_telemetry::Metrics;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
};
use std::time::Duration;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Attempt {
    result: &'static str,
    profile: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct QueueName {
    queue: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CacheKind {
    r#type: &'static str,
}

/// The scheduler's metrics, under the original's names.
#[derive(Debug, Clone)]
pub(crate) struct SchedulerMetrics {
    attempts: Family<Attempt, Counter>,
    durations: Family<Attempt, Histogram>,
    pending: Family<QueueName, Gauge>,
    cache: Family<CacheKind, Gauge>,
    tries: Histogram,
    latency: Histogram,
}

fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.001, 2.0, 15))
}

impl SchedulerMetrics {
    pub(crate) fn new(metrics: &Metrics) -> Self {
        let own = Self {
            attempts: Family::default(),
            durations: Family::new_with_constructor(seconds),
            pending: Family::default(),
            cache: Family::default(),
            tries: Histogram::new([1.0, 2.0, 4.0, 8.0, 16.0]),
            latency: Histogram::new(exponential_buckets(0.01, 2.0, 20)),
        };
        metrics.with_registry(|registry| {
            registry.register(
                "scheduler_schedule_attempts",
                "Attempts to schedule pods, by result",
                own.attempts.clone(),
            );
            registry.register(
                "scheduler_scheduling_attempt_duration_seconds",
                "How long attempts took, without binding",
                own.durations.clone(),
            );
            registry.register(
                "scheduler_pending_pods",
                "Pods that wait, by queue",
                own.pending.clone(),
            );
            registry.register(
                "scheduler_scheduler_cache_size",
                "Nodes, pods and assumed pods in the cache",
                own.cache.clone(),
            );
            registry.register(
                "scheduler_pod_scheduling_attempts",
                "Attempts until a pod was bound",
                own.tries.clone(),
            );
            registry.register(
                "scheduler_pod_scheduling_sli_duration_seconds",
                "Time from first sight to bound",
                own.latency.clone(),
            );
        });
        own
    }

    pub(crate) fn attempt(&self, result: &'static str, profile: &str, took: Duration) {
        let labels = Attempt { result, profile: profile.to_owned() };
        self.durations.get_or_create(&labels).observe(took.as_secs_f64());
        self.attempts.get_or_create(&labels).inc();
    }

    pub(crate) fn bound(&self, attempts: u32, since_first_seen: Duration) {
        self.tries.observe(f64::from(attempts));
        self.latency.observe(since_first_seen.as_secs_f64());
    }

    pub(crate) fn sizes(&self, queues: [(&'static str, usize); 4], cache: (usize, usize, usize)) {
        let number = |size: usize| i64::try_from(size).unwrap_or(i64::MAX);
        for (queue, size) in queues {
            self.pending.get_or_create(&QueueName { queue }).set(number(size));
        }
        for (kind, size) in [("nodes", cache.0), ("pods", cache.1), ("assumed_pods", cache.2)] {
            self.cache.get_or_create(&CacheKind { r#type: kind }).set(number(size));
        }
    }
}
