//! Bindings of pods to nodes, create-only.

use crate::{
    look::At,
    row::{CREATE, Row},
    table::age,
};
use jiff::Timestamp;
use kubeplane_core::{Definition, Object, Strategy, definition::Context, field::Errors};
use serde_json::Value;

pub(crate) fn definition() -> Definition {
    let row = Row { kind: "Binding", plural: "bindings", verbs: CREATE, ..Row::NAMESPACED };
    row.define(Bindings)
}

#[derive(Debug)]
struct Bindings;

impl Strategy for Bindings {
    fn validate(&self, _context: &Context<'_>, object: &Object) -> Errors {
        let mut errors = Errors::new();
        let target = At::top(object.map(), "target");
        let (kind, name) = (target.get("kind"), target.get("name"));
        if !matches!(kind.str(), "" | "Node") {
            errors.push(kind.not_supported(&["Node", "<empty>"]));
        }
        if name.str().is_empty() {
            errors.push(name.required(""));
        }
        errors
    }

    fn table_row(&self, object: &Object, now: Timestamp) -> Vec<Value> {
        vec![object.name().into(), age(object, now)]
    }
}
