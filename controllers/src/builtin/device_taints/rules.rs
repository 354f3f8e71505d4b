//! What is told of DeviceTaintRules.

use super::due::{self, NO_EXECUTE, given, id};
use crate::{Action, Context, Error};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    api::{
        core::v1::Pod,
        resource::v1::{ResourceClaim, ResourceSlice},
    },
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
};
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use kubeplane_workload::DeviceTaintRule;
use serde_json::json;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

/// The shortest time between two changes of a rule's status.
pub(super) const PERIOD: Duration = Duration::from_secs(10);
const IN_PROGRESS: &str = "EvictionInProgress";
const MANAGER: &str = "device-taint-eviction-controller";

/// Whom a rule is about.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Reach {
    pods: usize,
    namespaces: usize,
    published: usize,
    allocated: usize,
}

/// The rules that drive pods out.
pub(super) fn evicting(context: &Context) -> Vec<Arc<DeviceTaintRule>> {
    let mut rules = context.informers().of::<DeviceTaintRule>().list();
    rules.retain(|rule| rule.spec.taint.effect == NO_EXECUTE);
    rules
}

/// Tells in the status of a rule whom it drives out, no more often than every ten seconds. `evicted` is how many it
/// has driven out already; `groups` as in [`due::of_pod`].
pub(super) async fn tell(
    context: &Context,
    name: &str,
    evicted: u64,
    groups: bool,
) -> Result<Action, Error> {
    let Some(rule) = context.informers().of::<DeviceTaintRule>().get("", name) else {
        return Ok(Action::Done);
    };
    let present = rule.status.conditions.iter().find(|own| own.type_ == IN_PROGRESS);
    if let Some(wait) = present.and_then(|own| too_early(&rule, own, context.now())) {
        return Ok(Action::RequeueAfter(wait));
    }
    let next = condition(&rule, reach(context, &rule, groups), evicted, context.now());
    let same = present.is_some_and(|own| {
        Condition { last_transition_time: own.last_transition_time.clone(), ..next.clone() } == *own
    });
    let fresh = present.is_none_or(|own| own.observed_generation != rule.metadata.generation);
    let again = changes(&rule, &next, fresh);
    let then = if again { Action::RequeueAfter(PERIOD) } else { Action::Done };
    if same {
        return Ok(then);
    }
    let patch = Patch::Apply(json!({
        "apiVersion": "resource.k8s.io/v1beta2", "kind": "DeviceTaintRule",
        "metadata": {"name": name, "uid": rule.metadata.uid},
        "status": {"conditions": [next]},
    }));
    let rules: Api<DeviceTaintRule> = Api::all(context.client());
    rules.patch_status(name, &PatchParams::apply(MANAGER).force(), &patch).await?;
    Ok(then)
}

/// Whether something else may have to be told soon: as long as pods are to go, how many there are changes; and what is
/// older than a fresh rule may be seen after it. Whom a rule without an effect would drive out is told once.
fn changes(rule: &DeviceTaintRule, told: &Condition, fresh: bool) -> bool {
    told.status == "True" || fresh && rule.spec.taint.effect == NO_EXECUTE
}

/// How long what is told has to stand before there is something else.
fn too_early(rule: &DeviceTaintRule, told: &Condition, now: Timestamp) -> Option<Duration> {
    if told.observed_generation != rule.metadata.generation {
        return None;
    }
    let next = told.last_transition_time.0.saturating_add(PERIOD).ok()?;
    let left = next.duration_since(now);
    // A time in the future is no reason to wait for it.
    let left = left.min(SignedDuration::try_from(PERIOD).ok()?);
    Duration::try_from(left).ok().filter(|left| !left.is_zero())
}

/// Whom the rule drives out, or where it has no effect would.
fn reach(context: &Context, rule: &DeviceTaintRule, groups: bool) -> Reach {
    let mut tried = rule.clone();
    let mut reach = Reach::default();
    match rule.spec.taint.effect.as_str() {
        NO_EXECUTE => {}
        "None" => {
            tried.spec.taint.effect = NO_EXECUTE.to_owned();
            (reach.published, reach.allocated) = selected(context, rule);
        }
        _ => return reach,
    }
    let (own, rules) = (id(rule), [Arc::new(tried)]);
    let mut namespaces = BTreeSet::new();
    for pod in context.informers().of::<Pod>().list() {
        let alive = pod.metadata.deletion_timestamp.is_none();
        let due = alive.then(|| due::of_pod(context, &rules, &pod, groups)).flatten();
        if due.is_some_and(|due| due.rules.contains(&own)) {
            reach.pods += 1;
            namespaces.insert(pod.metadata.namespace.clone());
        }
    }
    reach.namespaces = namespaces.len();
    reach
}

/// How many published and how many allocated devices the rule is about.
fn selected(context: &Context, rule: &DeviceTaintRule) -> (usize, usize) {
    let informers = context.informers();
    let slices = informers.of::<ResourceSlice>().list();
    let mut newest = BTreeMap::new();
    for slice in &slices {
        let pool = &slice.spec.pool;
        let known = newest.entry((&slice.spec.driver, &pool.name)).or_insert(pool.generation);
        *known = pool.generation.max(*known);
    }
    let current = slices.iter().filter(|slice| {
        let pool = &slice.spec.pool;
        newest.get(&(&slice.spec.driver, &pool.name)) == Some(&pool.generation)
    });
    let published = current.flat_map(|slice| due::devices(slice).map(move |own| (slice, own)));
    let published = published
        .filter(|(slice, own)| rule.selects(&slice.spec.driver, &slice.spec.pool.name, &own.name));
    let claims = informers.of::<ResourceClaim>().list();
    let allocated = claims.iter().flat_map(|claim| given(claim));
    let allocated = allocated.filter(|own| rule.selects(&own.driver, &own.pool, &own.device));
    (published.count(), allocated.count())
}

