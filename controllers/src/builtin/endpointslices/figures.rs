//! What is told of slices, under the original's names.

use super::{Plan, desired::Desired, diff::identity};
use crate::builtin::figures::{Labels, Place, growing, labels};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kubeplane_client::ObjectKey;
use kubeplane_telemetry::Metrics;
use parking_lot::Mutex;
use prometheus_client::metrics::{family::Family, gauge::Gauge, histogram::Histogram};
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

/// What one Service has: endpoints, slices, and as many slices as would be enough.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::builtin) struct Had {
    pub(in crate::builtin) endpoints: i64,
    pub(in crate::builtin) slices: i64,
    pub(in crate::builtin) enough: i64,
}

/// What all of them have together.
#[derive(Debug)]
pub(in crate::builtin) struct Sums {
    endpoints: Gauge,
    slices: Gauge,
    enough: Gauge,
    had: Mutex<HashMap<ObjectKey, Had>>,
}

impl Sums {
    pub(in crate::builtin) fn shown(place: &Place<'_>) -> Self {
        Self {
            endpoints: place.show("endpoints_desired", "Endpoints there should be"),
            slices: place.show("num_endpoint_slices", "Slices there are"),
            enough: place.show("desired_endpoint_slices", "Slices that would be enough"),
            had: Mutex::default(),
        }
    }

    /// This one has so much from now on.
    pub(in crate::builtin) fn set(&self, key: &ObjectKey, now: Had) {
        let mut had = self.had.lock();
        let before =
            if now == Had::default() { had.remove(key) } else { had.insert(key.clone(), now) };
        let before = before.unwrap_or_default();
        self.endpoints.inc_by(now.endpoints - before.endpoints);
        self.slices.inc_by(now.slices - before.slices);
        self.enough.inc_by(now.enough - before.enough);
    }
}

/// The bounds of how many slices a look changed: those that clients of Prometheus have by default, as nobody chose others.
const CHANGED: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// The metrics, and what they sum up.
#[derive(Debug)]
pub(super) struct Figures {
    added: Histogram,
    removed: Histogram,
    changed: Family<Labels<2>, Histogram>,
    sums: Sums,
    distributions: Family<Labels<1>, Gauge>,
    /// The original's names of these two do not end in `_total`.
    changes: Family<Labels<1>, Gauge>,
    syncs: Family<Labels<1>, Gauge>,
    /// The distributions of Services that have one.
    chosen: Mutex<HashMap<ObjectKey, String>>,
    /// The most endpoints in one slice.
    largest: usize,
}

pub(in crate::builtin) fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[expect(clippy::cast_precision_loss, reason = "there are never so many endpoints")]
pub(in crate::builtin) fn float(number: usize) -> f64 {
    number as f64
}

impl Figures {
    pub(super) fn shown(metrics: Option<&Metrics>, largest: usize) -> Self {
        let place = Place::new(metrics, "endpoint_slice_controller");
        let per_sync = || growing(2.0, 2.0, 15);
        let changed =
            Family::new_with_constructor((|| Histogram::new(CHANGED)) as fn() -> Histogram);
        Self {
            added: place.show_this(
                "endpoints_added_per_sync",
                "Endpoints that a look at a Service added",
                per_sync(),
            ),
            removed: place.show_this(
                "endpoints_removed_per_sync",
                "Endpoints that a look at a Service removed",
                per_sync(),
            ),
            changed: place.show_this(
                "endpointslices_changed_per_sync",
                "Slices that a look at a Service changed",
                changed,
            ),
            sums: Sums::shown(&place),
            distributions: place.show(
                "services_count_by_traffic_distribution",
                "Services by their traffic distribution",
            ),
            changes: place.show("changes", "Slices written, by what was done"),
            syncs: place.show("syncs", "Looks at Services, by their result"),
            chosen: Mutex::default(),
            largest,
        }
    }

    /// What a plan is about to change.
    pub(super) fn planned(
        &self,
        key: &ObjectKey,
        (topology, distribution): (bool, Option<&str>),
        desired: &Desired,
        (plan, present): (&Plan, &[Arc<EndpointSlice>]),
    ) {
        let groups = || desired.families.values().flat_map(BTreeMap::values);
        let wanted: HashSet<String> =
            groups().flat_map(|group| &group.endpoints).map(identity).collect();
        let before = present.iter().flat_map(|slice| slice.endpoints.iter().flatten());
        let before: HashSet<String> = before.map(identity).collect();
        self.added.observe(float(wanted.difference(&before).count()));
        self.removed.observe(float(before.difference(&wanted).count()));
        let changed = plan.create.len() + plan.update.len() + plan.delete.len();
        let mode = if topology { "Auto" } else { "Disabled" };
        let distribution = distribution.filter(|_| !topology);
        let shown = distribution.unwrap_or_default();
        let label = labels([("topology", mode), ("traffic_distribution", shown)]);
        self.changed.get_or_create(&label).observe(float(changed));

        let of_family = |family: &BTreeMap<_, super::desired::Group>| {
            let sizes = family.values().map(|group| group.endpoints.len().div_ceil(self.largest));
            // An empty one stays where there is nothing.
            sizes.sum::<usize>().max(1)
        };
        let had = Had {
            endpoints: count(groups().map(|group| group.endpoints.len()).sum()),
            slices: count((present.len() + plan.create.len()).saturating_sub(plan.delete.len())),
            enough: count(desired.families.values().map(of_family).sum()),
        };
        self.sums.set(key, had);
        self.distribute(key, distribution);
    }

    fn distribute(&self, key: &ObjectKey, now: Option<&str>) {
        let before = match now {
            Some(now) => self.chosen.lock().insert(key.clone(), now.to_owned()),
            None => self.chosen.lock().remove(key),
        };
        if before.as_deref() == now {
            return;
        }
        let of = |name: &str| labels([("traffic_distribution", name)]);
        if let Some(before) = &before {
            self.distributions.get_or_create(&of(before)).dec();
        }
        if let Some(now) = now {
            self.distributions.get_or_create(&of(now)).inc();
        }
    }

    pub(super) fn wrote(&self, operation: &str, slices: usize) {
        if slices > 0 {
            let label = labels([("operation", operation)]);
            self.changes.get_or_create(&label).inc_by(count(slices));
        }
    }

    /// `stale` when the cache did not show its own writes yet.
    pub(super) fn synced(&self, result: &str) {
        self.syncs.get_or_create(&labels([("result", result)])).inc();
    }

    /// The Service is gone.
    pub(super) fn forget(&self, key: &ObjectKey) {
        self.sums.set(key, Had::default());
        self.distribute(key, None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_many_slices_changed_is_told_in_the_bounds_that_dashboards_know() {
        let metrics = Metrics::new();
        let figures = Figures::shown(Some(&metrics), 100);
        let label = labels([("topology", "Disabled"), ("traffic_distribution", "")]);
        figures.changed.get_or_create(&label).observe(2.0);
        let text = metrics.encode_plain();
        let name = "endpoint_slice_controller_endpointslices_changed_per_sync_bucket";
        let bounds: Vec<_> = text
            .lines()
            .filter(|line| line.starts_with(name))
            .filter_map(|line| line.split("le=\"").nth(1)?.split('"').next()?.parse().ok())
            .filter(|bound: &f64| bound.is_finite())
            .collect();
        assert_eq!(bounds, CHANGED);
    }
}
