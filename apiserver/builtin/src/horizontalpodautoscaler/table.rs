//! What an autoscaler aims at, in a few words.

use crate::look::Look;
use kubeplane_core::quantity::Quantity;
use serde_json::Value;

const SHOWN: usize = 2;
const UNKNOWN: &str = "<unknown>";

/// The first metrics with their current and wanted values.
pub(super) fn targets(specs: &[Value], statuses: &[Value]) -> String {
    if specs.is_empty() {
        return "<none>".to_owned();
    }
    let one =
        |(index, spec): (usize, &Value)| target(spec, statuses.get(index).unwrap_or(&Value::Null));
    let list: Vec<_> = specs.iter().enumerate().take(SHOWN).map(one).collect();
    let list = list.join(", ");
    match specs.len() - specs.len().min(SHOWN) {
        0 => list,
        more => format!("{list} + {more} more..."),
    }
}

fn amount(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        value => Quantity::from_json(value).unwrap_or_default().to_string(),
    }
}

fn target(spec: &Value, status: &Value) -> String {
    let kind = match spec.text("type") {
        "External" => "external",
        "Pods" => "pods",
        "Object" => "object",
        "Resource" => "resource",
        "ContainerResource" => "containerResource",
        _ => return "<unknown type>".to_owned(),
    };
    let (wanted, current) = (spec.sub(kind).sub("target"), status.sub(kind).sub("current"));
    let has_status = status.has(kind);
    let average = wanted.has("averageValue");
    let now = |field: &str, needed: bool| {
        let known = has_status && (!needed || current.has(field));
        if known { amount(current.sub(field)) } else { UNKNOWN.to_owned() }
    };
    let name = spec.sub(kind).text("name");
    match kind {
        "pods" => {
            format!("{}/{}", now("averageValue", false), amount(wanted.sub("averageValue")))
        }
        "external" | "object" if average => {
            format!("{}/{} (avg)", now("averageValue", true), amount(wanted.sub("averageValue")))
        }
        "external" | "object" => {
            format!("{}/{}", now("value", false), amount(wanted.sub("value")))
        }
        _ if average => {
            format!("{name}: {}/{}", now("averageValue", false), amount(wanted.sub("averageValue")))
        }
        _ => {
            let percent = |from: &Value, other: &str| {
                let number = from.sub("averageUtilization").as_i64();
                number.map_or_else(|| other.to_owned(), |number| format!("{number}%"))
            };
            format!("{name}: {}/{}", percent(current, UNKNOWN), percent(wanted, "<auto>"))
        }
    }
}
