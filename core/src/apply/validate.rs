//! Whether an applied configuration fits its schema.

use super::{
    path::PathElement,
    shape::{Keys, MapShape, Scalars, Shape, Type},
};
use crate::{field::go_quote, patch::strategic::as_go};
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// Checks types, known fields and unique list items.
///
/// # Errors
/// What is wrong, in the original's words.
pub(super) fn validate(
    ty: Type<'_>,
    object: &Map<String, Value>,
    unique: bool,
) -> Result<(), String> {
    let mut check = Check { unique, path: Vec::new(), errors: Vec::new() };
    check.map(ty.object(), object);
    match check.errors.as_slice() {
        [] => Ok(()),
        [only] => Err(only.clone()),
        many => Err(format!("errors:\n  {}", many.join("\n  "))),
    }
}

struct Check {
    unique: bool,
    path: Vec<PathElement>,
    errors: Vec<String>,
}

impl Check {
    fn fail(&mut self, why: &str) {
        let path: String = self.path.iter().map(ToString::to_string).collect();
        let separator = if path.is_empty() { "" } else { ": " };
        self.errors.push(format!("{path}{separator}{why}"));
    }

    fn below(&mut self, element: PathElement, ty: Type<'_>, value: &Value) {
        self.path.push(element);
        self.value(ty, value);
        self.path.pop();
    }

    fn value(&mut self, ty: Type<'_>, value: &Value) {
        match (ty.shape(Some(value)), value) {
            (_, Value::Null) => {}
            (Shape::Scalar(scalars), _) => self.scalar(scalars, value),
            (Shape::Map(shape), Value::Object(map)) => self.map(shape, map),
            (Shape::Map(_), _) => self.fail(&format!("expected map, got &{{{}}}", as_go(value))),
            (Shape::List { items, keys }, Value::Array(list)) => self.list(items, keys, list),
            (Shape::List { .. }, _) => {
                self.fail(&format!("expected list, got &{{{}}}", as_go(value)));
            }
        }
    }

    fn scalar(&mut self, scalars: Scalars, value: &Value) {
        match (scalars, value) {
            (Scalars::Text | Scalars::Any, Value::String(_))
            | (Scalars::Numeric | Scalars::Any, Value::Number(_))
            | (Scalars::Boolean | Scalars::Any, Value::Bool(_)) => {}
            (Scalars::Numeric, _) => {
                self.fail(&format!("expected numeric (int or float), got {}", go_type(value)));
            }
            (Scalars::Text, _) => self.fail(&format!(
                "expected string, got &value.valueUnstructured{{Value:{}}}",
                literal(value)
            )),
            (Scalars::Boolean, _) => {
                self.fail(&format!("expected boolean, got &{{{}}}", as_go(value)));
            }
            (Scalars::Any, _) => {
                self.fail(&format!("expected any scalar, got &{{{}}}", as_go(value)));
            }
        }
    }

    fn map(&mut self, shape: MapShape<'_>, map: &Map<String, Value>) {
        for (key, value) in map {
            let (ty, element) = shape.child(key);
            if !shape.allows(key) {
                self.path.push(element);
                self.fail("field not declared in schema");
                self.path.pop();
                return;
            }
            self.below(element, ty, value);
        }
    }

    fn list(&mut self, items: Type<'_>, keys: Keys<'_>, list: &[Value]) {
        let mut seen = BTreeSet::new();
        for (at, item) in list.iter().enumerate() {
            let element = match keys {
                Keys::Atomic => PathElement::Index(i64::try_from(at).unwrap_or(i64::MAX)),
                _ => match items.item(keys, item) {
                    Ok(element) => element,
                    Err(why) => return self.fail(&format!("element {at}: {why}")),
                },
            };
            if !matches!(keys, Keys::Atomic) && !seen.insert(element.clone()) && self.unique {
                self.fail(&format!("duplicate entries for key {element}"));
            }
            self.below(element, items, item);
        }
    }
}

/// A value as it stands in a Go program.
fn literal(value: &Value) -> String {
    match value {
        Value::Null => "interface {}(nil)".to_owned(),
        Value::String(text) => go_quote(text),
        Value::Array(list) => {
            let items: Vec<_> = list.iter().map(literal).collect();
            format!("[]interface {{}}{{{}}}", items.join(", "))
        }
        Value::Object(map) => {
            let entry =
                |(key, value): (&String, &Value)| format!("{}:{}", go_quote(key), literal(value));
            let entries: Vec<_> = map.iter().map(entry).collect();
            format!("map[string]interface {{}}{{{}}}", entries.join(", "))
        }
        Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}

fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_look_as_in_go() {
        let value = json!({"b": [1, "x y", {"d": null, "c": 2.5}], "a": true, "e": [], "f": {}});
        assert_eq!(as_go(&value), "map[a:true b:[1 x y map[c:2.5 d:<nil>]] e:[] f:map[]]");
        assert_eq!(
            literal(&value),
            "map[string]interface {}{\"a\":true, \"b\":[]interface {}{1, \"x y\", \
             map[string]interface {}{\"c\":2.5, \"d\":interface {}(nil)}}, \"e\":[]interface {}{}, \
             \"f\":map[string]interface {}{}}"
        );
    }
}
