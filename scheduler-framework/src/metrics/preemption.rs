use super::ResultLabel;
use kubeplane_telemetry::Metrics;
use prometheus_client::metrics::{
    counter::Counter,
    family::Family,
    histogram::{Histogram, exponential_buckets},
};
use std::time::Duration;

/// What making room comes to.
#[derive(Debug, Clone)]
pub(crate) struct PreemptionMetrics {
    attempts: Counter,
    victims: Histogram,
    durations: Family<ResultLabel, Histogram>,
    executions: Family<ResultLabel, Counter>,
}

impl PreemptionMetrics {
    pub(super) fn new(metrics: &Metrics) -> Self {
        let own = Self {
            attempts: Counter::default(),
            victims: Histogram::new(exponential_buckets(1.0, 2.0, 7)),
            durations: Family::new_with_constructor(|| {
                Histogram::new(exponential_buckets(0.01, 2.0, 20))
            }),
            executions: Family::default(),
        };
        metrics.with_registry(|registry| {
            let registry = registry.sub_registry_with_prefix("scheduler");
            let help = "Attempts to make room";
            registry.register("preemption_attempts", help, own.attempts.clone());
            let help = "How many pods had to leave for one";
            registry.register("preemption_victims", help, own.victims.clone());
            let help = "How long it took to delete the pods that had to leave";
            let name = "preemption_goroutines_duration_seconds";
            registry.register(name, help, own.durations.clone());
            let help = "How often pods that had to leave were deleted";
            let name = "preemption_goroutines_execution";
            registry.register(name, help, own.executions.clone());
        });
        own
    }

    /// Room was looked for.
    pub(crate) fn attempted(&self) {
        self.attempts.inc();
    }

    /// So many pods have to leave.
    pub(crate) fn chosen(&self, victims: usize) {
        self.victims.observe(f64::from(u32::try_from(victims).unwrap_or(u32::MAX)));
    }

    /// They were told to, or some could not be.
    pub(crate) fn done(&self, well: bool, took: Duration) {
        let label = ResultLabel { result: if well { "success" } else { "error" } };
        self.durations.get_or_create(&label).observe(took.as_secs_f64());
        self.executions.get_or_create(&label).inc();
    }
}
