//! Printer columns: what `kubectl get` shows of a custom resource.

use crate::jsonpath::JsonPath;
use jiff::Timestamp;
use kubeplane_core::{Object, definition::Column};
use serde_json::{Value, json};

/// The columns of a version, and how their cells are found.
#[derive(Debug, Clone)]
pub(crate) struct Columns {
    paths: Vec<(String, Option<JsonPath>)>,
}

impl Columns {
    /// From a version's `additionalPrinterColumns`; the age when there are none. The first column is the name.
    pub(crate) fn of(version: &Value) -> (Vec<Column>, Self) {
        let own = version.get("additionalPrinterColumns").and_then(Value::as_array);
        let age = [json!({
            "name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp",
            "description": "When the object was made.",
        })];
        let specs = own.filter(|own| !own.is_empty()).map_or(&age[..], Vec::as_slice);
        let mut columns = vec![Column {
            name: "Name".into(),
            kind: "string".into(),
            format: "name".into(),
            description: "The name, unique among objects of the kind in the namespace.".into(),
            priority: 0,
        }];
        let mut paths = Vec::new();
        for spec in specs {
            let text =
                |key: &str| spec.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
            let path = text("jsonPath");
            let description = match text("description") {
                empty if empty.is_empty() => {
                    format!("Custom resource definition column (in JSONPath format): {path}")
                }
                own => own,
            };
            let priority = spec.get("priority").and_then(Value::as_i64).unwrap_or_default();
            columns.push(Column {
                name: text("name").into(),
                kind: text("type").into(),
                format: text("format").into(),
                description: description.into(),
                priority: i32::try_from(priority).unwrap_or(i32::MAX),
            });
            paths.push((text("type"), JsonPath::parse(&path)));
        }
        (columns, Self { paths })
    }

    /// The cells of an object, name first.
    pub(crate) fn row(&self, object: &Object, now: Timestamp) -> Vec<Value> {
        let whole = Value::Object(object.map().clone());
        let mut row = vec![Value::from(object.name())];
        row.extend(self.paths.iter().map(|(kind, path)| {
            let found = path.as_ref().and_then(|path| path.find(&whole).into_iter().next());
            found.map_or(Value::Null, |value| cell(kind, value, now))
        }));
        row
    }
}

fn cell(kind: &str, value: &Value, now: Timestamp) -> Value {
    let found = match (kind, value) {
        (_, Value::Null) => return if kind == "string" { "<nil>".into() } else { Value::Null },
        ("string", Value::String(text)) => return text.as_str().into(),
        ("string", other) => return other.to_string().into(),
        #[expect(clippy::cast_possible_truncation, reason = "as the original: the whole part")]
        ("integer", Value::Number(number)) => {
            number.as_i64().or(number.as_f64().map(|float| float as i64)).map(Value::from)
        }
        ("number", Value::Number(number)) => number.as_f64().map(Value::from),
        ("boolean", Value::Bool(value)) => Some((*value).into()),
        ("date", Value::String(text)) => Some(since(text, now).into()),
        _ => None,
    };
    found.unwrap_or(Value::Null)
}

fn since(time: &str, now: Timestamp) -> String {
    match time.parse::<Timestamp>() {
        Ok(time) => human(now.duration_since(time).as_secs()),
        Err(_) if time.is_empty() => "<unknown>".to_owned(),
        Err(_) => "<invalid>".to_owned(),
    }
}

/// A duration with two or three significant figures, in the form kubectl's users know.
fn human(seconds: i64) -> String {
    let two = |first: i64, unit: &str, second: i64, smaller: &str| match second {
        0 => format!("{first}{unit}"),
        _ => format!("{first}{unit}{second}{smaller}"),
    };
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    match () {
        () if seconds < -1 => "<invalid>".to_owned(),
        () if seconds < 0 => "0s".to_owned(),
        () if seconds < 120 => format!("{seconds}s"),
        () if minutes < 10 => two(minutes, "m", seconds % 60, "s"),
        () if minutes < 180 => format!("{minutes}m"),
        () if hours < 8 => two(hours, "h", minutes % 60, "m"),
        () if hours < 48 => format!("{hours}h"),
        () if hours < 24 * 8 => two(hours / 24, "d", hours % 24, "h"),
        () if hours < 24 * 365 * 2 => format!("{}d", hours / 24),
        () if hours < 24 * 365 * 8 => two(hours / 24 / 365, "y", hours / 24 % 365, "d"),
        () => format!("{}y", hours / 24 / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_have_the_type_of_their_column() {
        let version = json!({"additionalPrinterColumns": [
            {"name": "Size", "type": "integer", "jsonPath": ".spec.size"},
            {"name": "Ready", "type": "string", "jsonPath": ".status.conditions[?(@.type=='Ready')].status"},
            {"name": "Share", "type": "number", "jsonPath": ".spec.share"},
            {"name": "List", "type": "string", "jsonPath": ".spec.list", "priority": 1},
            {"name": "Wrong", "type": "boolean", "jsonPath": ".spec.size"},
            {"name": "Since", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
        ]});
        let (columns, cells) = Columns::of(&version);
        assert_eq!(columns.len(), 7);
        assert_eq!(
            columns[1].description,
            "Custom resource definition column (in JSONPath format): .spec.size"
        );
        assert_eq!(columns[4].priority, 1);
        let object = Object::from_value(json!({
            "metadata": {"name": "w", "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"size": 3.7, "share": 2, "list": ["a"]},
            "status": {"conditions": [{"type": "Ready", "status": "True"}]},
        }));
        let row = cells.row(&object.unwrap(), "2026-01-01T00:05:05Z".parse().unwrap());
        assert_eq!(
            row,
            [
                json!("w"),
                json!(3),
                json!("True"),
                json!(2.0),
                json!("[\"a\"]"),
                Value::Null,
                json!("5m5s")
            ]
        );
        assert_eq!(Columns::of(&json!({})).0[1].name, "Age");
    }
}
