//! ReplicaSets.

use crate::{
    defaulting, gates,
    hooks::{keep, start_generation, step_generation},
    look::{Look, sub},
    pod::{defaults::pod_template, features::drop_from_template},
    row::{Part, Row},
    table::{containers, selector},
    workload::{change_status, drop_terminating, replica_cells, warn_of_name, warn_of_template},
};
use jiff::Timestamp;
use kubeplane_core::{Definition, Object, Strategy, definition::Context, field::Errors};
use serde_json::{Value, json};

mod validation;

pub(crate) fn definition() -> Definition {
    let row = Row {
        group: "apps",
        kind: "ReplicaSet",
        plural: "replicasets",
        short: &["rs"],
        categories: &["all"],
        columns: &[
            "Name",
            "Desired:integer",
            "Current:integer",
            "Ready:integer",
            "Age",
            "+Containers",
            "+Images",
            "+Selector",
        ],
        parts: &[Part::Scale("spec.selector"), Part::Status],
        ..Row::NAMESPACED
    };
    row.define(ReplicaSets)
}

#[derive(Debug)]
struct ReplicaSets;

impl Strategy for ReplicaSets {
    fn default(&self, object: &mut Object) {
        let spec = object.map_at_mut(&["spec"]);
        defaulting::missing(spec, "replicas", 1);
        pod_template(spec.entry("template").or_insert_with(|| json!({})));
    }

    fn prepare_create(&self, context: &Context<'_>, object: &mut Object) {
        object.set(&["status"], json!({"replicas": 0}));
        start_generation(object);
        drop_from_template(context.features, object, None);
    }

    fn prepare_update(&self, context: &Context<'_>, object: &mut Object, old: &Object) {
        if context.subresource == "status" {
            change_status(object, old);
            return drop_terminating(context, object, old);
        }
        keep(object, old, "status");
        drop_from_template(context.features, object, Some(old));
        step_generation(object, old, &["spec"]);
    }

    fn validate(&self, context: &Context<'_>, object: &Object) -> Errors {
        let mut errors = validation::replica_set(object);
        gates::allow(context.features, &mut errors);
        if errors.is_empty() {
            warn_of_name(context, object);
            warn_of_template(context, object, None);
        }
        errors
    }

    fn validate_update(&self, context: &Context<'_>, object: &Object, old: &Object) -> Errors {
        match context.subresource {
            "status" => crate::workload::validation::replica_status(object, old),
            _ => {
                let mut errors = validation::update(object, old);
                gates::allow(context.features, &mut errors);
                if errors.is_empty() {
                    warn_of_template(context, object, Some(old));
                }
                errors
            }
        }
    }

    fn table_row(&self, object: &Object, now: Timestamp) -> Vec<Value> {
        let spec = sub(object.map(), "spec");
        let mut cells = replica_cells(object, now);
        cells.extend(containers(spec.sub("template").sub("spec")));
        cells.push(selector(spec.sub("selector")).into());
        cells
    }
}
