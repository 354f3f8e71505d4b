//! Whether a ReplicaSet makes sense.

use crate::{
    check, look::At, pod::validation::forgive_template, workload::validation::selector_and_template,
};
use kubeplane_core::{Object, field::Errors};

pub(super) fn replica_set(object: &Object) -> Errors {
    let mut errors = Errors::new();
    let spec = At::top(object.map(), "spec");
    check::nonnegative(&spec.get("replicas"), &mut errors);
    check::nonnegative(&spec.get("minReadySeconds"), &mut errors);
    selector_and_template(&spec, "ReplicaSet", &mut errors);
    errors
}

pub(super) fn update(object: &Object, old: &Object) -> Errors {
    let mut errors = replica_set(object);
    let (selector, before) =
        (At::top(object.map(), "spec").get("selector"), At::top(old.map(), "spec"));
    check::unchanged(&selector, before.get("selector").value(), &mut errors);
    forgive_template(&mut errors, &before.get("template"));
    errors
}
