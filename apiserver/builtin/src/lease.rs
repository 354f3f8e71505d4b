//! Leases.

use crate::{row::Row, table::age};
use jiff::Timestamp;
use kubeplane_core::{Definition, Object, Strategy, definition::Context, field::Errors};
use serde_json::Value;

mod validation;

pub(crate) fn definition() -> Definition {
    let row = Row {
        group: "coordination.k8s.io",
        kind: "Lease",
        plural: "leases",
        columns: &["Name", "Holder", "Age"],
        create_on_update: true,
        unconditional_update: false,
        ..Row::NAMESPACED
    };
    row.define(Leases)
}

#[derive(Debug)]
struct Leases;

impl Strategy for Leases {
    fn prepare_create(&self, context: &Context<'_>, object: &mut Object) {
        drop_gated(context, object, None);
    }

    fn prepare_update(&self, context: &Context<'_>, object: &mut Object, old: &Object) {
        drop_gated(context, object, Some(old));
    }

    fn validate(&self, _context: &Context<'_>, object: &Object) -> Errors {
        validation::lease(object)
    }

    fn validate_update(&self, _context: &Context<'_>, object: &Object, _old: &Object) -> Errors {
        validation::lease(object)
    }

    fn table_row(&self, object: &Object, now: Timestamp) -> Vec<Value> {
        vec![
            object.name().into(),
            object.text(&["spec", "holderIdentity"]).into(),
            age(object, now),
        ]
    }
}

/// The fields of a feature that can be off, but for those that the stored object has.
fn drop_gated(context: &Context<'_>, object: &mut Object, old: Option<&Object>) {
    if context.features.is_on("CoordinatedLeaderElection") {
        return;
    }
    for field in ["strategy", "preferredHolder"] {
        let path = ["spec", field];
        if old.is_none_or(|old| old.at(&path).is_none_or(Value::is_null)) {
            object.remove(&path);
        }
    }
}
