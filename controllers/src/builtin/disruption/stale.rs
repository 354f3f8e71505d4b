//! Pods that say they are being evicted, long after nothing came of it.

use crate::{Action, Context, Error, error::unless_gone};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    api::core::v1::{Pod, PodCondition},
    apimachinery::pkg::apis::meta::v1::Time,
};
use kube::{Api, api::PostParams};
use kubeplane_client::ObjectKey;
use kubeplane_workload::{condition, is_terminal, phase::is_deleting, set_condition};
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
    let mut next = (*pod).clone();
    let now = context.now();
    let over = PodCondition {
        type_: TARGET.to_owned(),
        status: "False".to_owned(),
        last_transition_time: Some(Time(now)),
        observed_generation: pod.metadata.generation,
        ..PodCondition::default()
    };
    set_condition(next.status.get_or_insert_default(), over, now);
    let api: Api<Pod> = Api::namespaced(context.client(), &key.namespace);
    unless_gone(api.replace_status(&key.name, &PostParams::default(), &next).await)?;
    Ok(Action::Done)
}
