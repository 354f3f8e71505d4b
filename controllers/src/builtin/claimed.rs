//! Which pods use which claims.

use k8s_openapi::api::core::v1::{ContainerState, ContainerStatus, Pod};
use kube::ResourceExt;
use kubeplane_client::{Informer, ObjectKey};
use kubeplane_workload::{is_terminal, phase::is_deleting, storage::claim_names};
use std::sync::Arc;

/// The index of pods by the claims they name, as `namespace/name`.
const BY_CLAIM: &str = "claim";

/// The claims of a pod, also those that are made for it.
pub(super) fn keys(pod: &Pod) -> Vec<ObjectKey> {
    let namespace = pod.namespace().unwrap_or_default();
    claim_names(pod).map(|claim| ObjectKey::new(namespace.clone(), claim.name)).collect()
}

/// Makes [`users`] work.
pub(super) fn index(pods: &Informer<Pod>) {
    pods.add_index(BY_CLAIM, |pod| keys(pod).iter().map(ToString::to_string).collect());
}

/// The pods that name a claim.
pub(super) fn users(pods: &Informer<Pod>, claim: &ObjectKey) -> Vec<Arc<Pod>> {
    pods.by_index(BY_CLAIM, &claim.to_string())
}

/// Whether a container runs, as far as its kubelet says.
fn runs(status: &ContainerStatus) -> bool {
    let rests = |own: &ContainerState| own.terminated.is_some() || own.waiting.is_some();
    !status.state.as_ref().is_some_and(rests)
}

/// Whether a pod needs its volumes no more: it has ended, or it is being deleted and none of its containers runs. The
/// kubelet of a node that is lost would never say that a pod which did not start has ended.
pub(super) fn is_over(pod: &Pod) -> bool {
    let lists = pod.status.iter().flat_map(|own| {
        [&own.init_container_statuses, &own.container_statuses, &own.ephemeral_container_statuses]
    });
    is_terminal(pod) || is_deleting(pod) && !lists.flatten().flatten().any(runs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builtin::trim_pod;
    use serde_json::{Value, json};

    #[test]
    fn a_pod_that_goes_keeps_its_volumes_while_a_container_runs() {
        let (runs, waits, ended) = (
            json!({"running": {}}),
            json!({"waiting": {}}),
            json!({"terminated": {"exitCode": 0}}),
        );
        let table = [
            ("Running", false, vec![], false),
            ("Running", false, vec![&ended], false),
            ("Succeeded", false, vec![&runs], true),
            ("Pending", true, vec![], true),
            ("Pending", true, vec![&waits], true),
            ("Running", true, vec![&ended, &waits], true),
            ("Running", true, vec![&ended, &runs], false),
        ];
        for (phase, goes, states, expected) in table {
            for list in ["containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"]
            {
                let status = |state: &&Value| {
                    json!({"name": "c", "image": "i", "imageID": "", "ready": false,
                        "restartCount": 0, "state": state})
                };
                let statuses: Vec<_> = states.iter().map(status).collect();
                let volume = json!({"name": "v", "persistentVolumeClaim": {"claimName": "data"}});
                let mut pod = json!({
                    "metadata": {"name": "p"},
                    "spec": {"containers": [], "volumes": [volume]},
                    "status": {"phase": phase, list: statuses},
                });
                if goes {
                    pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
                }
                let mut pod: Pod = serde_json::from_value(pod).unwrap();
                assert_eq!(is_over(&pod), expected, "{phase} {goes} {list} {states:?}");
                trim_pod(&mut pod);
                assert_eq!(is_over(&pod), expected, "trimmed: {phase} {goes} {list} {states:?}");
            }
        }
    }
}
