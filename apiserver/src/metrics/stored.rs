//! Calls of the store, and what it holds.

use kubeplane_core::GroupResource;
use kubeplane_telemetry::Metrics;
use parking_lot::Mutex;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric},
    metrics::{
        MetricType,
        counter::Counter,
        family::Family,
        gauge::{ConstGauge, Gauge},
        histogram::Histogram,
    },
};
use std::{
    array,
    borrow::Cow,
    collections::BTreeMap,
    fmt,
    sync::{Arc, OnceLock},
    time::Duration,
};

/// A call: what is done, with objects of what kind. Both names are empty for what is no object.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CallLabels {
    group: Cow<'static, str>,
    operation: &'static str,
    resource: Cow<'static, str>,
}

/// What is done with the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    Get,
    List,
    Create,
    Update,
    Delete,
    Watch,
    Compact,
    Revision,
    Status,
}

impl Operation {
    const COUNT: usize = 9;

    /// As metrics and spans have it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Create => "create",
            Self::Update => "update",
            Self::Delete => "delete",
            Self::Watch => "watch",
            Self::Compact => "compact",
            Self::Revision => "revision",
            Self::Status => "status",
        }
    }
}

/// The calls about objects of one resource. Each is looked up once: every request makes some.
#[derive(Debug)]
pub(crate) struct Calls {
    resource: GroupResource,
    found: [OnceLock<(Histogram, Counter)>; Operation::COUNT],
}

impl Calls {
    pub(crate) fn of(resource: GroupResource) -> Self {
        Self { resource, found: array::from_fn(|_| OnceLock::new()) }
    }

    /// Empty for what is no object.
    pub(crate) fn resource(&self) -> &str {
        &self.resource.resource
    }

    fn labels(&self, operation: Operation) -> CallLabels {
        let GroupResource { group, resource } = self.resource.clone();
        CallLabels { group, operation: operation.as_str(), resource }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct GroupLabels {
    group: String,
    resource: String,
}

/// Counters of what goes to the store.
#[derive(Debug, Clone)]
pub(crate) struct StoreMetrics {
    durations: Family<CallLabels, Histogram>,
    calls: Family<CallLabels, Counter>,
    errors: Family<CallLabels, Counter>,
    size: Family<[(&'static str, &'static str); 1], Gauge>,
    objects: Objects,
}

impl StoreMetrics {
    pub(super) fn new(metrics: &Metrics) -> Self {
        let made = Self {
            durations: Family::new_with_constructor(super::seconds),
            calls: Family::default(),
            errors: Family::default(),
            size: Family::default(),
            objects: Objects::default(),
        };
        metrics.with_registry(|registry| {
            let help = "Seconds a call of the store took";
            registry.register("etcd_request_duration_seconds", help, made.durations.clone());
            registry.register("etcd_requests", "Calls of the store", made.calls.clone());
            let help = "Calls of the store that failed";
            registry.register("etcd_request_errors", help, made.errors.clone());
            let help = "Bytes the store takes";
            registry.register("apiserver_storage_size_bytes", help, made.size.clone());
            registry.register_collector(Box::new(made.objects.clone()));
        });
        made
    }

    /// Counts and times a call.
    pub(crate) fn called(&self, calls: &Calls, operation: Operation, failed: bool, took: Duration) {
        let (durations, count) = calls.found[operation as usize].get_or_init(|| {
            let labels = calls.labels(operation);
            let durations = self.durations.get_or_create(&labels).clone();
            (durations, self.calls.get_or_create(&labels).clone())
        });
        durations.observe(took.as_secs_f64());
        count.inc();
        if failed {
            self.errors.get_or_create(&calls.labels(operation)).inc();
        }
    }

    /// Notes how much room the store takes, in bytes.
    pub(crate) fn sized(&self, bytes: u64) {
        let label = [("storage_cluster_id", "etcd-0")];
        self.size.get_or_create(&label).set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    /// Notes how many objects there are of each resource that is known; of others nothing is told.
    pub(crate) fn counted(&self, objects: BTreeMap<GroupResource, usize>) {
        *self.objects.0.lock() = objects;
    }
}

/// How many objects there are; a resource that is no longer served is forgotten.
#[derive(Debug, Clone, Default)]
struct Objects(Arc<Mutex<BTreeMap<GroupResource, usize>>>);

impl Collector for Objects {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let objects = self.0.lock().clone();
        if objects.is_empty() {
            return Ok(());
        }
        let value = |count: usize| ConstGauge::new(i64::try_from(count).unwrap_or(i64::MAX));
        let help = "Objects stored by resource";
        let name = "apiserver_storage_objects";
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (resource, count) in &objects {
            let label = [("resource", resource.to_string())];
            value(*count).encode(family.encode_family(&label)?)?;
        }
        let name = "apiserver_resource_objects";
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (resource, count) in &objects {
            let (group, resource) = (resource.group.to_string(), resource.resource.to_string());
            let labels = GroupLabels { group, resource };
            value(*count).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}
