//! PodDisruptionBudgets.

use crate::{
    check,
    hooks::{change_only, keep, start_generation, step_generation},
    look::{At, Look, sub},
    row::{Part, Row},
    table::age,
    workload::validation::{at_most_whole, count_or_percent},
};
use jiff::Timestamp;
use kubeplane_core::{
    Definition, Object, Strategy,
    definition::{Context, NameRule},
    field::Errors,
    metadata::validate_conditions,
};
use serde_json::{Value, json};

/// Stood for "all" and "none" in the version before this one; it has no meaning beside anything else.
const OLD_LABEL: &str = "pdb.kubernetes.io/deprecated-v1beta1-empty-selector-match";

pub(crate) fn definition() -> Definition {
    let row = Row {
        group: "policy",
        kind: "PodDisruptionBudget",
        plural: "poddisruptionbudgets",
        short: &["pdb"],
        columns: &[
            "Name",
            "Min Available",
            "Max Unavailable",
            "Allowed Disruptions:integer",
            "Age",
        ],
        parts: &[Part::Status],
        unconditional_update: false,
        ..Row::NAMESPACED
    };
    row.define(Budgets)
}

#[derive(Debug)]
struct Budgets;

impl Strategy for Budgets {
    fn default(&self, object: &mut Object) {
        let selector = sub(object.map(), "spec").sub("selector");
        let labels = selector.sub("matchLabels").as_object().map_or(0, serde_json::Map::len);
        if labels + selector.list("matchExpressions").len() < 2 {
            return;
        }
        object.remove(&["spec", "selector", "matchLabels", OLD_LABEL]);
        let path = ["spec", "selector", "matchExpressions"];
        let expressions = object.at(&path).and_then(Value::as_array).into_iter().flatten();
        let kept: Vec<_> =
            expressions.filter(|expression| expression.text("key") != OLD_LABEL).cloned().collect();
        if object.at(&path).is_some() {
            object.set(&path, kept);
        }
    }

    fn prepare_create(&self, _context: &Context<'_>, object: &mut Object) {
        object.set(
            &["status"],
            json!({"currentHealthy": 0, "desiredHealthy": 0, "disruptionsAllowed": 0, "expectedPods": 0}),
        );
        start_generation(object);
    }

    fn prepare_update(&self, context: &Context<'_>, object: &mut Object, old: &Object) {
        if context.subresource == "status" {
            return change_only(object, old, "status");
        }
        keep(object, old, "status");
        step_generation(object, old, &["spec"]);
    }

    fn validate(&self, _context: &Context<'_>, object: &Object) -> Errors {
        validate(object, false)
    }

    fn validate_update(&self, context: &Context<'_>, object: &Object, old: &Object) -> Errors {
        if context.subresource == "status" {
            return status(object);
        }
        let mut before = Errors::new();
        check::label_selector(&At::top(old.map(), "spec").get("selector"), &mut before);
        validate(object, !before.is_empty())
    }

    fn name_rule(&self) -> NameRule {
        NameRule::PathSegment
    }

    fn table_row(&self, object: &Object, now: Timestamp) -> Vec<Value> {
        let spec = sub(object.map(), "spec");
        let shown = |field| match spec.sub(field) {
            Value::Null => "N/A".to_owned(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        vec![
            object.name().into(),
            shown("minAvailable").into(),
            shown("maxUnavailable").into(),
            sub(object.map(), "status").int("disruptionsAllowed").into(),
            age(object, now),
        ]
    }
}

/// `lenient` lets values of the selector pass that are no values of labels.
fn validate(object: &Object, lenient: bool) -> Errors {
    let mut errors = Errors::new();
    let spec = At::top(object.map(), "spec");
    let (least, away) = (spec.get("minAvailable"), spec.get("maxUnavailable"));
    if least.is_set() && away.is_set() {
        errors.push(spec.invalid("minAvailable and maxUnavailable cannot be both set"));
    }
    for at in [&least, &away].into_iter().filter(|at| at.is_set()) {
        count_or_percent(at, &mut errors);
        at_most_whole(at, &mut errors);
    }
    let mut selector = Errors::new();
    check::label_selector(&spec.get("selector"), &mut selector);
    if lenient {
        selector.retain(|error| !error.path.as_str().contains("values["));
    }
    errors.append(&mut selector);
    let policies = ["AlwaysAllow", "IfHealthyBudget"];
    check::one_of_if_set(&spec.get("unhealthyPodEvictionPolicy"), &policies, &mut errors);
    errors
}

fn status(object: &Object) -> Errors {
    let mut errors = Errors::new();
    let status = At::top(object.map(), "status");
    let conditions = status.get("conditions");
    let list = conditions.value().as_array().map_or(&[][..], Vec::as_slice);
    errors.extend(validate_conditions(list, &conditions.path()));
    for field in ["disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"] {
        check::nonnegative(&status.get(field), &mut errors);
    }
    errors
}
