//! StorageClasses.

use crate::{
    check,
    defaulting::missing,
    look::{At, sub},
    plain::Plain,
    row::Row,
    table::{age, or},
};
use jiff::Timestamp;
use kubeplane_core::{Definition, Object, field::Errors, names};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

const DEFAULT: &str = "storageclass.kubernetes.io/is-default-class";
const DEFAULT_BETA: &str = "storageclass.beta.kubernetes.io/is-default-class";
const PARAMETERS_MAX: usize = 512;
const SIZE_MAX: usize = 256 * 1024;

pub(crate) fn definition() -> Definition {
    let row = Row {
        group: "storage.k8s.io",
        kind: "StorageClass",
        plural: "storageclasses",
        short: &["sc"],
        columns: &[
            "Name",
            "Provisioner",
            "ReclaimPolicy",
            "VolumeBindingMode",
            "AllowVolumeExpansion",
            "Age",
        ],
        ..Row::CLUSTER
    };
    row.define(Plain { default, validate, update, row: cells, ..Plain::NEW })
}

fn default(object: &mut Object) {
    missing(object.map_mut(), "reclaimPolicy", "Delete");
    missing(object.map_mut(), "volumeBindingMode", "Immediate");
}

fn cells(object: &Object, now: Timestamp) -> Vec<Value> {
    let chosen = [DEFAULT, DEFAULT_BETA].iter().any(|key| object.annotation(key) == Some("true"));
    vec![
        if chosen { format!("{} (default)", object.name()).into() } else { object.name().into() },
        object.text(&["provisioner"]).into(),
        or(object.text(&["reclaimPolicy"]), "Delete").into(),
        or(object.text(&["volumeBindingMode"]), "Immediate").into(),
        sub(object.map(), "allowVolumeExpansion").as_bool().unwrap_or_default().into(),
        age(object, now),
    ]
}

fn validate(object: &Object) -> Errors {
    let mut errors = Errors::new();
    let top = |field| At::top(object.map(), field);
    provisioner(&top("provisioner"), &mut errors);
    parameters(&top("parameters"), &mut errors);
    let policy = top("reclaimPolicy");
    if !policy.str().is_empty() {
        check::one_of_if_set(&policy, &["Delete", "Retain"], &mut errors);
    }
    let mode = top("volumeBindingMode");
    if mode.is_set() {
        check::one_of_if_set(&mode, &["Immediate", "WaitForFirstConsumer"], &mut errors);
    } else {
        errors.push(mode.required(""));
    }
    topologies(&top("allowedTopologies"), &mut errors);
    errors
}

pub(crate) fn provisioner(at: &At<'_>, errors: &mut Errors) {
    if check::required(at, errors) {
        let lower = at.str().to_lowercase();
        let problems = names::is_qualified_name(&lower).into_iter();
        errors.extend(problems.map(|message| at.invalid_as(&*lower, message)));
    }
}

pub(crate) fn parameters(map: &At<'_>, errors: &mut Errors) {
    if map.len() > PARAMETERS_MAX {
        return errors.push(map.too_long(PARAMETERS_MAX));
    }
    let mut size = 0;
    for (key, value) in map.entries() {
        if key.is_empty() {
            errors.push(map.invalid_as(key, "field can not be empty."));
        }
        size += key.len() + value.str().len();
    }
    if size > SIZE_MAX {
        errors.push(map.too_long(SIZE_MAX));
    }
}

fn topologies(terms: &At<'_>, errors: &mut Errors) {
    // The original compares with as many empty terms as there are terms.
    let mut all = vec![BTreeMap::new(); terms.len()];
    for term in terms.items() {
        let mut keys = BTreeMap::new();
        for expression in term.get("matchLabelExpressions").items() {
            let (key, values) = (expression.get("key"), expression.get("values"));
            if values.is_empty() {
                errors.push(values.required(""));
            }
            let mut seen = BTreeSet::new();
            for value in values.items() {
                if !seen.insert(value.str()) {
                    errors.push(value.duplicate());
                }
            }
            check::qualified_name(&key, errors);
            if keys.insert(key.str(), seen).is_some() {
                errors.push(key.duplicate());
            }
        }
        for _ in all.iter().filter(|other| **other == keys) {
            errors.push(term.get("matchLabelExpressions").duplicate_as(""));
        }
        all.push(keys);
    }
}

fn update(object: &Object, old: &Object) -> Errors {
    let mut errors = Errors::new();
    for field in ["parameters", "provisioner", "reclaimPolicy", "volumeBindingMode"] {
        let before = At::top(old.map(), field);
        check::unchanged(&At::top(object.map(), field), before.value(), &mut errors);
    }
    errors
}