/// What is to be told.
fn condition(rule: &DeviceTaintRule, reach: Reach, evicted: u64, now: Timestamp) -> Condition {
    let Reach { pods, namespaces, published, allocated } = reach;
    let spaces = |count: usize| match count {
        1 => "1 namespace".to_owned(),
        _ => format!("{count} different namespaces"),
    };
    let (reason, mut message) = match rule.spec.taint.effect.as_str() {
        NO_EXECUTE if pods > 0 => {
            let them = counted(pods, "pod needs", "pods need");
            ("PodsPendingEviction", format!("{them} to be evicted in {}.", spaces(namespaces)))
        }
        NO_EXECUTE if evicted > 0 => ("Completed", String::new()),
        NO_EXECUTE => ("NotStarted", String::new()),
        "None" => {
            let first = counted(published, "published device", "published devices");
            let second = counted(allocated, "allocated device", "allocated devices");
            let third = counted(pods, "pod", "pods");
            let message = format!(
                "{first} selected. {second} selected. {third} would be evicted in {} if the effect was NoExecute. \
                 This information will not be updated again. Recreate the DeviceTaintRule to trigger an update.",
                spaces(namespaces)
            );
            ("NoEffect", message)
        }
        _ => ("OtherEffect", "Eviction only happens for the NoExecute effect.".to_owned()),
    };
    if evicted > 0 {
        let gap = if message.is_empty() { "" } else { " " };
        let them = counted(usize::try_from(evicted).unwrap_or(usize::MAX), "pod", "pods");
        message.push_str(&format!("{gap}{them} evicted since starting the controller."));
    }
    let status = if reason == "PodsPendingEviction" { "True" } else { "False" };
    Condition {
        type_: IN_PROGRESS.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message,
        observed_generation: rule.metadata.generation,
        last_transition_time: Time(now),
    }
}

fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(effect: &str) -> DeviceTaintRule {
        let rule = json!({"metadata": {"name": "r", "generation": 3},
            "spec": {"taint": {"key": "example.com/bad", "effect": effect}}});
        serde_json::from_value(rule).unwrap()
    }

    #[test]
    fn a_condition_tells_who_goes_and_who_went() {
        let now = Timestamp::UNIX_EPOCH;
        let few = Reach { pods: 1, namespaces: 1, published: 1, allocated: 2 };
        let many = Reach { pods: 3, namespaces: 2, ..few };
        let none = Reach::default();
        let table = [
            (
                "NoExecute",
                few,
                0,
                "PodsPendingEviction",
                "1 pod needs to be evicted in 1 namespace.",
            ),
            (
                "NoExecute",
                many,
                1,
                "PodsPendingEviction",
                "3 pods need to be evicted in 2 different namespaces. 1 pod evicted since starting the controller.",
            ),
            ("NoExecute", none, 2, "Completed", "2 pods evicted since starting the controller."),
            ("NoExecute", none, 0, "NotStarted", ""),
            (
                "NoSchedule",
                none,
                0,
                "OtherEffect",
                "Eviction only happens for the NoExecute effect.",
            ),
            (
                "None",
                few,
                0,
                "NoEffect",
                "1 published device selected. 2 allocated devices selected. 1 pod would be evicted in 1 namespace if \
                 the effect was NoExecute. This information will not be updated again. Recreate the DeviceTaintRule \
                 to trigger an update.",
            ),
        ];
        for (effect, reach, evicted, reason, message) in table {
            let told = condition(&rule(effect), reach, evicted, now);
            assert_eq!((told.reason.as_str(), told.message.as_str()), (reason, message));
            assert_eq!(told.status == "True", reason == "PodsPendingEviction");
            assert_eq!(told.observed_generation, Some(3));
        }
    }

    #[test]
    fn whom_a_rule_would_drive_out_is_told_once() {
        let told = |effect: &str, pods: usize| {
            let reach = Reach { pods, namespaces: 1, ..Reach::default() };
            condition(&rule(effect), reach, 0, Timestamp::UNIX_EPOCH)
        };
        let again = |effect: &str, pods: usize, fresh: bool| {
            changes(&rule(effect), &told(effect, pods), fresh)
        };
        assert!(again("NoExecute", 0, true) && again("NoExecute", 2, false));
        assert!(!again("NoExecute", 0, false), "all are gone");
        assert!(!again("None", 2, true) && !again("NoSchedule", 0, true));
    }

    #[test]
    fn what_was_told_stands_for_ten_seconds_unless_the_rule_changed() {
        let told = condition(&rule("None"), Reach::default(), 0, Timestamp::UNIX_EPOCH);
        let at = |seconds| Timestamp::from_second(seconds).unwrap();
        assert_eq!(too_early(&rule("None"), &told, at(4)), Some(Duration::from_secs(6)));
        assert_eq!(too_early(&rule("None"), &told, at(10)), None);
        assert_eq!(too_early(&rule("None"), &told, at(-1000)), Some(PERIOD));
        let mut changed = rule("None");
        changed.metadata.generation = Some(4);
        assert_eq!(too_early(&changed, &told, at(4)), None);
    }
}
