use super::{Attempt, seconds};
use kubeplane_telemetry::Metrics;
use prometheus_client::metrics::{counter::Counter, family::Family, histogram::Histogram};
use std::time::Duration;

/// What becomes of pods that are placed together.
#[derive(Debug, Clone)]
pub(crate) struct GroupMetrics {
    attempts: Family<Attempt, Counter>,
    durations: Family<Attempt, Histogram>,
    algorithm: Histogram,
}

impl GroupMetrics {
    pub(super) fn new(metrics: &Metrics) -> Self {
        let own = Self {
            attempts: Family::default(),
            durations: Family::new_with_constructor(seconds),
            algorithm: seconds(),
        };
        metrics.with_registry(|registry| {
            let registry = registry.sub_registry_with_prefix("scheduler");
            let help = "Attempts to schedule groups of pods, by result";
            registry.register("podgroup_schedule_attempts", help, own.attempts.clone());
            let help = "How long such attempts took";
            let name = "podgroup_scheduling_attempt_duration_seconds";
            registry.register(name, help, own.durations.clone());
            let help = "How long it took to find nodes for groups of pods";
            let name = "podgroup_scheduling_algorithm_duration_seconds";
            registry.register(name, help, own.algorithm.clone());
        });
        own
    }

    /// Nodes were looked for.
    pub(crate) fn algorithm(&self, took: Duration) {
        self.algorithm.observe(took.as_secs_f64());
    }

    pub(crate) fn attempt(&self, result: &'static str, profile: &str, took: Duration) {
        let labels = Attempt { result, profile: profile.to_owned() };
        self.durations.get_or_create(&labels).observe(took.as_secs_f64());
        self.attempts.get_or_create(&labels).inc();
    }
}
