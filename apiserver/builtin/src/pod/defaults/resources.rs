//! Defaults of requests and limits.

use super::Json;
use crate::{
    defaulting::{map_in, maps_in},
    look::{Look, sub},
};
use kubeplane_core::quantity::Quantity;
use kubeplane_workload::{
    pod_spec,
    resources::{Resources, container_limits, container_requests, is_pod_level},
};
use serde_json::{Map, Value};

/// A pod's container requests what it is limited to, unless it says otherwise.
pub(super) fn requests_from_limits(spec: &mut Json) {
    for list in ["containers", "initContainers"] {
        for resources in maps_in(spec, list).filter_map(|container| map_in(container, "resources"))
        {
            let requested = sub(resources, "requests");
            let limits = sub(resources, "limits").as_object().into_iter().flatten();
            let wanted = limits.filter(|(name, _)| requested.get(name).is_none());
            let wanted: Json =
                wanted.map(|(name, amount)| (name.clone(), amount.clone())).collect();
            fill(resources, "requests", wanted);
        }
    }
}

/// Resources of the pod as a whole, where some are set: hugepages are limited as its containers are, and what
/// has a limit is requested.
pub(super) fn pod_level(spec: &mut Json) {
    let resources = sub(spec, "resources");
    let counted = |name: &str| resources.sub(name).as_object().map_or(0, Map::len);
    if counted("limits") + counted("requests") == 0 {
        return;
    }
    let Ok(typed) = pod_spec(&Value::Object(spec.clone())) else {
        return;
    };
    let Some(resources) = map_in(spec, "resources") else {
        return;
    };
    let hugepages = |name: &str| name.starts_with("hugepages-");
    let limits = without(container_limits(&typed), |name| {
        hugepages(name) && !sub(resources, "requests").has(name)
    });
    fill(resources, "limits", limits);
    let Some(limits) =
        resources.get("limits").and_then(Value::as_object).filter(|list| !list.is_empty()).cloned()
    else {
        return;
    };
    let requests =
        without(container_requests(&typed), |name| is_pod_level(name) && !hugepages(name));
    fill(resources, "requests", requests);
    let limits = limits.into_iter().filter(|(name, _)| is_pod_level(name)).collect();
    fill(resources, "requests", limits);
}

fn without(resources: Resources, wanted: impl Fn(&str) -> bool) -> Json {
    let wanted = resources.into_iter().filter(|(name, _)| wanted(name));
    wanted.map(|(name, amount)| (name, amount.to_string().into())).collect()
}

fn fill(resources: &mut Json, field: &str, amounts: Json) {
    if amounts.is_empty() {
        return;
    }
    let list = crate::defaulting::map(resources, field);
    for (name, amount) in amounts {
        list.entry(name).or_insert(amount);
    }
}

/// Rounds requests and limits.
pub(crate) fn round_lists(resources: &mut Json) {
    for field in ["limits", "requests"] {
        if let Some(list) = map_in(resources, field) {
            round(list);
        }
    }
}

/// Amounts are kept in thousandths, rounded up.
pub(crate) fn round(list: &mut Json) {
    for amount in list.values_mut() {
        if amount.as_str().is_some_and(Quantity::is_plain) {
            continue;
        }
        if let Ok(mut quantity) = Quantity::from_json(amount)
            && !quantity.round_up(-3)
        {
            *amount = quantity.to_string().into();
        }
    }
}
