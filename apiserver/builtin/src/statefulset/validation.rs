//! Whether a StatefulSet makes sense.

use crate::{
    check,
    defaulting::maps_in,
    look::{At, Look},
    pod::validation::{forgive_template, pod_template, template_metadata, volumes::claim},
    workload::validation::{
        amount, at_most_whole, count_or_percent, keeps_running, matched_template, not_decremented,
    },
};
use kubeplane_core::{Object, field::Errors, selector::LabelSelector};
use serde_json::{Value, json};

/// What is not looked at again in what was stored once.
#[derive(Debug, Default, Clone, Copy)]
struct Skipped {
    immutable: bool,
    template: bool,
}

const MUTABLE: [&str; 7] = [
    "replicas",
    "template",
    "updateStrategy",
    "minReadySeconds",
    "ordinals",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
];

pub(super) fn create(object: &Object) -> Errors {
    let mut errors = Errors::new();
    spec(&At::top(object.map(), "spec"), Skipped::default(), &mut errors);
    errors
}

pub(super) fn update(object: &Object, old: &Object) -> Errors {
    let mut skipped = Skipped { immutable: true, template: false };
    let mut before = Errors::new();
    spec(&At::top(old.map(), "spec"), skipped, &mut before);
    let template = At::top(old.map(), "spec").get("template");
    forgive_template(&mut before, &template);
    skipped.template = !before.is_empty();
    let mut errors = Errors::new();
    let new = At::top(object.map(), "spec");
    spec(&new, skipped, &mut errors);
    forgive_template(&mut errors, &template);
    if !check::is_same(&fixed(object), &fixed(old), "io.k8s.api.apps.v1.StatefulSetSpec") {
        errors.push(new.forbidden(
            "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', \
             'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden",
        ));
    }
    errors
}

/// The part of the spec that may not change.
fn fixed(object: &Object) -> Value {
    let mut spec = object.at(&["spec"]).and_then(Value::as_object).cloned().unwrap_or_default();
    for field in MUTABLE {
        spec.remove(field);
    }
    // Inside, claims have neither.
    for claim in maps_in(&mut spec, "volumeClaimTemplates") {
        claim.remove("apiVersion");
        claim.remove("kind");
    }
    Value::Object(spec)
}

fn spec(spec: &At<'_>, skipped: Skipped, errors: &mut Errors) {
    let policy = spec.get("podManagementPolicy");
    match policy.str() {
        "" => errors.push(policy.required("")),
        "OrderedReady" | "Parallel" => {}
        _ => errors.push(policy.invalid("must be 'OrderedReady' or 'Parallel'")),
    }
    strategy(&spec.get("updateStrategy"), errors);
    let retention = spec.get("persistentVolumeClaimRetentionPolicy");
    for field in ["whenDeleted", "whenScaled"] {
        let at = retention.get(field);
        if retention.is_set() && !matches!(at.str(), "Delete" | "Retain") {
            errors.push(at.not_supported(&["Retain", "Delete"]));
        }
    }
    if !skipped.immutable {
        for claim in spec.get("volumeClaimTemplates").items() {
            claim::spec(&claim.get("spec"), claim::Leniency::default(), errors);
        }
    }
    check::nonnegative(&spec.get("replicas"), errors);
    check::nonnegative(&spec.get("minReadySeconds"), errors);
    check::nonnegative(&spec.get("ordinals").get("start"), errors);
    if !skipped.immutable {
        check::optional_dns_label(&spec.get("serviceName"), errors);
    }
    let selector = spec.get("selector");
    if selector.is_set() {
        check::label_selector(&selector, errors);
        if selector.get("matchLabels").len() + selector.get("matchExpressions").len() == 0 {
            errors.push(selector.invalid("empty selector is invalid for statefulset"));
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
        Err(_) => errors.push(selector.invalid("")),
        Ok(parsed) => template(spec, &parsed, skipped, errors),
    }
    keeps_running(&spec.get("template"), "StatefulSet", errors);
}

fn template(spec: &At<'_>, selector: &LabelSelector, skipped: Skipped, errors: &mut Errors) {
    let filled = filled_template(spec);
    let template = spec.get("template").with(&filled);
    matched_template(selector, &template, errors);
    if !skipped.template {
        pod_template(&template, errors);
    }
    template_metadata(&template, errors);
}

/// The template as its pods will have it: names come from the set, volumes from the templates of claims.
fn filled_template(spec: &At<'_>) -> Value {
    let mut template = spec.get("template").value().clone();
    let Some(pod) = template.get_mut("spec").and_then(Value::as_object_mut) else {
        return template;
    };
    pod.remove("subdomain");
    pod.remove("hostname");
    let mut volumes: Vec<Value> = Vec::new();
    for claim in spec.get("volumeClaimTemplates").items() {
        let name = claim.get("metadata").get("name").str();
        volumes.retain(|volume| volume.text("name") != name);
        volumes.push(json!({"name": name, "persistentVolumeClaim": {"claimName": name}}));
    }
    if volumes.is_empty() {
        return template;
    }
    for volume in pod.get("volumes").and_then(Value::as_array).into_iter().flatten() {
        if !volumes.iter().any(|claim| claim.text("name") == volume.text("name")) {
            volumes.push(volume.clone());
        }
    }
    pod.insert("volumes".to_owned(), volumes.into());
    template
}

fn strategy(strategy: &At<'_>, errors: &mut Errors) {
    let rolling = strategy.get("rollingUpdate");
    match strategy.get("type").str() {
        "" => errors.push(strategy.required("")),
        "OnDelete" if rolling.is_set() => {
            errors.push(rolling.invalid("only allowed for updateStrategy 'RollingUpdate'"));
        }
        "OnDelete" => {}
        "RollingUpdate" => {
            check::nonnegative(&rolling.get("partition"), errors);
            let away = rolling.get("maxUnavailable");
            if away.is_set() {
                count_or_percent(&away, errors);
                if amount(away.value()) == 0 {
                    errors.push(away.invalid("cannot be 0"));
                }
                at_most_whole(&away, errors);
            }
        }
        _ => errors.push(strategy.invalid("must be 'RollingUpdate' or 'OnDelete'")),
    }
}

pub(super) fn status(object: &Object, old: &Object) -> Errors {
    let mut errors = Errors::new();
    let status = At::top(object.map(), "status");
    let parts = ["readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas"];
    check::nonnegative(&status.get("replicas"), &mut errors);
    for field in parts.into_iter().chain(["observedGeneration", "collisionCount"]) {
        check::nonnegative(&status.get(field), &mut errors);
    }
    let count = |field| status.get(field).int().unwrap_or_default();
    for field in parts.into_iter().filter(|field| count(field) > count("replicas")) {
        errors.push(status.get(field).invalid("cannot be greater than status.replicas"));
    }
    if count("availableReplicas") > count("readyReplicas") {
        let detail = "cannot be greater than status.readyReplicas";
        errors.push(status.get("availableReplicas").invalid(detail));
    }
    not_decremented(&status, old, "collisionCount", &mut errors);
    errors
}
