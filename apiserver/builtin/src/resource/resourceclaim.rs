//! ResourceClaims.

use super::{
    ROW, allocation,
    constraint::one_attribute,
    features::{drop_from_claim, drop_from_status},
    request,
};
use crate::{
    check,
    look::{At, Look, sub},
    plain::Plain,
    row::{Part, Row},
    table::age,
};
use jiff::Timestamp;
use kubeplane_core::{Definition, Object, definition::Context, field::Errors};
use serde_json::{Value, json};

pub(super) fn definition() -> Definition {
    let row = Row {
        kind: "ResourceClaim",
        plural: "resourceclaims",
        columns: &["Name", "State", "Age"],
        parts: &[Part::Status],
        scope: Row::NAMESPACED.scope,
        ..ROW
    };
    row.define(Plain {
        default: |object| request::default(object.map_at_mut(&["spec"])),
        status: Some(|| json!({})),
        create: |context, object| {
            drop_from_claim(context.features, object.map_at_mut(&["spec"]), &Value::Null);
        },
        change,
        validate: |object| {
            let mut errors = Errors::new();
            request::claim_spec(&At::top(object.map(), "spec"), &mut errors);
            errors
        },
        revalidate: false,
        update,
        update_status: allocation::status,
        gates: one_attribute,
        row: cells,
        ..Plain::NEW
    })
}

/// What is said of devices that the claim no longer has goes with them.
fn change(context: &Context<'_>, object: &mut Object, old: &Object) {
    if context.subresource != "status" {
        let before = sub(old.map(), "spec");
        return drop_from_claim(context.features, object.map_at_mut(&["spec"]), before);
    }
    drop_from_status(context.features, object, old);
    let mut gone = allocation::devices(sub(old.map(), "status"));
    for kept in allocation::devices(sub(object.map(), "status")) {
        gone.remove(&kept);
    }
    let status = object.map_at_mut(&["status"]);
    if let Some(Value::Array(list)) = status.get_mut("devices") {
        list.retain(|device| !gone.contains(&allocation::device_id(device)));
        if list.is_empty() {
            status.remove("devices");
        }
    }
}

fn cells(object: &Object, now: Timestamp) -> Vec<Value> {
    let status = sub(object.map(), "status");
    let mut words = Vec::new();
    if object.is_deleting() {
        words.push("deleted");
    }
    if status.has("allocation") {
        words.push("allocated");
        if !status.list("reservedFor").is_empty() {
            words.push("reserved");
        }
    } else if !object.is_deleting() {
        words.push("pending");
    }
    vec![object.name().into(), words.join(",").into(), age(object, now)]
}

fn update(object: &Object, old: &Object) -> Errors {
    let mut errors = Errors::new();
    let definition = "io.k8s.api.resource.v1.ResourceClaimSpec";
    check::same(&At::top(object.map(), "spec"), sub(old.map(), "spec"), definition, &mut errors);
    errors
}
