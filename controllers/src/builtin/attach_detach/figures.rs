//! What is told of attached volumes, under the original's names.

use crate::builtin::figures::{Counts, Labels, Place, STORAGE, labels};
use kubeplane_telemetry::Metrics;
use parking_lot::Mutex;
use prometheus_client::metrics::{family::Family, gauge::Gauge, histogram::Histogram};
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

/// How many volumes, by plugin.
pub(super) type Plugins = BTreeMap<String, i64>;

/// The volumes of one node.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// What is to be attached.
    pub(super) desired: Plugins,
    /// What is attached, or about to be.
    pub(super) actual: Plugins,
    /// What its pods have, counted with each of them.
    pub(super) used: Plugins,
}

/// How the original names the plugin of a driver's volumes.
fn plugin(driver: &str) -> String {
    format!("kubernetes.io/csi:{driver}")
}

/// The volumes of these drivers, one of each, by plugin.
pub(super) fn by_plugin<'a>(drivers: impl Iterator<Item = &'a str>) -> Plugins {
    let mut counts = Plugins::new();
    for driver in drivers {
        *counts.entry(plugin(driver)).or_default() += 1;
    }
    counts
}

type Tallies = Arc<Mutex<HashMap<String, Tally>>>;

/// What is counted. Clones count together.
#[derive(Clone)]
pub(super) struct Figures {
    tallies: Tallies,
    /// By plugin, what was done, how it ended, and whether a driver took the volume over.
    operations: Family<Labels<4>, Histogram>,
    /// Volumes taken away without asking the node, by reason; the original's name does not end in `_total`.
    forced: Family<Labels<1>, Gauge>,
}

impl Figures {
    pub(super) fn shown(metrics: Option<&Metrics>) -> Self {
        let tallies = Tallies::default();
        let own = tallies.clone();
        let help = "Volumes that are to be attached to nodes, and that are, by plugin";
        let place = Place::new(metrics, "attachdetach_controller");
        place.count("total_volumes", help, move || total(&own));
        let own = tallies.clone();
        let help = "Volumes that pods have, by node and plugin";
        let place = Place::new(metrics, "storage_count");
        place.count("attachable_volumes_in_use", help, move || in_use(&own));
        let operations =
            Family::new_with_constructor((|| Histogram::new(STORAGE)) as fn() -> Histogram);
        let help = "Seconds that it took to attach and detach volumes, by plugin";
        let place = Place::new(metrics, "storage_operation");
        let operations = place.show_this("duration_seconds", help, operations);
        let place = Place::new(metrics, "attach_detach_controller");
        let help = "Volumes taken from nodes that did not let them go, by reason";
        let forced = place.show("attachdetach_controller_forced_detaches", help);
        Self { tallies, operations, forced }
    }

    /// What a node has from now on.
    pub(super) fn set(&self, node: &str, tally: Tally) {
        let mut all = self.tallies.lock();
        if tally == Tally::default() {
            all.remove(node);
        } else {
            all.insert(node.to_owned(), tally);
        }
    }

    /// A driver's volume was attached to a node, or was not.
    pub(super) fn attached(&self, driver: &str, worked: bool, took: Duration) {
        let status = if worked { "success" } else { "fail-unknown" };
        self.done(driver, "volume_attach", status, took);
    }

    /// A driver's volume was detached.
    pub(super) fn detached(&self, driver: &str, took: Duration) {
        self.done(driver, "volume_detach", "success", took);
    }

    fn done(&self, driver: &str, operation: &str, status: &str, took: Duration) {
        let label = labels([
            ("volume_plugin", &*plugin(driver)),
            ("operation_name", operation),
            ("status", status),
            ("migrated", "false"),
        ]);
        self.operations.get_or_create(&label).observe(took.as_secs_f64());
    }

    pub(super) fn forced(&self, reason: &str) {
        self.forced.get_or_create(&labels([("reason", reason)])).inc();
    }
}

fn total(tallies: &Tallies) -> Counts<2> {
    let mut counts = Counts::new();
    for tally in tallies.lock().values() {
        let states =
            [("desired_state_of_world", &tally.desired), ("actual_state_of_world", &tally.actual)];
        for (state, plugins) in states {
            for (plugin, count) in plugins {
                let label = labels([("plugin_name", plugin.as_str()), ("state", state)]);
                *counts.entry(label).or_default() += count;
            }
        }
    }
    counts
}

fn in_use(tallies: &Tallies) -> Counts<2> {
    let mut counts = Counts::new();
    for (node, tally) in &*tallies.lock() {
        for (plugin, count) in &tally.used {
            let label = labels([("node", node.as_str()), ("volume_plugin", plugin.as_str())]);
            counts.insert(label, *count);
        }
    }
    counts
}
