//! Selectors, templates and counts of workloads.

use crate::{check, look::At, pod::validation::pod_template};
use kubeplane_core::{Object, field::Errors, selector::LabelSelector};

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
    let found = selector.matches(|key| labels.value().get(key).and_then(serde_json::Value::as_str));
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
