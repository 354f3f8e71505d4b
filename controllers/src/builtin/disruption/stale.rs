//! Pods that say they are being evicted, long after nothing came of it.

use crate::{Action, Context, Error, error::unless_gone};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{api::core::v1::Pod, apimachinery::pkg::apis::meta::v1::Time};
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use kubeplane_client::ObjectKey;
use kubeplane_workload::{condition, is_terminal, phase::is_deleting};
use serde_json::json;
use std::time::Duration;

const TARGET: &str = "DisruptionTarget";
const TIMEOUT: SignedDuration = SignedDuration::from_mins(2);

/// How long until the condition of a pod is stale; nothing when it cannot become so.
pub(super) fn wait(pod: &Pod, now: Timestamp) -> Option<Duration> {
    if is_deleting(pod) || is_terminal(pod) {
        return None;
    }
    let target = condition(pod, TARGET).filter(|target| target.status == "True")?;
    if target.reason.as_deref() == Some("TerminationByKubelet") {
        return None;
    }
    // One that does not tell since when counts as old, or it would never go.
    let Some(since) = &target.last_transition_time else { return Some(Duration::ZERO) };
    Some(Duration::try_from(TIMEOUT - now.duration_since(since.0)).unwrap_or_default())
}

pub(super) async fn clear(context: &Context, key: &ObjectKey) -> Result<Action, Error> {
    let Some(pod) = context.informers().of::<Pod>().get(&key.namespace, &key.name) else {
        return Ok(Action::Done);
    };
    match wait(&pod, context.now()) {
        None => return Ok(Action::Done),
        Some(left) if !left.is_zero() => return Ok(Action::RequeueAfter(left)),
        Some(_) => {}
    }
    // Only the condition, for a cache need not have all of the pod; and only of the pod as it was seen.
    let meta = &pod.metadata;
    let over = json!({
        "type": TARGET, "status": "False", "reason": null, "message": null, "lastProbeTime": null,
        "lastTransitionTime": Time(context.now()), "observedGeneration": meta.generation,
    });
    let patch = Patch::Strategic(json!({
        "metadata": {"uid": meta.uid, "resourceVersion": meta.resource_version},
        "status": {"conditions": [over]},
    }));
    let api: Api<Pod> = Api::namespaced(context.client(), &key.namespace);
    unless_gone(api.patch_status(&key.name, &PatchParams::default(), &patch).await)?;
    Ok(Action::Done)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod(phase: &str, target: Value) -> Pod {
        let status = json!({"phase": phase, "conditions": [target]});
        serde_json::from_value(json!({"metadata": {"name": "p"}, "status": status})).unwrap()
    }

    #[test]
    fn a_condition_is_stale_after_two_minutes_or_when_it_does_not_tell_since_when() {
        let now = "2026-01-01T00:02:00Z".parse().unwrap();
        let since =
            |time: &str| json!({"type": TARGET, "status": "True", "lastTransitionTime": time});
        let timeless = json!({"type": TARGET, "status": "True"});
        let kubelet = json!({"type": TARGET, "status": "True", "reason": "TerminationByKubelet"});
        let over = json!({"type": TARGET, "status": "False"});
        let table = [
            ("Running", since("2026-01-01T00:01:30Z"), Some(90)),
            ("Running", since("2026-01-01T00:00:00Z"), Some(0)),
            ("Running", since("2025-12-31T00:00:00Z"), Some(0)),
            ("Running", timeless.clone(), Some(0)),
            ("Failed", timeless, None),
            ("Running", kubelet, None),
            ("Running", over, None),
        ];
        for (phase, target, left) in table {
            let text = format!("{phase} {target}");
            assert_eq!(wait(&pod(phase, target), now), left.map(Duration::from_secs), "{text}");
        }
    }
}
