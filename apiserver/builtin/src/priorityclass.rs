//! PriorityClasses.

use crate::{
    check,
    defaulting::missing,
    look::{At, sub},
    plain::Plain,
    row::Row,
    table::age,
};
use jiff::Timestamp;
use kubeplane_core::{Definition, Object, field::Errors};
use serde_json::Value;

const USER_MAX: i64 = 1_000_000_000;
/// Names that only the system's own classes have, with the value of each.
const SYSTEM: &[(&str, i64)] =
    &[("system-node-critical", 2 * USER_MAX + 1000), ("system-cluster-critical", 2 * USER_MAX)];

pub(crate) fn definition() -> Definition {
    let row = Row {
        group: "scheduling.k8s.io",
        kind: "PriorityClass",
        plural: "priorityclasses",
        short: &["pc"],
        columns: &["Name", "Value:integer", "Global-Default:boolean", "Age", "PreemptionPolicy"],
        ..Row::CLUSTER
    };
    let default =
        |object: &mut Object| missing(object.map_mut(), "preemptionPolicy", "PreemptLowerPriority");
    row.define(Plain {
        default,
        // There is a generation, which nothing that may change moves.
        counted: &["value"],
        validate,
        update,
        revalidate: false,
        row: cells,
        ..Plain::NEW
    })
}

fn cells(object: &Object, now: Timestamp) -> Vec<Value> {
    let map = object.map();
    vec![
        object.name().into(),
        sub(map, "value").as_i64().unwrap_or_default().into(),
        sub(map, "globalDefault").as_bool().unwrap_or_default().into(),
        age(object, now),
        object.text(&["preemptionPolicy"]).into(),
    ]
}

fn validate(object: &Object) -> Errors {
    let mut errors = Errors::new();
    let (name, value) =
        (At::top(object.map(), "metadata").get("name"), At::top(object.map(), "value"));
    let number = value.int().unwrap_or_default();
    if name.str().starts_with("system-") {
        let known = SYSTEM.iter().find(|(known, _)| *known == name.str());
        let global = At::top(object.map(), "globalDefault").bool();
        let problem = match known {
            None => Some(format!("{} is not a known system priority class", name.str())),
            Some((known, right)) if *right != number => {
                Some(format!("value of {known} PriorityClass must be {right}"))
            }
            Some((known, _)) if global => {
                Some(format!("globalDefault of {known} PriorityClass must be false"))
            }
            Some(_) => None,
        };
        if let Some(problem) = problem {
            errors.push(name.forbidden(format!(
                "priority class names with 'system-' prefix are reserved for system use only. error: {problem}"
            )));
        }
    } else if number > USER_MAX {
        errors.push(
            value.forbidden(format!(
                "maximum allowed value of a user defined priority is {USER_MAX}"
            )),
        );
    }
    let policy = At::top(object.map(), "preemptionPolicy");
    if policy.is_set() {
        check::one_of(&policy, &["PreemptLowerPriority", "Never"], &mut errors);
    }
    errors
}

fn update(object: &Object, old: &Object) -> Errors {
    let mut errors = Errors::new();
    let (value, before) = (At::top(object.map(), "value"), At::top(old.map(), "value"));
    if value.int() != before.int() {
        errors.push(value.forbidden("may not be changed in an update."));
    }
    let before = At::top(old.map(), "preemptionPolicy");
    check::unchanged(&At::top(object.map(), "preemptionPolicy"), before.value(), &mut errors);
    errors
}
