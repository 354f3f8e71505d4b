//! Whether an Event makes sense.

use crate::{
    check,
    look::{At, Look, sub},
};
use kubeplane_core::{
    Object,
    field::{Error, Errors, Path},
    names,
};
use serde_json::Value;

const TEXT_MAX: usize = 128;
const NOTE_MAX: usize = 1024;

/// The paths in errors are those of core/v1 in both versions, but for the reporter's.
pub(super) fn create(object: &Object) -> Errors {
    let event = super::as_core(object);
    let old_version = object.api_version() == "v1";
    let mut errors = any_version(&event, old_version);
    if old_version {
        return errors;
    }
    series(&event, &mut errors);
    let invalid = |field: &str, detail: String| Error::invalid(&Path::new(field), "", detail);
    if event.text(&["eventTime"]).is_empty() {
        errors.push(Error::required(&Path::new("eventTime"), ""));
    }
    let kind = event.text(&["type"]);
    if !matches!(kind, "Normal" | "Warning") {
        errors.push(invalid("type", format!("has invalid value: {kind}")));
    }
    let source = sub(event.map(), "source");
    let set = [
        ("firstTimestamp", !event.text(&["firstTimestamp"]).is_empty()),
        ("lastTimestamp", !event.text(&["lastTimestamp"]).is_empty()),
        ("count", sub(event.map(), "count").as_i64().unwrap_or_default() != 0),
        ("source", !source.text("component").is_empty() || !source.text("host").is_empty()),
    ];
    for (field, _) in set.into_iter().filter(|(_, set)| *set) {
        errors.push(invalid(field, "needs to be unset".to_owned()));
    }
    errors
}

fn series(event: &Object, errors: &mut Errors) {
    let series = sub(event.map(), "series");
    if series.is_null() {
        return;
    }
    if series.int("count") < 2 {
        errors.push(Error::invalid(&Path::new("series.count"), "", "should be at least 2"));
    }
    if series.text("lastObservedTime").is_empty() {
        errors.push(Error::required(&Path::new("series.lastObservedTime"), ""));
    }
}

fn any_version(event: &Object, old_version: bool) -> Errors {
    let mut errors = Errors::new();
    let involved = At::top(event.map(), "involvedObject").get("namespace");
    let (about, own) = (involved.str(), event.namespace());
    let timed = !event.text(&["eventTime"]).is_empty();
    let matches = match (timed, about) {
        (true, "") => matches!(own, "default" | "kube-system"),
        (true, _) => true,
        (false, "") => matches!(own, "" | "default"),
        (false, about) => own == about,
    };
    if !matches {
        errors.push(involved.invalid_as(about, "does not match event.namespace"));
    }
    if timed {
        reporter(event, old_version, &mut errors);
        for (field, limit, required) in [
            ("reportingInstance", TEXT_MAX, true),
            ("action", TEXT_MAX, true),
            ("reason", TEXT_MAX, true),
            ("message", NOTE_MAX, false),
        ] {
            let at = At::top(event.map(), field);
            if required {
                check::required(&at, &mut errors);
            }
            if at.str().len() > limit {
                errors.push(at.invalid_as("", format!("can have at most {limit} characters")));
            }
        }
    }
    let path = Path::new("namespace");
    let problems = names::is_dns1123_subdomain(own).into_iter();
    errors.extend(problems.map(|message| Error::invalid(&path, own, message)));
    errors
}

fn reporter(event: &Object, old_version: bool, errors: &mut Errors) {
    let name = At::top(event.map(), "reportingComponent");
    let at = if old_version {
        name
    } else {
        At::top(event.map(), "reportingController").with(name.value())
    };
    check::required(&at, errors);
    check::qualified_name(&at, errors);
}

pub(super) fn update(object: &Object, old: &Object) -> Errors {
    let (event, before) = (super::as_core(object), super::as_core(old));
    let old_version = object.api_version() == "v1";
    let mut errors = any_version(&event, old_version);
    if old_version {
        return errors;
    }
    if event.at(&["series"]) != before.at(&["series"]) {
        series(&event, &mut errors);
    }
    for (field, printed) in [
        ("involvedObject", "involvedObject"),
        ("reason", "reason"),
        ("message", "message"),
        ("source", "source"),
        ("firstTimestamp", "firstTimestamp"),
        ("lastTimestamp", "lastTimestamp"),
        ("count", "count"),
        // The original looks twice.
        ("reason", "reason"),
        ("type", "type"),
        ("eventTime", "eventTime"),
        ("action", "action"),
        ("related", "related"),
        ("reportingComponent", "reportingController"),
        ("reportingInstance", "reportingInstance"),
    ] {
        let (new, old) = (sub(event.map(), field), sub(before.map(), field));
        if !is_same(new, old) {
            errors.push(Error::invalid(&Path::new(printed), new.clone(), check::IMMUTABLE));
        }
    }
    errors
}

/// Nothing, an empty text, an empty map and zero are one to Go.
fn is_same(a: &Value, b: &Value) -> bool {
    let empty = |value: &Value| match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::Number(number) => number.as_i64() == Some(0),
        _ => false,
    };
    a == b || empty(a) && empty(b)
}
