//! What priority levels let through and send away.

use kubeplane_telemetry::Metrics;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
};
use std::sync::atomic::AtomicU64;

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

const DEMAND: [(&str, &str); 4] = [
    (
        "apiserver_flowcontrol_demand_seats_high_watermark",
        "The most seats that were wanted of a level in the last ten seconds",
    ),
    (
        "apiserver_flowcontrol_demand_seats_average",
        "Seats that were wanted of a level in the last ten seconds, on the average",
    ),
    (
        "apiserver_flowcontrol_demand_seats_stdev",
        "How far the seats that were wanted were from their average",
    ),
    (
        "apiserver_flowcontrol_demand_seats_smoothed",
        "Seats that were wanted of a level of late, what is long ago counting less",
    ),
];

/// What is counted of flows, under the original's names.
#[derive(Debug, Clone, Default)]
pub(crate) struct FlowMetrics {
    dispatched: Family<Schema, Counter>,
    rejected: Family<Refusal, Counter>,
    nominal: Family<Level, Gauge>,
    lower: Family<Level, Gauge>,
    upper: Family<Level, Gauge>,
    current: Family<Level, Gauge>,
    /// The most of the last period, its average and deviation, and all of that smoothed.
    demand: [Family<Level, Gauge<f64, AtomicU64>>; 4],
}

/// The seats of a level.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seats {
    pub(crate) nominal: usize,
    pub(crate) lower: usize,
    pub(crate) upper: usize,
    pub(crate) current: usize,
    /// As in [`FlowMetrics`].
    pub(crate) demand: [f64; 4],
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
                "Seats of a level when all levels are busy",
                Family::default(),
            ),
            lower: metrics.show(
                "apiserver_flowcontrol_lower_limit_seats",
                "Seats that a level lends to nobody",
                Family::default(),
            ),
            upper: metrics.show(
                "apiserver_flowcontrol_upper_limit_seats",
                "Seats that a level has with all that it may borrow",
                Family::default(),
            ),
            current: metrics.show(
                "apiserver_flowcontrol_current_limit_seats",
                "Seats that a level has now",
                Family::default(),
            ),
            demand: DEMAND.map(|(name, help)| metrics.show(name, help, Family::default())),
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
    pub(crate) fn adjusted<'a>(&self, levels: impl Iterator<Item = (&'a str, Seats)>) {
        let gauges = [&self.nominal, &self.lower, &self.upper, &self.current];
        gauges.iter().for_each(|gauge| gauge.clear());
        self.demand.iter().for_each(Family::clear);
        for (name, seats) in levels.filter(|(name, _)| !name.is_empty()) {
            let level = Level { priority_level: name.to_owned() };
            let values = [seats.nominal, seats.lower, seats.upper, seats.current];
            for (gauge, value) in gauges.iter().zip(values) {
                gauge.get_or_create(&level).set(i64::try_from(value).unwrap_or(i64::MAX));
            }
            for (gauge, value) in self.demand.iter().zip(seats.demand) {
                gauge.get_or_create(&level).set(value);
            }
        }
    }
}
