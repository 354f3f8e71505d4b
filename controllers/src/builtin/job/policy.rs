//! What a Job's policies say of pods that failed and of indexes that succeeded.

use super::indexes::Indexes;
use k8s_openapi::api::{
    batch::v1::{JobSpec, PodFailurePolicyOnExitCodesRequirement, PodFailurePolicyRule},
    core::v1::{ContainerStatus, Pod},
};

/// What is done about a failed pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It counts towards the limits.
    Count,
    /// It does not count.
    Ignore,
    /// Its index has failed.
    FailIndex,
    /// The whole Job has failed, for this reason.
    FailJob(String),
}

impl Verdict {
    pub(super) fn counts(&self) -> bool {
        *self != Self::Ignore
    }
}

/// What the pod failure policy says of a failed pod: the first rule that matches, or that it counts.
pub(super) fn judge(spec: &JobSpec, pod: &Pod) -> Verdict {
    let rules = spec.pod_failure_policy.iter().flat_map(|policy| &policy.rules);
    for (number, rule) in rules.enumerate() {
        if let Some(what) = matching(rule, pod) {
            let verdict = match rule.action.as_str() {
                "Ignore" => Verdict::Ignore,
                "FailIndex" => Verdict::FailIndex,
                "Count" => Verdict::Count,
                "FailJob" => {
                    Verdict::FailJob(format!("{what} matching FailJob rule at index {number}"))
                }
                _ => continue,
            };
            return verdict;
        }
    }
    Verdict::Count
}

/// The action of the first rule that matches a failed pod.
pub(super) fn action<'a>(spec: &'a JobSpec, pod: &Pod) -> Option<&'a str> {
    let mut rules = spec.pod_failure_policy.iter().flat_map(|policy| &policy.rules);
    rules.find(|rule| matching(rule, pod).is_some()).map(|rule| rule.action.as_str())
}

/// What of the pod the rule matches.
fn matching(rule: &PodFailurePolicyRule, pod: &Pod) -> Option<String> {
    let name = |part: &Option<String>| part.clone().unwrap_or_default();
    let pod_name = format!("{}/{}", name(&pod.metadata.namespace), name(&pod.metadata.name));
    let status = pod.status.as_ref()?;
    if let Some(codes) = &rule.on_exit_codes {
        let regular = status.container_statuses.iter().flatten();
        let all = regular.chain(status.init_container_statuses.iter().flatten());
        let (container, code) =
            all.filter_map(|status| Some((&status.name, exit_code(status, codes)?))).next()?;
        return Some(format!(
            "Container {container} for pod {pod_name} failed with exit code {code}"
        ));
    }
    let patterns = rule.on_pod_conditions.as_ref()?;
    let condition = status.conditions.iter().flatten().find(|condition| {
        patterns.iter().any(|pattern| {
            pattern.type_ == condition.type_
                && pattern.status.as_deref().unwrap_or("True") == condition.status
        })
    })?;
    Some(format!("Pod {pod_name} has condition {}", condition.type_))
}

fn exit_code(
    status: &ContainerStatus,
    wanted: &PodFailurePolicyOnExitCodesRequirement,
) -> Option<i32> {
    let code = status.state.as_ref()?.terminated.as_ref()?.exit_code;
    let named = wanted.container_name.as_ref().is_none_or(|name| *name == status.name);
    let matches = match wanted.operator.as_str() {
        "In" => wanted.values.contains(&code),
        "NotIn" => !wanted.values.contains(&code),
        _ => false,
    };
    (named && code != 0 && matches).then_some(code)
}

/// Why the Job has succeeded although not all indexes have, if its success policy says so.
pub(super) fn succeeded(spec: &JobSpec, done: &Indexes) -> Option<String> {
    let policy = spec.success_policy.as_ref().filter(|_| !done.is_empty())?;
    let completions = spec.completions.unwrap_or_default();
    let met = policy.rules.iter().position(|rule| match &rule.succeeded_indexes {
        Some(text) => {
            let wanted = Indexes::parse(text, completions);
            let common = wanted.common(done);
            !wanted.is_empty()
                && (common == wanted.total()
                    || rule.succeeded_count.is_some_and(|count| common >= count))
        }
        None => rule.succeeded_count.is_some_and(|count| done.total() >= count),
    })?;
    Some(format!("Matched rules at index {met}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trim_pod;
    use serde_json::json;

    #[test]
    fn the_first_rule_that_matches_decides() {
        let spec: JobSpec = serde_json::from_value(json!({"template": {}, "podFailurePolicy": {"rules": [
            {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
            {"action": "FailJob", "onExitCodes": {"containerName": "main", "operator": "In", "values": [5, 6]}},
            {"action": "FailIndex", "onExitCodes": {"operator": "NotIn", "values": [1]}},
        ]}}))
        .unwrap();
        let pod = |container: &str, code: i32, condition: &str| -> Pod {
            let pod: Pod = serde_json::from_value(json!({"metadata": {"namespace": "n", "name": "p"}, "status": {
                "conditions": [{"type": condition, "status": "True"}],
                "containerStatuses": [{"name": container, "image": "", "imageID": "", "ready": false,
                    "restartCount": 0, "state": {"terminated": {"exitCode": code}}}]}}))
            .unwrap();
            let mut less = pod.clone();
            trim_pod(&mut less);
            assert_eq!(judge(&spec, &less), judge(&spec, &pod), "of what is kept");
            pod
        };
        assert_eq!(judge(&spec, &pod("main", 5, "DisruptionTarget")), Verdict::Ignore);
        let message =
            "Container main for pod n/p failed with exit code 5 matching FailJob rule at index 1";
        assert_eq!(judge(&spec, &pod("main", 5, "Ready")), Verdict::FailJob(message.to_owned()));
        assert_eq!(judge(&spec, &pod("other", 5, "Ready")), Verdict::FailIndex);
        assert_eq!(judge(&spec, &pod("main", 1, "Ready")), Verdict::Count);
    }

    #[test]
    fn a_success_policy_is_met_by_indexes_or_their_number() {
        let spec = |rule: serde_json::Value| -> JobSpec {
            serde_json::from_value(
                json!({"template": {}, "completions": 10, "successPolicy": {"rules": [rule]}}),
            )
            .unwrap()
        };
        let done = Indexes::parse("0,2,5", 10);
        for (rule, met) in [
            (json!({"succeededIndexes": "0,2"}), true),
            (json!({"succeededIndexes": "0-2"}), false),
            (json!({"succeededIndexes": "0-2", "succeededCount": 2}), true),
            (json!({"succeededCount": 3}), true),
            (json!({"succeededCount": 4}), false),
        ] {
            assert_eq!(succeeded(&spec(rule.clone()), &done).is_some(), met, "{rule}");
        }
    }
}
