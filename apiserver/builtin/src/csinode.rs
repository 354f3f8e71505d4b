//! CSINodes.

use crate::{
    check,
    look::{At, Look, sub},
    plain::Plain,
    row::Row,
    table::age,
};
use jiff::Timestamp;
use kubeplane_core::{Definition, Object, field::Errors, names};
use serde_json::Value;
use std::collections::HashSet;

const ID_MAX: usize = 256;
const DRIVER_MAX: usize = 63;

pub(crate) fn definition() -> Definition {
    let row = Row {
        group: "storage.k8s.io",
        kind: "CSINode",
        plural: "csinodes",
        columns: &["Name", "Drivers:integer", "Age"],
        unconditional_update: false,
        ..Row::CLUSTER
    };
    row.define(Plain { validate, update, row: cells, ..Plain::NEW })
}

fn cells(object: &Object, now: Timestamp) -> Vec<Value> {
    let drivers = sub(object.map(), "spec").list("drivers").len();
    vec![object.name().into(), drivers.into(), age(object, now)]
}

/// The name of a CSI driver where one is needed.
pub(crate) fn driver_name(at: &At<'_>, errors: &mut Errors) {
    if !check::required(at, errors) {
        return;
    }
    if at.str().len() > DRIVER_MAX {
        errors.push(at.too_long(DRIVER_MAX));
    }
    check::messages(at, names::is_dns1123_subdomain(&at.str().to_lowercase()), errors);
}

fn validate(object: &Object) -> Errors {
    let mut errors = Errors::new();
    let mut seen = HashSet::new();
    for driver in At::top(object.map(), "spec").get("drivers").items() {
        let (name, id) = (driver.get("name"), driver.get("nodeID"));
        driver_name(&name, &mut errors);
        check::required(&id, &mut errors);
        if id.str().len() > ID_MAX {
            errors.push(id.invalid(format!("must be {ID_MAX} characters or less")));
        }
        check::nonnegative(&driver.get("allocatable").get("count"), &mut errors);
        if !seen.insert(name.str()) {
            errors.push(name.duplicate());
        }
        topology(&driver, &mut errors);
    }
    errors
}

/// Topology keys; the original's errors stand at the driver.
fn topology(driver: &At<'_>, errors: &mut Errors) {
    let mut seen = HashSet::new();
    for key in driver.get("topologyKeys").items() {
        if key.str().is_empty() {
            errors.push(driver.required(""));
        }
        if !seen.insert(key.str()) {
            errors.push(driver.duplicate_as(key.str()));
        }
        check::qualified_name(&driver.with(key.value()), errors);
    }
}

fn update(object: &Object, old: &Object) -> Errors {
    let mut errors = Errors::new();
    let drivers = At::top(object.map(), "spec").get("drivers");
    for before in sub(old.map(), "spec").list("drivers") {
        for after in drivers.items().filter(|after| after.get("name").str() == before.text("name"))
        {
            if fixed(before) != fixed(after.value()) {
                errors.push(drivers.with(after.value()).invalid(check::IMMUTABLE));
            }
        }
    }
    errors
}

/// What of a driver may not change: all but what the node can allocate.
fn fixed(driver: &Value) -> Vec<(&String, &Value)> {
    let map = driver.as_object();
    map.into_iter().flatten().filter(|(key, _)| *key != "allocatable").collect()
}
