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
    use serde_json::{Value, json};

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
        let spec = |rule: Value| -> JobSpec {
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

    #[test]
    fn rules_speak_of_containers_that_failed_and_of_conditions_as_they_are() {
        let exits = |action: &str, operator: &str, value: i32| json!({"action": action, "onExitCodes": {"operator": operator, "values": [value]}});
        let stands =
            |action: &str, pattern: Value| json!({"action": action, "onPodConditions": [pattern]});
        let container = |state: Value| json!({"name": "main", "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": state});
        let runs = || container(json!({"running": {}}));
        let ended = |code: i32| container(json!({"terminated": {"exitCode": code}}));
        let ends = |code: i32| json!({"containerStatuses": [runs(), ended(code)]});
        let shows = |status: &str| json!({"conditions": [{"type": "Odd", "status": status}]});
        let odd = |status: &str| json!({"type": "Odd", "status": status});
        let fails = |what: &str| Verdict::FailJob(what.to_owned());
        let fifth =
            "Container main for pod n/p failed with exit code 5 matching FailJob rule at index";
        let table = [
            (json!([]), ends(5), Verdict::Count),
            (json!([exits("Odd", "In", 5), exits("Ignore", "In", 5)]), ends(5), Verdict::Ignore),
            (json!([exits("Ignore", "Near", 5)]), ends(5), Verdict::Count),
            (json!([exits("Ignore", "In", -1073)]), ends(-1073), Verdict::Ignore),
            (json!([exits("Ignore", "NotIn", 7)]), ends(0), Verdict::Count),
            (json!([exits("FailJob", "NotIn", 0)]), ends(5), fails(&format!("{fifth} 0"))),
            (
                json!([exits("Ignore", "In", 2), exits("FailJob", "In", 5)]),
                ends(5),
                fails(&format!("{fifth} 1")),
            ),
            (json!([exits("Count", "In", 5), exits("FailJob", "In", 5)]), ends(5), Verdict::Count),
            (
                json!([exits("FailIndex", "In", 5)]),
                json!({"containerStatuses": [ended(0)], "initContainerStatuses": [ended(5)]}),
                Verdict::FailIndex,
            ),
            (
                json!([stands("Odd", odd("True")), stands("FailIndex", odd("True"))]),
                shows("True"),
                Verdict::FailIndex,
            ),
            (json!([stands("Ignore", odd("False"))]), shows("False"), Verdict::Ignore),
            (json!([stands("Ignore", odd("Unknown"))]), shows("Unknown"), Verdict::Ignore),
            (json!([stands("Ignore", odd("False"))]), shows("True"), Verdict::Count),
            (json!([stands("Ignore", odd("True"))]), shows("False"), Verdict::Count),
            (json!([stands("Ignore", json!({"type": "Odd"}))]), shows("True"), Verdict::Ignore),
            (json!([stands("Ignore", json!({"type": "Odd"}))]), shows("False"), Verdict::Count),
            (
                json!([stands("FailJob", odd("True"))]),
                shows("True"),
                fails("Pod n/p has condition Odd matching FailJob rule at index 0"),
            ),
            (
                json!([stands("Count", odd("True")), stands("FailJob", odd("True"))]),
                shows("True"),
                Verdict::Count,
            ),
        ];
        for (rules, status, expected) in table {
            let about = format!("{rules} of {status}");
            let spec = json!({"template": {}, "podFailurePolicy": {"rules": rules}});
            let spec: JobSpec = serde_json::from_value(spec).unwrap();
            let pod = json!({"metadata": {"namespace": "n", "name": "p"}, "status": status});
            let pod: Pod = serde_json::from_value(pod).unwrap();
            assert_eq!(judge(&spec, &pod), expected, "{about}");
        }
    }

    #[test]
    fn a_success_policy_is_met_by_the_first_rule_that_is() {
        let first = Some("Matched rules at index 0");
        let second = Some("Matched rules at index 1");
        let indexes = |text: &str| json!({"succeededIndexes": text});
        let some =
            |text: &str, count: i32| json!({"succeededIndexes": text, "succeededCount": count});
        let table = [
            (json!([]), "0", None),
            (json!([indexes("odd")]), "0", None),
            (json!([indexes("")]), "1-3", None),
            (json!([indexes("")]), "", None),
            (json!([{"succeededCount": 4}]), "", None),
            (json!([indexes("9"), indexes("4,6")]), "0-2,4-7", second),
            (json!([indexes("0,1"), indexes("5")]), "0-2,4-7", first),
            (json!([some("3-6", 2)]), "0-2,4-7", first),
            (json!([some("3-6", 2)]), "0-2,6,7", None),
            (json!([indexes("2-4,6-8")]), "1-9", first),
            (json!([indexes("2-4,6-9")]), "2-4,6-9", first),
            (json!([indexes("10-12,14-16")]), "1-3,5-7", None),
            (json!([indexes("2-4,8-12")]), "2-5,7-9", first),
            (json!([indexes("1-3,5-7")]), "2-4,6-8", None),
            (json!([some("1-3,5-7", 4)]), "2-4,6-8", first),
            (json!([some("1-3,5-7", 5)]), "2-4,6-8", None),
            (json!([some("0-4,6-9", 5)]), "1-3,7,8", first),
            (json!([some("0-6,8-9", 7)]), "1-3,5-9", first),
            (json!([some("0-6,8-9", 8)]), "1-3,5-9", None),
            (json!([some("0-3,6-9", 7)]), "1-9", first),
            (json!([indexes("0-3,6-9")]), "1-9", None),
        ];
        for (rules, done, expected) in table {
            let about = format!("{rules} with {done}");
            let spec =
                json!({"template": {}, "completions": 10, "successPolicy": {"rules": rules}});
            let spec: JobSpec = serde_json::from_value(spec).unwrap();
            let met = succeeded(&spec, &Indexes::parse(done, 10));
            assert_eq!(met.as_deref(), expected, "{about}");
        }
    }
}
