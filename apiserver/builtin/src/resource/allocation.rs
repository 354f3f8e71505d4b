//! The status of a claim: which devices it has, who uses them, and what drivers say of them.

use super::{
    constraint::{CONFIG_MAX, REQUESTS_MAX, for_requests, reference},
    device::binding_conditions,
    lists::{list, set},
    request::Names,
    values::{NO_LIMIT, opaque, pool_name, uid},
};
use crate::{
    check,
    conditions::conditions,
    csinode::driver_name,
    look::{At, Look, sub},
    pod::validation::affinity::node_selector,
};
use kubeplane_core::{Object, field::Errors, names::address::is_valid_interface_address};
use serde_json::Value;
use std::collections::HashSet;

const RESERVED_MAX: usize = 256;
const CONDITIONS_MAX: usize = 8;
const DATA_MAX: usize = 10 * 1024;
const ADDRESSES_MAX: usize = 16;
const INTERFACE_MAX: usize = 256;
const HARDWARE_MAX: usize = 128;

/// What tells a device, or a share of one, from all others.
pub(super) fn device_id(device: &Value) -> String {
    let parts = ["driver", "pool", "device", "shareID"].map(|field| device.text(field));
    parts.join("/").trim_end_matches('/').to_owned()
}

/// The devices that are allocated.
pub(super) fn devices(status: &Value) -> HashSet<String> {
    let results = status.sub("allocation").sub("devices").list("results");
    results.iter().map(device_id).collect()
}

pub(super) fn status(object: &Object, old: &Object) -> Errors {
    let mut errors = Errors::new();
    let (status, before) = (At::top(object.map(), "status"), sub(old.map(), "status"));
    let reserved = status.get("reservedFor");
    let key = |item: &At<'_>| item.get("uid").str().to_owned();
    let consumer = |item: &At<'_>, errors: &mut Errors| {
        for field in ["resource", "name", "uid"] {
            check::required(&item.get(field), errors);
        }
    };
    set(&reserved, RESERVED_MAX, key, consumer, &mut errors);
    let allocated = devices(status.value());
    let each = |item: &At<'_>, errors: &mut Errors| device(item, &allocated, errors);
    let id = |item: &At<'_>| device_id(item.value());
    set(&status.get("devices"), NO_LIMIT, id, each, &mut errors);
    if !reserved.is_empty() {
        reservations(object, &reserved, before, &mut errors);
    }
    let allocation = status.get("allocation");
    if allocation.is_set() && before.has("allocation") {
        let definition = "io.k8s.api.resource.v1.AllocationResult";
        check::same(&allocation, before.sub("allocation"), definition, &mut errors);
    } else if allocation.is_set() {
        let spec = sub(object.map(), "spec");
        self::allocation(&allocation, &Names::of(spec.sub("devices")), &mut errors);
    }
    errors
}

fn reservations(object: &Object, reserved: &At<'_>, before: &Value, errors: &mut Errors) {
    if !sub(object.map(), "status").has("allocation") {
        errors.push(reserved.forbidden("may not be specified when `allocated` is not set"));
    } else if object.is_deleting() {
        let known = before.list("reservedFor");
        if reserved.items().any(|item| !known.contains(item.value())) {
            errors.push(reserved.forbidden(
                "new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set",
            ));
        }
    }
}

fn allocation(at: &At<'_>, names: &Names<'_>, errors: &mut Errors) {
    let devices = at.get("devices");
    let each = |item: &At<'_>, errors: &mut Errors| result(item, names, errors);
    list(&devices.get("results"), REQUESTS_MAX, each, errors);
    let each = |item: &At<'_>, errors: &mut Errors| {
        check::one_of(&item.get("source"), &["FromClaim", "FromClass"], errors);
        for_requests(item, names, errors);
    };
    // Those of the class and those of the claim.
    list(&devices.get("config"), 2 * CONFIG_MAX, each, errors);
    if at.get("nodeSelector").is_set() {
        node_selector(&at.get("nodeSelector"), errors);
    }
}

fn result(at: &At<'_>, names: &Names<'_>, errors: &mut Errors) {
    reference(&at.get("request"), names, errors);
    place(at, errors);
    binding_conditions(at, errors);
    if at.get("shareID").is_set() {
        uid(&at.get("shareID"), errors);
    }
}

fn place(at: &At<'_>, errors: &mut Errors) {
    driver_name(&at.get("driver"), errors);
    pool_name(&at.get("pool"), errors);
    check::dns_label(&at.get("device"), errors);
}

fn device(at: &At<'_>, allocated: &HashSet<String>, errors: &mut Errors) {
    place(at, errors);
    if at.get("shareID").is_set() {
        uid(&at.get("shareID"), errors);
    }
    let id = device_id(at.value());
    if !allocated.contains(&id) {
        errors.push(at.invalid_as(id, "must be an allocated device in the claim"));
    }
    let list = at.get("conditions");
    if list.len() > CONDITIONS_MAX {
        errors.push(list.too_many(CONDITIONS_MAX));
    }
    conditions(&list, errors);
    if at.get("data").is_set() {
        opaque(&at.get("data"), DATA_MAX, errors);
    }
    let network = at.get("networkData");
    for (field, limit) in [("interfaceName", INTERFACE_MAX), ("hardwareAddress", HARDWARE_MAX)] {
        if network.get(field).str().len() > limit {
            errors.push(network.get(field).too_long(limit));
        }
    }
    let text = |item: &At<'_>| item.str().to_owned();
    let each = |item: &At<'_>, errors: &mut Errors| {
        check::messages(item, is_valid_interface_address(item.str()), errors);
    };
    set(&network.get("ips"), ADDRESSES_MAX, text, each, errors);
}
