use super::{
    figures::{Labels, Place, labels},
    nodes::{self, is_ready, taints},
    pods,
};
use crate::{Action, Context, Controller, Error, Retry, Sources, error::unless_gone};
use async_trait::async_trait;
use k8s_openapi::{
    api::core::v1::{Node, Pod},
    apimachinery::pkg::apis::meta::v1::Time,
};
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams, Preconditions},
};
use kubeplane_client::Informer;
use kubeplane_telemetry::Metrics;
use kubeplane_workload::{
    is_terminal,
    phase::{node_name, phase},
};
use parking_lot::Mutex;
use prometheus_client::metrics::{counter::Counter, family::Family};
use serde_json::json;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

const PERIOD: Duration = Duration::from_secs(20);
/// How often a round that failed is repeated before the next is due.
const QUICK_TRIES: u32 = 3;
/// How long a node must be missing before its pods are given up.
const QUARANTINE: Duration = Duration::from_secs(40);
/// The index of pods that may be due: those that have ended, and those that are being deleted.
const DUE: &str = "pod-gc";
const ENDED: &str = "ended";
const GOING: &str = "going";
const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";

/// Removes pods that no kubelet will ever remove, and the oldest of too many that have ended.
pub(super) struct PodGc {
    /// The most pods that have ended and are kept; 0 for all.
    most: usize,
    missing: Mutex<BTreeMap<String, Duration>>,
    removed: Family<Labels<2>, Counter>,
    failed: Family<Labels<2>, Counter>,
}

/// Makes it cheap to find the few pods among all that a round is about.
fn index(pods: &Informer<Pod>) {
    nodes::index(pods);
    pods.add_index(DUE, |pod| {
        let ended = is_terminal(pod).then_some(ENDED);
        let going = pod.metadata.deletion_timestamp.as_ref().map(|_| GOING);
        ended.into_iter().chain(going).map(str::to_owned).collect()
    });
}

/// Why a pod is removed, as it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    /// It has ended, as too many others have.
    Terminated,
    OutOfService,
    /// Its node is gone.
    Orphaned,
    Unscheduled,
}

impl Why {
    fn label(self) -> &'static str {
        match self {
            Self::Terminated => "terminated",
            Self::OutOfService => "out-of-service",
            Self::Orphaned => "orphaned",
            Self::Unscheduled => "unscheduled",
        }
    }
}

impl PodGc {
    pub(super) fn new(most: usize, metrics: Option<&Metrics>) -> Self {
        let place = Place::new(metrics, "pod_gc_collector");
        let help = "Pods that could not be removed by force, by namespace and why they were to be";
        Self {
            most,
            missing: Mutex::default(),
            removed: place.show("force_delete_pods", "Pods removed by force, by namespace and why"),
            failed: place.show("force_delete_pod_errors", help),
        }
    }

    async fn remove(&self, context: &Context, pod: &Pod, why: Why) -> Result<(), Error> {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let label = labels([("namespace", namespace), ("reason", why.label())]);
        self.removed.get_or_create(&label).inc();
        let message = (why == Why::Orphaned).then_some("PodGC: node no longer exists");
        let result = remove(context, pod, message).await;
        if result.is_err() {
            self.failed.get_or_create(&label).inc();
        }
        result
    }

    /// The nodes that have been missing for long enough, and still are.
    async fn lost_nodes(&self, context: &Context, pods: &Informer<Pod>) -> BTreeSet<String> {
        let known = context.informers().of::<Node>();
        let now = context.clock().elapsed();
        let gone = nodes::nodes_with(pods, |name| known.get("", name).is_none());
        let due: Vec<String> = {
            let mut missing = self.missing.lock();
            missing.retain(|name, _| gone.contains(name));
            for name in gone {
                missing.entry(name).or_insert(now);
            }
            let due = missing.iter().filter(|(_, since)| now.saturating_sub(**since) >= QUARANTINE);
            due.map(|(name, _)| name.clone()).collect()
        };
        let api: Api<Node> = Api::all(context.client());
        let mut lost = BTreeSet::new();
        for name in due {
            match api.get_opt(&name).await {
                Ok(None) => drop(lost.insert(name)),
                Ok(Some(_)) => {}
                // It is asked again in the next round.
                Err(error) => tracing::warn!(name, %error, "cannot tell whether a node is there"),
            }
        }
        lost
    }
}

#[async_trait]
impl Controller for PodGc {
    /// All pods at once.
    type Request = ();
    type Error = Error;

