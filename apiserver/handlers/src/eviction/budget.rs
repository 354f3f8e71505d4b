//! What a PodDisruptionBudget lets happen.

use super::{CATCHING_UP, refused};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kubeplane_core::{
    GroupResource, Object,
    status::{ApiError, ApiResult},
};
use serde_json::{Value, json};

/// How many pods may be on their way out without the controller having seen it.
const DISRUPTED_MAX: usize = 2000;
const ALLOWED: &str = "DisruptionAllowed";

pub(super) fn resource() -> GroupResource {
    GroupResource::new("policy", "poddisruptionbudgets")
}

fn count(budget: &Object, field: &str) -> i64 {
    budget.at(&["status", field]).and_then(Value::as_i64).unwrap_or_default()
}

/// Whether a pod that is not ready may go without being counted.
pub(super) fn is_kept_without(budget: &Object) -> bool {
    let (healthy, wanted) = (count(budget, "currentHealthy"), count(budget, "desiredHealthy"));
    budget.text(&["spec", "unhealthyPodEvictionPolicy"]) == "AlwaysAllow"
        || healthy >= wanted && wanted > 0
}

/// 429: the controller has not yet looked at what the budget says now.
pub(super) fn still_processed(name: &str) -> ApiError {
    let why = format!("The disruption budget {name} is still being processed by the server.");
    refused(why, CATCHING_UP)
}

/// Counts one disruption, of this pod.
pub(super) fn take(budget: &mut Object, pod: &str, now: Timestamp) -> ApiResult<()> {
    let forbidden = |why: &str| {
        let resource = GroupResource::new("policy", "poddisruptionbudget");
        Err(ApiError::forbidden(&resource, budget.name(), why))
    };
    if count(budget, "observedGeneration") < budget.generation() {
        return Err(still_processed(budget.name()));
    }
    let allowed = count(budget, "disruptionsAllowed");
    if allowed < 0 {
        return forbidden("pdb disruptions allowed is negative");
    }
    let disrupted = budget.at(&["status", "disruptedPods"]).and_then(Value::as_object);
    if disrupted.is_some_and(|pods| pods.len() > DISRUPTED_MAX) {
        return forbidden(
            "DisruptedPods map too big - too many evictions not confirmed by PDB controller",
        );
    }
    if allowed == 0 {
        return Err(refused(reason(budget), 0));
    }
    budget.set(&["status", "disruptionsAllowed"], allowed - 1);
    budget.set(&["status", "disruptedPods", pod], json!(Time(now)));
    if allowed == 1 {
        exhaust(budget, now);
    }
    Ok(())
}

fn conditions(budget: &Object) -> &[Value] {
    let list = budget.at(&["status", "conditions"]).and_then(Value::as_array);
    list.map_or(&[], Vec::as_slice)
}

/// Why none is allowed.
fn reason(budget: &Object) -> String {
    let (name, text) =
        (budget.name(), |value: &Value| value.as_str().unwrap_or_default().to_owned());
    let condition = conditions(budget).iter().find(|condition| condition["type"] == ALLOWED);
    let said = condition.filter(|condition| condition["status"] == "False");
    let said = said.map(|condition| (text(&condition["reason"]), text(&condition["message"])));
    let said = said.filter(|(_, message)| !message.is_empty());
    let (healthy, wanted) = (count(budget, "currentHealthy"), count(budget, "desiredHealthy"));
    let refusal = format!("The disruption budget {name} does not allow evicting pods currently");
    match said {
        Some((reason, message)) if reason == "SyncFailed" => {
            format!("{refusal} because it failed sync: {message}")
        }
        _ if healthy <= wanted => format!(
            "The disruption budget {name} needs {wanted} healthy pods and has {healthy} currently"
        ),
        Some((reason, message)) => format!("{refusal} ({reason}): {message}"),
        None => refusal,
    }
}

/// Says that no more is allowed.
fn exhaust(budget: &mut Object, now: Timestamp) {
    let observed = count(budget, "observedGeneration");
    let status = budget.map_at_mut(&["status"]);
    let list = status.entry("conditions").or_insert_with(|| json!([]));
    let Some(list) = list.as_array_mut() else { return };
    let mut since = json!(Time(now));
    let found = list.iter().position(|condition| condition["type"] == ALLOWED);
    if let Some(before) = found.and_then(|index| list.get(index))
        && before["status"] == "False"
    {
        since = before["lastTransitionTime"].clone();
    }
    let made = json!({
        "type": ALLOWED, "status": "False", "reason": "InsufficientPods", "message": "",
        "observedGeneration": observed, "lastTransitionTime": since,
    });
    match found.and_then(|index| list.get_mut(index)) {
        Some(before) => *before = made,
        None => list.push(made),
    }
}
