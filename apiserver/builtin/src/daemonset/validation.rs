//! Whether a DaemonSet makes sense.

use crate::{
    check,
    look::At,
    pod::validation::{forgive_template, pod_template},
    workload::validation::{
        amount, at_most_whole, count_or_percent, keeps_running, not_decremented,
    },
};
use kubeplane_core::{Object, field::Errors, selector::LabelSelector};
use serde_json::Value;

pub(super) fn daemon_set(object: &Object) -> Errors {
    let mut errors = Errors::new();
    spec(&At::top(object.map(), "spec"), false, &mut errors);
    errors
}

pub(super) fn update(object: &Object, old: &Object) -> Errors {
    let mut errors = Errors::new();
    let (new, before) = (At::top(object.map(), "spec"), At::top(old.map(), "spec"));
    check::unchanged(&new.get("selector"), before.get("selector").value(), &mut errors);
    let mut earlier = Errors::new();
    check::label_selector(&before.get("selector"), &mut earlier);
    let lenient = earlier.iter().any(|error| error.path.as_str().contains("values["));
    spec(&new, lenient, &mut errors);
    forgive_template(&mut errors, &before.get("template"));
    errors
}

/// `lenient` lets values of the selector pass that are no values of labels.
fn spec(spec: &At<'_>, lenient: bool, errors: &mut Errors) {
    let (selector, template) = (spec.get("selector"), spec.get("template"));
    let mut found = Errors::new();
    check::label_selector(&selector, &mut found);
    if lenient {
        found.retain(|error| !error.path.as_str().contains("values["));
    }
    errors.append(&mut found);
    let parsed = if selector.is_set() {
        LabelSelector::from_json(Some(selector.value()))
    } else {
        Ok(LabelSelector::nothing())
    };
    let labels = template.get("metadata").get("labels");
    let matches = |selector: &LabelSelector| {
        selector.matches(|key| labels.value().get(key).and_then(Value::as_str))
    };
    if parsed.is_ok_and(|selector| !matches(&selector)) {
        let at = labels.clone();
        errors.push(
            at.invalid_as(labels.value().clone(), "`selector` does not match template `labels`"),
        );
    }
    if selector.is_set()
        && selector.get("matchLabels").len() + selector.get("matchExpressions").len() == 0
    {
        errors.push(selector.invalid("empty selector is invalid for daemonset"));
    }
    pod_template(&template, errors);
    keeps_running(&template, "DaemonSet", errors);
    check::nonnegative(&spec.get("minReadySeconds"), errors);
    strategy(&spec.get("updateStrategy"), errors);
    check::nonnegative(&spec.get("revisionHistoryLimit"), errors);
}

fn strategy(strategy: &At<'_>, errors: &mut Errors) {
    let rolling = strategy.get("rollingUpdate");
    match strategy.get("type").str() {
        "OnDelete" => {}
        "RollingUpdate" if !rolling.is_set() => errors.push(rolling.required("")),
        "RollingUpdate" => {
            let (away, surge) = (rolling.get("maxUnavailable"), rolling.get("maxSurge"));
            count_or_percent(&away, errors);
            count_or_percent(&surge, errors);
            at_most_whole(&away, errors);
            at_most_whole(&surge, errors);
            match (amount(away.value()) != 0, amount(surge.value()) != 0) {
                (true, true) => {
                    errors.push(surge.invalid("may not be set when maxUnavailable is non-zero"));
                }
                (false, false) => errors.push(away.required("cannot be 0 when maxSurge is 0")),
                _ => {}
            }
        }
        _ => errors.push(strategy.not_supported(&["RollingUpdate", "OnDelete"])),
    }
}

pub(super) fn status(object: &Object, old: &Object) -> Errors {
    let mut errors = Errors::new();
    let status = At::top(object.map(), "status");
    for field in [
        "currentNumberScheduled",
        "numberMisscheduled",
        "desiredNumberScheduled",
        "numberReady",
        "observedGeneration",
        "updatedNumberScheduled",
        "numberAvailable",
        "numberUnavailable",
        "collisionCount",
    ] {
        check::nonnegative(&status.get(field), &mut errors);
    }
    not_decremented(&status, old, "collisionCount", &mut errors);
    errors
}
