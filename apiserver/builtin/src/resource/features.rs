//! Fields of features that were switched off: they are dropped before anything looks at them, unless the stored object
//! has some of the same feature.

use crate::{
    defaulting::{map_in, maps_in},
    look::{Look, sub},
};
use kubeplane_core::{Object, features::Features};
use serde_json::{Map, Value};
use std::iter::once;

const BINDING: [&str; 3] = ["bindingConditions", "bindingFailureConditions", "bindsToNode"];
/// Where single devices of a slice are.
const PLACES: [&str; 3] = ["nodeName", "nodeSelector", "allNodes"];

/// Drops them from the spec of a claim, or of a template of claims.
pub(super) fn drop_from_claim(features: &Features, spec: &mut Map<String, Value>, old: &Value) {
    let off = |gate: &str| !features.is_on(gate);
    let before = old.sub("devices");
    let Some(devices) = map_in(spec, "devices") else { return };
    let listed = || before.list("requests").iter().any(|one| some(one, "firstAvailable"));
    if off("DRAPrioritizedList") && !listed() {
        maps_in(devices, "requests").for_each(|request| drop(request.remove("firstAvailable")));
    }
    if off("DRADeviceTaints") && !wanted(before).any(|one| some(one, "tolerations")) {
        drop_wanted(devices, "tolerations");
    }
    if off("DRAConsumableCapacity") && !asks_for_shares(before) {
        maps_in(devices, "constraints")
            .for_each(|constraint| drop(constraint.remove("distinctAttribute")));
        drop_wanted(devices, "capacity");
    }
}

/// Whether a list has items.
fn some(value: &Value, list: &str) -> bool {
    !value.list(list).is_empty()
}

/// What requests ask for, with the alternatives.
fn wanted(devices: &Value) -> impl Iterator<Item = &Value> {
    let requests = devices.list("requests").iter();
    requests.flat_map(|request| once(request.sub("exactly")).chain(request.list("firstAvailable")))
}

fn drop_wanted(devices: &mut Map<String, Value>, field: &str) {
    for request in maps_in(devices, "requests") {
        if let Some(exactly) = map_in(request, "exactly") {
            exactly.remove(field);
        }
        maps_in(request, "firstAvailable").for_each(|one| drop(one.remove(field)));
    }
}

fn asks_for_shares(devices: &Value) -> bool {
    devices.list("constraints").iter().any(|one| one.has("distinctAttribute"))
        || wanted(devices).any(|one| one.has("capacity"))
}

/// Drops them from the status of a claim.
pub(super) fn drop_from_status(features: &Features, object: &mut Object, old: &Object) {
    let off = |gate: &str| !features.is_on(gate);
    let (spec, before) = (sub(old.map(), "spec"), sub(old.map(), "status"));
    let results = before.sub("allocation").sub("devices").list("results");
    let has = |items: &[Value], fields: &[&str]| {
        items.iter().any(|item| fields.iter().any(|field| item.has(field)))
    };
    let Some(status) = map_in(object.map_mut(), "status") else { return };
    let told = before.list("devices");
    if off("DRAResourceClaimDeviceStatus") && told.is_empty() {
        status.remove("devices");
    }
    let mut gone: Vec<&str> = Vec::new();
    let shares = ["shareID", "consumedCapacity"];
    let shared =
        || asks_for_shares(spec.sub("devices")) || has(results, &shares) || has(told, &shares[..1]);
    if off("DRAConsumableCapacity") && !shared() {
        gone.extend(shares);
        maps_in(status, "devices").for_each(|device| drop(device.remove("shareID")));
    }
    if off("DRADeviceBindingConditions") && !has(results, &BINDING[..2]) {
        gone.extend(&BINDING[..2]);
    }
    let allocated = map_in(status, "allocation").and_then(|all| map_in(all, "devices"));
    for result in allocated.into_iter().flat_map(|devices| maps_in(devices, "results")) {
        gone.iter().for_each(|field| drop(result.remove(*field)));
    }
}

/// Drops them from the spec of a slice.
pub(super) fn drop_from_slice(features: &Features, spec: &mut Map<String, Value>, old: &Value) {
    let off = |gate: &str| !features.is_on(gate);
    let before = old.list("devices");
    let mut gone: Vec<&str> = Vec::new();
    if off("DRADeviceTaints") && !before.iter().any(|device| some(device, "taints")) {
        gone.push("taints");
    }
    let partitioned = || {
        let device = |device: &Value| {
            some(device, "consumesCounters") || PLACES.iter().any(|place| device.has(place))
        };
        some(old, "sharedCounters")
            || old.has("perDeviceNodeSelection")
            || before.iter().any(device)
    };
    if off("DRAPartitionableDevices") && !partitioned() {
        spec.remove("sharedCounters");
        spec.remove("perDeviceNodeSelection");
        gone.push("consumesCounters");
        gone.extend(PLACES);
    }
    let binds = |device: &Value| {
        some(device, BINDING[0]) || some(device, BINDING[1]) || device.has(BINDING[2])
    };
    if (off("DRADeviceBindingConditions") || off("DRAResourceClaimDeviceStatus"))
        && !before.iter().any(binds)
    {
        gone.extend(BINDING);
    }
    let shared = off("DRAConsumableCapacity") && !before.iter().any(is_shared);
    if shared {
        gone.push("allowMultipleAllocations");
    }
    for device in maps_in(spec, "devices") {
        gone.iter().for_each(|field| drop(device.remove(*field)));
        let capacities = map_in(device, "capacity").filter(|_| shared);
        let each = capacities.into_iter().flat_map(|map| map.values_mut());
        each.filter_map(Value::as_object_mut)
            .for_each(|capacity| drop(capacity.remove("requestPolicy")));
    }
}

fn is_shared(device: &Value) -> bool {
    let mut capacities = device.sub("capacity").as_object().into_iter().flatten();
    device.has("allowMultipleAllocations")
        || capacities.any(|(_, capacity)| capacity.has("requestPolicy"))
}

/// Drops them from a class.
pub(super) fn drop_from_class(features: &Features, object: &mut Object, old: Option<&Object>) {
    let path = ["spec", "extendedResourceName"];
    let used = old.is_some_and(|old| old.at(&path).is_some_and(|name| !name.is_null()));
    if !features.is_on("DRAExtendedResource") && !used {
        object.remove(&path);
    }
}
