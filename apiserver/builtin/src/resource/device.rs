//! One device of a slice.

use super::{
    attributes, capacity,
    lists::{list, map, set},
    taint::taint,
    values::NO_LIMIT,
};
use crate::{
    check,
    look::{At, Look},
    pod::validation::{affinity::node_selector, resources::is_native},
};
use kubeplane_core::{field::Errors, names::LABEL_MAX};
use serde_json::Value;
use std::collections::HashSet;

const TAINTS_MAX: usize = 16;
const COUNTERS_MAX: usize = 32;
const CONSUMPTIONS_MAX: usize = 2;
const BINDING_MAX: usize = 4;
const PLACES: &str = "exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when `perDeviceNodeSelection` is set to true in the ResourceSlice spec";

/// Names of counters, of which there must be some.
pub(super) fn counter_names(counters: &At<'_>, errors: &mut Errors) {
    if counters.is_empty() {
        return errors.push(counters.required(""));
    }
    map(counters, COUNTERS_MAX, LABEL_MAX, check::dns_label, |_, _| {}, errors);
}

pub(super) fn device(at: &At<'_>, old: Option<&Value>, chosen: bool, errors: &mut Errors) {
    check::dns_label(&at.get("name"), errors);
    attributes::attributes(at, errors);
    capacity::capacities(at, errors);
    let taints = at.get("taints");
    if old.is_none_or(|old| old.sub("taints") != taints.value()) {
        list(&taints, TAINTS_MAX, taint, errors);
    }
    let key = |item: &At<'_>| item.get("counterSet").str().to_owned();
    let each = |item: &At<'_>, errors: &mut Errors| {
        check::required_dns_label(&item.get("counterSet"), errors);
        counter_names(&item.get("counters"), errors);
    };
    set(&at.get("consumesCounters"), CONSUMPTIONS_MAX, key, each, errors);
    if chosen {
        places(at, errors);
    } else if ["nodeName", "nodeSelector", "allNodes"].iter().any(|field| at.get(field).is_set()) {
        errors.push(at.invalid_as(
            Value::Null,
            "`nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to true in the ResourceSlice spec",
        ));
    }
    binding_conditions(at, errors);
    mappings(at, errors);
}

fn places(at: &At<'_>, errors: &mut Errors) {
    let mut given = Vec::new();
    let (node, all) = (at.get("nodeName"), at.get("allNodes"));
    if node.is_set() && node.str().is_empty() {
        errors.push(node.invalid("must not be empty"));
    } else if node.is_set() {
        given.push("`nodeName`");
        check::dns_subdomain(&node, errors);
    }
    if at.get("nodeSelector").is_set() {
        given.push("`nodeSelector`");
        node_selector(&at.get("nodeSelector"), errors);
    }
    if all.bool() {
        given.push("`allNodes`");
    } else if all.is_set() {
        errors.push(all.invalid("must be either unset or set to true"));
    }
    match given.len() {
        0 => errors.push(at.required(PLACES)),
        1 => {}
        _ => errors.push(at.invalid_as(format!("{{{}}}", given.join(", ")), PLACES)),
    }
}

/// Conditions that hold when a device is ready, and those that say it never will be.
pub(super) fn binding_conditions(at: &At<'_>, errors: &mut Errors) {
    let (ready, failed) = (at.get("bindingConditions"), at.get("bindingFailureConditions"));
    list(&ready, BINDING_MAX, check::qualified_name, errors);
    list(&failed, BINDING_MAX, check::qualified_name, errors);
    let mut known = HashSet::new();
    errors.extend(ready.items().filter(|one| !known.insert(one.str())).map(|one| one.duplicate()));
    let mut seen = HashSet::new();
    for condition in failed.items() {
        if !seen.insert(condition.str()) {
            errors.push(condition.duplicate());
        }
        if known.contains(condition.str()) {
            errors.push(
                condition
                    .invalid("bindingFailureConditions must not overlap with bindingConditions"),
            );
        }
    }
    if ready.is_empty() && !failed.is_empty() {
        errors.push(ready.invalid_as(
            ready.value().clone(),
            "bindingConditions are required to use bindingFailureConditions",
        ));
    }
    if failed.is_empty() && !ready.is_empty() {
        errors.push(failed.invalid_as(
            failed.value().clone(),
            "bindingFailureConditions are required to use bindingConditions",
        ));
    }
}

fn mappings(device: &At<'_>, errors: &mut Errors) {
    let any_key = |_: &At<'_>, _: &mut Errors| {};
    let each = |at: &At<'_>, errors: &mut Errors| {
        let (factor, key) = (at.get("allocationMultiplier"), at.get("capacityKey"));
        if !factor.is_set() && !key.is_set() {
            let detail = "at least one of allocationMultiplier or capacityKey must be set";
            errors.push(at.invalid_as("", detail));
        }
        if factor.is_set() && check::quantity(&factor).sign() <= 0 {
            errors.push(factor.invalid("must be positive"));
        }
        if key.is_set() && key.str().is_empty() {
            errors.push(key.invalid_as("", "capacityKey must not be an empty string"));
        } else if key.is_set() && !device.get("capacity").key(key.str()).is_set() {
            errors.push(key.not_found());
        }
    };
    let mappings = device.get("nodeAllocatableResourceMappings");
    for (name, at) in mappings.entries() {
        if !is_native(name) {
            errors.push(at.invalid_as(name, "must be a node allocatable resource name"));
        }
    }
    map(&mappings, NO_LIMIT, LABEL_MAX * 4, any_key, each, errors);
}
