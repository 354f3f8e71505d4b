use super::expected::Expected;
use crate::{Action, Context, Error, error::unless_gone};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    api::{
        core::v1::Pod,
        policy::v1::{PodDisruptionBudget, PodDisruptionBudgetStatus},
    },
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
};
use kube::{Api, ResourceExt, api::PostParams};
use kubeplane_client::EventType;
use kubeplane_workload::{is_ready, phase::is_deleting};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

const ALLOWED: &str = "DisruptionAllowed";
/// How long a pod whose eviction was granted may take to be deleted.
const TIMEOUT: SignedDuration = SignedDuration::from_mins(2);

/// Counts, and writes the status where it differs.
pub(super) async fn update(
    context: &Context,
    budget: &PodDisruptionBudget,
    pods: &[Arc<Pod>],
    expected: &Expected,
) -> Result<Action, Error> {
    let now = context.now();
    let before = budget.status.clone().unwrap_or_default();
    let (disrupted, recheck) = disrupted(context, budget, pods, now);
    let healthy = pods.iter().filter(|pod| {
        !is_deleting(pod) && !disrupted.contains_key(&pod.name_any()) && is_ready(pod)
    });
    let healthy = i32::try_from(healthy.count()).unwrap_or(i32::MAX);
    let spare = if expected.pods > 0 { (healthy - expected.healthy).max(0) } else { 0 };
    let mut status = PodDisruptionBudgetStatus {
        current_healthy: Some(healthy),
        desired_healthy: Some(expected.healthy),
        expected_pods: Some(expected.pods),
        disruptions_allowed: Some(spare),
        disrupted_pods: Some(disrupted).filter(|pods| !pods.is_empty()),
        observed_generation: budget.metadata.generation,
        conditions: before.conditions.clone(),
    };
    let (value, reason) =
        if spare > 0 { ("True", "SufficientPods") } else { ("False", "InsufficientPods") };
    set(&mut status, value, reason, "", now);
    if status != before {
        write(context, budget, status).await?;
    }
    Ok(recheck.map_or(Action::Done, Action::RequeueAfter))
}

/// Allows nothing, because something went wrong.
pub(super) async fn fail(
    context: &Context,
    budget: &PodDisruptionBudget,
    why: &str,
) -> Result<(), Error> {
    let before = budget.status.clone().unwrap_or_default();
    let mut status = before.clone();
    status.disruptions_allowed = Some(0);
    set(&mut status, "False", "SyncFailed", why, context.now());
    if status == before { Ok(()) } else { write(context, budget, status).await }
}

/// The pods whose eviction was granted and that are still there, and when to look at them again.
fn disrupted(
    context: &Context,
    budget: &PodDisruptionBudget,
    pods: &[Arc<Pod>],
    now: Timestamp,
) -> (BTreeMap<String, Time>, Option<Duration>) {
    let before = budget.status.as_ref().and_then(|status| status.disrupted_pods.clone());
    let before = before.unwrap_or_default();
    let mut kept = BTreeMap::new();
    let mut recheck: Option<Duration> = None;
    for pod in pods.iter().filter(|pod| !is_deleting(pod)) {
        let Some(at) = before.get(&pod.name_any()) else { continue };
        let left = Duration::try_from(TIMEOUT - now.duration_since(at.0)).unwrap_or_default();
        if left.is_zero() {
            let namespace = budget.namespace().unwrap_or_default();
            let name = budget.name_any();
            let message =
                format!("Pod was expected by PDB {namespace}/{name} to be deleted but it wasn't");
            context.recorder().event_for(&**pod, EventType::Warning, "NotDeleted", message);
        } else {
            recheck = Some(recheck.map_or(left, |recheck| recheck.min(left)));
            kept.insert(pod.name_any(), at.clone());
        }
    }
    (kept, recheck)
}

fn set(
    status: &mut PodDisruptionBudgetStatus,
    value: &str,
    reason: &str,
    message: &str,
    now: Timestamp,
) {
    let generation = status.observed_generation;
    let conditions = status.conditions.get_or_insert_default();
    let present = conditions.iter().position(|condition| condition.type_ == ALLOWED);
    let since = present.map(|at| conditions.remove(at)).filter(|old| old.status == value);
    let condition = Condition {
        type_: ALLOWED.to_owned(),
        status: value.to_owned(),
        reason: reason.to_owned(),
        message: message.to_owned(),
        observed_generation: generation.filter(|generation| *generation != 0),
        last_transition_time: since.map_or(Time(now), |old| old.last_transition_time),
    };
    conditions.insert(present.unwrap_or(conditions.len()), condition);
}

async fn write(
    context: &Context,
    budget: &PodDisruptionBudget,
    status: PodDisruptionBudgetStatus,
) -> Result<(), Error> {
    let namespace = budget.namespace().unwrap_or_default();
    let api: Api<PodDisruptionBudget> = Api::namespaced(context.client(), &namespace);
    let mut next = budget.clone();
    next.status = Some(status);
    unless_gone(api.replace_status(&budget.name_any(), &PostParams::default(), &next).await)
}
