//! Jobs.

use crate::{
    defaulting::{map, map_in, maps_in, missing, text},
    gates,
    hooks::{change_only, keep, start_generation, step_generation},
    look::{At, Look, sub},
    pod::{
        defaults::pod_template, features::drop_from_template,
        warnings::template as warn_of_template,
    },
    row::{Part, Row},
    table::{age, containers, human_duration, selector, since},
    workload::warn_of_name,
};
use jiff::Timestamp;
use kubeplane_core::{
    Definition, Object, Strategy, definition::Context, field::Errors, names::is_valid_label_value,
};
use serde_json::{Map, Value, json};

mod indexes;
mod status;
pub(crate) mod validation;

const UID: &str = "batch.kubernetes.io/controller-uid";
const NAME: &str = "batch.kubernetes.io/job-name";
const OLD_UID: &str = "controller-uid";
const OLD_NAME: &str = "job-name";
const COMPLETIONS_TRACKED: i64 = 100_000;
const PARALLELISM_TRACKED: i64 = 10_000;

pub(crate) fn definition() -> Definition {
    let row = Row {
        group: "batch",
        kind: "Job",
        plural: "jobs",
        categories: &["all"],
        columns: &[
            "Name",
            "Status",
            "Completions",
            "Duration",
            "Age",
            "+Containers",
            "+Images",
            "+Selector",
        ],
        parts: &[Part::Status],
        fields: &["status.successful"],
        ..Row::NAMESPACED
    };
    row.define(Jobs)
}

#[derive(Debug)]
struct Jobs;

impl Strategy for Jobs {
    fn default(&self, object: &mut Object) {
        let spec = object.map_at_mut(&["spec"]);
        default_counts(spec);
        missing(spec, "completionMode", "NonIndexed");
        missing(spec, "suspend", false);
        let failures = spec.get("podFailurePolicy").is_some_and(|policy| !policy.is_null());
        let replacement = if failures { "Failed" } else { "TerminatingOrFailed" };
        missing(spec, "podReplacementPolicy", replacement);
        missing(spec, "manualSelector", false);
        default_template(spec);
        take_labels(object);
    }

    fn prepare_create(&self, context: &Context<'_>, object: &mut Object) {
        generate_selector(object);
        take_labels(object);
        object.set(&["status"], json!({}));
        start_generation(object);
        drop_from_template(context.features, object, None);
    }

    fn prepare_update(&self, context: &Context<'_>, object: &mut Object, old: &Object) {
        if context.subresource == "status" {
            return change_only(object, old, "status");
        }
        keep(object, old, "status");
        drop_from_template(context.features, object, Some(old));
        step_generation(object, old, &["spec"]);
    }

    fn validate(&self, context: &Context<'_>, object: &Object) -> Errors {
        let mut errors = validation::create(object);
        gates::allow(context.features, &mut errors);
        if errors.is_empty() {
            warn_of_name(context, object);
            warn(context, &At::top(object.map(), "spec"));
        }
        errors
    }

    fn validate_update(&self, context: &Context<'_>, object: &Object, old: &Object) -> Errors {
        if context.subresource == "status" {
            return status::update(object, old);
        }
        let mut errors = validation::update(context.features, object, old);
        gates::allow(context.features, &mut errors);
        if errors.is_empty() && object.generation() != old.generation() {
            warn(context, &At::top(object.map(), "spec"));
        }
        errors
    }

    fn field(&self, object: &Object, _path: &str) -> String {
        sub(object.map(), "status").int("succeeded").to_string()
    }

    fn table_row(&self, object: &Object, now: Timestamp) -> Vec<Value> {
        let (spec, status) = (sub(object.map(), "spec"), sub(object.map(), "status"));
        let done = status.int("succeeded");
        let wanted = match (spec.sub("completions").as_i64(), spec.int("parallelism")) {
            (Some(completions), _) => format!("{done}/{completions}"),
            (None, parallelism) if parallelism > 1 => format!("{done}/1 of {parallelism}"),
            _ => format!("{done}/1"),
        };
        let mut cells = vec![
            object.name().into(),
            state(object).into(),
            wanted.into(),
            duration(status, now).into(),
            age(object, now),
        ];
        cells.extend(containers(spec.sub("template").sub("spec")));
        cells.push(selector(spec.sub("selector")).into());
        cells
    }
}