    fn name(&self) -> &'static str {
        "pod-garbage-collector-controller"
    }

    fn identity(&self) -> &'static str {
        "pod-garbage-collector"
    }

    fn workers(&self) -> usize {
        1
    }

    fn watches(&self, sources: &mut Sources<()>) {
        sources.informer::<Node>();
        sources.watch::<Pod>(|change| {
            // Nobody else ends a pod that was never bound, so there is no reason to let it wait.
            let pod = change.object();
            let stuck = pod.metadata.deletion_timestamp.is_some() && node_name(pod).is_none();
            if stuck && !change.is_deleted() { vec![()] } else { Vec::new() }
        });
        sources.at_start(());
    }

    async fn reconcile(&self, (): &(), context: &Context) -> Result<Action, Error> {
        let nodes = context.informers().of::<Node>();
        let pods = context.informers().of::<Pod>();
        index(&pods);
        let lost = self.lost_nodes(context, &pods).await;
        // One pod that cannot be removed must not keep the others.
        let mut failed = None;
        let mut note = |result: Result<(), Error>| {
            if let Err(error) = result {
                failed.get_or_insert(error);
            }
        };
        for pod in lost.iter().flat_map(|name| nodes::pods_on(&pods, name)) {
            note(self.remove(context, &pod, Why::Orphaned).await);
        }
        for pod in &pods.by_index(DUE, GOING) {
            match node_name(pod) {
                None => note(self.remove(context, pod, Why::Unscheduled).await),
                Some(name) if lost.contains(name) => {}
                Some(name) => {
                    let out = nodes.get("", name).is_some_and(|node| {
                        !is_ready(&node)
                            && taints(&node).iter().any(|taint| taint.key == OUT_OF_SERVICE)
                    });
                    if out {
                        note(self.remove(context, pod, Why::OutOfService).await);
                    }
                }
            }
        }
        let mut ended = pods.by_index(DUE, ENDED);
        if self.most > 0 && ended.len() > self.most {
            ended.sort_by_key(|pod| order(pod));
            for pod in &ended[..ended.len() - self.most] {
                note(self.remove(context, pod, Why::Terminated).await);
            }
        }
        failed.map_or(Ok(Action::RequeueAfter(PERIOD)), Err)
    }

    fn on_error(&self, (): &(), _: &Error, failures: u32) -> Retry {
        // What fails for good must not make the rounds rarer.
        if failures > QUICK_TRIES { Retry::After(PERIOD) } else { Retry::Backoff }
    }
}

/// In which order pods that have ended go: those first that their kubelet evicted, then the oldest, then by name.
fn order(pod: &Pod) -> (bool, Option<Time>, Option<String>) {
    let reason = pod.status.as_ref().and_then(|status| status.reason.as_deref());
    let evicted = phase(pod) == "Failed" && reason == Some("Evicted");
    (!evicted, pod.metadata.creation_timestamp.clone(), pod.metadata.name.clone())
}

/// Deletes a pod without waiting for a kubelet; one that has not ended has failed.
async fn remove(context: &Context, pod: &Pod, reason: Option<&str>) -> Result<(), Error> {
    let meta = &pod.metadata;
    let name = meta.name.as_deref().unwrap_or_default();
    let api: Api<Pod> =
        Api::namespaced(context.client(), meta.namespace.as_deref().unwrap_or_default());
    if !is_terminal(pod) {
        let mut status = json!({"phase": "Failed", "observedGeneration": meta.generation});
        if let Some(reason) = reason {
            let target = pods::disruption_target(context, pod, "DeletionByPodGC", reason);
            status["conditions"] = json!([target]);
        }
        let patch = Patch::Strategic(json!({"metadata": {"uid": meta.uid}, "status": status}));
        unless_gone(api.patch_status(name, &PatchParams::default(), &patch).await)?;
    }
    let preconditions = Preconditions { uid: meta.uid.clone(), resource_version: None };
    let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
    unless_gone(api.delete(name, &params.grace_period(0)).await)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn evicted_pods_go_first_and_then_the_oldest() {
        let table = [
            ("young", "2026-01-03T00:00:00Z", "Failed", ""),
            ("b", "2026-01-01T00:00:00Z", "Succeeded", ""),
            ("evicted", "2026-01-04T00:00:00Z", "Failed", "Evicted"),
            ("a", "2026-01-01T00:00:00Z", "Failed", "Error"),
            ("recovered", "2026-01-02T00:00:00Z", "Succeeded", "Evicted"),
        ];
        let mut pods = table.map(|(name, created, phase, reason)| {
            let pod = json!({
                "metadata": {"name": name, "creationTimestamp": created},
                "status": {"phase": phase, "reason": reason},
            });
            serde_json::from_value::<Pod>(pod).unwrap()
        });
        pods.sort_by_key(order);
        let names = pods.map(|pod| pod.metadata.name.unwrap());
        assert_eq!(names, ["evicted", "a", "b", "recovered", "young"]);
    }
}
