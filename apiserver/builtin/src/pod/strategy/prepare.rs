//! Single steps of the prepare hooks of pods.

use crate::{
    defaulting::{map, maps_in},
    look::{Look, sub},
};
use k8s_openapi::api::core::v1::{Container, PodSpec};
use kubeplane_core::{Object, definition::Context, features::Features};
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// The quality of service of a pod that does not decode is best effort; validation says what is wrong with it.
pub(super) fn qos_class(pod: &Object) -> &'static str {
    let resources = resources_alone(sub(pod.map(), "spec"));
    resources.map_or("BestEffort", |spec| kubeplane_workload::qos_class(&spec).as_str())
}

/// The little of a spec that decides about its quality of service.
fn resources_alone(spec: &Value) -> serde_json::Result<PodSpec> {
    let container = |container: &Value| {
        let resources = Option::deserialize(container.sub("resources"))?;
        Ok(Container { resources, ..Container::default() })
    };
    let containers = |list: &str| spec.list(list).iter().map(container).collect();
    let init: serde_json::Result<_> = containers("initContainers");
    Ok(PodSpec {
        containers: containers("containers")?,
        init_containers: Some(init?),
        resources: Option::deserialize(spec.sub("resources"))?,
        ..PodSpec::default()
    })
}

/// A pod held back by gates says so from the start.
pub(super) fn scheduling_gates(context: &Context<'_>, pod: &mut Object) {
    if sub(pod.map(), "spec").list("schedulingGates").is_empty() {
        return;
    }
    let now = context.now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let condition = json!({
        "type": "PodScheduled", "status": "False", "lastProbeTime": null, "lastTransitionTime": now,
        "reason": "SchedulingGated", "message": "Scheduling is blocked due to non-empty scheduling gates",
    });
    pod.set(&["status", "conditions"], json!([condition]));
}

/// `matchLabelKeys` and `mismatchLabelKeys` become requirements on the pod's own label values.
pub(super) fn label_keys(features: &Features, pod: &mut Object) {
    let labels: Map<String, Value> =
        pod.at(&["metadata", "labels"]).and_then(Value::as_object).cloned().unwrap_or_default();
    let spec = pod.map_at_mut(&["spec"]);
    for kind in ["podAffinity", "podAntiAffinity"] {
        let affinity = spec.get_mut("affinity").and_then(|affinity| affinity.get_mut(kind));
        let Some(affinity) = affinity else { continue };
        for term in items(affinity, "requiredDuringSchedulingIgnoredDuringExecution") {
            add_requirements(term, &labels);
        }
        for preferred in items(affinity, "preferredDuringSchedulingIgnoredDuringExecution") {
            if let Some(term) = preferred.get_mut("podAffinityTerm") {
                add_requirements(term, &labels);
            }
        }
    }
    if !features.is_on("MatchLabelKeysInPodTopologySpreadSelectorMerge") {
        return;
    }
    let constraints = spec.get_mut("topologySpreadConstraints").and_then(Value::as_array_mut);
    for constraint in constraints.into_iter().flatten() {
        add_requirements(constraint, &labels);
    }
}

/// Annotations that old clients set become the fields that replaced them.
pub(super) fn app_armor(context: &Context<'_>, pod: &mut Object) {
    const PREFIX: &str = "container.apparmor.security.beta.kubernetes.io/";
    if pod.text(&["spec", "os", "name"]) == "windows" {
        return;
    }
    let annotations: Vec<_> = pod
        .annotations()
        .filter_map(|(key, value)| Some((key.strip_prefix(PREFIX)?.to_owned(), value.to_owned())))
        .collect();
    let whole = sub(pod.map(), "spec").sub("securityContext").sub("appArmorProfile").clone();
    let spec = pod.map_at_mut(&["spec"]);
    for list in ["initContainers", "containers"] {
        for container in maps_in(spec, list) {
            let name = sub(container, "name").as_str().unwrap_or_default();
            let Some((_, text)) = annotations.iter().find(|(container, _)| container == name)
            else {
                continue;
            };
            if sub(container, "securityContext").has("appArmorProfile") {
                continue;
            }
            let profile = profile_of(text);
            let needed = profile.as_ref().filter(|profile| **profile != whole).cloned();
            if profile.is_none() || needed.is_some() {
                context.warnings.add(format!(
                    "metadata.annotations[{PREFIX}{name}]: deprecated since v1.30; use the \"appArmorProfile\" field instead"
                ));
            }
            if let Some(profile) = needed {
                map(container, "securityContext").insert("appArmorProfile".to_owned(), profile);
            }
        }
    }
}

