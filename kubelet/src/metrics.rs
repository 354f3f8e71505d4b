pub(crate) mod resizes;

use crate::{
    observed::State,
    probes::{Kind, Outcome},
    spec::Role,
};
use jiff::Timestamp;
use kubeplane_telemetry::Metrics;
use parking_lot::Mutex;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
};
use resizes::Resizes;
use std::{
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
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

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OperationLabel {
    operation_type: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HandlerLabel {
    runtime_handler: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RoleLabel {
    container_type: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FailureLabels {
    code: String,
    container_type: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabel {
    container_state: &'static str,
}

/// The metrics of one kubelet, under the original's names.
#[derive(Debug, Clone)]
pub(crate) struct KubeletMetrics {
    running_pods: Gauge,
    running_containers: Family<StateLabel, Gauge>,
    started_pods: Counter,
    started_pod_errors: Counter,
    started_containers: Family<RoleLabel, Counter>,
    started_container_errors: Family<FailureLabels, Counter>,
    relists: Histogram,
    relist_intervals: Histogram,
    last_relist: Gauge<f64, AtomicU64>,
    worked: Family<OperationLabel, Histogram>,
    started_after: Histogram,
    started_since_creation: Histogram,
    operations: Family<OperationLabel, Counter>,
    operation_errors: Family<OperationLabel, Counter>,
    operation_seconds: Family<OperationLabel, Histogram>,
    sandboxes: Family<HandlerLabel, Histogram>,
    sandbox_errors: Family<HandlerLabel, Counter>,
    probes: Family<ProbeLabels, Counter>,
    node: Family<NodeLabels, Gauge>,
    pub(crate) resizes: Resizes,
    /// When the runtime was last asked, and when the loop over all pods last turned.
    pulse: Arc<Mutex<Pulse>>,
}

#[derive(Debug, Default)]
struct Pulse {
    relisted: Option<Duration>,
    looped: Option<Duration>,
}

/// Bounds the original uses where nothing speaks for others.
fn usual() -> Histogram {
    Histogram::new([0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0])
}

fn startup() -> Histogram {
    Histogram::new([
        0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 20.0, 30.0, 45.0, 60.0, 120.0, 180.0, 240.0,
        300.0, 360.0, 480.0, 600.0, 900.0, 1200.0, 1800.0, 2700.0, 3600.0,
    ])
}

fn operation() -> Histogram {
    Histogram::new(prometheus_client::metrics::histogram::exponential_buckets(0.005, 2.5, 14))
}

impl KubeletMetrics {
    pub(crate) fn new(metrics: &Metrics, node_name: &str) -> Self {
        let own = Self {
            running_pods: Gauge::default(),
            running_containers: Family::default(),
            started_pods: Counter::default(),
            started_pod_errors: Counter::default(),
            started_containers: Family::default(),
            started_container_errors: Family::default(),
            relists: usual(),
            relist_intervals: usual(),
            last_relist: Gauge::default(),
            worked: Family::new_with_constructor(usual),
            started_after: startup(),
            started_since_creation: startup(),
            operations: Family::default(),
            operation_errors: Family::default(),
            operation_seconds: Family::new_with_constructor(operation),
            sandboxes: Family::new_with_constructor(usual),
            sandbox_errors: Family::default(),
            probes: Family::default(),
            node: Family::default(),
            resizes: Resizes::new(metrics),
            pulse: Arc::default(),
        };
        own.node.get_or_create(&NodeLabels { node: node_name.to_owned() }).set(1);
        own.register_pods(metrics);
        own.register_runtime(metrics);
        own
    }

    fn register_pods(&self, metrics: &Metrics) {
        metrics.with_registry(|registry| {
            let help = "Probes of containers by result";
            registry.register("prober_probe", help, self.probes.clone());
            let registry = registry.sub_registry_with_prefix("kubelet");
            registry.register("node_name", "The name of the node", self.node.clone());
            let help = "Pods that run";
            registry.register("running_pods", help, self.running_pods.clone());
            let help = "Containers by state";
            registry.register("running_containers", help, self.running_containers.clone());
            let help = "Pods that got a sandbox";
            registry.register("started_pods", help, self.started_pods.clone());
            let help = "Sandboxes of pods that could not be made";
            registry.register("started_pods_errors", help, self.started_pod_errors.clone());
            let help = "Containers started";
            registry.register("started_containers", help, self.started_containers.clone());
            let help = "Containers that could not be started, by reason";
            let name = "started_containers_errors";
            registry.register(name, help, self.started_container_errors.clone());
            let help = "Seconds the work on one pod took";
            registry.register("pod_worker_duration_seconds", help, self.worked.clone());
            let help = "Seconds from the first sight of a pod until it ran";
            registry.register("pod_start_duration_seconds", help, self.started_after.clone());
            let help = "Seconds from the creation of a pod until it ran";
            let name = "pod_start_total_duration_seconds";
            registry.register(name, help, self.started_since_creation.clone());
        });
    }

    fn register_runtime(&self, metrics: &Metrics) {
        metrics.with_registry(|registry| {
            let registry = registry.sub_registry_with_prefix("kubelet");
            let help = "Seconds it took to ask the runtime for all pods";
            registry.register("pleg_relist_duration_seconds", help, self.relists.clone());
            let help = "Seconds between two times the runtime was asked for all pods";
            registry.register("pleg_relist_interval_seconds", help, self.relist_intervals.clone());
            let help = "When the runtime was last asked for all pods, in seconds since 1970";
            registry.register("pleg_last_seen_seconds", help, self.last_relist.clone());
            let help = "Calls of the runtime";
            registry.register("runtime_operations", help, self.operations.clone());
            let help = "Calls of the runtime that failed";
            registry.register("runtime_operations_errors", help, self.operation_errors.clone());
            let help = "Seconds a call of the runtime took";
            let name = "runtime_operations_duration_seconds";
            registry.register(name, help, self.operation_seconds.clone());
            let help = "Seconds it took to make a sandbox";
            registry.register("run_podsandbox_duration_seconds", help, self.sandboxes.clone());
            let help = "Sandboxes the runtime could not make";
            registry.register("run_podsandbox_errors", help, self.sandbox_errors.clone());
        });
    }

    pub(crate) fn started_container(&self, role: Role) {
        let container_type = container_type(role);
        self.started_containers.get_or_create(&RoleLabel { container_type }).inc();
    }

    pub(crate) fn failed_container(&self, role: Role, reason: &str) {
        let labels =
            FailureLabels { code: reason.to_owned(), container_type: container_type(role) };
        self.started_container_errors.get_or_create(&labels).inc();
    }

    /// The runtime was asked for all pods: this began at `began` and ended at `ended`.
    pub(crate) fn relisted(
        &self,
        began: Duration,
        ended: Duration,
        now: Timestamp,
        running_pods: usize,
        states: &[(State, usize)],
    ) {
        self.relists.observe(ended.saturating_sub(began).as_secs_f64());
        if let Some(last) = self.pulse.lock().relisted.replace(began) {
            self.relist_intervals.observe(began.saturating_sub(last).as_secs_f64());
        }
        self.last_relist.set(now.as_duration().as_secs_f64());
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.running_pods.set(number(running_pods));
        for (state, count) in states {
            let container_state = match state {
                State::Created => "created",
                State::Running => "running",
                State::Exited => "exited",
                State::Unknown => "unknown",
            };
            let label = StateLabel { container_state };
            self.running_containers.get_or_create(&label).set(number(*count));
        }
    }

    /// The loop over all pods turned.
    pub(crate) fn looped(&self, at: Duration) {
        self.pulse.lock().looped = Some(at);
    }

    /// When the loop over all pods last turned.
    pub(crate) fn last_loop(&self) -> Option<Duration> {
        self.pulse.lock().looped
    }

    /// The work on a pod took that long; `kind` is `create` for the first time, `sync` for later ones.
    pub(crate) fn worked(&self, kind: &'static str, took: Duration) {
        let label = OperationLabel { operation_type: kind };
        self.worked.get_or_create(&label).observe(took.as_secs_f64());
    }

    /// A pod runs, so long after the kubelet saw it and after it was created.
    pub(crate) fn pod_runs(&self, after_seen: Duration, after_created: Option<Duration>) {
        self.started_after.observe(after_seen.as_secs_f64());
        if let Some(after) = after_created {
            self.started_since_creation.observe(after.as_secs_f64());
        }
    }

    /// A call of the runtime ended.
    pub(crate) fn operation(&self, name: &'static str, failed: bool, took: Duration) {
        let label = OperationLabel { operation_type: name };
        self.operations.get_or_create(&label).inc();
        self.operation_seconds.get_or_create(&label).observe(took.as_secs_f64());
        if failed {
            self.operation_errors.get_or_create(&label).inc();
        }
    }

    /// The runtime made a sandbox, or could not.
    pub(crate) fn sandbox(&self, handler: &str, failed: bool, took: Duration) {
        let label = HandlerLabel { runtime_handler: handler.to_owned() };
        self.sandboxes.get_or_create(&label).observe(took.as_secs_f64());
        if failed {
            self.sandbox_errors.get_or_create(&label).inc();
            self.started_pod_errors.inc();
        } else {
            self.started_pods.inc();
        }
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

fn container_type(role: Role) -> &'static str {
    match role {
        Role::App => "container",
        Role::Init | Role::Sidecar => "init_container",
        Role::Ephemeral => "ephemeral_container",
    }
}
