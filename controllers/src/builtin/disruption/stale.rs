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
    let since = target.last_transition_time.as_ref().map_or(now, |since| since.0);
    Some(Duration::try_from(TIMEOUT - now.duration_since(since)).unwrap_or_default())
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