fn profile_of(annotation: &str) -> Option<Value> {
    match annotation {
        "runtime/default" => Some(json!({"type": "RuntimeDefault"})),
        "unconfined" => Some(json!({"type": "Unconfined"})),
        _ => {
            let name = annotation
                .strip_prefix("localhost/")
                .filter(|name| !name.is_empty() && name.trim() == *name)?;
            Some(json!({"type": "Localhost", "localhostProfile": name}))
        }
    }
}

fn items<'a>(map: &'a mut Value, key: &str) -> impl Iterator<Item = &'a mut Value> {
    map.get_mut(key).and_then(Value::as_array_mut).into_iter().flatten()
}

fn add_requirements(term: &mut Value, labels: &Map<String, Value>) {
    let mut requirements = Vec::new();
    for (field, operator) in [("matchLabelKeys", "In"), ("mismatchLabelKeys", "NotIn")] {
        for key in term.list(field).iter().filter_map(Value::as_str) {
            if let Some(value) = labels.get(key) {
                requirements.push(json!({"key": key, "operator": operator, "values": [value]}));
            }
        }
    }
    let selector = term.get_mut("labelSelector").and_then(Value::as_object_mut);
    if let Some(selector) = selector.filter(|_| !requirements.is_empty()) {
        let expressions = selector.entry("matchExpressions").or_insert_with(|| json!([]));
        if let Some(expressions) = expressions.as_array_mut() {
            expressions.extend(requirements);
        }
    }
}

/// Observed generations that an older client dropped.
pub(super) fn keep_observed_generations(pod: &mut Object, old: &Object) {
    let status = pod.map_at_mut(&["status"]);
    let old_status = sub(old.map(), "status");
    keep_generation(status, old_status.int("observedGeneration"));
    let mut left: Vec<&Value> = old_status.list("conditions").iter().collect();
    let conditions = status.get_mut("conditions").and_then(Value::as_array_mut);
    for condition in conditions.into_iter().flatten().filter_map(Value::as_object_mut) {
        let kind = condition.get("type").cloned().unwrap_or_default();
        let Some(index) = left.iter().position(|old| *old.sub("type") == kind) else {
            continue;
        };
        keep_generation(condition, left.remove(index).int("observedGeneration"));
    }
}

fn keep_generation(map: &mut Map<String, Value>, old: i64) {
    if old != 0 && sub(map, "observedGeneration").as_i64().unwrap_or_default() == 0 {
        map.insert("observedGeneration".to_owned(), old.into());
    }
}

/// The stored spec with the resources of the new one; as it came where containers were added, renamed or
/// reordered, for validation to refuse.
pub(super) fn resized(features: &Features, spec: &Object, old: &Object) -> Object {
    let list =
        |spec: &Object, field: &str| sub(spec.map(), field).as_array().cloned().unwrap_or_default();
    let mut result = old.clone();
    for field in ["containers", "initContainers"] {
        let (new, mut kept) = (list(spec, field), list(old, field));
        if new.len() != kept.len() {
            return spec.clone();
        }
        let same_names =
            new.iter().zip(&kept).all(|(new, old)| new.text("name") == old.text("name"));
        if !same_names {
            result.set(&[field], new);
            continue;
        }
        for (new, kept) in new.iter().zip(&mut kept) {
            for part in ["resources", "resizePolicy"] {
                copy(kept, new, part);
            }
        }
        if !kept.is_empty() {
            result.set(&[field], kept);
        }
    }
    if features.is_on("InPlacePodLevelResourcesVerticalScaling") {
        let resources = spec.at(&["resources"]).cloned();
        crate::hooks::put(&mut result, "resources", resources);
    }
    result
}

fn copy(to: &mut Value, from: &Value, field: &str) {
    let Some(map) = to.as_object_mut() else {
        return;
    };
    match from.get(field) {
        Some(value) => drop(map.insert(field.to_owned(), value.clone())),
        None => drop(map.remove(field)),
    }
}
