//! Values held against a schema, with the findings the original prints.
//!
//! The order of the checks, the paths and the words are those of kube-openapi's validation; on an update an
//! unchanged part keeps the faults it had (ratcheting).

mod format;
mod junctor;
mod number;

use crate::props::{Additional, Props};
use kubeplane_core::field::{Error, ErrorKind, Errors, Path};
use serde_json::Value;
use std::{collections::HashMap, fmt::Write as _};

pub(crate) use format::{is_known as is_known_format, pattern};

/// How many findings are told at most: nobody reads more, and each costs the memory of many values.
pub(crate) const MOST: usize = 1000;

/// What one node found; `matches` counts the checks that applied, by which the best of several alternatives is told.
#[derive(Debug, Default)]
struct Outcome {
    found: Vec<Found>,
    matches: usize,
}

#[derive(Debug, Clone, PartialEq)]
struct Found {
    /// The path below the root, as in `spec.size`; `None` for findings without one.
    name: Option<String>,
    kind: ErrorKind,
    value: Value,
    message: String,
}

impl Outcome {
    fn add(&mut self, found: Found) {
        let known = |known: &Found| known.message == found.message && known.name == found.name;
        if self.found.len() < MOST && !self.found.iter().any(known) {
            self.found.push(found);
        }
    }

    fn merge(&mut self, other: Self) {
        self.matches += other.matches;
        other.found.into_iter().for_each(|found| self.add(found));
    }

    fn is_valid(&self) -> bool {
        self.found.is_empty()
    }
}

impl Found {
    fn new(path: &str, kind: ErrorKind, value: impl Into<Value>, message: String) -> Self {
        Self { name: Some(path.to_owned()), kind, value: value.into(), message }
    }

    /// `<path> in body <what>`.
    fn invalid(path: &str, value: impl Into<Value>, what: &str) -> Self {
        Self::new(path, ErrorKind::Invalid, value, format!("{path} in body {what}"))
    }

    fn loose(message: String) -> Self {
        Self { name: None, kind: ErrorKind::Invalid, value: "".into(), message }
    }
}

/// Holds a new value against a schema.
pub(crate) fn validate(props: &Props, value: &Value, path: &Path) -> Errors {
    told(check(props, value, None, ""), path)
}

/// Holds a changed value against a schema; what did not change is not complained of.
pub(crate) fn validate_update(
    props: &Props,
    value: &Value,
    old: Option<&Value>,
    path: &Path,
) -> Errors {
    told(ratcheted(props, value, old, ""), path)
}

fn told(outcome: Outcome, root: &Path) -> Errors {
    let errors = outcome.found.into_iter().map(|found| {
        let path = match found.name.as_deref().map(|name| name.trim_start_matches('.')) {
            Some(name) if !name.is_empty() => root.child(name),
            _ => root.clone(),
        };
        Error { kind: found.kind, path, value: found.value, detail: found.message }
    });
    errors.collect()
}

/// Checks a node whose old value may be known: unchanged values pass.
fn ratcheted(props: &Props, value: &Value, old: Option<&Value>, path: &str) -> Outcome {
    let mut outcome = check(props, value, old, path);
    if !outcome.is_valid() && old.is_some_and(|old| unchanged(props, old, value)) {
        outcome.found.clear();
    }
    outcome
}

/// Whether a value is the old one, as far as the original sees: items of lists with keys may have changed places, and what
/// the schema does not name (as the metadata of an object) counts as changed.
pub(crate) fn unchanged(props: &Props, old: &Value, value: &Value) -> bool {
    match (old, value) {
        (Value::Array(before), Value::Array(list)) => {
            let keyed = props.items.as_deref().zip(Correlated::of(props, old));
            before.len() == list.len()
                && match keyed {
                    Some((items, keyed)) => list.iter().all(|item| {
                        keyed.item(item).is_some_and(|old| unchanged(items, old, item))
                    }),
                    None => before == list,
                }
        }
        (Value::Object(before), Value::Object(map)) => {
            let values = props.additional.as_ref().and_then(Additional::schema);
            let same = |(key, value): (&String, &Value)| {
                let below = props.properties.get(key).or(values).zip(before.get(key));
                below.is_some_and(|(below, old)| unchanged(below, old, value))
            };
            before.len() == map.len() && map.iter().all(same)
        }
        _ => old == value,
    }
}

