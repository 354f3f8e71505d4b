//! Events: one resource in the store, served as core/v1 and as events.k8s.io/v1.

use crate::{
    look::{Look, sub},
    row::Row,
    table::{or, since},
};
use jiff::Timestamp;
use kubeplane_core::{
    Definition, GroupVersion, Object, Strategy,
    decode::conform,
    definition::{Context, NameRule},
    field::Errors,
    schema::builtin,
};
use serde_json::Value;

mod validation;

/// Events are dropped an hour after the last write.
const TTL_SECONDS: u64 = 3600;

const ROW: Row = Row {
    kind: "Event",
    plural: "events",
    short: &["ev"],
    columns: &[
        "Last Seen",
        "Type",
        "Reason",
        "Object",
        "+Subobject",
        "+Source",
        "Message",
        "+First Seen",
        "+Count",
        "+Name",
    ],
    fields: &[
        "involvedObject.kind",
        "involvedObject.namespace",
        "involvedObject.name",
        "involvedObject.uid",
        "involvedObject.apiVersion",
        "involvedObject.resourceVersion",
        "involvedObject.fieldPath",
        "reason",
        "reportingComponent",
        "source",
        "type",
    ],
    create_on_update: true,
    ttl_seconds: Some(TTL_SECONDS),
    ..Row::NAMESPACED
};

/// The names of fields that differ, core/v1 first.
const RENAMED: &[(&str, &str)] = &[
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
    ("reportingComponent", "reportingController"),
];

/// core/v1, the form that is stored.
pub(crate) fn core() -> Definition {
    ROW.define(Events { name: NameRule::PathSegment })
}

/// events.k8s.io/v1.
pub(crate) fn events() -> Definition {
    let row = Row {
        group: "events.k8s.io",
        fields: &[
            "regarding.kind",
            "regarding.namespace",
            "regarding.name",
            "regarding.uid",
            "regarding.apiVersion",
            "regarding.resourceVersion",
            "regarding.fieldPath",
            "reason",
            "reportingController",
            "type",
        ],
        ..ROW
    };
    row.define(Events { name: NameRule::DnsSubdomain })
}

#[derive(Debug)]
struct Events {
    /// core/v1 has always taken any name.
    name: NameRule,
}

impl Strategy for Events {
    fn validate(&self, _context: &Context<'_>, object: &Object) -> Errors {
        validation::create(object)
    }

    fn validate_update(&self, _context: &Context<'_>, object: &Object, old: &Object) -> Errors {
        validation::update(object, old)
    }

    fn name_rule(&self) -> NameRule {
        self.name
    }

    fn field(&self, object: &Object, path: &str) -> String {
        let event = as_core(object);
        let reporter = event.text(&["reportingComponent"]);
        let value = match path.split_once('.') {
            Some((_, field)) => sub(event.map(), "involvedObject").text(field),
            None if path == "reportingController" => reporter,
            None if path == "source" => or(sub(event.map(), "source").text("component"), reporter),
            None => event.text(&[path]),
        };
        value.to_owned()
    }

    fn table_row(&self, object: &Object, now: Timestamp) -> Vec<Value> {
        let event = as_core(object);
        let map = event.map();
        let (series, involved, source) =
            (sub(map, "series"), sub(map, "involvedObject"), sub(map, "source"));
        let first = since(or(event.text(&["firstTimestamp"]), event.text(&["eventTime"])), now);
        let last = match (series.is_null(), event.text(&["lastTimestamp"])) {
            (false, _) => since(series.text("lastObservedTime"), now),
            (true, "") => first.clone(),
            (true, last) => since(last, now),
        };
        let count = match (series.is_null(), sub(map, "count").as_i64().unwrap_or_default()) {
            (false, _) => series.int("count"),
            (true, 0) => 1,
            (true, count) => count,
        };
        let kind = involved.text("kind").to_lowercase();
        let about = match involved.text("name") {
            "" => kind,
            name => format!("{kind}/{name}"),
        };
        let component = or(source.text("component"), event.text(&["reportingComponent"]));
        let from = match or(source.text("host"), event.text(&["reportingInstance"])) {
            "" => component.to_owned(),
            host => format!("{component}, {host}"),
        };
        vec![
            last.into(),
            event.text(&["type"]).into(),
            event.text(&["reason"]).into(),
            about.into(),
            involved.text("fieldPath").into(),
            from.into(),
            event.text(&["message"]).trim().into(),
            first.into(),
            count.into(),
            event.name().into(),
        ]
    }

    fn convert(&self, object: Object, to: &GroupVersion) -> Object {
        let event = convert(object, &to.group);
        let group = if to.group.is_empty() { "core" } else { "events" };
        let Some(schema) = builtin(&format!("io.k8s.api.{group}.v1.Event")) else { return event };
        // Which empty fields are written differs between the versions.
        let mut shaped = event.clone();
        if conform(&mut shaped, &schema).is_ok() { shaped } else { event }
    }
}

fn as_core(object: &Object) -> std::borrow::Cow<'_, Object> {
    use std::borrow::Cow;
    if object.api_version() == "v1" {
        Cow::Borrowed(object)
    } else {
        Cow::Owned(convert(object.clone(), ""))
    }
}

fn convert(mut object: Object, group: &str) -> Object {
    for (core, events) in RENAMED {
        let (from, to) = if group.is_empty() { (events, core) } else { (core, events) };
        if let Some(value) = object.remove(&[from]) {
            object.set(&[to], value);
        }
    }
    object.set(
        &["apiVersion"],
        if group.is_empty() { "v1".to_owned() } else { format!("{group}/v1") },
    );
    object
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const EVENTS: Events = Events { name: NameRule::PathSegment };

    #[test]
    fn both_versions_hold_the_same() {
        let core = json!({
            "apiVersion": "v1", "kind": "Event", "metadata": {"name": "e"}, "reason": "R", "message": "m", "count": 2,
            "involvedObject": {"kind": "Pod", "name": "p"}, "source": {"component": "c"}, "reportingComponent": "r",
        });
        let core = EVENTS.convert(Object::from_value(core).unwrap(), &GroupVersion::new("", "v1"));
        let events = EVENTS.convert(core.clone(), &GroupVersion::new("events.k8s.io", "v1"));
        assert_eq!(events.text(&["note"]), "m");
        assert_eq!(events.at(&["eventTime"]), Some(&Value::Null));
        assert_eq!(events.text(&["regarding", "name"]), "p");
        assert_eq!(events.text(&["reportingController"]), "r");
        assert_eq!(EVENTS.field(&events, "regarding.name"), "p");
        assert_eq!(EVENTS.field(&core, "source"), "c");
        assert_eq!(EVENTS.convert(events, &GroupVersion::new("", "v1")), core);
    }
}
