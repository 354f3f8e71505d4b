//! Taints of devices, and what tolerates them.

use crate::{check, defaulting::maps_in, look::At};
use jiff::Timestamp;
use kubeplane_core::field::Errors;
use serde_json::{Map, Value};

const EFFECTS: [&str; 3] = ["NoExecute", "NoSchedule", "None"];

/// Says since when, where nothing was said.
pub(super) fn stamp(device: &mut Map<String, Value>, now: Timestamp) {
    for taint in maps_in(device, "taints") {
        stamp_one(taint, now);
    }
}

/// The same of one taint.
pub(super) fn stamp_one(taint: &mut Map<String, Value>, now: Timestamp) {
    let now = now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    crate::defaulting::missing(taint, "timeAdded", now);
}

pub(super) fn taint(taint: &At<'_>, errors: &mut Errors) {
    check::qualified_name(&taint.get("key"), errors);
    if !taint.get("value").str().is_empty() {
        check::label_value(&taint.get("value"), errors);
    }
    check::one_of(&taint.get("effect"), &EFFECTS, errors);
}

pub(super) fn toleration(toleration: &At<'_>, errors: &mut Errors) {
    let get = |field| toleration.get(field);
    if !get("key").str().is_empty() {
        check::qualified_name(&get("key"), errors);
    }
    match get("operator").str() {
        "Exists" if !get("value").str().is_empty() => {
            errors.push(get("value").invalid("must be empty for operator `Exists`"));
        }
        "Exists" => {}
        "Equal" => check::label_value(&get("value"), errors),
        "" => errors.push(get("operator").required("")),
        _ => errors.push(get("operator").not_supported(&["Equal", "Exists"])),
    }
    if !get("effect").str().is_empty() {
        check::one_of(&get("effect"), &EFFECTS, errors);
    }
}
