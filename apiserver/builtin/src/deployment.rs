//! Deployments.

use crate::{
    defaulting, gates,
    hooks::{is_same, keep, keep_metadata, start_generation},
    look::{Look, sub},
    pod::{defaults::pod_template, features::drop_from_template},
    row::{Part, Row},
    table::{age, containers, selector_text},
    workload::{change_status, drop_terminating, warn_of_name, warn_of_template},
};
use jiff::Timestamp;
use kubeplane_core::{Definition, Object, Strategy, definition::Context, field::Errors};
use serde_json::{Value, json};

mod validation;

pub(crate) fn definition() -> Definition {
    let row = Row {
        group: "apps",
        kind: "Deployment",
        plural: "deployments",
        short: &["deploy"],
        categories: &["all"],
        columns: &[
            "Name",
            "Ready",
            "Up-to-date",
            "Available",
            "Age",
            "+Containers",
            "+Images",
            "+Selector",
        ],
        parts: &[Part::Scale("spec.selector"), Part::Status],
        ..Row::NAMESPACED
    };
    row.define(Deployments)
}

#[derive(Debug)]
struct Deployments;

impl Strategy for Deployments {
    fn default(&self, object: &mut Object) {
        let spec = object.map_at_mut(&["spec"]);
        defaulting::missing(spec, "replicas", 1);
        let strategy = defaulting::map(spec, "strategy");
        defaulting::text(strategy, "type", "RollingUpdate");
        if strategy["type"] == "RollingUpdate" {
            let rolling = defaulting::map(strategy, "rollingUpdate");
            defaulting::missing(rolling, "maxUnavailable", "25%");
            defaulting::missing(rolling, "maxSurge", "25%");
        }
        defaulting::missing(spec, "revisionHistoryLimit", 10);
        defaulting::missing(spec, "progressDeadlineSeconds", 600);
        pod_template(spec.entry("template").or_insert_with(|| json!({})));
    }

    fn prepare_create(&self, context: &Context<'_>, object: &mut Object) {
        object.set(&["status"], json!({}));
        start_generation(object);
        drop_from_template(context.features, object, None);
    }

    fn prepare_update(&self, context: &Context<'_>, object: &mut Object, old: &Object) {
        if context.subresource == "status" {
            change_status(object, old);
            drop_terminating(context, object, old);
            return keep_metadata(object, old, "labels");
        }
        keep(object, old, "status");
        drop_from_template(context.features, object, Some(old));
        // Annotations count too: a rollback was once asked for with one.
        let annotations = ["metadata", "annotations"];
        let changed =
            !is_same(object, old, &["spec"]) || object.at(&annotations) != old.at(&annotations);
        object.set(&["metadata", "generation"], old.generation() + i64::from(changed));
    }

    fn validate(&self, context: &Context<'_>, object: &Object) -> Errors {
        let mut errors = validation::deployment(object);
        gates::allow(context.features, &mut errors);
        if errors.is_empty() {
            warn_of_name(context, object);
            warn_of_template(context, object, None);
        }
        errors
    }

    fn validate_update(&self, context: &Context<'_>, object: &Object, old: &Object) -> Errors {
        match context.subresource {
            "status" => validation::status(object, old),
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
        let (spec, status) = (sub(object.map(), "spec"), sub(object.map(), "status"));
        let mut cells = vec![
            object.name().into(),
            format!("{}/{}", status.int("readyReplicas"), spec.int("replicas")).into(),
            status.int("updatedReplicas").into(),
            status.int("availableReplicas").into(),
            age(object, now),
        ];
        cells.extend(containers(spec.sub("template").sub("spec")));
        cells.push(selector_text(spec.sub("selector")).into());
        cells
    }
}
