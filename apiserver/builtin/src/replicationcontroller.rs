//! ReplicationControllers.

use crate::{
    defaulting, gates,
    hooks::{keep, start_generation, step_generation},
    look::{Look, sub},
    pod::{defaults::pod_template, features::drop_from_template},
    row::{Part, Row},
    table::{containers, labels},
    workload::{change_status, replica_cells, warn_of_name, warn_of_template},
};
use jiff::Timestamp;
use kubeplane_core::{
    Definition, Object, Strategy,
    definition::{Context, NameRule},
    field::Errors,
};
use serde_json::{Value, json};

mod validation;

pub(crate) fn definition() -> Definition {
    let row = Row {
        kind: "ReplicationController",
        plural: "replicationcontrollers",
        short: &["rc"],
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
        fields: &["status.replicas"],
        ..Row::NAMESPACED
    };
    row.define(ReplicationControllers)
}

#[derive(Debug)]
struct ReplicationControllers;

impl Strategy for ReplicationControllers {
    fn name_rule(&self) -> NameRule {
        NameRule::LongName
    }

    fn default(&self, object: &mut Object) {
        let labels = object.at(&["spec", "template", "metadata", "labels"]).cloned();
        if let Some(labels) =
            labels.filter(|labels| labels.as_object().is_some_and(|map| !map.is_empty()))
        {
            if sub(object.map(), "spec")
                .sub("selector")
                .as_object()
                .is_none_or(serde_json::Map::is_empty)
            {
                object.set(&["spec", "selector"], labels.clone());
            }
            if object.labels().next().is_none() {
                object.set(&["metadata", "labels"], labels);
            }
        }
        let spec = object.map_at_mut(&["spec"]);
        defaulting::missing(spec, "replicas", 1);
        if let Some(template) = spec.get_mut("template") {
            pod_template(template);
        }
    }

    fn prepare_create(&self, context: &Context<'_>, object: &mut Object) {
        object.set(&["status"], json!({"replicas": 0}));
        start_generation(object);
        drop_from_template(context.features, object, None);
    }

    fn prepare_update(&self, context: &Context<'_>, object: &mut Object, old: &Object) {
        if context.subresource == "status" {
            return change_status(object, old);
        }
        keep(object, old, "status");
        drop_from_template(context.features, object, Some(old));
        step_generation(object, old, &["spec"]);
    }

    fn validate(&self, context: &Context<'_>, object: &Object) -> Errors {
        let mut errors = validation::controller(object);
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

    fn field(&self, object: &Object, _path: &str) -> String {
        sub(object.map(), "status").int("replicas").to_string()
    }

    fn table_row(&self, object: &Object, now: Timestamp) -> Vec<Value> {
        let spec = sub(object.map(), "spec");
        let mut cells = replica_cells(object, now);
        cells.extend(containers(spec.sub("template").sub("spec")));
        cells.push(labels(spec.sub("selector")).into());
        cells
    }
}
