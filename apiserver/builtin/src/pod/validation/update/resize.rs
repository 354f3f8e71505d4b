//! Changing the CPU and memory of a running pod.

use super::SPEC;
use crate::{
    check::is_same,
    look::{At, Look, sub},
    pod::validation::{annotations, metadata_and_spec, ratchet::forgive_pod},
};
use kubeplane_core::{
    Object,
    features::Features,
    field::{Error, Errors, Path},
};
use kubeplane_workload::{pod_spec, qos_class};
use serde_json::{Map, Value};

const CONTAINER: &str = "io.k8s.api.core.v1.Container";
const RESOURCES: &str = "io.k8s.api.core.v1.ResourceRequirements";
const ONLY_AMOUNTS: &str = "only cpu and memory resources are mutable";
const NO_WHOLE: &str = "resize of pods with pod-level resources is forbidden when \
    InPlacePodLevelResourcesVerticalScalingEnabled feature gate is disabled";

/// A write to the subresource `resize`.
pub(crate) fn resize(pod: &Object, old: &Object, features: &Features) -> Errors {
    let root = |detail| vec![Error::forbidden(&Path::root(), detail)];
    if annotations::is_mirror(old) {
        return root("static pods cannot be resized");
    }
    if old.text(&["spec", "os", "name"]) == "windows" {
        return root("windows pods cannot be resized");
    }
    let mut errors = Errors::new();
    metadata_and_spec(pod, &mut errors);
    forgive_pod(&mut errors, old);
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
    let mut masked = spec.value().clone();
    let is_whole = has_some(&spec.get("resources")) || has_some(&before.get("resources"));
    if is_whole && !features.is_on("InPlacePodLevelResourcesVerticalScaling") {
        errors.push(Error::forbidden(&Path::root(), NO_WHOLE));
        return errors;
    }
    pod_level(&spec, &before, &mut masked, &mut errors);
    if !At::top(old.map(), "status").get("nodeAllocatableResourceClaimStatuses").is_empty() {
        let detail = "pods with node allocatable resource claims cannot be resized";
        errors.push(spec.forbidden(detail));
    }
    let found = errors.len();
    for list in ["containers", "initContainers"] {
        same_containers(&spec.get(list), &before.get(list), list, &mut errors);
    }
    if errors.len() > found {
        return errors;
    }
    for list in ["initContainers", "containers"] {
        for (new, old) in spec.get(list).items().zip(before.get(list).items()) {
            if list == "initContainers" && !is_resizable(old.value(), features) {
                continue;
            }
            removed(&new.get("resources"), &old.get("resources"), "resource ", &mut errors);
        }
    }
    for list in ["containers", "initContainers"] {
        only_amounts(&spec, &before, list, features, &mut masked, &mut errors);
    }
    if errors.is_empty() && !is_same(&masked, before.value(), SPEC) {
        errors.push(spec.forbidden(ONLY_AMOUNTS));
    }
    errors
}

fn has_some(resources: &At<'_>) -> bool {
    !resources.get("requests").is_empty() || !resources.get("limits").is_empty()
}

/// Whether an init container may get other amounts.
fn is_resizable(container: &Value, features: &Features) -> bool {
    container.text("restartPolicy") == "Always"
        || features.is_on("InPlacePodVerticalScalingInitContainers")
}

/// What the pod has as a whole.
fn pod_level(spec: &At<'_>, before: &At<'_>, masked: &mut Value, errors: &mut Errors) {
    let (new, old) = (spec.get("resources"), before.get("resources"));
    if !has_some(&new) && !has_some(&old) {
        return;
    }
    if old.is_set() && !new.is_set() {
        return errors.push(new.forbidden("pod-level resources cannot be removed"));
    }
    removed(&new, &old, "pod-level resource ", errors);
    old_amounts(masked, before.value());
    if !is_same(masked.sub("resources"), old.value(), RESOURCES) {
        let detail = "only cpu and memory resources are mutable at pod-level";
        errors.push(spec.forbidden(detail));
    }
}

/// That containers stay as they are but for the amounts that they ask for. Claims are nothing that can be kept.
fn only_amounts(
    spec: &At<'_>,
    before: &At<'_>,
    list: &'static str,
    features: &Features,
    masked: &mut Value,
    errors: &mut Errors,
) {
    let containers = masked.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten();
    for (at, (container, old)) in
        spec.get(list).items().zip(containers.zip(before.value().list(list)))
    {
        let changed = !is_same(container, old, CONTAINER);
        if list == "initContainers" && !is_resizable(container, features) {
            if changed {
                let detail = "resources for non-sidecar init containers are immutable";
                errors.push(spec.forbidden(detail));
            }
            continue;
        }
        old_amounts(container, old);
        if let Some(resources) = container.get_mut("resources").and_then(Value::as_object_mut) {
            resources.remove("claims");
        }
        let differs = !is_same(container, old, CONTAINER);
        if list == "containers" {
            if differs {
                errors.push(spec.forbidden(ONLY_AMOUNTS));
            }
            continue;
        }
        if differs {
            let detail = "only cpu and memory resources for init or sidecar containers are mutable";
            errors.push(at.forbidden(detail));
        }
        if changed && container.text("restartPolicy") != "Always" {
            let restarts = |policy: &&Value| policy.text("restartPolicy") == "RestartContainer";
            for _ in container.list("resizePolicy").iter().filter(restarts) {
                errors.push(at.forbidden(
                    "non-sidecar init containers with a resize policy of RestartContainer cannot be resized",
                ));
            }
        }
    }
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

/// Puts the old amounts of CPU and memory in the place of the new ones.
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
