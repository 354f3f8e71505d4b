//! Metrics and their current values, from one version to the other.

use super::annotation::Text;
use crate::look::Look;
use kubeplane_core::quantity::Quantity;
use serde_json::{Map, Value, json};

/// Where a metric comes from, in the order of the original's fields.
const SOURCES: [&str; 5] = ["object", "pods", "resource", "containerResource", "external"];

/// The fields of these maps that are there.
fn fields<const N: usize>(fields: [(&str, Value); N]) -> Value {
    let some = fields.into_iter().filter(|(_, value)| !value.is_null());
    Value::Object(some.map(|(name, value)| (name.to_owned(), value)).collect::<Map<_, _>>())
}

fn or_zero(value: &Value) -> Value {
    if value.is_null() { "0".into() } else { value.clone() }
}

fn is_amount(value: &Value) -> bool {
    value.is_null() || Quantity::from_json(value).is_ok()
}

fn reference(from: &Value) -> Option<Text> {
    Some(Text::Fields(vec![
        ("kind", Text::string(from.sub("kind"))),
        ("name", Text::string(from.sub("name"))),
        (
            "apiVersion",
            Text::some(from.sub("apiVersion")).filter(|_| !from.text("apiVersion").is_empty()),
        ),
    ]))
}

fn selector(from: &Value) -> Option<Text> {
    if from.is_null() {
        return None;
    }
    let expressions = from.list("matchExpressions").iter().map(|expression| {
        let values = expression.sub("values");
        Text::Fields(vec![
            ("key", Text::string(expression.sub("key"))),
            ("operator", Text::string(expression.sub("operator"))),
            ("values", Text::some(values)),
        ])
    });
    let expressions: Vec<_> = expressions.collect();
    Some(Text::Fields(vec![
        ("matchLabels", Text::some(from.sub("matchLabels"))),
        ("matchExpressions", (!expressions.is_empty()).then_some(Text::List(expressions))),
    ]))
}

/// A metric in the words of the older version.
pub(super) fn old_spec(metric: &Value) -> Text {
    let source = |kind: &'static str| {
        let from = metric.sub(kind);
        if from.is_null() {
            return (kind, None);
        }
        let (id, target) = (from.sub("metric"), from.sub("target"));
        let name = ("metricName", Text::string(id.sub("name")));
        let amount = |field| Text::some(target.sub(field));
        let fields = match kind {
            "object" => vec![
                ("target", reference(from.sub("describedObject"))),
                name,
                ("targetValue", Text::amount(target.sub("value"))),
                ("selector", selector(id.sub("selector"))),
                ("averageValue", amount("averageValue")),
            ],
            "pods" => vec![
                name,
                ("targetAverageValue", Text::amount(target.sub("averageValue"))),
                ("selector", selector(id.sub("selector"))),
            ],
            "external" => vec![
                name,
                ("metricSelector", selector(id.sub("selector"))),
                ("targetValue", amount("value")),
                ("targetAverageValue", amount("averageValue")),
            ],
            _ => vec![
                ("name", Text::string(from.sub("name"))),
                ("targetAverageUtilization", amount("averageUtilization")),
                ("targetAverageValue", amount("averageValue")),
                ("container", container(kind, from)),
            ],
        };
        (kind, Some(Text::Fields(fields)))
    };
    let mut all = vec![("type", Text::string(metric.sub("type")))];
    all.extend(SOURCES.map(source));
    Text::Fields(all)
}

fn container(kind: &str, from: &Value) -> Option<Text> {
    (kind == "containerResource").then(|| Text::string(from.sub("container"))).flatten()
}

/// A current value in the words of the older version.
pub(super) fn old_status(metric: &Value) -> Text {
    let source = |kind: &'static str| {
        let from = metric.sub(kind);
        if from.is_null() {
            return (kind, None);
        }
        let (id, current) = (from.sub("metric"), from.sub("current"));
        let name = ("metricName", Text::string(id.sub("name")));
        let amount = |field| Text::some(current.sub(field));
        let fields = match kind {
            "object" => vec![
                ("target", reference(from.sub("describedObject"))),
                name,
                ("currentValue", Text::amount(current.sub("value"))),
                ("selector", selector(id.sub("selector"))),
                ("averageValue", amount("averageValue")),
            ],
            "pods" => vec![
                name,
                ("currentAverageValue", Text::amount(current.sub("averageValue"))),
                ("selector", selector(id.sub("selector"))),
            ],
            "external" => vec![
                name,
                ("metricSelector", selector(id.sub("selector"))),
                ("currentValue", Text::amount(current.sub("value"))),
                ("currentAverageValue", amount("averageValue")),
            ],
            _ => vec![
                ("name", Text::string(from.sub("name"))),
                ("currentAverageUtilization", amount("averageUtilization")),
                ("currentAverageValue", Text::amount(current.sub("averageValue"))),
                ("container", container(kind, from)),
            ],
        };
        (kind, Some(Text::Fields(fields)))
    };
    let mut all = vec![("type", Text::string(metric.sub("type")))];
    all.extend(SOURCES.map(source));
    Text::Fields(all)
}

