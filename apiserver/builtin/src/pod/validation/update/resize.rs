//! Changing the CPU and memory of a running pod.

use super::copy;
use crate::{
    look::{At, Look, sub},
    pod::validation::{annotations, metadata_and_spec},
};
use kubeplane_core::{
    Object,
    field::{Error, Errors, Path},
};
use kubeplane_workload::{pod_spec, qos_class};
use serde_json::{Map, Value};

/// A write to the subresource `resize`.
pub(crate) fn resize(pod: &Object, old: &Object) -> Errors {
    let root = |detail| vec![Error::forbidden(&Path::root(), detail)];
    if annotations::is_mirror(old) {
        return root("static pods cannot be resized");
    }
    if old.text(&["spec", "os", "name"]) == "windows" {
        return root("windows pods cannot be resized");
    }
    let mut errors = Errors::new();
    metadata_and_spec(pod, &mut errors);
    let (spec, before) = (At::top(pod.map(), "spec"), At::top(old.map(), "spec"));
    if class(old) != class_of(spec.value()) {
        let shown = pod.text(&["status", "qosClass"]);
        errors.push(spec.invalid_as(shown, "Pod QOS Class may not change as a result of resizing"));
    }
    let running = sub(old.map(), "status")
        .list("containerStatuses")
        .iter()
        .find(|c| c.sub("state").has("running"));
    if running.is_some_and(|container| !container.has("resources")) {
        errors.push(spec.forbidden("Pod running on node without support for resize"));
    }
    removed(&spec.get("resources"), &before.get("resources"), "pod-level resource ", &mut errors);
    let found = errors.len();
    for list in ["containers", "initContainers"] {
        same_containers(&spec.get(list), &before.get(list), list, &mut errors);
    }
    if errors.len() > found {
        return errors;
    }
    for list in ["initContainers", "containers"] {
        for (new, old) in spec.get(list).items().zip(before.get(list).items()) {
            removed(&new.get("resources"), &old.get("resources"), "resource ", &mut errors);
        }
    }
    if without_amounts(spec.value(), before.value()) != *before.value() {
        errors.push(spec.forbidden("only cpu and memory resources are mutable"));
    }
    errors
}

fn class(pod: &Object) -> String {
    match pod.text(&["status", "qosClass"]) {
        "" => class_of(sub(pod.map(), "spec")),
        class => class.to_owned(),
    }
}

fn class_of(spec: &Value) -> String {
    let spec = pod_spec(spec).unwrap_or_default();
    qos_class(&spec).to_string()
}

fn same_containers(new: &At<'_>, old: &At<'_>, list: &str, errors: &mut Errors) {
    if new.len() != old.len() {
        return errors.push(new.forbidden(format!("{list} may not be added or removed on resize")));
    }
    for (new, old) in new.items().zip(old.items()) {
        if new.get("name").str() != old.get("name").str() {
            let detail = format!("{list} may not be renamed or reordered on resize");
            errors.push(new.get("name").forbidden(detail));
        }
    }
}

fn removed(new: &At<'_>, old: &At<'_>, what: &str, errors: &mut Errors) {
    for field in ["requests", "limits"] {
        let list = new.get(field);
        if old.get(field).entries().any(|(name, _)| !list.key(name).is_set()) {
            errors.push(list.forbidden(format!("{what}{field} cannot be removed")));
        }
    }
}

/// The new spec with the old amounts of CPU and memory.
fn without_amounts(new: &Value, old: &Value) -> Value {
    let mut spec = new.clone();
    for list in ["containers", "initContainers"] {
        let containers = spec.get_mut(list).and_then(Value::as_array_mut);
        for (container, old) in containers.into_iter().flatten().zip(old.list(list)) {
            old_amounts(container, old);
            copy(container, old, "resizePolicy");
        }
    }
    old_amounts(&mut spec, old);
    spec
}

fn old_amounts(owner: &mut Value, old: &Value) {
    if owner.sub("resources") == old.sub("resources") {
        return;
    }
    let mut resources = owner.sub("resources").as_object().cloned().unwrap_or_default();
    for field in ["requests", "limits"] {
        let mut list = resources.get(field).and_then(Value::as_object).cloned().unwrap_or_default();
        let before = old.sub("resources").sub(field);
        for name in ["cpu", "memory"] {
            match before.get(name) {
                Some(amount) => drop(list.insert(name.to_owned(), amount.clone())),
                None => drop(list.remove(name)),
            }
        }
        put(&mut resources, field, list, before.is_null());
    }
    let none = old.sub("resources").is_null();
    if let Some(owner) = owner.as_object_mut() {
        put(owner, "resources", resources, none);
    }
}

fn put(map: &mut Map<String, Value>, key: &str, value: Map<String, Value>, none_before: bool) {
    if value.is_empty() && none_before {
        map.remove(key);
    } else {
        map.insert(key.to_owned(), Value::Object(value));
    }
}
