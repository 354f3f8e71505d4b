//! What may change in a pod once it is there.

use super::{annotations, metadata_and_spec, ratchet::forgive_pod, tolerations};
use crate::{check, gates::is_comparison, look::At};
use kubeplane_core::{
    Object,
    field::{Error, Errors, Path, internal_diff},
    names,
    schema::builtin,
};
use serde_json::Value;

mod gated;
mod resize;
mod status;

pub(crate) use resize::resize;
pub(crate) use status::status;

const SPEC: &str = "io.k8s.api.core.v1.PodSpec";
const EPHEMERAL: &str = "io.k8s.api.core.v1.EphemeralContainer";
const CHANGEABLE: &str = "`spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,\
     `spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set \
     to 1 if it was previously negative)";

/// A change of the pod as a whole.
pub(crate) fn pod(pod: &Object, old: &Object) -> Errors {
    let mut errors = Errors::new();
    metadata_and_spec(pod, &mut errors);
    forgive_pod(&mut errors, old);
    annotations::updates(pod, old, &mut errors);
    let (spec, before) = (At::top(pod.map(), "spec"), At::top(old.map(), "spec"));
    for list in ["containers", "initContainers"] {
        if !images(&spec.get(list), &before.get(list), &mut errors) {
            return errors;
        }
    }
    if !deadline(&spec, &before, &mut errors) {
        return errors;
    }
    added_tolerations(&spec.get("tolerations"), &before.get("tolerations"), &mut errors);
    removed_gates(&spec.get("schedulingGates"), &before.get("schedulingGates"), &mut errors);
    if spec.value() != before.value() {
        other_fields(&spec, &before, &mut errors);
    }
    errors
}

/// Whether the containers are still as many.
fn images(containers: &At<'_>, before: &At<'_>, errors: &mut Errors) -> bool {
    if containers.len() != before.len() {
        errors.push(containers.forbidden("pod updates may not add or remove containers"));
        return false;
    }
    for container in containers.items() {
        check::required(&container.get("image"), errors);
        super::container::no_padding(&container, errors);
    }
    true
}

/// A deadline comes closer or stays.
fn deadline(spec: &At<'_>, before: &At<'_>, errors: &mut Errors) -> bool {
    let (at, old) = (spec.get("activeDeadlineSeconds"), before.get("activeDeadlineSeconds").int());
    match (at.int(), old) {
        (Some(new), _) if !(0..=i64::from(i32::MAX)).contains(&new) => {
            errors.push(at.invalid_as(new, names::range_message(0, i64::from(i32::MAX))));
            false
        }
        (Some(new), Some(old)) if old < new => {
            errors.push(at.invalid_as(new, "must be less than or equal to previous value"));
            false
        }
        (None, Some(_)) => {
            errors.push(
                at.invalid_as(Value::Null, "must not update from a positive integer to nil value"),
            );
            true
        }
        _ => true,
    }
}

fn added_tolerations(list: &At<'_>, before: &At<'_>, errors: &mut Errors) {
    let lasting = |toleration: &At<'_>| {
        let mut value = toleration.value().clone();
        if let Some(map) = value.as_object_mut() {
            map.remove("tolerationSeconds");
        }
        value
    };
    if before.items().any(|old| !list.items().any(|new| lasting(&new) == lasting(&old))) {
        let detail = "existing toleration can not be modified except its tolerationSeconds";
        return errors.push(list.forbidden(detail));
    }
    let mut wrong = Errors::new();
    tolerations::tolerations(list, &mut wrong);
    tolerations::compared(list, &mut wrong);
    if before.items().any(|old| matches!(old.get("operator").str(), "Lt" | "Gt")) {
        wrong.retain(|error| !is_comparison(error));
    }
    errors.extend(wrong);
}

fn removed_gates(gates: &At<'_>, before: &At<'_>, errors: &mut Errors) {
    for gate in gates.items() {
        let name = gate.get("name");
        if !before.items().any(|old| old.get("name").str() == name.str()) {
            let detail =
                format!("only deletion is allowed, but found new scheduling gate '{}'", name.str());
            errors.push(name.forbidden(detail));
        }
    }
}

/// Everything but the few fields above stays; a pod that is held back may narrow where it goes.
fn other_fields(spec: &At<'_>, before: &At<'_>, errors: &mut Errors) {
    let (mut new, old) = (spec.value().clone(), before.value());
    for list in ["containers", "initContainers"] {
        let olds = before.get(list);
        let containers = new.get_mut(list).and_then(Value::as_array_mut);
        for (container, old) in containers.into_iter().flatten().zip(olds.items()) {
            copy(container, old.value(), "image");
        }
    }
    for field in ["activeDeadlineSeconds", "schedulingGates", "tolerations"] {
        copy(&mut new, old, field);
    }
    let negative =
        before.get("terminationGracePeriodSeconds").int().is_some_and(|seconds| seconds < 0);
    if negative && spec.get("terminationGracePeriodSeconds").int() == Some(1) {
        copy(&mut new, old, "terminationGracePeriodSeconds");
    }
    if !before.get("schedulingGates").is_empty() {
        gated::narrowing(spec, before, errors);
        copy(&mut new, old, "nodeSelector");
        gated::forget_node_affinity(&mut new, old);
    }
    if !check::is_same(&new, old, SPEC) {
        let changed = changes(old, &new, SPEC);
        let detail =
            format!("pod updates may not change fields other than {CHANGEABLE}\n{changed}");
        errors.push(spec.forbidden(detail));
    }
}

/// Sets a field as it was.
fn copy(to: &mut Value, from: &Value, field: &str) {
    let Some(map) = to.as_object_mut() else {
        return;
    };
    match from.get(field) {
        Some(value) => drop(map.insert(field.to_owned(), value.clone())),
        None => drop(map.remove(field)),
    }
}

/// The lines that differ, as the original shows them.
fn changes(old: &Value, new: &Value, definition: &str) -> String {
    builtin(definition)
        .map_or_else(String::new, |schema| internal_diff(old, new, &schema, |_| true))
}

/// Ephemeral containers come and never change or go.
pub(crate) fn ephemeral_containers(pod: &Object, old: &Object) -> Errors {
    if annotations::is_mirror(old) {
        return vec![Error::forbidden(
            &Path::root(),
            "static pods do not support ephemeral containers",
        )];
    }
    let mut errors = Errors::new();
    metadata_and_spec(pod, &mut errors);
    forgive_pod(&mut errors, old);
    annotations::updates(pod, old, &mut errors);
    let list = At::top(pod.map(), "spec").get("ephemeralContainers");
    for before in At::top(old.map(), "spec").get("ephemeralContainers").items() {
        let name = before.get("name").str();
        let found = list.items().filter(|container| container.get("name").str() == name).last();
        let what = match found {
            None => "removed\n".to_owned(),
            Some(container) if check::is_same(container.value(), before.value(), EPHEMERAL) => {
                continue;
            }
            Some(container) => {
                format!("changed\n{}", changes(before.value(), container.value(), EPHEMERAL))
            }
        };
        errors.push(
            list.forbidden(format!("existing ephemeral containers {name:?} may not be {what}")),
        );
    }
    errors
}
