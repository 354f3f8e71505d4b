//! Whether a review of access makes sense.

use crate::{
    check,
    look::{At, Look, sub},
};
use kubeplane_core::{
    Object,
    field::{Error, Errors, Path},
};
use serde_json::Value;

pub(super) fn subject(object: &Object) -> Errors {
    let mut errors = Errors::new();
    attributes(object, &mut errors);
    empty_metadata(object, false, &mut errors);
    errors
}

pub(super) fn own(object: &Object) -> Errors {
    let mut errors = Errors::new();
    attributes(object, &mut errors);
    errors.retain(|error| error.path.as_str() != "spec.user");
    empty_metadata(object, false, &mut errors);
    errors
}

pub(super) fn local(object: &Object) -> Errors {
    let mut errors = Errors::new();
    attributes(object, &mut errors);
    empty_metadata(object, true, &mut errors);
    let spec = At::top(object.map(), "spec");
    let (resource, other) = (spec.get("resourceAttributes"), spec.get("nonResourceAttributes"));
    let namespace = resource.get("namespace");
    if resource.is_set() && namespace.str() != object.namespace() {
        errors.push(namespace.invalid("must match metadata.namespace"));
    }
    if other.is_set() {
        errors.push(other.invalid("disallowed on this kind of request"));
    }
    errors
}

fn attributes(object: &Object, errors: &mut Errors) {
    let spec = At::top(object.map(), "spec");
    let (resource, other) = (spec.get("resourceAttributes"), spec.get("nonResourceAttributes"));
    match (resource.is_set(), other.is_set()) {
        (true, true) => {
            errors.push(other.invalid("cannot be specified in combination with resourceAttributes"))
        }
        (false, false) => {
            let detail =
                "exactly one of nonResourceAttributes or resourceAttributes must be specified";
            errors.push(resource.invalid_as(Value::Null, detail));
        }
        _ => {}
    }
    let user = spec.get("user");
    if user.str().is_empty() && spec.get("groups").is_empty() {
        errors.push(user.invalid("at least one of user or group must be specified"));
    }
    for kind in ["fieldSelector", "labelSelector"] {
        let selector = resource.get(kind);
        if selector.is_set() {
            self::selector(&selector, kind == "labelSelector", errors);
        }
    }
}

fn selector(selector: &At<'_>, labels: bool, errors: &mut Errors) {
    let (raw, requirements) = (selector.get("rawSelector"), selector.get("requirements"));
    if !raw.str().is_empty() && !requirements.is_empty() {
        errors.push(raw.invalid("may not specified at the same time as requirements"));
    }
    if raw.str().is_empty() && requirements.is_empty() {
        let detail = format!(
            "when {} is specified, requirements or rawSelector is required",
            selector.path()
        );
        errors.push(requirements.required(detail));
    }
    for requirement in requirements.items() {
        if labels {
            check::label_requirement(&requirement, true, errors);
            continue;
        }
        let (key, values) = (requirement.get("key"), requirement.get("values"));
        if key.str().is_empty() {
            errors.push(key.required("must be specified"));
        }
        match requirement.get("operator").str() {
            "In" | "NotIn" if values.is_empty() => {
                errors
                    .push(values.required("must be specified when `operator` is 'In' or 'NotIn'"));
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                errors.push(values.forbidden(
                    "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
                ));
            }
            _ => {}
        }
    }
}

/// A review is not an object: it has no name and the like.
fn empty_metadata(object: &Object, namespaced: bool, errors: &mut Errors) {
    let metadata = sub(object.map(), "metadata");
    let ignored = |key: &str| {
        matches!(key, "managedFields" | "creationTimestamp") || namespaced && key == "namespace"
    };
    let set = metadata.as_object().into_iter().flatten().any(|(key, _)| {
        let value = metadata.sub(key);
        let empty = value.is_null()
            || value == ""
            || value.as_object().is_some_and(serde_json::Map::is_empty);
        !ignored(key) && !empty
    });
    if set {
        let detail =
            if namespaced { "must be empty except for namespace" } else { "must be empty" };
        errors.push(Error::invalid(&Path::new("metadata"), metadata.clone(), detail));
    }
}
