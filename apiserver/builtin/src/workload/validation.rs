//! Selectors, templates and counts of workloads.

use crate::{check, look::At, pod::validation::pod_template};
use kubeplane_core::{Object, field::Errors, names, selector::LabelSelector};
use serde_json::Value;

/// The selector of a workload of the group `apps` and the template it must match.
pub(crate) fn selector_and_template(spec: &At<'_>, what: &str, errors: &mut Errors) {
    let (selector, template) = (spec.get("selector"), spec.get("template"));
    if selector.is_set() {
        check::label_selector(&selector, errors);
        if selector.get("matchLabels").len() + selector.get("matchExpressions").len() == 0 {
            errors.push(selector.invalid("empty selector is invalid for deployment"));
        }
    } else {
        errors.push(selector.required(""));
    }
    let parsed = if selector.is_set() {
        LabelSelector::from_json(Some(selector.value()))
    } else {
        Ok(LabelSelector::nothing())
    };
    match parsed {
        Err(_) => errors.push(selector.invalid("invalid label selector")),
        Ok(parsed) => {
            matched_template(&parsed, &template, errors);
            pod_template(&template, errors);
            keeps_running(&template, what, errors);
        }
    }
}

/// The template's labels are those that the selector looks for.
pub(crate) fn matched_template(selector: &LabelSelector, template: &At<'_>, errors: &mut Errors) {
    let labels = template.get("metadata").get("labels");
    let found = selector.matches(|key| labels.value().get(key).and_then(Value::as_str));
    if !selector.is_everything() && !found {
        errors.push(
            labels
                .invalid_as(labels.value().clone(), "`selector` does not match template `labels`"),
        );
    }
}

/// Pods of a workload that keeps their number restart always and have no deadline.
pub(crate) fn keeps_running(template: &At<'_>, what: &str, errors: &mut Errors) {
    let spec = template.get("spec");
    let (policy, deadline) = (spec.get("restartPolicy"), spec.get("activeDeadlineSeconds"));
    if policy.str() != "Always" {
        errors.push(policy.not_supported(&["Always"]));
    }
    if deadline.is_set() {
        errors
            .push(deadline.forbidden(format!("activeDeadlineSeconds in {what} is not Supported")));
    }
}

/// The counts of a ReplicaSet's or ReplicationController's status.
pub(crate) fn replica_status(object: &Object, _old: &Object) -> Errors {
    let mut errors = Errors::new();
    let status = At::top(object.map(), "status");
    for field in [
        "replicas",
        "fullyLabeledReplicas",
        "readyReplicas",
        "availableReplicas",
        "observedGeneration",
        "terminatingReplicas",
    ] {
        check::nonnegative(&status.get(field), &mut errors);
    }
    within(&status, &["fullyLabeledReplicas", "readyReplicas", "availableReplicas"], &mut errors);
    errors
}

/// Partial counts are no larger than the whole, and available ones no more than ready ones.
pub(crate) fn within(status: &At<'_>, fields: &[&'static str], errors: &mut Errors) {
    let count = |field| status.get(field).int().unwrap_or_default();
    for field in fields.iter().filter(|field| count(field) > count("replicas")) {
        errors.push(status.get(field).invalid("cannot be greater than status.replicas"));
    }
    if count("availableReplicas") > count("readyReplicas") {
        errors
            .push(status.get("availableReplicas").invalid("cannot be greater than readyReplicas"));
    }
}

/// A count that is not negative, or a share in percent.
pub(crate) fn count_or_percent(at: &At<'_>, errors: &mut Errors) {
    match at.value() {
        Value::String(text) => check::messages(at, names::is_valid_percent(text), errors),
        _ => check::nonnegative(at, errors),
    }
}

/// A share is no more than all.
pub(crate) fn at_most_whole(at: &At<'_>, errors: &mut Errors) {
    if percent(at.value()).is_some_and(|percent| percent > 100) {
        errors.push(at.invalid("must not be greater than 100%"));
    }
}

fn percent(value: &Value) -> Option<i64> {
    let text = value.as_str()?;
    let valid = names::is_valid_percent(text).is_empty();
    text.strip_suffix('%').filter(|_| valid).and_then(|digits| digits.parse().ok())
}

/// The number of a count or share.
pub(crate) fn amount(value: &Value) -> i64 {
    let number = || value.as_i64().or_else(|| value.as_str()?.parse().ok());
    percent(value).or_else(number).unwrap_or_default()
}

/// A count of the status never goes down once it is there.
pub(crate) fn not_decremented(
    status: &At<'_>,
    old: &Object,
    field: &'static str,
    errors: &mut Errors,
) {
    let count = status.get(field);
    let number = count.int().unwrap_or_default();
    let before = At::top(old.map(), "status").get(field).int();
    if before.is_some_and(|before| number < before) {
        errors.push(count.invalid_as(number, "cannot be decremented"));
    }
}
