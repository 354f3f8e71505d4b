//! Whether a PersistentVolumeClaim, or a change of one, makes sense.

use super::OLD_CLASS;
use crate::{
    check,
    look::{At, Look, sub},
    pod::validation::{
        quantity_value,
        resources::is_native,
        volumes::claim::{Leniency, spec},
    },
};
use kubeplane_core::{
    Object,
    field::{Error, Errors, Path, internal_diff},
    names,
    schema::{SchemaRef, builtin},
};
use serde_json::{Value, json};

const SPEC: &str = "io.k8s.api.core.v1.PersistentVolumeClaimSpec";
const RESIZES: &[&str] = &[
    "ControllerResizeInProgress",
    "ControllerResizeInfeasible",
    "NodeResizeInProgress",
    "NodeResizeInfeasible",
    "NodeResizePending",
];

pub(super) fn create(object: &Object) -> Errors {
    let mut errors = Errors::new();
    spec(&At::top(object.map(), "spec"), Leniency::default(), &mut errors);
    errors
}

pub(super) fn update(object: &Object, old: &Object) -> Errors {
    let mut errors = Errors::new();
    let (new, before) = (At::top(object.map(), "spec"), At::top(old.map(), "spec"));
    let mut selector = Errors::new();
    check::label_selector(&before.get("selector"), &mut selector);
    let group = |field| before.get(field).get("apiGroup").is_set();
    let leniency = Leniency {
        selector: !selector.is_empty(),
        groups: group("dataSource") || group("dataSourceRef"),
    };
    spec(&new, leniency, &mut errors);
    if let Some(changed) = other_changes(object, old, &mut errors) {
        let detail = "spec is immutable after creation except resources.requests and volumeAttributesClassName for \
                      bound claims";
        errors.push(new.forbidden(format!("{detail}\n{changed}")));
    }
    let request =
        |spec: &At<'_>| check::quantity(&spec.get("resources").get("requests").key("storage"));
    let (size, size_before) = (request(&new), request(&before));
    let capacity = check::quantity(&At::top(old.map(), "status").get("capacity").key("storage"));
    if size < size_before && size <= capacity {
        let at = new.get("resources").get("requests").get("storage");
        errors.push(at.forbidden("field can not be less than status.capacity"));
    }
    let mode = new.get("volumeMode");
    if mode.value() != before.get("volumeMode").value() {
        let path = Path::new("volumeMode");
        errors.push(Error::invalid(&path, mode.value().clone(), check::IMMUTABLE));
    }
    attributes_class(&new, &before, old, &mut errors);
    errors
}

/// A class of attributes, once in effect, is exchanged for another but not taken away.
fn attributes_class(new: &At<'_>, before: &At<'_>, old: &Object, errors: &mut Errors) {
    let class = new.get("volumeAttributesClassName");
    let current = sub(old.map(), "status").has("currentVolumeAttributesClassName");
    if class.value() == before.get("volumeAttributesClassName").value() || !current {
        return;
    }
    let what = match (class.is_set(), class.str()) {
        (false, _) => "nil",
        (true, "") => "empty string",
        _ => return,
    };
    errors.push(class.forbidden(format!(
        "update to {what} is forbidden when status.currentVolumeAttributesClassName is not nil"
    )));
}

/// What has changed that may not.
fn other_changes(object: &Object, old: &Object, errors: &mut Errors) -> Option<String> {
    let (mut new, mut before) = (sub(object.map(), "spec").clone(), sub(old.map(), "spec").clone());
    if before.text("volumeName").is_empty() {
        copy(&new, &mut before, "volumeName");
    }
    let (annotation, annotation_before) = (object.annotation(OLD_CLASS), old.annotation(OLD_CLASS));
    let (class, class_before) = (new.get("storageClassName"), before.get("storageClassName"));
    let (class, class_before) =
        (class.and_then(Value::as_str), class_before.and_then(Value::as_str));
    let from_annotation = annotation_before.is_some()
        && class_before.is_none()
        && class == annotation_before
        && annotation.is_none_or(|class| Some(class) == annotation_before);
    let from_nothing = class.is_some()
        && class_before.is_none()
        && annotation_before.is_none_or(|before| class == Some(before));
    if from_annotation {
        remove(&mut new, "storageClassName");
    } else {
        if annotation.unwrap_or_default() != annotation_before.unwrap_or_default() {
            let path = Path::new("metadata").child("annotations").child(OLD_CLASS);
            let value = annotation.unwrap_or_default();
            errors.push(Error::invalid(&path, value, check::IMMUTABLE));
        }
        if from_nothing {
            remove(&mut new, "storageClassName");
        }
    }
    if object.text(&["status", "phase"]) == "Bound" {
        copy(&before, &mut new, "volumeAttributesClassName");
        let size = before.sub("resources").sub("requests").sub("storage").clone();
        let requests = new.pointer_mut("/resources/requests").and_then(Value::as_object_mut);
        if let Some(requests) = requests {
            requests.insert("storage".to_owned(), size);
        }
    }
    if check::is_same(&new, &before, SPEC) {
        return None;
    }
    let shown = |schema: SchemaRef| internal_diff(&before, &new, &schema, |_| true);
    Some(builtin(SPEC).map_or_else(String::new, shown))
}

fn copy(from: &Value, to: &mut Value, field: &str) {
    match (from.get(field), to.as_object_mut()) {
        (Some(value), Some(map)) => drop(map.insert(field.to_owned(), value.clone())),
        (None, _) => remove(to, field),
        _ => *to = json!({field: from.sub(field).clone()}),
    }
}

fn remove(value: &mut Value, field: &str) {
    if let Some(map) = value.as_object_mut() {
        map.remove(field);
    }
}

pub(super) fn status(object: &Object) -> Errors {
    let mut errors = Errors::new();
    if object.resource_version().is_empty() {
        errors.push(Error::required(&Path::new("resourceVersion"), ""));
    }
    if sub(object.map(), "spec").list("accessModes").is_empty() {
        errors.push(Error::required(&Path::new("Spec.accessModes"), ""));
    }
    let status = At::top(object.map(), "status");
    for (_, amount) in status.get("capacity").entries() {
        basic(&amount, &mut errors);
    }
    let states = status.get("allocatedResourceStatuses");
    for (name, state) in states.entries() {
        resource_key(&states, name, &mut errors);
        if !RESIZES.contains(&state.str()) {
            errors.push(Error::not_supported(&states.path(), name, RESIZES));
        }
    }
    let allocated = status.get("allocatedResources");
    for (name, amount) in allocated.entries() {
        let before = errors.len();
        resource_key(&allocated, name, &mut errors);
        if errors.len() == before {
            basic(&amount, &mut errors);
        }
        if errors.len() == before {
            quantity_value(&amount, "storage", &mut errors);
        }
    }
    errors
}

/// An amount that is not negative.
pub(crate) fn basic(amount: &At<'_>, errors: &mut Errors) {
    let number = check::quantity(amount).value();
    if number < 0 {
        errors.push(amount.invalid_as(number, "must be a valid resource quantity"));
    }
}

fn resource_key(at: &At<'_>, name: &str, errors: &mut Errors) {
    let problems = names::is_qualified_name(name);
    if problems.is_empty() {
        if is_native(name) && name != "storage" {
            errors.push(Error::not_supported(&at.path(), name, &["storage"]));
        }
        return;
    }
    errors.extend(problems.into_iter().map(|message| at.invalid_as(name, message)));
}
