//! CronJobs.

use crate::{
    check,
    defaulting::{map_in, missing, text},
    gates,
    hooks::{change_only, keep, start_generation, step_generation},
    job,
    look::{At, Look, sub},
    pod::{features::drop_disabled, validation::forgive_template},
    row::{Part, Row},
    table::{age, containers, selector, since},
    workload::warn_of_name,
};
use jiff::Timestamp;
use kubeplane_core::{
    Definition, Object, Strategy, definition::Context, features::Features, field::Errors,
};
use kubeplane_workload::cron::{Schedule, time_zone};
use serde_json::{Value, json};

/// What is left of a Job's name for that of its CronJob.
const NAME_MAX: usize = 52;
const ZONE_PART_MAX: usize = 14;

pub(crate) fn definition() -> Definition {
    let row = Row {
        group: "batch",
        kind: "CronJob",
        plural: "cronjobs",
        short: &["cj"],
        categories: &["all"],
        columns: &[
            "Name",
            "Schedule",
            "Timezone",
            "Suspend:boolean",
            "Active:integer",
            "Last Schedule",
            "Age",
            "+Containers",
            "+Images",
            "+Selector",
        ],
        parts: &[Part::Status],
        ..Row::NAMESPACED
    };
    row.define(CronJobs)
}

#[derive(Debug)]
struct CronJobs;

impl Strategy for CronJobs {
    fn default(&self, object: &mut Object) {
        let spec = object.map_at_mut(&["spec"]);
        text(spec, "concurrencyPolicy", "Allow");
        missing(spec, "suspend", false);
        missing(spec, "successfulJobsHistoryLimit", 3);
        missing(spec, "failedJobsHistoryLimit", 1);
        job::default_template(object.map_at_mut(&["spec", "jobTemplate", "spec"]));
    }

    fn prepare_create(&self, context: &Context<'_>, object: &mut Object) {
        object.set(&["status"], json!({}));
        start_generation(object);
        drop_off(context.features, object, None);
    }

    fn prepare_update(&self, context: &Context<'_>, object: &mut Object, old: &Object) {
        if context.subresource == "status" {
            return change_only(object, old, "status");
        }
        keep(object, old, "status");
        drop_off(context.features, object, Some(old));
        step_generation(object, old, &["spec"]);
    }

    fn validate(&self, context: &Context<'_>, object: &Object) -> Errors {
        let mut errors = Errors::new();
        let spec = At::top(object.map(), "spec");
        validate(&spec, None, &mut errors);
        if object.name().len() > NAME_MAX {
            let name = At::top(object.map(), "metadata").get("name");
            errors.push(name.invalid("must be no more than 52 characters"));
        }
        gates::allow(context.features, &mut errors);
        if errors.is_empty() {
            warn_of_name(context, object);
            job::warn(context, &spec.get("jobTemplate").get("spec"));
        }
        errors
    }

    fn validate_update(&self, context: &Context<'_>, object: &Object, old: &Object) -> Errors {
        let mut errors = Errors::new();
        if context.subresource == "status" {
            return errors;
        }
        let spec = At::top(object.map(), "spec");
        validate(&spec, Some(sub(old.map(), "spec")), &mut errors);
        let template = At::top(old.map(), "spec").get("jobTemplate").get("spec").get("template");
        forgive_template(&mut errors, &template);
        gates::allow(context.features, &mut errors);
        if errors.is_empty() {
            if object.generation() != old.generation() {
                job::warn(context, &spec.get("jobTemplate").get("spec"));
            }
            if spec.get("schedule").str().contains("TZ") {
                context.warnings.add(
                    "cannot use TZ or CRON_TZ in spec.spec.schedule, use timeZone instead, see \
                     https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details",
                );
            }
        }
        errors
    }

    fn table_row(&self, object: &Object, now: Timestamp) -> Vec<Value> {
        let (spec, status) = (sub(object.map(), "spec"), sub(object.map(), "status"));
        let job = spec.sub("jobTemplate").sub("spec");
        let last = match status.text("lastScheduleTime") {
            "" => "<none>".to_owned(),
            time => since(time, now),
        };
        let suspended = match spec.sub("suspend") {
            Value::Null => "<unset>",
            value if value == true => "True",
            _ => "False",
        };
        let zone = spec.sub("timeZone").as_str().unwrap_or("<none>");
        let mut cells = vec![
            object.name().into(),
            spec.text("schedule").into(),
            zone.into(),
            suspended.into(),
            status.list("active").len().into(),
            last.into(),
            age(object, now),
        ];
        cells.extend(containers(job.sub("template").sub("spec")));
        cells.push(selector(job.sub("selector")).into());
        cells
    }
}

fn drop_off(features: &Features, object: &mut Object, old: Option<&Object>) {
    let path = ["spec", "jobTemplate", "spec", "template"];
    let before = old.and_then(|old| old.at(&path)).map_or(&Value::Null, |pod| pod.sub("spec"));
    if let Some(pod) = map_in(object.map_at_mut(&path), "spec") {
        drop_disabled(features, pod, before);
    }
}

fn validate(spec: &At<'_>, old: Option<&Value>, errors: &mut Errors) {
    let (text, zone) = (spec.get("schedule"), spec.get("timeZone"));
    if check::required(&text, errors) {
        schedule(&text, &zone, old, errors);
    }
    check::nonnegative(&spec.get("startingDeadlineSeconds"), errors);
    if old.is_none_or(|old| old.sub("timeZone") != zone.value()) {
        known_zone(&zone, errors);
    }
    let policy = spec.get("concurrencyPolicy");
    check::one_of(&policy, &["Allow", "Forbid", "Replace"], errors);
    let template = spec.get("jobTemplate").get("spec");
    job::validation::spec(&template, errors);
    let (selector, manual) = (template.get("selector"), template.get("manualSelector"));
    if selector.is_set() {
        errors.push(selector.invalid("`selector` will be auto-generated"));
    }
    if manual.bool() {
        errors.push(manual.not_supported(&["nil", "false"]));
    }
    check::nonnegative(&spec.get("successfulJobsHistoryLimit"), errors);
    check::nonnegative(&spec.get("failedJobsHistoryLimit"), errors);
}

/// A schedule names its time zone only if it did so before there was a field for it.
fn schedule(at: &At<'_>, zone: &At<'_>, old: Option<&Value>, errors: &mut Errors) {
    if let Err(error) = Schedule::parse(at.str()) {
        errors.push(at.invalid(error.to_string()));
    }
    if !at.str().contains("TZ") {
        return;
    }
    if !old.is_some_and(|old| old.text("schedule").contains("TZ")) {
        errors.push(at.invalid("cannot use TZ or CRON_TZ in schedule, use timeZone field instead"));
    } else if zone.is_set() {
        errors.push(at.invalid("cannot use both timeZone field and TZ or CRON_TZ in schedule"));
    }
}

fn known_zone(at: &At<'_>, errors: &mut Errors) {
    let name = at.str();
    if !at.is_set() {
        return;
    }
    if name.is_empty() {
        return errors.push(at.invalid("timeZone must be nil or non-empty string"));
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '+');
    let odd = |part: &str| {
        matches!(part, "" | "." | "..")
            || part.starts_with('-')
            || part.len() > ZONE_PART_MAX
            || !part.chars().all(allowed)
    };
    if name.split('/').any(odd) {
        return errors.push(at.invalid(format!("unknown time zone {name}")));
    }
    if name.eq_ignore_ascii_case("Local") {
        errors.push(at.invalid(
            "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones",
        ));
    }
    if let Err(why) = time_zone(name) {
        errors.push(at.invalid(why));
    }
}
