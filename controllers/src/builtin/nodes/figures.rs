//! What is told of nodes, under the original's names.

use crate::builtin::figures::{Labels, Place, growing, labels};
use kubeplane_telemetry::Metrics;
use prometheus_client::metrics::{
    counter::Counter, family::Family, gauge::Gauge, histogram::Histogram,
};
use std::{collections::BTreeMap, sync::atomic::AtomicU64, time::Duration};

type Zone = Labels<1>;

/// Of the controller that notices silent nodes.
#[derive(Debug)]
pub(super) struct Figures {
    health: Family<Zone, Gauge<f64, AtomicU64>>,
    size: Family<Zone, Gauge>,
    unhealthy: Family<Zone, Gauge>,
    evictions: Family<Zone, Counter>,
    one: Histogram,
    all: Histogram,
}

fn zone(name: &str) -> Zone {
    labels([("zone", name)])
}

fn count(nodes: usize) -> i64 {
    i64::try_from(nodes).unwrap_or(i64::MAX)
}

impl Figures {
    pub(super) fn shown(metrics: Option<&Metrics>) -> Self {
        let place = Place::new(metrics, "node_collector");
        let one = growing(0.001, 4.0, 8);
        let all = growing(0.01, 4.0, 8);
        Self {
            health: place.show("zone_health", "How many of a zone's nodes are ready, in per cent"),
            size: place.show("zone_size", "Nodes by zone"),
            unhealthy: place.show("unhealthy_nodes_in_zone", "Nodes that are not ready, by zone"),
            evictions: place.show("evictions", "Nodes whose pods were told to leave"),
            one: place.show_this(
                "update_node_health_duration_seconds",
                "How long the look at one node took",
                one,
            ),
            all: place.show_this(
                "update_all_nodes_health_duration_seconds",
                "How long the look at all zones took",
                all,
            ),
        }
    }

    /// How many nodes of each zone are ready and not ready; of the zones `before`, those that are gone have none.
    pub(super) fn zones(&self, counts: &BTreeMap<String, (usize, usize)>, before: &[String]) {
        for (name, (ready, unready)) in counts {
            let (label, whole) = (zone(name), ready + unready);
            #[expect(clippy::cast_precision_loss, reason = "numbers of nodes are small")]
            let share = match whole {
                0 => 100.0,
                whole => 100.0 * *ready as f64 / whole as f64,
            };
            self.health.get_or_create(&label).set(share);
            self.size.get_or_create(&label).set(count(whole));
            self.unhealthy.get_or_create(&label).set(count(*unready));
            // A zone is told of from the first look on.
            drop(self.evictions.get_or_create(&label));
        }
        for gone in before.iter().filter(|name| !counts.contains_key(*name)) {
            self.health.get_or_create(&zone(gone)).set(100.0);
            self.size.get_or_create(&zone(gone)).set(0);
            self.unhealthy.get_or_create(&zone(gone)).set(0);
        }
    }

    pub(super) fn evicted(&self, name: &str) {
        self.evictions.get_or_create(&zone(name)).inc();
    }

    pub(super) fn one_took(&self, time: Duration) {
        self.one.observe(time.as_secs_f64());
    }

    pub(super) fn all_took(&self, time: Duration) {
        self.all.observe(time.as_secs_f64());
    }
}

/// The bounds of the times between what makes pods leave and their deletion, in seconds.
const LATENCIES: [f64; 12] =
    [0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 10.0, 30.0, 60.0, 120.0, 180.0, 240.0];

/// Of the controller that deletes pods from tainted nodes.
#[derive(Debug)]
pub(super) struct Evictions {
    deletions: Counter,
    latencies: Histogram,
}

impl Evictions {
    pub(super) fn shown(metrics: Option<&Metrics>) -> Self {
        let place = Place::new(metrics, "taint_eviction_controller");
        let help = "Seconds from when a pod was to be deleted to its deletion";
        let latencies = Histogram::new(LATENCIES);
        Self {
            deletions: place.show("pod_deletions", "Pods deleted for taints of their nodes"),
            latencies: place.show_this("pod_deletion_duration_seconds", help, latencies),
        }
    }

    pub(super) fn deleted(&self, late: Duration) {
        self.deletions.inc();
        self.latencies.observe(late.as_secs_f64());
    }
}
