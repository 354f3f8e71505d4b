//! Whether a Job, or a change of one, makes sense.

use super::{NAME, OLD_NAME, OLD_UID, UID, holds, indexes};
use crate::{
    check,
    look::{At, Look, sub},
    pod::validation::{forgive_template, pod_template},
};
use kubeplane_core::{
    Object,
    features::Features,
    field::{Error, Errors, OMITTED},
    names,
    selector::LabelSelector,
};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

const PARALLELISM_MAX: i64 = 100_000;
const FAILED_INDEXES_MAX: i64 = 100_000;
const COMPLETIONS_MANY: i64 = 100_000;
const PARALLELISM_OF_MANY: i64 = 10_000;
const FAILED_INDEXES_OF_MANY: i64 = 10_000;
const RULES_MAX: usize = 20;
const EXIT_CODES_MAX: usize = 255;
const PATTERNS_MAX: usize = 20;
const MANAGED_BY_MAX: usize = 63;
const INDEXES_MAX: usize = 64 * 1024;
const ACTIONS: &[&str] = &["Count", "FailIndex", "FailJob", "Ignore"];
const OPERATORS: &[&str] = &["In", "NotIn"];
const STATUSES: &[&str] = &["False", "True", "Unknown"];

pub(super) fn create(object: &Object) -> Errors {
    let mut errors = Errors::new();
    job(object, true, false, &mut errors);
    errors
}

pub(super) fn update(features: &Features, object: &Object, old: &Object) -> Errors {
    let mut errors = Errors::new();
    let (new, before) = (At::top(object.map(), "spec"), At::top(old.map(), "spec"));
    let labels = before.get("template").get("metadata").get("labels");
    let prefixed = labels.value().has(NAME) && labels.value().has(UID);
    let mut selector = Errors::new();
    check::label_selector(&before.get("selector"), &mut selector);
    let lenient = selector.iter().any(|error| error.path.as_str().contains("values["));
    job(object, prefixed, lenient, &mut errors);
    // The original looks at the spec twice, and says twice what it finds.
    spec_with_selector(&new, lenient, &mut errors);
    completions(&new, &before, &mut errors);
    check::unchanged(&new.get("selector"), before.get("selector").value(), &mut errors);
    template_update(features, &new, old, &mut errors);
    for field in
        ["completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy"]
    {
        check::unchanged(&new.get(field), before.get(field).value(), &mut errors);
    }
    forgive_template(&mut errors, &before.get("template"));
    errors
}

fn completions(new: &At<'_>, before: &At<'_>, errors: &mut Errors) {
    let (at, old) = (new.get("completions"), before.get("completions"));
    if new.get("completionMode").str() != "Indexed" {
        check::unchanged(&at, old.value(), errors);
    } else if at.is_set()
        && at.value() != old.value()
        && at.int() != Some(new.get("parallelism").int().unwrap_or_default())
    {
        errors.push(at.invalid("can only be modified in tandem with spec.parallelism"));
    }
}

/// The template may change in what schedules it and in resources, while a job is suspended and has no pods.
fn template_update(features: &Features, new: &At<'_>, old: &Object, errors: &mut Errors) {
    let (at, spec, status) =
        (new.get("template"), sub(old.map(), "spec"), sub(old.map(), "status"));
    let fresh = spec.flag("suspend") && status.text("startTime").is_empty();
    let idle =
        (fresh || spec.flag("suspend") && holds(old, "Suspended")) && status.int("active") == 0;
    let mut before = spec.sub("template").clone();
    let later = features.is_on("MutableSchedulingDirectivesForSuspendedJobs");
    if (later && idle) || (!later && fresh) {
        take_scheduling(&mut before, at.value());
    }
    if !idle || !features.is_on("MutablePodResourcesForSuspendedJobs") {
        return check::same(&at, &before, "io.k8s.api.core.v1.PodTemplateSpec", errors);
    }
    let template = at.value();
    for list in ["containers", "initContainers"] {
        take_resources(&mut before, template.sub("spec").list(list), list);
    }
    // The original compares the pods' specs alone here.
    let at = new.get("template.spec").with(template.sub("spec"));
    check::same(&at, before.sub("spec"), "io.k8s.api.core.v1.PodSpec", errors);
}

