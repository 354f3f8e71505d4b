//! Whether a Deployment makes sense.

use crate::{
    check,
    look::At,
    pod::validation::forgive_template,
    workload::validation::{
        amount, at_most_whole, count_or_percent, not_decremented, selector_and_template, within,
    },
};
use kubeplane_core::{Object, field::Errors};

pub(super) fn deployment(object: &Object) -> Errors {
    let mut errors = Errors::new();
    let spec = At::top(object.map(), "spec");
    check::nonnegative(&spec.get("replicas"), &mut errors);
    selector_and_template(&spec, "ReplicaSet", &mut errors);
    strategy(&spec.get("strategy"), &mut errors);
    let (ready, deadline) = (spec.get("minReadySeconds"), spec.get("progressDeadlineSeconds"));
    check::nonnegative(&ready, &mut errors);
    check::nonnegative(&spec.get("revisionHistoryLimit"), &mut errors);
    check::nonnegative(&deadline, &mut errors);
    if deadline.int().is_some_and(|seconds| seconds <= ready.int().unwrap_or_default()) {
        errors.push(deadline.invalid("must be greater than minReadySeconds"));
    }
    errors
}

pub(super) fn update(object: &Object, old: &Object) -> Errors {
    let mut errors = deployment(object);
    let (selector, before) =
        (At::top(object.map(), "spec").get("selector"), At::top(old.map(), "spec"));
    check::unchanged(&selector, before.get("selector").value(), &mut errors);
    forgive_template(&mut errors, &before.get("template"));
    errors
}

fn strategy(strategy: &At<'_>, errors: &mut Errors) {
    let rolling = strategy.get("rollingUpdate");
    match strategy.get("type").str() {
        "Recreate" if rolling.is_set() => {
            errors
                .push(rolling.forbidden("may not be specified when strategy `type` is 'Recreate'"));
        }
        "Recreate" => {}
        "RollingUpdate" => {
            let (unavailable, surge) = (rolling.get("maxUnavailable"), rolling.get("maxSurge"));
            count_or_percent(&unavailable, errors);
            count_or_percent(&surge, errors);
            if amount(unavailable.value()) == 0 && amount(surge.value()) == 0 {
                errors.push(unavailable.invalid("may not be 0 when `maxSurge` is 0"));
            }
            at_most_whole(&unavailable, errors);
        }
        _ => errors.push(strategy.not_supported(&["Recreate", "RollingUpdate"])),
    }
}

pub(super) fn status(object: &Object, old: &Object) -> Errors {
    let mut errors = Errors::new();
    let status = At::top(object.map(), "status");
    for field in [
        "observedGeneration",
        "replicas",
        "updatedReplicas",
        "readyReplicas",
        "availableReplicas",
        "unavailableReplicas",
        "terminatingReplicas",
        "collisionCount",
    ] {
        check::nonnegative(&status.get(field), &mut errors);
    }
    within(&status, &["updatedReplicas", "readyReplicas", "availableReplicas"], &mut errors);
    not_decremented(&status, old, "collisionCount", &mut errors);
    errors
}
