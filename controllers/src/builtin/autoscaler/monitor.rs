//! What the autoscaler tells of itself, under the original's names.

use super::compute::{Failure, Found};
use crate::Error;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use kubeplane_client::{Change, ObjectKey};
use kubeplane_telemetry::Metrics;
use parking_lot::Mutex;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};
use std::{collections::HashSet, fmt::Debug, hash::Hash, sync::Arc, time::Duration};

/// What a look led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Done {
    Up,
    Down,
    None,
}

impl Done {
    pub(super) fn of(current: i32, wanted: i32) -> Self {
        match wanted.cmp(&current) {
            std::cmp::Ordering::Greater => Self::Up,
            std::cmp::Ordering::Less => Self::Down,
            std::cmp::Ordering::Equal => Self::None,
        }
    }

    fn label(self) -> &'static str {
        match self {
            Self::Up => "scale_up",
            Self::Down => "scale_down",
            Self::None => "none",
        }
    }
}

/// Whose fault it is that a look failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failed {
    No,
    /// The autoscaler asks for what cannot be.
    Spec,
    Internal,
}

impl Failed {
    pub(super) fn of(error: Option<&Error>) -> Self {
        match error {
            None => Self::No,
            Some(Error::Invalid(_)) => Self::Spec,
            Some(_) => Self::Internal,
        }
    }

    fn label(self) -> &'static str {
        match self {
            Self::No => "none",
            Self::Spec => "spec",
            Self::Internal => "internal",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Look {
    action: &'static str,
    error: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Computation {
    action: &'static str,
    error: &'static str,
    metric_type: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Name {
    namespace: String,
    hpa_name: String,
}

fn name(key: &ObjectKey) -> Name {
    Name { namespace: key.namespace.clone(), hpa_name: key.name.clone() }
}

fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.001, 2.0, 15))
}

/// How often something was done, and how long it took.
#[derive(Debug, Clone)]
struct Timed<L> {
    counts: Family<L, Counter>,
    durations: Family<L, Histogram>,
}

impl<L: Clone + Debug + Eq + Hash + EncodeLabelSet + Send + Sync + 'static> Timed<L> {
    fn new() -> Self {
        Self { counts: Family::default(), durations: Family::new_with_constructor(seconds) }
    }

    fn register(&self, registry: &mut Registry, count: &str, duration: &str, what: &str) {
        registry.register(count, what, self.counts.clone());
        registry.register(duration, format!("{what}, in seconds"), self.durations.clone());
    }

    fn note(&self, label: &L, took: Duration) {
        self.counts.get_or_create(label).inc();
        self.durations.get_or_create(label).observe(took.as_secs_f64());
    }
}

/// The metrics; clones are the same ones.
#[derive(Debug, Clone)]
pub(super) struct Monitor {
    looks: Timed<Look>,
    computations: Timed<Computation>,
    count: Gauge,
    wanted: Family<Name, Gauge>,
    known: Arc<Mutex<HashSet<ObjectKey>>>,
}

impl Monitor {
    /// Counts for `metrics`, if there are any.
    pub(super) fn registered(metrics: Option<&Metrics>) -> Self {
        let own = Self {
            looks: Timed::new(),
            computations: Timed::new(),
            count: Gauge::default(),
            wanted: Family::default(),
            known: Arc::default(),
        };
        if let Some(metrics) = metrics {
            metrics.with_registry(|registry| {
                let of = registry.sub_registry_with_prefix("horizontal_pod_autoscaler_controller");
                let (count, duration) = ("reconciliations", "reconciliation_duration_seconds");
                own.looks.register(of, count, duration, "Looks at autoscalers");
                let (count, duration) =
                    ("metric_computation", "metric_computation_duration_seconds");
                own.computations.register(of, count, duration, "Figures computed");
                of.register("num_horizontal_pod_autoscalers", "Autoscalers", own.count.clone());
                of.register("desired_replicas", "What autoscalers want", own.wanted.clone());
            });
        }
        own
    }

    pub(super) fn changed(&self, change: &Change<HorizontalPodAutoscaler>) {
        let key = ObjectKey::of(&**change.object());
        let mut known = self.known.lock();
        if change.is_deleted() {
            self.wanted.remove(&name(&key));
            known.remove(&key);
        } else {
            known.insert(key);
        }
        self.count.set(i64::try_from(known.len()).unwrap_or(i64::MAX));
    }

    pub(super) fn reconciled(&self, done: Done, failed: Failed, took: Duration) {
        let label = Look { action: done.label(), error: failed.label() };
        self.looks.note(&label, took);
    }

    pub(super) fn computed(
        &self,
        kind: &str,
        outcome: &Result<Found, Failure>,
        current: i32,
        took: Duration,
    ) {
        let (done, failed) = match outcome {
            Ok(found) => (Done::of(current, found.replicas), Failed::No),
            Err(failure) if failure.reason == "InvalidMetricSourceType" => {
                (Done::None, Failed::Spec)
            }
            Err(_) => (Done::None, Failed::Internal),
        };
        let (action, error) = (done.label(), failed.label());
        let label = Computation { action, error, metric_type: kind.to_owned() };
        self.computations.note(&label, took);
    }

    pub(super) fn wants(&self, key: &ObjectKey, replicas: i32) {
        self.wanted.get_or_create(&name(key)).set(i64::from(replicas));
    }
}
