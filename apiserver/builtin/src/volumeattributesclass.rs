//! VolumeAttributesClasses.

use crate::{
    look::{At, sub},
    plain::Plain,
    row::Row,
    storageclass::{parameters, provisioner},
    table::age,
};
use jiff::Timestamp;
use kubeplane_core::{Definition, Object, field::Errors};
use serde_json::Value;

pub(crate) fn definition() -> Definition {
    let row = Row {
        group: "storage.k8s.io",
        kind: "VolumeAttributesClass",
        plural: "volumeattributesclasses",
        short: &["vac"],
        columns: &["Name", "DriverName", "Age"],
        ..Row::CLUSTER
    };
    row.define(Plain { validate, update, update_first: true, row: cells, ..Plain::NEW })
}

fn cells(object: &Object, now: Timestamp) -> Vec<Value> {
    vec![object.name().into(), object.text(&["driverName"]).into(), age(object, now)]
}

fn validate(object: &Object) -> Errors {
    let mut errors = Errors::new();
    provisioner(&At::top(object.map(), "driverName"), &mut errors);
    let map = At::top(object.map(), "parameters");
    parameters(&map, &mut errors);
    if map.is_empty() {
        errors.push(map.required("must contain at least one key/value pair"));
    }
    errors
}

fn update(object: &Object, old: &Object) -> Errors {
    let mut errors = Errors::new();
    for field in ["driverName", "parameters"] {
        let at = At::top(object.map(), field);
        if at.value() != sub(old.map(), field) {
            errors.push(at.forbidden(format!("updates to {field} are forbidden.")));
        }
    }
    errors
}
