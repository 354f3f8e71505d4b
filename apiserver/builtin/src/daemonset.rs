//! DaemonSets.

use crate::{
    defaulting, gates,
    hooks::{is_same, keep, start_generation},
    look::{At, Look, sub},
    pod::{defaults::pod_template, features::drop_from_template, warnings},
    row::{Part, Row},
    table::{age, containers, labels, selector},
    workload::change_status,
};
use jiff::Timestamp;
use kubeplane_core::{Definition, Object, Strategy, definition::Context, field::Errors};
use serde_json::{Value, json};

mod validation;

/// Counts the changes of the template; a field once, it is an annotation in this version.
const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";

pub(crate) fn definition() -> Definition {
    let row = Row {
        group: "apps",
        kind: "DaemonSet",
        plural: "daemonsets",
        short: &["ds"],
        categories: &["all"],
        columns: &[
            "Name",
            "Desired:integer",
            "Current:integer",
            "Ready:integer",
            "Up-to-date:integer",
            "Available:integer",
            "Node Selector",
            "Age",
            "+Containers",
            "+Images",
            "+Selector",
        ],
        parts: &[Part::Status],
        ..Row::NAMESPACED
    };
    row.define(DaemonSets)
}

#[derive(Debug)]
struct DaemonSets;

fn template_generation(object: &Object) -> i64 {
    object.annotation(TEMPLATE_GENERATION).and_then(|text| text.parse().ok()).unwrap_or_default()
}

fn set_template_generation(object: &mut Object, generation: i64) {
    object.set(&["metadata", "annotations", TEMPLATE_GENERATION], generation.to_string());
}

impl Strategy for DaemonSets {
    fn default(&self, object: &mut Object) {
        let spec = object.map_at_mut(&["spec"]);
        let strategy = defaulting::map(spec, "updateStrategy");
        defaulting::text(strategy, "type", "RollingUpdate");
        if strategy["type"] == "RollingUpdate" {
            let rolling = defaulting::map(strategy, "rollingUpdate");
            defaulting::missing(rolling, "maxUnavailable", 1);
            defaulting::missing(rolling, "maxSurge", 0);
        }
        defaulting::missing(spec, "revisionHistoryLimit", 10);
        pod_template(spec.entry("template").or_insert_with(|| json!({})));
        // Inside the original it is a number that is always there.
        let generation = template_generation(object);
        set_template_generation(object, generation);
    }

    fn prepare_create(&self, context: &Context<'_>, object: &mut Object) {
        object.set(
            &["status"],
            json!({"currentNumberScheduled": 0, "desiredNumberScheduled": 0, "numberMisscheduled": 0, "numberReady": 0}),
        );
        start_generation(object);
        let generation = template_generation(object).max(1);
        set_template_generation(object, generation);
        drop_from_template(context.features, object, None);
    }

    fn prepare_update(&self, context: &Context<'_>, object: &mut Object, old: &Object) {
        let before = template_generation(old);
        if context.subresource == "status" {
            change_status(object, old);
            return set_template_generation(object, before);
        }
        drop_from_template(context.features, object, Some(old));
        keep(object, old, "status");
        let moved = !is_same(object, old, &["spec", "template"]);
        set_template_generation(object, before + i64::from(moved));
        let changed = moved || !is_same(object, old, &["spec"]);
        object.set(&["metadata", "generation"], old.generation() + i64::from(changed));
    }

    fn validate(&self, context: &Context<'_>, object: &Object) -> Errors {
        let mut errors = validation::daemon_set(object);
        gates::allow(context.features, &mut errors);
        if errors.is_empty() {
            warn(context, object);
        }
        errors
    }

    fn validate_update(&self, context: &Context<'_>, object: &Object, old: &Object) -> Errors {
        if context.subresource == "status" {
            return validation::status(object, old);
        }
        let mut errors = validation::update(object, old);
        gates::allow(context.features, &mut errors);
        if errors.is_empty() && template_generation(object) != template_generation(old) {
            warn(context, object);
        }
        errors
    }

    fn table_row(&self, object: &Object, now: Timestamp) -> Vec<Value> {
        let (spec, status) = (sub(object.map(), "spec"), sub(object.map(), "status"));
        let pod = spec.sub("template").sub("spec");
        let mut cells = vec![
            object.name().into(),
            status.int("desiredNumberScheduled").into(),
            status.int("currentNumberScheduled").into(),
            status.int("numberReady").into(),
            status.int("updatedNumberScheduled").into(),
            status.int("numberAvailable").into(),
            labels(pod.sub("nodeSelector")).into(),
            age(object, now),
        ];
        cells.extend(containers(pod));
        cells.push(selector(spec.sub("selector")).into());
        cells
    }
}

fn warn(context: &Context<'_>, object: &Object) {
    warnings::template(context.warnings, &At::top(object.map(), "spec").get("template"));
}
