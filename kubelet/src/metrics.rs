use crate::probes::{Kind, Outcome};
use kubeplane_telemetry::Metrics;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ProbeLabels {
    probe_type: String,
    result: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct NodeLabels {
    node: String,
}

/// The counters of one kubelet, under the original's names.
#[derive(Debug, Clone, Default)]
pub(crate) struct KubeletMetrics {
    running_pods: Gauge,
    started_containers: Counter,
    relists: Counter,
    probes: Family<ProbeLabels, Counter>,
    node: Family<NodeLabels, Gauge>,
}

impl KubeletMetrics {
    pub(crate) fn new(metrics: &Metrics, node_name: &str) -> Self {
        let own = Self::default();
        own.node.get_or_create(&NodeLabels { node: node_name.to_owned() }).set(1);
        metrics.with_registry(|registry| {
            registry.register("kubelet_node_name", "The name of the node.", own.node.clone());
            registry.register(
                "kubelet_running_pods",
                "Number of pods that have a running pod sandbox",
                own.running_pods.clone(),
            );
            registry.register(
                "kubelet_started_containers",
                "Number of containers started",
                own.started_containers.clone(),
            );
            registry.register(
                "kubelet_pleg_relists",
                "Number of times the runtime was asked for changes",
                own.relists.clone(),
            );
            registry.register(
                "prober_probe",
                "Number of probes of containers by result",
                own.probes.clone(),
            );
        });
        own
    }

    pub(crate) fn started_container(&self) {
        self.started_containers.inc();
    }

    pub(crate) fn relisted(&self, running_pods: usize) {
        self.relists.inc();
        self.running_pods.set(i64::try_from(running_pods).unwrap_or(i64::MAX));
    }

    pub(crate) fn probe(&self, kind: Kind, outcome: Outcome) {
        let result = match outcome {
            Outcome::Success => "successful",
            Outcome::Failure => "failed",
            Outcome::Unknown => "unknown",
        };
        let labels = ProbeLabels { probe_type: kind.to_string(), result: result.to_owned() };
        self.probes.get_or_create(&labels).inc();
    }
}