fn below(props: &Props, value: &Value, old: Option<&Value>, path: &str) -> Outcome {
    match old {
        Some(_) => ratcheted(props, value, old, path),
        None => check(props, value, None, path),
    }
}

fn check(props: &Props, value: &Value, old: Option<&Value>, path: &str) -> Outcome {
    let mut outcome = Outcome::default();
    // Without a value only the type and the fixed values count.
    let mut steps = vec![of_type(props, value, path)];
    if !value.is_null() {
        steps.push(Some(junctor::check(props, value, old, path)));
        match value {
            Value::String(text) => {
                steps.push(Some(of_text(props, text, path)));
                steps.push(format::check(props, text, path));
            }
            Value::Number(number) => steps.push(Some(number::check(props, number, path))),
            Value::Array(items) => steps.push(Some(of_list(props, items, old, path))),
            _ => {}
        }
    }
    steps.push(Some(of_allowed(props, value, path)));
    if let Value::Object(map) = value {
        steps.push(Some(of_map(props, map, old, path)));
    }
    for step in steps.into_iter().flatten() {
        outcome.merge(step);
        outcome.matches += 1;
    }
    outcome.matches += 1;
    outcome
}

/// What kind of value this is, in the words of schemas.
fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn of_type(props: &Props, value: &Value, path: &str) -> Option<Outcome> {
    let wanted: Vec<&str> = match (props.int_or_string, props.kind.as_str()) {
        (true, _) => vec!["integer", "string"],
        (false, "") => vec![],
        (false, kind) => vec![kind],
    };
    let format = format::supported(props);
    if wanted.is_empty() && format.is_none() {
        return None;
    }
    let found = type_of(value);
    let fail = |wanted: &str| {
        let what = format!("must be of type {wanted}: \"{found}\"");
        let found = Found { kind: ErrorKind::TypeInvalid, ..Found::invalid(path, found, &what) };
        Some(Outcome { found: vec![found], matches: 0 })
    };
    let pass = Some(Outcome { found: Vec::new(), matches: 1 });
    if value.is_null() {
        return if wanted.is_empty() || props.nullable { pass } else { fail(&wanted.join(",")) };
    }
    let whole = value
        .as_f64()
        .is_some_and(|number| number.fract() == 0.0 && number.abs() < 9_007_199_254_740_992.0);
    let whole = found == "number" && whole && wanted.contains(&"integer");
    let numeric = found == "integer" && wanted.contains(&"number");
    let is_text = matches!(value, Value::String(_) | Value::Array(_));
    let wants_number = wanted.contains(&"number") || wanted.contains(&"integer");
    if format.is_some() && is_text && !wants_number {
        return pass;
    }
    if wanted.contains(&found) || whole || numeric { pass } else { fail(&wanted.join(",")) }
}

fn of_text(props: &Props, text: &str, path: &str) -> Outcome {
    let length = i64::try_from(text.chars().count()).unwrap_or(i64::MAX);
    let mut outcome = Outcome::default();
    if let Some(max) = props.max_length.filter(|max| length > *max) {
        let unit = if max == 1 { "byte" } else { "bytes" };
        let what = format!("may not be more than {max} {unit}");
        outcome.add(Found::new(path, ErrorKind::TooLong, "", what));
    } else if let Some(min) = props.min_length.filter(|min| length < *min) {
        outcome.add(Found::invalid(path, text, &format!("should be at least {min} chars long")));
    } else if !props.pattern.is_empty() {
        match props.matcher.of(&props.pattern) {
            Ok(pattern) if pattern.is_match(text) => {}
            Ok(_) => outcome.add(Found::invalid(
                path,
                text,
                &format!("should match '{}'", props.pattern),
            )),
            Err(error) => {
                let what =
                    format!("should match '{}, but pattern is invalid: {error}'", props.pattern);
                outcome.add(Found::invalid(path, text, &what));
            }
        }
    }
    outcome
}

fn of_allowed(props: &Props, value: &Value, path: &str) -> Outcome {
    let same = |allowed: &Value| match (allowed, value) {
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        (a, b) => a == b,
    };
    let mut outcome = Outcome::default();
    if props.allowed.is_empty() || props.allowed.iter().any(same) {
        return outcome;
    }
    let names = props.allowed.iter().map(|allowed| match allowed {
        Value::String(text) => kubeplane_core::field::go_quote(text),
        other => kubeplane_core::field::go_quote(&other.to_string()),
    });
    let detail = format!("supported values: {}", names.collect::<Vec<_>>().join(", "));
    outcome.add(Found::new(path, ErrorKind::NotSupported, value.clone(), detail));
    outcome
}

