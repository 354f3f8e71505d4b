use crate::{allocation::Figures, spec};
use k8s_openapi::api::core::v1::Pod;
use kubeplane_telemetry::Metrics;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
};
use std::time::Duration;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestedLabels {
    resource: &'static str,
    requirement: &'static str,
    operation: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SuccessLabel {
    success: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DetailLabel {
    reason_detail: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TriggerLabel {
    retry_trigger: &'static str,
}

fn milliseconds() -> Histogram {
    Histogram::new([
        10.0, 50.0, 100.0, 500.0, 1000.0, 2000.0, 5000.0, 10000.0, 20000.0, 30000.0, 60000.0,
        120_000.0, 300_000.0, 600_000.0,
    ])
}

/// How many pods are being resized.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Counts {
    pub(crate) deferred: usize,
    pub(crate) infeasible: usize,
    pub(crate) in_progress: usize,
}

/// The metrics of resizes of pods, under the original's names.
#[derive(Debug, Clone)]
pub(crate) struct Resizes {
    requested: Family<RequestedLabels, Counter>,
    took: Family<SuccessLabel, Histogram>,
    pending: Family<ReasonLabel, Gauge>,
    in_progress: Gauge,
    infeasible: Family<DetailLabel, Counter>,
    accepted: Family<TriggerLabel, Counter>,
}

impl Resizes {
    pub(super) fn new(metrics: &Metrics) -> Self {
        let own = Self {
            requested: Family::default(),
            took: Family::new_with_constructor(milliseconds),
            pending: Family::default(),
            in_progress: Gauge::default(),
            infeasible: Family::default(),
            accepted: Family::default(),
        };
        own.register(metrics);
        own
    }

    fn register(&self, metrics: &Metrics) {
        metrics.with_registry(|registry| {
            let registry = registry.sub_registry_with_prefix("kubelet");
            let help = "Changes of what containers ask for";
            registry.register("container_requested_resizes", help, self.requested.clone());
            let help = "Milliseconds it took to change the running containers of a pod";
            registry.register("pod_resize_duration_milliseconds", help, self.took.clone());
            let help = "Pods that were not given what they ask for";
            registry.register("pod_pending_resizes", help, self.pending.clone());
            let help = "Pods whose containers do not have yet what they were given";
            registry.register("pod_in_progress_resizes", help, self.in_progress.clone());
            let help = "Resizes that the node can never do";
            registry.register("pod_infeasible_resizes", help, self.infeasible.clone());
            let help = "Resizes that were done after they had to wait";
            registry.register("pod_deferred_accepted_resizes", help, self.accepted.clone());
        });
    }

    /// A pod asks for something else than before.
    pub(crate) fn requested(&self, old: &Pod, new: &Pod) {
        for container in spec::init_containers(new).iter().chain(spec::containers(new)) {
            let Some((_, before)) = spec::container_named(old, &container.name) else { continue };
            let from = Figures::of(before.resources.as_ref());
            let to = Figures::of(container.resources.as_ref());
            for (resource, requirement, from, to) in [
                ("memory", "requests", from.memory_request, to.memory_request),
                ("memory", "limits", from.memory_limit, to.memory_limit),
                ("cpu", "requests", from.cpu_request, to.cpu_request),
                ("cpu", "limits", from.cpu_limit, to.cpu_limit),
            ] {
                let Some(operation) = operation(from, to) else { continue };
                let labels = RequestedLabels { resource, requirement, operation };
                self.requested.get_or_create(&labels).inc();
            }
        }
    }

    /// Running containers of a pod were changed, or could not be.
    pub(crate) fn took(&self, succeeded: bool, time: Duration) {
        let success = if succeeded { "true" } else { "false" };
        self.took.get_or_create(&SuccessLabel { success }).observe(time.as_secs_f64() * 1000.0);
    }

    /// So many pods are being resized now.
    pub(crate) fn count(&self, counts: Counts) {
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        for (reason, count) in [("deferred", counts.deferred), ("infeasible", counts.infeasible)] {
            self.pending.get_or_create(&ReasonLabel { reason }).set(number(count));
        }
        self.in_progress.set(number(counts.in_progress));
    }

    /// The node can never do what is asked for.
    pub(crate) fn infeasible(&self, reason_detail: &'static str) {
        self.infeasible.get_or_create(&DetailLabel { reason_detail }).inc();
    }

    /// A pod that waited was given what it asks for.
    pub(crate) fn accepted(&self, retry_trigger: &'static str) {
        self.accepted.get_or_create(&TriggerLabel { retry_trigger }).inc();
    }
}

fn operation(from: i64, to: i64) -> Option<&'static str> {
    match (from, to) {
        _ if from == to => None,
        (0, _) => Some("add"),
        (_, 0) => Some("remove"),
        _ if to < from => Some("decrease"),
        _ => Some("increase"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_told_by_their_way() {
        assert_eq!(operation(5, 5), None);
        assert_eq!(operation(0, 5), Some("add"));
        assert_eq!(operation(5, 0), Some("remove"));
        assert_eq!(operation(5, 4), Some("decrease"));
        assert_eq!(operation(5, 6), Some("increase"));
    }
}
