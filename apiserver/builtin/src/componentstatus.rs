//! ComponentStatuses, read-only and computed by the server.

use crate::{
    look::{Look, sub},
    row::Row,
};
use jiff::Timestamp;
use kubeplane_core::{Definition, Object, Strategy, definition::Verb};
use serde_json::Value;

pub(crate) fn definition() -> Definition {
    let row = Row {
        kind: "ComponentStatus",
        plural: "componentstatuses",
        short: &["cs"],
        verbs: &[Verb::Get, Verb::List],
        columns: &["Name", "Status", "Message", "Error"],
        ..Row::CLUSTER
    };
    row.define(ComponentStatuses)
}

#[derive(Debug)]
struct ComponentStatuses;

impl Strategy for ComponentStatuses {
    fn table_row(&self, object: &Object, _now: Timestamp) -> Vec<Value> {
        let conditions = sub(object.map(), "conditions").as_array().map_or(&[][..], Vec::as_slice);
        let healthy = conditions.iter().find(|condition| condition.text("type") == "Healthy");
        let status = match healthy {
            Some(condition) if condition.text("status") == "True" => "Healthy",
            Some(_) => "Unhealthy",
            None => "Unknown",
        };
        let text = |field: &str| healthy.map_or("", |condition| condition.text(field)).into();
        vec![object.name().into(), status.into(), text("message"), text("error")]
    }
}
