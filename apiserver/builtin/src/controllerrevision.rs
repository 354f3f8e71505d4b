//! ControllerRevisions.

use crate::{check, look::At, plain::Plain, row::Row, table::age};
use jiff::Timestamp;
use kubeplane_core::{Definition, GroupVersion, Object, field::Errors};
use serde_json::Value;

pub(crate) fn definition() -> Definition {
    let row = Row {
        group: "apps",
        kind: "ControllerRevision",
        plural: "controllerrevisions",
        columns: &["Name", "Controller", "Revision", "Age"],
        ..Row::NAMESPACED
    };
    row.define(Plain { validate, update, revalidate: false, row: cells, ..Plain::NEW })
}

fn cells(object: &Object, now: Timestamp) -> Vec<Value> {
    let owners = object.owner_references();
    let controller = owners.iter().find(|owner| owner.controller == Some(true)).map(|owner| {
        let group = GroupVersion::parse(&owner.api_version)
            .map(|version| version.group)
            .unwrap_or_default();
        let dot = if group.is_empty() { "" } else { "." };
        format!("{}{dot}{group}/{}", owner.kind.to_lowercase(), owner.name)
    });
    vec![
        object.name().into(),
        controller.unwrap_or_else(|| "<none>".to_owned()).into(),
        object.at(&["revision"]).and_then(Value::as_i64).unwrap_or_default().into(),
        age(object, now),
    ]
}

fn validate(object: &Object) -> Errors {
    let mut errors = Errors::new();
    check::nonnegative(&At::top(object.map(), "revision"), &mut errors);
    let data = At::top(object.map(), "data");
    match data.value() {
        Value::Object(_) => {}
        Value::Null => errors.push(data.required("data is mandatory")),
        _ => errors.push(data.required("data must be a valid JSON object")),
    }
    errors
}

fn update(object: &Object, old: &Object) -> Errors {
    let mut errors = Errors::new();
    check::nonnegative(&At::top(object.map(), "revision"), &mut errors);
    check::unchanged(
        &At::top(object.map(), "data"),
        At::top(old.map(), "data").value(),
        &mut errors,
    );
    errors
}
