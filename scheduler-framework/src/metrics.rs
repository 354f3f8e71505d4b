mod devices;
mod groups;
mod preemption;
mod resources;

use crate::ClusterEvent;
use devices::DeviceMetrics;
use groups::GroupMetrics;
use kubeplane_telemetry::Metrics;
pub(crate) use preemption::PreemptionMetrics;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
};
pub use resources::PodResources;
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
struct Incoming {
    event: String,
    queue: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EventLabel {
    event: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CacheKind {
    r#type: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Point {
    extension_point: &'static str,
    profile: String,
    status: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Execution {
    extension_point: &'static str,
    plugin: &'static str,
    status: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Evaluation {
    extension_point: &'static str,
    plugin: &'static str,
    profile: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Refusal {
    plugin: &'static str,
    profile: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AttemptCount {
    attempts: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabel {
    result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OperationLabel {
    operation: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HintLabel {
    event: String,
    hint: &'static str,
    plugin: &'static str,
}

/// The scheduler's metrics, under the original's names.
#[derive(Debug, Clone)]
pub(crate) struct SchedulerMetrics {
    attempts: Family<Attempt, Counter>,
    durations: Family<Attempt, Histogram>,
    algorithm: Histogram,
    pending: Family<QueueName, Gauge>,
    incoming: Family<Incoming, Counter>,
    cache: Family<CacheKind, Gauge>,
    tries: Histogram,
    latency: Family<AttemptCount, Histogram>,
    points: Family<Point, Histogram>,
    plugins: Family<Execution, Histogram>,
    evaluations: Family<Evaluation, Counter>,
    refusals: Family<Refusal, Gauge>,
    permits: Family<ResultLabel, Histogram>,
    goroutines: Family<OperationLabel, Gauge>,
    flushed: Counter,
    events: Family<EventLabel, Histogram>,
    in_flight: Family<EventLabel, Gauge>,
    hints: Family<HintLabel, Histogram>,
    volumes: Family<OperationLabel, Counter>,
    /// Of devices for pods.
    pub(crate) devices: DeviceMetrics,
    /// Of pods that others leave for.
    pub(crate) preemption: PreemptionMetrics,
    /// Of pods that are placed together.
    pub(crate) groups: GroupMetrics,
}

fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.001, 2.0, 15))
}

/// Of what plugins do in an instant.
fn short() -> Histogram {
    Histogram::new(exponential_buckets(0.00001, 1.5, 20))
}

impl SchedulerMetrics {
    pub(crate) fn new(metrics: &Metrics) -> Self {
        let own = Self {
            attempts: Family::default(),
            durations: Family::new_with_constructor(seconds),
            algorithm: seconds(),
            pending: Family::default(),
            incoming: Family::default(),
            cache: Family::default(),
            tries: Histogram::new(exponential_buckets(1.0, 2.0, 5)),
            latency: Family::new_with_constructor(|| {
                Histogram::new(exponential_buckets(0.01, 2.0, 20))
            }),
            points: Family::new_with_constructor(|| {
                Histogram::new(exponential_buckets(0.0001, 2.0, 12))
            }),
            plugins: Family::new_with_constructor(short),
            evaluations: Family::default(),
            refusals: Family::default(),
            permits: Family::new_with_constructor(seconds),
            goroutines: Family::default(),
            flushed: Counter::default(),
            events: Family::new_with_constructor(|| {
                Histogram::new(exponential_buckets(0.0001, 2.0, 12))
            }),
            in_flight: Family::default(),
            hints: Family::new_with_constructor(short),
            volumes: Family::default(),
            devices: DeviceMetrics::new(metrics),
            preemption: PreemptionMetrics::new(metrics),
            groups: GroupMetrics::new(metrics),
        };
        own.register(metrics);
        own
    }

    fn register(&self, metrics: &Metrics) {
        metrics.with_registry(|registry| {
            let registry = registry.sub_registry_with_prefix("scheduler");
            let help = "Attempts to schedule pods, by result";
            registry.register("schedule_attempts", help, self.attempts.clone());
            let help = "How long attempts took, with binding";
            registry.register("scheduling_attempt_duration_seconds", help, self.durations.clone());
            let help = "How long it took to find nodes";
            registry.register(
                "scheduling_algorithm_duration_seconds",
                help,
                self.algorithm.clone(),
            );
            let help = "Pods that wait, by queue";
            registry.register("pending_pods", help, self.pending.clone());
            let help = "Pods that came into a queue, by event";
            registry.register("queue_incoming_pods", help, self.incoming.clone());
            let help = "Nodes, pods and assumed pods in the cache";
            registry.register("cache_size", help, self.cache.clone());
            let help = "Attempts until a pod was bound";
            registry.register("pod_scheduling_attempts", help, self.tries.clone());
            let help = "Time from first sight to bound";
            registry.register("pod_scheduling_sli_duration_seconds", help, self.latency.clone());
            let help = "How long all plugins of an extension point took";
            let name = "framework_extension_point_duration_seconds";
            registry.register(name, help, self.points.clone());
            let help = "How long single plugins took, in a tenth of all cycles";
            registry.register("plugin_execution_duration_seconds", help, self.plugins.clone());
            let help = "How often plugins were asked";
            registry.register("plugin_evaluation", help, self.evaluations.clone());
            let help = "Pods that wait because of a plugin, each counted for every such plugin";
            registry.register("unschedulable_pods", help, self.refusals.clone());
            let help = "How long pods waited for permission";
            registry.register("permit_wait_duration_seconds", help, self.permits.clone());
            let help = "Tasks under way, by what they do";
            registry.register("goroutines", help, self.goroutines.clone());
            let help =
                "Pods bound after they were tried again without an event that would help them";
            registry.register("pod_scheduled_after_flush", help, self.flushed.clone());
            let help = "How long it took to see which pods an event helps";
            let name = "event_handling_duration_seconds";
            registry.register(name, help, self.events.clone());
            let help = "Pods under way, and events kept for them, by event";
            registry.register("inflight_events", help, self.in_flight.clone());
            let help = "How long plugins took to say whether an event helps a pod, of a tenth of all such questions";
            let name = "queueing_hint_execution_duration_seconds";
            registry.register(name, help, self.hints.clone());
            let help = "How often the volumes of a pod could not be looked at or bound";
            registry.register("volume_scheduling_stage_error", help, self.volumes.clone());
        });
    }

    pub(crate) fn attempt(&self, result: &'static str, profile: &str, took: Duration) {
        let labels = Attempt { result, profile: profile.to_owned() };
        self.durations.get_or_create(&labels).observe(took.as_secs_f64());
        self.attempts.get_or_create(&labels).inc();
    }

    pub(crate) fn algorithm(&self, took: Duration) {
        self.algorithm.observe(took.as_secs_f64());
    }

    /// A pod is bound; whether it was tried only because it had waited for long.
    pub(crate) fn bound(&self, attempts: u32, since_first_active: Duration, flushed: bool) {
        if flushed {
            self.flushed.inc();
        }
        self.tries.observe(f64::from(attempts));
        let attempts = if attempts >= 15 { "15+".to_owned() } else { attempts.to_string() };
        let label = AttemptCount { attempts };
        self.latency.get_or_create(&label).observe(since_first_active.as_secs_f64());
    }

    pub(crate) fn extension_point(
        &self,
        extension_point: &'static str,
        status: &'static str,
        profile: &str,
        took: Duration,
    ) {
        let labels = Point { extension_point, profile: profile.to_owned(), status };
        self.points.get_or_create(&labels).observe(took.as_secs_f64());
    }

    pub(crate) fn plugin(
        &self,
        plugin: &'static str,
        extension_point: &'static str,
        status: &'static str,
        took: Duration,
    ) {
        let labels = Execution { extension_point, plugin, status };
        self.plugins.get_or_create(&labels).observe(took.as_secs_f64());
    }

    pub(crate) fn evaluated(
        &self,
        plugin: &'static str,
        extension_point: &'static str,
        profile: &str,
        times: u64,
    ) {
        let labels = Evaluation { extension_point, plugin, profile: profile.to_owned() };
        self.evaluations.get_or_create(&labels).inc_by(times);
    }

    pub(crate) fn permitted(&self, result: &'static str, waited: Duration) {
        self.permits.get_or_create(&ResultLabel { result }).observe(waited.as_secs_f64());
    }

    /// An event was taken in.
    pub(crate) fn handled(&self, event: String, took: Duration) {
        self.events.get_or_create(&EventLabel { event }).observe(took.as_secs_f64());
    }

    /// How many events of a kind are kept for pods under way.
    pub(crate) fn kept(&self, event: ClusterEvent) -> Gauge {
        self.in_flight.get_or_create_owned(&EventLabel { event: event.label() })
    }

    /// How many pods are under way.
    pub(crate) fn under_way(&self) -> Gauge {
        let label = EventLabel { event: "PodPopped".to_owned() };
        self.in_flight.get_or_create_owned(&label)
    }

    /// A plugin said whether an event helps a pod.
    pub(crate) fn hinted(
        &self,
        plugin: &'static str,
        event: ClusterEvent,
        helps: bool,
        took: Duration,
    ) {
        let hint = if helps { "Queue" } else { "QueueSkip" };
        let label = HintLabel { event: event.label(), hint, plugin };
        self.hints.get_or_create(&label).observe(took.as_secs_f64());
    }

    /// Volumes could not be looked at (`predicate`) or bound (`bind`).
    pub(crate) fn volumes_failed(&self, operation: &'static str) {
        self.volumes.get_or_create(&OperationLabel { operation }).inc();
    }

    /// A pod came into a queue.
    pub(crate) fn incoming(&self, queue: &'static str, event: &str) {
        self.incoming.get_or_create(&Incoming { event: event.to_owned(), queue }).inc();
    }

    /// A pod begins (1) or ceases (-1) to wait because of a plugin.
    pub(crate) fn refused(&self, plugin: &'static str, profile: &str, change: i64) {
        let labels = Refusal { plugin, profile: profile.to_owned() };
        self.refusals.get_or_create(&labels).inc_by(change);
    }

    pub(crate) fn sizes(
        &self,
        queues: [(&'static str, usize); 4],
        cache: (usize, usize, usize),
        bindings: usize,
    ) {
        let number = |size: usize| i64::try_from(size).unwrap_or(i64::MAX);
        for (queue, size) in queues {
            self.pending.get_or_create(&QueueName { queue }).set(number(size));
        }
        for (kind, size) in [("nodes", cache.0), ("pods", cache.1), ("assumed_pods", cache.2)] {
            self.cache.get_or_create(&CacheKind { r#type: kind }).set(number(size));
        }
        let label = OperationLabel { operation: "binding" };
        self.goroutines.get_or_create(&label).set(number(bindings));
    }
}