/// Takes what schedules pods from the new template.
fn take_scheduling(before: &mut Value, template: &Value) {
    for field in ["annotations", "labels"] {
        take(before, &["metadata"], field, template.sub("metadata"));
    }
    for field in ["nodeSelector", "tolerations", "schedulingGates"] {
        take(before, &["spec"], field, template.sub("spec"));
    }
    take_node_affinity(before, template.sub("spec").sub("affinity"));
}

fn inner<'a>(value: &'a mut Value, path: &[&str]) -> Option<&'a mut Map<String, Value>> {
    let mut value = value;
    for step in path {
        value = value.as_object_mut()?.entry(*step).or_insert_with(|| json!({}));
    }
    value.as_object_mut()
}

/// Takes a field from elsewhere, or away.
fn take(value: &mut Value, path: &[&str], field: &str, from: &Value) {
    let Some(map) = inner(value, path) else { return };
    match from.get(field) {
        Some(found) => drop(map.insert(field.to_owned(), found.clone())),
        None => drop(map.remove(field)),
    }
}

fn take_node_affinity(before: &mut Value, affinity: &Value) {
    let had = before.sub("spec").has("affinity");
    if affinity.is_null() && !had {
        return;
    }
    take(before, &["spec", "affinity"], "nodeAffinity", affinity);
    let Some(spec) = inner(before, &["spec"]) else { return };
    let empty = sub(spec, "affinity").as_object().is_some_and(Map::is_empty);
    if affinity.is_null() && empty {
        spec.remove("affinity");
    }
}

fn take_resources(before: &mut Value, containers: &[Value], list: &str) {
    let Some(old) = inner(before, &["spec"]).and_then(|spec| spec.get_mut(list)?.as_array_mut())
    else {
        return;
    };
    if old.len() != containers.len() {
        return;
    }
    for (old, new) in old.iter_mut().zip(containers) {
        if old.text("name") == new.text("name") {
            take(old, &[], "resources", new);
        }
    }
}

/// `prefixed` asks for the labels with a prefix; `lenient` lets values of the selector pass that are no values of
/// labels.
fn job(object: &Object, prefixed: bool, lenient: bool, errors: &mut Errors) {
    let spec = At::top(object.map(), "spec");
    generated_selector(object, &spec, prefixed, errors);
    spec_with_selector(&spec, lenient, errors);
    let completions = spec.get("completions").int().unwrap_or_default();
    if spec.get("completionMode").str() == "Indexed" && completions > 0 {
        let hostname = format!("{}-{}", object.name(), completions - 1);
        if !names::is_dns1123_label(&hostname).is_empty() {
            let name = At::top(object.map(), "metadata").get("name");
            errors.push(name.invalid_as(
                object.name(),
                format!("will not able to create pod with invalid DNS label: {hostname}"),
            ));
        }
    }
}

fn generated_selector(object: &Object, spec: &At<'_>, prefixed: bool, errors: &mut Errors) {
    let selector = spec.get("selector");
    if spec.get("manualSelector").bool() || !selector.is_set() {
        return;
    }
    let (name, uid) = (object.name(), object.uid());
    if uid.is_empty() {
        errors.push(At::top(object.map(), "metadata").get("uid").required(""));
    }
    let labels = spec.get("template").get("metadata").get("labels");
    let mut expected = vec![(OLD_UID, uid), (OLD_NAME, name)];
    if prefixed {
        expected.extend([(UID, uid), (NAME, name)]);
    }
    for (key, value) in &expected {
        let at = labels.key(key);
        if !at.is_set() {
            errors.push(at.required(format!("must be '{value}'")));
        } else if at.str() != *value {
            errors.push(at.invalid_as(labels.value().clone(), format!("must be '{value}'")));
        }
    }
    let find =
        |key: &str| expected.iter().find(|(known, _)| *known == key).map(|(_, value)| *value);
    if LabelSelector::from_json(Some(selector.value()))
        .is_ok_and(|selector| !selector.matches(find))
    {
        errors.push(selector.invalid("`selector` not auto-generated"));
    }
}