/// The names of fields that metrics of the older version have.
pub(super) const OLD_NAMES: &[&str] = &[
    "type",
    "object",
    "pods",
    "resource",
    "containerResource",
    "external",
    "target",
    "kind",
    "name",
    "apiVersion",
    "container",
    "metricName",
    "metricSelector",
    "selector",
    "matchExpressions",
    "key",
    "operator",
    "values",
    "targetValue",
    "targetAverageValue",
    "targetAverageUtilization",
    "averageValue",
    "currentValue",
    "currentAverageValue",
    "currentAverageUtilization",
];

/// Metrics that the older version keeps in an annotation; `None` where it holds something else.
pub(super) fn new_list(
    old: &Value,
    convert: fn(&str, &Value) -> Option<Value>,
) -> Option<Vec<Value>> {
    if old.is_null() {
        return Some(Vec::new());
    }
    let convert = |metric: &Value| {
        let mut made = Map::new();
        made.insert("type".to_owned(), metric.text("type").into());
        metric.as_object()?;
        for kind in SOURCES.into_iter().filter(|kind| metric.has(kind)) {
            made.insert(kind.to_owned(), convert(kind, metric.sub(kind))?);
        }
        Some(Value::Object(made))
    };
    old.as_array()?.iter().map(convert).collect()
}

fn identifier(old: &Value, selector: &str) -> Value {
    fields([("name", old.text("metricName").into()), ("selector", old.sub(selector).clone())])
}

fn described(old: &Value) -> Value {
    let target = old.sub("target");
    fields([
        ("kind", target.text("kind").into()),
        ("name", target.text("name").into()),
        ("apiVersion", target.sub("apiVersion").clone()),
    ])
}

/// Where a metric comes from, in the words of the newer version.
pub(super) fn new_spec(kind: &str, old: &Value) -> Option<Value> {
    let amount = |field: &str| is_amount(old.sub(field)).then(|| old.sub(field).clone());
    let target = |kind: &str, value: Value, average: Value, percent: Value| {
        fields([
            ("type", kind.into()),
            ("value", value),
            ("averageValue", average),
            ("averageUtilization", percent),
        ])
    };
    Some(match kind {
        "object" => {
            let (value, average) = (amount("targetValue")?, amount("averageValue")?);
            let zero = Quantity::from_json(&value).is_ok_and(|value| value.is_zero());
            let (kind, value) = match (average.is_null(), zero || value.is_null()) {
                (true, _) => ("Value", or_zero(&value)),
                (false, true) => ("AverageValue", Value::Null),
                (false, false) => ("AverageValue", value),
            };
            json!({
                "describedObject": described(old), "metric": identifier(old, "selector"),
                "target": target(kind, value, average, Value::Null),
            })
        }
        "pods" => {
            let average = or_zero(&amount("targetAverageValue")?);
            let target = target("AverageValue", Value::Null, average, Value::Null);
            json!({"metric": identifier(old, "selector"), "target": target})
        }
        "external" => {
            let (value, average) = (amount("targetValue")?, amount("targetAverageValue")?);
            let kind = if value.is_null() { "AverageValue" } else { "Value" };
            let target = target(kind, value, average, Value::Null);
            json!({"metric": identifier(old, "metricSelector"), "target": target})
        }
        _ => {
            let percent = old.sub("targetAverageUtilization").clone();
            let kind_of = if percent.is_null() { "AverageValue" } else { "Utilization" };
            let target = target(kind_of, Value::Null, amount("targetAverageValue")?, percent);
            with_container(kind, old, json!({"name": old.text("name"), "target": target}))
        }
    })
}

/// A current value in the words of the newer version.
pub(super) fn new_status(kind: &str, old: &Value) -> Option<Value> {
    let amount = |field: &str| is_amount(old.sub(field)).then(|| old.sub(field).clone());
    let current = |value: Value, average: Value, percent: Value| {
        fields([("value", value), ("averageValue", average), ("averageUtilization", percent)])
    };
    Some(match kind {
        "object" => json!({
            "describedObject": described(old), "metric": identifier(old, "selector"),
            "current": current(or_zero(&amount("currentValue")?), amount("averageValue")?, Value::Null),
        }),
        "pods" => {
            let average = or_zero(&amount("currentAverageValue")?);
            json!({
                "metric": identifier(old, "selector"),
                "current": current(Value::Null, average, Value::Null),
            })
        }
        "external" => {
            let value = or_zero(&amount("currentValue")?);
            json!({
                "metric": identifier(old, "metricSelector"),
                "current": current(value, amount("currentAverageValue")?, Value::Null),
            })
        }
        _ => {
            let percent = old.sub("currentAverageUtilization").clone();
            let current = current(Value::Null, or_zero(&amount("currentAverageValue")?), percent);
            with_container(kind, old, json!({"name": old.text("name"), "current": current}))
        }
    })
}

fn with_container(kind: &str, old: &Value, mut made: Value) -> Value {
    if kind == "containerResource" {
        made["container"] = old.text("container").into();
    }
    made
}
