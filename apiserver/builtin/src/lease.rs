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
        if !context.features.is_on("CoordinatedLeaderElection") {
            object.remove(&["spec", "strategy"]);
            object.remove(&["spec", "preferredHolder"]);
        }
    }

    fn prepare_update(&self, context: &Context<'_>, object: &mut Object, _old: &Object) {
        self.prepare_create(context, object);
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