fn spec_with_selector(at: &At<'_>, lenient: bool, errors: &mut Errors) {
    spec(at, errors);
    let selector = at.get("selector");
    let parsed = if selector.is_set() {
        let mut found = Errors::new();
        check::label_selector(&selector, &mut found);
        found.retain(|error| !lenient || !error.path.as_str().contains("values["));
        errors.append(&mut found);
        LabelSelector::from_json(Some(selector.value()))
    } else {
        errors.push(selector.required(""));
        Ok(LabelSelector::nothing())
    };
    let labels = at.get("template").get("metadata").get("labels");
    let find = |key: &str| labels.value().get(key).and_then(Value::as_str);
    if parsed.is_ok_and(|selector| !selector.matches(find)) {
        let detail = "`selector` does not match template `labels`";
        errors.push(labels.invalid_as(labels.value().clone(), detail));
    }
}

/// The spec of a job, or of a template of jobs.
pub(crate) fn spec(spec: &At<'_>, errors: &mut Errors) {
    for field in [
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
        "backoffLimitPerIndex",
        "maxFailedIndexes",
    ] {
        check::nonnegative(&spec.get(field), errors);
    }
    let (by_index, failed) = (spec.get("backoffLimitPerIndex"), spec.get("maxFailedIndexes"));
    if failed.is_set() && !by_index.is_set() {
        errors.push(by_index.required("when maxFailedIndexes is specified"));
    }
    managed_by(&spec.get("managedBy"), errors);
    completion_mode(spec, errors);
    if spec.get("podFailurePolicy").is_set() {
        failure_policy(spec, errors);
    }
    let success = spec.get("successPolicy");
    if success.is_set() {
        if spec.get("completionMode").str() == "Indexed" {
            success_policy(spec, &success, errors);
        } else {
            errors.push(success.invalid("requires indexed completion mode"));
        }
    }
    let replacement = spec.get("podReplacementPolicy");
    let known: &[&str] = if spec.get("podFailurePolicy").is_set() {
        &["Failed"]
    } else {
        &["Failed", "TerminatingOrFailed"]
    };
    check::one_of_if_set(&replacement, known, errors);
    let template = spec.get("template");
    pod_template(&template, errors);
    let policy = template.get("spec").get("restartPolicy");
    match policy.str() {
        "" | "Always" => errors.push(policy.required("valid values: \"OnFailure\", \"Never\"")),
        "OnFailure" if spec.get("podFailurePolicy").is_set() => errors
            .push(policy.invalid("only \"Never\" is supported when podFailurePolicy is specified")),
        "OnFailure" | "Never" => {}
        _ => errors.push(policy.not_supported(&["OnFailure", "Never"])),
    }
}

fn managed_by(at: &At<'_>, errors: &mut Errors) {
    if !at.is_set() {
        return;
    }
    if at.str().is_empty() {
        errors.push(at.required(""));
    } else {
        domain_prefixed_path(at, errors);
    }
    if at.str().len() > MANAGED_BY_MAX {
        errors.push(at.too_long(MANAGED_BY_MAX));
    }
}

