//! Whether a ReplicationController makes sense.

use crate::{
    check,
    look::At,
    pod::validation::{forgive_template, pod_template},
    workload::validation::{keeps_running, matched_template},
};
use kubeplane_core::{Object, field::Errors, selector::LabelSelector};

pub(super) fn update(object: &Object, old: &Object) -> Errors {
    let mut errors = controller(object);
    forgive_template(&mut errors, &At::top(old.map(), "spec").get("template"));
    errors
}

pub(super) fn controller(object: &Object) -> Errors {
    let mut errors = Errors::new();
    let spec = At::top(object.map(), "spec");
    let (selector, replicas, template) =
        (spec.get("selector"), spec.get("replicas"), spec.get("template"));
    check::nonnegative(&spec.get("minReadySeconds"), &mut errors);
    if selector.is_empty() {
        errors.push(selector.required(""));
    }
    if replicas.is_set() {
        check::nonnegative(&replicas, &mut errors);
    } else {
        errors.push(replicas.required(""));
    }
    if !template.is_set() {
        errors.push(template.required(""));
        return errors;
    }
    let labels = selector.entries().map(|(key, value)| (key, value.str()));
    matched_template(&LabelSelector::from_map(labels), &template, &mut errors);
    pod_template(&template, &mut errors);
    keeps_running(&template, "ReplicationController", &mut errors);
    errors
}
