//! What is told of attached volumes, under the original's names.

use crate::builtin::figures::{Counts, Labels, Place, labels};
use kubeplane_telemetry::Metrics;
use parking_lot::Mutex;
use prometheus_client::metrics::{family::Family, gauge::Gauge};
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
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

/// The volumes of these drivers, one of each, by how the original names their plugins.
pub(super) fn by_plugin<'a>(drivers: impl Iterator<Item = &'a str>) -> Plugins {
    let mut counts = Plugins::new();
    for driver in drivers {
        *counts.entry(format!("kubernetes.io/csi:{driver}")).or_default() += 1;
    }
    counts
}

type Tallies = Arc<Mutex<HashMap<String, Tally>>>;

/// What is counted.
pub(super) struct Figures {
    tallies: Tallies,
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
        let place = Place::new(metrics, "attach_detach_controller");
        let help = "Volumes taken from nodes that did not let them go, by reason";
        Self { tallies, forced: place.show("attachdetach_controller_forced_detaches", help) }
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