fn domain_prefixed_path(at: &At<'_>, errors: &mut Errors) {
    let parts =
        at.str().split_once('/').filter(|(host, path)| !host.is_empty() && !path.is_empty());
    let Some((host, path)) = parts else {
        let detail = "must be a domain-prefixed path (such as \"acme.io/foo\")";
        return errors.push(at.invalid(detail));
    };
    let problems = names::is_dns1123_subdomain(host).into_iter();
    errors.extend(problems.map(|message| at.invalid_as(host, message)));
    let allowed = |c: char| c.is_ascii_alphanumeric() || "/-._~%!$&'()*+,;=:".contains(c);
    if !path.chars().all(allowed) {
        let regex = "[A-Za-z0-9/\\-._~%!$&'()*+,;=:]+";
        errors.push(at.invalid_as(path, names::regex_message("Invalid path", regex, &[])));
    }
}

fn completion_mode(spec: &At<'_>, errors: &mut Errors) {
    let mode = spec.get("completionMode");
    let (completions, parallelism) = (spec.get("completions"), spec.get("parallelism"));
    let (by_index, failed) = (spec.get("backoffLimitPerIndex"), spec.get("maxFailedIndexes"));
    check::one_of_if_set(&mode, &["NonIndexed", "Indexed"], errors);
    if !mode.is_set() || mode.str() == "NonIndexed" {
        for at in [by_index, failed].iter().filter(|at| at.is_set()) {
            errors.push(at.invalid("requires indexed completion mode"));
        }
        return;
    }
    if mode.str() != "Indexed" {
        return;
    }
    if !completions.is_set() {
        errors.push(completions.required("when completion mode is Indexed"));
    }
    let mut at_most = |at: &At<'_>, limit: i64, detail: &str| {
        if at.int().is_some_and(|number| number > limit) {
            errors.push(at.invalid(format!("must be less than or equal to {detail}")));
        }
    };
    let detail = format!("{PARALLELISM_MAX} when completion mode is Indexed");
    at_most(&parallelism, PARALLELISM_MAX, &detail);
    if let Some(limit) = completions.int() {
        at_most(&failed, limit, "completions");
    }
    at_most(&failed, FAILED_INDEXES_MAX, &FAILED_INDEXES_MAX.to_string());
    let many = completions.int().is_some_and(|count| count > COMPLETIONS_MANY);
    if !many || !by_index.is_set() {
        return;
    }
    let detail = |limit: i64| {
        format!(
            "{limit} when completions are above {COMPLETIONS_MANY} and used with backoff limit per index"
        )
    };
    at_most(&parallelism, PARALLELISM_OF_MANY, &detail(PARALLELISM_OF_MANY));
    at_most(&failed, FAILED_INDEXES_OF_MANY, &detail(FAILED_INDEXES_OF_MANY));
    if !failed.is_set() {
        let detail = format!("must be specified when completions is above {COMPLETIONS_MANY}");
        errors.push(failed.required(detail));
    }
}

fn failure_policy(spec: &At<'_>, errors: &mut Errors) {
    let rules = spec.get("podFailurePolicy").get("rules");
    if rules.len() > RULES_MAX {
        errors.push(rules.too_many(RULES_MAX));
    }
    let pod = spec.get("template").get("spec");
    let mut containers = check::texts(&pod.get("containers"), "name");
    containers.extend(check::texts(&pod.get("initContainers"), "name"));
    for rule in rules.items() {
        let action = rule.get("action");
        match action.str() {
            "" => errors.push(action.required(valid(ACTIONS))),
            "FailIndex" if !spec.get("backoffLimitPerIndex").is_set() => {
                errors.push(action.invalid("requires the backoffLimitPerIndex to be set"));
            }
            known if ACTIONS.contains(&known) => {}
            _ => errors.push(action.not_supported(ACTIONS)),
        }
        let (codes, patterns) = (rule.get("onExitCodes"), rule.get("onPodConditions"));
        if codes.is_set() {
            exit_codes(&codes, |name| containers.contains(name), errors);
        }
        pod_conditions(&patterns, errors);
        let detail = match (codes.is_set(), patterns.is_empty()) {
            (true, false) => "specifying both OnExitCodes and OnPodConditions is not supported",
            (false, true) => "specifying one of OnExitCodes and OnPodConditions is required",
            _ => continue,
        };
        errors.push(Error::invalid(&rule.path(), OMITTED, detail));
    }
}

