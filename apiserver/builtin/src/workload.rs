//! What ReplicationControllers, Deployments and ReplicaSets share: replicas over a pod template.

use crate::{
    hooks::{change_only, keep_metadata},
    look::{At, Look, sub},
    pod,
    table::age,
};
use jiff::Timestamp;
use kubeplane_core::{Object, definition::Context};
use serde_json::Value;

/// A write to `status`; labels belong to the spec's writer.
pub(crate) fn change_status(object: &mut Object, old: &Object) {
    change_only(object, old, "status");
    keep_metadata(object, old, "generation");
}

/// How many pods are on their way out is told where that is switched on, or was told already.
pub(crate) fn drop_terminating(context: &Context<'_>, object: &mut Object, old: &Object) {
    const FIELD: [&str; 2] = ["status", "terminatingReplicas"];
    let told = old.at(&FIELD).is_some_and(|count| !count.is_null());
    if !told && !context.features.is_on("DeploymentReplicaSetTerminatingReplicas") {
        object.remove(&FIELD);
    }
}

/// A name that is no DNS label makes pods' names and hostnames surprising.
pub(crate) fn warn_of_name(context: &Context<'_>, object: &Object) {
    let problems = kubeplane_core::names::is_dns1123_label(object.name());
    if !object.name().is_empty() && !problems.is_empty() {
        context.warnings.add(format!(
            "metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior; a DNS \
             label is recommended: [{}]",
            problems.join(" ")
        ));
    }
}

/// What is odd about the pod template, of a new object or of one whose generation moved.
pub(crate) fn warn_of_template(context: &Context<'_>, object: &Object, old: Option<&Object>) {
    if old.is_none_or(|old| old.generation() != object.generation()) {
        pod::warnings::template(context.warnings, &At::top(object.map(), "spec").get("template"));
    }
}

/// Desired, current and ready replicas, and the age.
pub(crate) fn replica_cells(object: &Object, now: Timestamp) -> Vec<Value> {
    let (spec, status) = (sub(object.map(), "spec"), sub(object.map(), "status"));
    vec![
        object.name().into(),
        spec.int("replicas").into(),
        status.int("replicas").into(),
        status.int("readyReplicas").into(),
        age(object, now),
    ]
}

pub(crate) mod validation;
