//! What priority levels let through and send away.

use kubeplane_telemetry::Metrics;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Schema {
    flow_schema: String,
    priority_level: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Refusal {
    flow_schema: String,
    priority_level: String,
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Level {
    priority_level: String,
}

/// What is counted of flows, under the original's names.
#[derive(Debug, Clone, Default)]
pub(crate) struct FlowMetrics {
    dispatched: Family<Schema, Counter>,
    rejected: Family<Refusal, Counter>,
    nominal: Family<Level, Gauge>,
}

impl FlowMetrics {
    pub(crate) fn new(metrics: &Metrics) -> Self {
        Self {
            dispatched: metrics.show(
                "apiserver_flowcontrol_dispatched_requests",
                "Requests that were executed",
                Family::default(),
            ),
            rejected: metrics.show(
                "apiserver_flowcontrol_rejected_requests",
                "Requests that were sent away",
                Family::default(),
            ),
            nominal: metrics.show(
                "apiserver_flowcontrol_nominal_limit_seats",
                "How many requests of a level run at once when all levels are busy",
                Family::default(),
            ),
        }
    }

    /// The counter of requests of a schema that were executed.
    pub(crate) fn dispatched(&self, schema: &str, level: &str) -> Counter {
        let labels = Schema { flow_schema: schema.to_owned(), priority_level: level.to_owned() };
        self.dispatched.get_or_create(&labels).clone()
    }

    /// Counts a request that was sent away.
    pub(crate) fn rejected(&self, schema: &str, level: &str, reason: &'static str) {
        let (flow_schema, priority_level) = (schema.to_owned(), level.to_owned());
        self.rejected.get_or_create(&Refusal { flow_schema, priority_level, reason }).inc();
    }

    /// Says what these levels have now; those that are gone are shown no more.
    pub(crate) fn nominal<'a>(&self, levels: impl Iterator<Item = (&'a str, usize)>) {
        self.nominal.clear();
        for (level, seats) in levels {
            let labels = Level { priority_level: level.to_owned() };
            self.nominal.get_or_create(&labels).set(i64::try_from(seats).unwrap_or(i64::MAX));
        }
    }
}