/// `valid values: ["a" "b"]`.
fn valid(values: &[&str]) -> String {
    let values: Vec<_> = values.iter().map(|value| format!("{value:?}")).collect();
    format!("valid values: [{}]", values.join(" "))
}

fn pod_conditions(patterns: &At<'_>, errors: &mut Errors) {
    if patterns.len() > PATTERNS_MAX {
        errors.push(patterns.too_many(PATTERNS_MAX));
    }
    for pattern in patterns.items() {
        check::qualified_name(&pattern.get("type"), errors);
        let status = pattern.get("status");
        match status.str() {
            "" => errors.push(status.required(valid(STATUSES))),
            known if STATUSES.contains(&known) => {}
            _ => errors.push(status.not_supported(STATUSES)),
        }
    }
}

fn exit_codes(codes: &At<'_>, is_container: impl Fn(&str) -> bool, errors: &mut Errors) {
    let (operator, container, values) =
        (codes.get("operator"), codes.get("containerName"), codes.get("values"));
    match operator.str() {
        "" => errors.push(operator.required(valid(OPERATORS))),
        known if OPERATORS.contains(&known) => {}
        _ => errors.push(operator.not_supported(OPERATORS)),
    }
    if container.is_set() && !is_container(container.str()) {
        let detail = "must be one of the container or initContainer names in the pod template";
        errors.push(container.invalid(detail));
    }
    if values.is_empty() {
        errors.push(values.invalid_as(values.value().clone(), "at least one value is required"));
    } else if values.len() > EXIT_CODES_MAX {
        errors.push(values.too_many(EXIT_CODES_MAX));
    }
    let (mut seen, mut ordered, mut last) = (BTreeSet::new(), true, None);
    for value in values.items() {
        let code = value.int().unwrap_or_default();
        if operator.str() == "In" && code == 0 {
            errors.push(value.invalid("must not be 0 for the In operator"));
        }
        if !seen.insert(code) {
            errors.push(value.duplicate());
        }
        ordered &= last.is_none_or(|last| last <= code);
        last = Some(code);
    }
    if !ordered {
        errors.push(values.invalid("must be ordered"));
    }
}

fn success_policy(spec: &At<'_>, policy: &At<'_>, errors: &mut Errors) {
    let rules = policy.get("rules");
    if rules.is_empty() {
        let detail = "at least one rules must be specified when the successPolicy is specified";
        errors.push(rules.required(detail));
    }
    if rules.len() > RULES_MAX {
        errors.push(rules.too_many(RULES_MAX));
    }
    let completions = spec.get("completions").int().unwrap_or_default();
    for rule in rules.items() {
        let (count, list) = (rule.get("succeededCount"), rule.get("succeededIndexes"));
        if !count.is_set() && !list.is_set() {
            let detail = "at least one of succeededCount or succeededIndexes must be specified";
            errors.push(rule.required(detail));
        }
        let mut total = 0;
        if list.is_set() {
            if list.str().len() > INDEXES_MAX {
                errors.push(list.too_long(INDEXES_MAX));
            }
            match indexes::count(list.str(), completions) {
                Ok(counted) => total = counted,
                Err(why) => {
                    errors.push(list.invalid(format!("error parsing succeededIndexes: {why}")));
                }
            }
        }
        let Some(number) = count.int() else { continue };
        check::nonnegative(&count, errors);
        if number > completions {
            errors.push(count.invalid(format!(
                "must be less than or equal to {completions} (the number of specified completions)"
            )));
        }
        if list.is_set() && number > total {
            errors.push(count.invalid(format!(
                "must be less than or equal to {total} (the number of indexes in the specified succeededIndexes field)"
            )));
        }
    }
}