fn of_list(props: &Props, items: &[Value], old: Option<&Value>, path: &str) -> Outcome {
    let mut outcome = Outcome::default();
    if let Some(schema) = &props.items {
        let before = old.and_then(|old| Correlated::of(props, old));
        for (index, item) in items.iter().enumerate() {
            let old = before.as_ref().and_then(|before| before.item(item));
            outcome.merge(below(schema, item, old, &format!("{path}[{index}]")));
        }
    }
    let size = i64::try_from(items.len()).unwrap_or(i64::MAX);
    if let Some(min) = props.min_items.filter(|min| size < *min) {
        outcome.add(Found::invalid(path, size, &format!("should have at least {min} items")));
    }
    if let Some(max) = props.max_items.filter(|max| size > *max) {
        outcome.add(too_many(path, size, max));
    }
    outcome.matches += 1;
    outcome
}

fn too_many(path: &str, size: i64, max: i64) -> Found {
    let unit = if max == 1 { "item" } else { "items" };
    Found::new(path, ErrorKind::TooMany, size, format!("must have at most {max} {unit}"))
}

/// Old items by their keys: only lists with keys tell which stands for which.
pub(crate) struct Correlated<'a> {
    keys: &'a [String],
    items: HashMap<String, &'a Value>,
}

impl<'a> Correlated<'a> {
    /// Of an old list; `None` when its items have no keys.
    pub(crate) fn of(props: &'a Props, old: &'a Value) -> Option<Self> {
        if props.list_type.as_deref() != Some("map") || props.list_keys.is_empty() {
            return None;
        }
        let (keys, list) = (&props.list_keys, old.as_array()?);
        let mut items = HashMap::with_capacity(list.len());
        for item in list {
            if let Some(key) = key_of(keys, item) {
                items.entry(key).or_insert(item);
            }
        }
        Some(Self { keys, items })
    }

    /// The old item that stands for this one.
    pub(crate) fn item(&self, item: &Value) -> Option<&'a Value> {
        self.items.get(&key_of(self.keys, item)?).copied()
    }
}

/// The values of the keys as one text; `None` when one is missing or has parts.
fn key_of(keys: &[String], item: &Value) -> Option<String> {
    let mut out = String::new();
    for key in keys {
        let value = item.get(key)?;
        if value.is_null() || value.is_array() || value.is_object() {
            return None;
        }
        // Writing to memory cannot fail.
        let _ = write!(out, "{value}\0");
    }
    Some(out)
}

fn of_map(
    props: &Props,
    map: &serde_json::Map<String, Value>,
    old: Option<&Value>,
    path: &str,
) -> Outcome {
    let mut outcome = Outcome::default();
    let size = i64::try_from(map.len()).unwrap_or(i64::MAX);
    if let Some(min) = props.min_properties.filter(|min| size < *min) {
        outcome.add(Found::invalid(path, size, &format!("should have at least {min} properties")));
    }
    if let Some(max) = props.max_properties.filter(|max| size > *max) {
        outcome.add(too_many(path, size, max));
    }
    let old_of = |key: &str| match (path, key) {
        // Both sides were converted to the same version.
        ("", "apiVersion" | "kind") => None,
        _ => old.and_then(|old| old.get(key)),
    };
    for (key, value) in map.iter().filter(|(key, _)| !props.properties.contains_key(*key)) {
        match &props.additional {
            Some(Additional::Any(false)) => {
                let message = format!("{path}.{key} in body is a forbidden property");
                outcome.add(Found::new(path, ErrorKind::Invalid, key.as_str(), message));
            }
            Some(Additional::Schema(schema)) => {
                outcome.merge(below(schema, value, old_of(key), &format!("{path}.{key}")));
            }
            _ => {}
        }
    }
    for (name, schema) in &props.properties {
        if let Some(value) = map.get(name) {
            let at = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            outcome.merge(below(schema, value, old_of(name), &at));
        }
    }
    for name in props.required.iter().filter(|name| !map.contains_key(*name)) {
        let at = format!("{path}.{name}");
        outcome.add(Found::new(&at, ErrorKind::Required, "", String::new()));
    }
    outcome
}

#[cfg(test)]
mod tests;