/// One and one where nothing is said, and how often pods are tried.
fn default_counts(spec: &mut Map<String, Value>) {
    if !spec.get("parallelism").is_some_and(Value::is_number) {
        missing(spec, "completions", 1);
    }
    missing(spec, "parallelism", 1);
    let by_index = spec.get("backoffLimitPerIndex").is_some_and(Value::is_number);
    missing(spec, "backoffLimit", if by_index { i64::from(i32::MAX) } else { 6 });
}

/// The defaults of the pod template and of the failure policy, which templates of jobs take too.
pub(crate) fn default_template(spec: &mut Map<String, Value>) {
    if let Some(policy) = map_in(spec, "podFailurePolicy") {
        for rule in maps_in(policy, "rules") {
            for pattern in maps_in(rule, "onPodConditions") {
                text(pattern, "status", "True");
            }
        }
    }
    pod_template(spec.entry("template").or_insert_with(|| json!({})));
}

/// A job without labels has those of its pods. Names that are no values of labels are told of at the pods alone.
fn take_labels(object: &mut Object) {
    let labels = object.at(&["spec", "template", "metadata", "labels"]).cloned();
    let some = labels.filter(|labels| labels.as_object().is_some_and(|map| !map.is_empty()));
    let sound = |labels: &Value| is_valid_label_value(labels.text(OLD_NAME)).is_empty();
    if let Some(labels) = some.filter(sound)
        && object.labels().next().is_none()
    {
        object.set(&["metadata", "labels"], labels);
    }
}

/// Makes the pods' labels and the selector for them, unless the user cares for both.
fn generate_selector(object: &mut Object) {
    if object.at(&["spec", "manualSelector"]) == Some(&Value::Bool(true)) {
        return;
    }
    let (name, uid) = (object.name().to_owned(), object.uid().to_owned());
    let labels = object.map_at_mut(&["spec", "template", "metadata", "labels"]);
    for (key, value) in [(OLD_NAME, &name), (NAME, &name), (OLD_UID, &uid), (UID, &uid)] {
        missing(labels, key, value.as_str());
    }
    let selector = map(object.map_at_mut(&["spec"]), "selector");
    missing(map(selector, "matchLabels"), UID, uid);
}

/// Warns about the spec of a job.
pub(crate) fn warn(context: &Context<'_>, spec: &At<'_>) {
    let count = |field| spec.get(field).int().unwrap_or_default();
    let many =
        count("completions") > COMPLETIONS_TRACKED && count("parallelism") > PARALLELISM_TRACKED;
    if spec.get("completionMode").str() == "Indexed" && many {
        context.warnings.add(format!(
            "{}: In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4, \
             Kubernetes might not be able to track completedIndexes when a big number of indexes fail",
            spec.path()
        ));
    }
    warn_of_template(context.warnings, &spec.get("template"));
}

/// Whether a condition is there and true.
fn holds(object: &Object, kind: &str) -> bool {
    has_condition(object, kind, "True")
}

fn has_condition(object: &Object, kind: &str, status: &str) -> bool {
    let conditions = sub(object.map(), "status").list("conditions");
    conditions
        .iter()
        .any(|condition| condition.text("type") == kind && condition.text("status") == status)
}

fn state(object: &Object) -> &'static str {
    match () {
        () if holds(object, "Complete") => "Complete",
        () if holds(object, "Failed") => "Failed",
        () if object.is_deleting() => "Terminating",
        () if holds(object, "Suspended") => "Suspended",
        () if holds(object, "FailureTarget") => "FailureTarget",
        () if holds(object, "SuccessCriteriaMet") => "SuccessCriteriaMet",
        () => "Running",
    }
}

fn duration(status: &Value, now: Timestamp) -> String {
    let (start, end) = (status.text("startTime"), status.text("completionTime"));
    match (start.parse::<Timestamp>(), end.parse::<Timestamp>()) {
        (Err(_), _) => String::new(),
        (Ok(_), Err(_)) => since(start, now),
        (Ok(start), Ok(end)) => human_duration(end.duration_since(start).as_millis()),
    }
}
