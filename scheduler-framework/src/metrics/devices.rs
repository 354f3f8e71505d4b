use kubeplane_telemetry::Metrics;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{
        counter::Counter,
        family::Family,
        histogram::{Histogram, exponential_buckets},
    },
};
use std::time::Duration;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Creation {
    status: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Binding {
    driver: String,
    profile: String,
    status: &'static str,
}

/// What becomes of devices for pods.
#[derive(Debug, Clone)]
pub(crate) struct DeviceMetrics {
    creations: Family<Creation, Counter>,
    allocations: Family<Binding, Counter>,
    waits: Family<Binding, Histogram>,
}

impl DeviceMetrics {
    pub(super) fn new(metrics: &Metrics) -> Self {
        let own = Self {
            creations: Family::default(),
            allocations: Family::default(),
            waits: Family::new_with_constructor(|| {
                Histogram::new(exponential_buckets(0.1, 2.0, 14))
            }),
        };
        metrics.with_registry(|registry| {
            let registry = registry.sub_registry_with_prefix("scheduler");
            let help = "Claims that were made for extended resources, or could not be";
            registry.register("resourceclaim_creates", help, own.creations.clone());
            let help =
                "Devices that had to be made ready before a pod was bound, by how that ended";
            let name = "dra_bindingconditions_allocations";
            registry.register(name, help, own.allocations.clone());
            let help = "How long pods waited for devices to be made ready";
            let name = "dra_bindingconditions_wait_duration_seconds";
            registry.register(name, help, own.waits.clone());
        });
        own
    }

    /// A claim was made, or could not be.
    pub(crate) fn created(&self, well: bool) {
        let status = if well { "success" } else { "failure" };
        self.creations.get_or_create(&Creation { status }).inc();
    }

    /// A pod with this device of a driver waited; whether that was for this one.
    pub(crate) fn waited(
        &self,
        profile: &str,
        driver: &str,
        status: &'static str,
        took: Duration,
        for_this: bool,
    ) {
        let label = Binding { driver: driver.to_owned(), profile: profile.to_owned(), status };
        self.waits.get_or_create(&label).observe(took.as_secs_f64());
        if for_this {
            self.allocations.get_or_create(&label).inc();
        }
    }
}
