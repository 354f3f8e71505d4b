//! How long it takes until volumes that were asked for are bound, and until those that are to go are gone.

use crate::builtin::figures::{Labels, Place, STORAGE, labels};
use kubeplane_clock::SharedClock;
use kubeplane_telemetry::Metrics;
use parking_lot::Mutex;
use prometheus_client::metrics::{
    counter::Counter, family::Family, gauge::Gauge, histogram::Histogram,
};
use std::{collections::HashMap, time::Duration};

/// What is done to an object.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Operation {
    /// A volume is made for the claim of this key, and bound to it.
    Provision(String),
    /// The volume of this name is deleted.
    Delete(String),
}

impl Operation {
    fn name(&self) -> &'static str {
        match self {
            Self::Provision(_) => "provision",
            Self::Delete(_) => "delete",
        }
    }
}

/// What is under way, and what is told of it under the original's names.
#[derive(Debug)]
pub(super) struct Operations {
    clock: SharedClock,
    /// By whom, and since when.
    begun: Mutex<HashMap<Operation, (String, Duration)>>,
    durations: Family<Labels<2>, Histogram>,
    errors: Family<Labels<2>, Counter>,
    /// The same under a name that does not end in `_total`.
    former: Family<Labels<2>, Gauge>,
}

impl Operations {
    pub(super) fn shown(clock: SharedClock, metrics: Option<&Metrics>) -> Self {
        let durations =
            Family::new_with_constructor((|| Histogram::new(STORAGE)) as fn() -> Histogram);
        let place = Place::new(metrics, "volume_operation");
        let help = "Seconds until volumes were made and bound, or deleted, by plugin";
        let durations = place.show_this("total_seconds", help, durations);
        let help = "Failures to have volumes made or deleted, by plugin";
        Self {
            clock,
            begun: Mutex::default(),
            durations,
            errors: place.show("errors", help),
            former: place.show("total_errors", help),
        }
    }

    /// Something begins, unless it is under way already.
    pub(super) fn begin(&self, operation: Operation, plugin: &str) {
        let plugin = if plugin.is_empty() { "N/A" } else { plugin };
        let now = self.clock.elapsed();
        self.begun.lock().entry(operation).or_insert_with(|| (plugin.to_owned(), now));
    }

    /// It did not work, and is tried again.
    pub(super) fn failed(&self, operation: &Operation) {
        let begun = self.begun.lock();
        let Some((plugin, _)) = begun.get(operation) else { return };
        let label =
            labels([("plugin_name", plugin.as_str()), ("operation_name", operation.name())]);
        self.errors.get_or_create(&label).inc();
        self.former.get_or_create(&label).inc();
    }

    /// It is done.
    pub(super) fn done(&self, operation: &Operation) {
        let Some((plugin, since)) = self.begun.lock().remove(operation) else { return };
        let label = labels([("plugin_name", &*plugin), ("operation_name", operation.name())]);
        let took = self.clock.elapsed().saturating_sub(since);
        self.durations.get_or_create(&label).observe(took.as_secs_f64());
    }

    /// Nothing comes of it any more.
    pub(super) fn forget(&self, operation: &Operation) {
        self.begun.lock().remove(operation);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kubeplane_clock::PausedClock;
    use std::sync::Arc;

    #[test]
    fn an_operation_lasts_from_its_first_try_and_each_failure_counts() {
        let clock = PausedClock::starting_at("2026-01-01T00:00:00Z".parse().unwrap());
        let metrics = Metrics::new();
        let operations = Operations::shown(Arc::new(clock.clone()), Some(&metrics));
        let (claim, volume) =
            (Operation::Provision("shop/data".to_owned()), Operation::Delete("v".to_owned()));
        operations.failed(&claim);
        operations.begin(claim.clone(), "disks.example.com");
        clock.advance(Duration::from_secs(2));
        operations.begin(claim.clone(), "disks.example.com");
        operations.failed(&claim);
        clock.advance(Duration::from_secs(2));
        operations.done(&claim);
        operations.done(&claim);
        operations.begin(volume.clone(), "");
        operations.failed(&volume);
        operations.forget(&volume);
        operations.done(&volume);
        let text = metrics.encode_plain();
        let provision = "{plugin_name=\"disks.example.com\",operation_name=\"provision\"} ";
        let delete = "{plugin_name=\"N/A\",operation_name=\"delete\"} ";
        for line in [
            format!("volume_operation_errors_total{provision}1"),
            format!("volume_operation_total_errors{provision}1"),
            format!("volume_operation_total_seconds_count{provision}1"),
            format!("volume_operation_total_seconds_sum{provision}4.0"),
            format!("volume_operation_errors_total{delete}1"),
        ] {
            assert!(text.lines().any(|own| own == line), "{line}\n{text}");
        }
        assert!(!text.contains(&format!("volume_operation_total_seconds_count{delete}")), "{text}");
    }
}
