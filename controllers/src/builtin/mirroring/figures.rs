//! What is told of copies, under the original's names.

use super::Mirrored;
use crate::builtin::{
    endpointslices::{Had, Plan, Sums, count, float, port_key},
    figures::{Labels, Place, growing, labels},
};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};
use kubeplane_client::ObjectKey;
use kubeplane_telemetry::Metrics;
use prometheus_client::metrics::{family::Family, gauge::Gauge, histogram::Histogram};
use std::{collections::HashMap, sync::Arc, time::Duration};

/// What is counted.
#[derive(Debug)]
pub(super) struct Figures {
    added: Histogram,
    updated: Histogram,
    removed: Histogram,
    skipped: Histogram,
    durations: Histogram,
    sums: Sums,
    /// The original's name of it does not end in `_total`.
    changes: Family<Labels<1>, Gauge>,
}

/// Endpoints by their ports and addresses.
fn endpoints<'a>(
    slices: impl Iterator<Item = &'a EndpointSlice>,
) -> HashMap<(String, &'a str), &'a Endpoint> {
    let mut all = HashMap::new();
    for slice in slices {
        let ports = port_key(slice.ports.as_deref().unwrap_or_default());
        for endpoint in slice.endpoints.iter().flatten() {
            let address = endpoint.addresses.first().map_or("", String::as_str);
            all.insert((ports.clone(), address), endpoint);
        }
    }
    all
}

impl Figures {
    pub(super) fn shown(metrics: Option<&Metrics>) -> Self {
        let place = Place::new(metrics, "endpoint_slice_mirroring_controller");
        let show = |name: &str, help: &str| place.show_this(name, help, growing(2.0, 2.0, 15));
        Self {
            added: show("endpoints_added_per_sync", "Endpoints that a look added"),
            updated: show("endpoints_updated_per_sync", "Endpoints that a look changed"),
            removed: show("endpoints_removed_per_sync", "Endpoints that a look removed"),
            skipped: show("addresses_skipped_per_sync", "Addresses that a look left out"),
            durations: place.show_this(
                "endpoints_sync_duration",
                "Seconds that looks at Endpoints took",
                growing(0.001, 2.0, 15),
            ),
            sums: Sums::shown(&place),
            changes: place.show("changes", "Slices written, by what was done"),
        }
    }

    /// What was found, before it is written.
    pub(super) fn planned(
        &self,
        key: &ObjectKey,
        mirrored: &Mirrored,
        present: &[Arc<EndpointSlice>],
        largest: usize,
    ) {
        let wanted = endpoints(mirrored.slices.iter());
        let before = endpoints(present.iter().map(|slice| &**slice));
        let added = wanted.keys().filter(|key| !before.contains_key(*key)).count();
        let removed = before.keys().filter(|key| !wanted.contains_key(*key)).count();
        let updated = wanted.iter().filter(|(key, now)| {
            let before = before.get(*key);
            before.is_some_and(|before| before != *now)
        });
        self.updated.observe(float(updated.count()));
        self.added.observe(float(added));
        self.removed.observe(float(removed));
        self.skipped.observe(float(mirrored.skipped));
        let size = |slice: &EndpointSlice| slice.endpoints.as_ref().map_or(0, Vec::len);
        let enough = mirrored.slices.iter().map(|slice| size(slice).div_ceil(largest));
        let slices = mirrored.slices.len();
        let had = Had {
            endpoints: count(wanted.len()),
            slices: count(slices),
            enough: count(enough.sum()),
        };
        self.sums.set(key, had);
    }

    /// What was written.
    pub(super) fn wrote(&self, sizes: [usize; 3]) {
        for (operation, slices) in ["create", "update", "delete"].into_iter().zip(sizes) {
            if slices > 0 {
                let label = labels([("operation", operation)]);
                self.changes.get_or_create(&label).inc_by(count(slices));
            }
        }
    }

    pub(super) fn took(&self, time: Duration) {
        self.durations.observe(time.as_secs_f64());
    }
}

/// How many slices are created, changed and deleted.
pub(super) fn sizes(plan: &Plan) -> [usize; 3] {
    [plan.create.len(), plan.update.len(), plan.delete.len()]
}
