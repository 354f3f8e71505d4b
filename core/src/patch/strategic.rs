//! Strategic merge patch: a merge patch that knows which lists are merged by key.
//!
//! Directives: `$patch: replace | delete` in maps and list items, `$retainKeys`,
//! `$deleteFromPrimitiveList/<field>` and `$setElementOrder/<field>`. What is merged how comes from
//! [`Field::patch`](crate::schema::Field::patch).

mod list;
mod text;

use super::PatchError;
use crate::schema::{Field, Kind, PatchStrategy, Schema};
use list::{merge_list, merge_ordered};
use serde_json::{Map, Value};
use std::collections::HashSet;

const PATCH: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const DELETE_FROM: &str = "$deleteFromPrimitiveList";
const SET_ORDER: &str = "$setElementOrder";

type Outcome<T> = Result<T, PatchError>;
type Object = Map<String, Value>;

/// A value as Go prints it, for messages that repeat a patch.
#[must_use]
pub fn as_go(value: &Value) -> String {
    text::go(value)
}

/// Merges a patch into an object of this shape. `null` is a patch that changes nothing.
///
/// # Errors
/// [`PatchError`] when the patch is malformed or does not fit the schema.
pub fn merge(original: Value, patch: Value, schema: &Schema) -> Result<Value, PatchError> {
    let patch = match patch {
        Value::Object(patch) => patch,
        Value::Null => Object::new(),
        other => {
            return Err(PatchError::Malformed(format!(
                "json: cannot unmarshal {} into Go value of type map[string]interface {{}}",
                crate::decode::json_kind(&other)
            )));
        }
    };
    let original = match original {
        Value::Object(map) => map,
        _ => Object::new(),
    };
    merge_map(original, patch, schema).map(Value::Object)
}

fn mismatch(text: impl Into<String>) -> PatchError {
    PatchError::Mismatch(text.into())
}

fn malformed(what: &str) -> PatchError {
    PatchError::Malformed(format!("invalid patch format of {what}"))
}

fn merge_map(mut original: Object, mut patch: Object, schema: &Schema) -> Outcome<Object> {
    if let Some(directive) = patch.get(PATCH) {
        return match directive.as_str() {
            Some("replace") => {
                patch.remove(PATCH);
                Ok(patch)
            }
            Some("delete") => Ok(Object::new()),
            _ => Err(unknown_directive(directive, &patch)),
        };
    }
    retain_keys(&mut original, &mut patch)?;
    merge_ordered_lists(&mut original, &mut patch, schema)?;
    for (key, value) in patch {
        match deletion_target(&key)? {
            Some(field) => delete_from(&mut original, field, value, schema)?,
            None => merge_field(&mut original, key, value, schema)?,
        }
    }
    Ok(original)
}

fn merge_field(original: &mut Object, key: String, value: Value, schema: &Schema) -> Outcome<()> {
    match (original.get_mut(&key), value) {
        (_, Value::Null) => {
            original.remove(&key);
        }
        (Some(Value::Object(existing)), Value::Object(patch)) if is_replaced(schema, &key) => {
            *existing = merge_map(Object::new(), patch, &lookup(schema, &key)?.schema)?;
        }
        (Some(Value::Object(existing)), Value::Object(patch)) => {
            let field = lookup(schema, &key)?;
            *existing = merge_map(std::mem::take(existing), patch, &field.schema)?;
        }
        (Some(Value::Array(existing)), Value::Array(patch)) => {
            let (items, strategy) = lookup_list(schema, &key)?;
            *existing = if strategy.merge {
                merge_list(std::mem::take(existing), patch, items, &strategy.merge_key)?
            } else {
                patch
            };
        }
        (_, mut value) => {
            discard_nulls(&mut value);
            match without_directives(value) {
                Some(value) => original.insert(key, value),
                None => original.remove(&key),
            };
        }
    }
    Ok(())
}

/// Whether a patch replaces the map in this field whole: so it is with one field of all built-in kinds.
fn is_replaced(schema: &Schema, key: &str) -> bool {
    key == "selector" && schema.name == "io.k8s.api.policy.v1.PodDisruptionBudgetSpec"
}

/// Removes what `$deleteFromPrimitiveList/<field>` names, if the field is a list at all.
fn delete_from(original: &mut Object, field: &str, value: Value, schema: &Schema) -> Outcome<()> {
    match (original.get_mut(field), value) {
        (_, Value::Null) => {
            original.remove(field);
        }
        (Some(Value::Array(existing)), Value::Array(unwanted)) => {
            let (items, strategy) = lookup_list(schema, field)?;
            if existing.is_empty() && unwanted.is_empty() {
                return Ok(());
            }
            if list::holds_maps(&[existing, &unwanted])? {
                let merged =
                    merge_list(std::mem::take(existing), unwanted, items, &strategy.merge_key)?;
                *existing = merged;
            } else {
                let unwanted: HashSet<Value> = unwanted.into_iter().collect();
                existing.retain(|item| !unwanted.contains(item));
            }
        }
        _ => {}
    }
    Ok(())
}

fn deletion_target(key: &str) -> Outcome<Option<&str>> {
    directive_target(key, DELETE_FROM, "primitive list")
}

fn order_target(key: &str) -> Outcome<Option<&str>> {
    directive_target(key, SET_ORDER, "setElementOrder list")
}

/// The field a directive with this prefix is about; `None` for other keys.
fn directive_target<'a>(key: &'a str, prefix: &str, what: &str) -> Outcome<Option<&'a str>> {
    match key.strip_prefix(prefix) {
        None => Ok(None),
        Some(rest) => rest.strip_prefix('/').map(Some).ok_or_else(|| malformed(what)),
    }
}

fn retain_keys(original: &mut Object, patch: &mut Object) -> Outcome<()> {
    let Some(retained) = patch.remove(RETAIN_KEYS) else {
        return Ok(());
    };
    let Value::Array(retained) = retained else {
        return Err(malformed("retainKeys"));
    };
    let retained: HashSet<&str> = retained.iter().filter_map(Value::as_str).collect();
    let stray = patch.iter().any(|(key, value)| {
        let directive = key.starts_with(DELETE_FROM) || key.starts_with(SET_ORDER);
        !value.is_null() && !directive && !retained.contains(key.as_str())
    });
    if stray {
        return Err(malformed("retainKeys"));
    }
    original.retain(|key, _| retained.contains(key.as_str()));
    Ok(())
}

/// Merges each list that has a `$setElementOrder` and takes both out of the patch.
fn merge_ordered_lists(original: &mut Object, patch: &mut Object, schema: &Schema) -> Outcome<()> {
    let directives: Vec<String> =
        patch.keys().filter(|key| key.starts_with(SET_ORDER)).cloned().collect();
    for directive in directives {
        let Some(order) = patch.remove(&directive) else {
            continue;
        };
        let order = into_list(order)?;
        let Some(field) = order_target(&directive)? else {
            continue;
        };
        let existing = original.remove(field).map(into_list).transpose()?;
        let wanted = patch.remove(field).map(into_list).transpose()?;
        let (items, strategy) = lookup_list(schema, field)?;
        if let Some(merged) = merge_ordered(existing, wanted, &order, items, strategy)? {
            original.insert(field.to_owned(), Value::Array(merged));
        }
    }
    Ok(())
}

fn into_list(value: Value) -> Outcome<Vec<Value>> {
    match value {
        Value::Array(list) => Ok(list),
        other => Err(mismatch(text::bad_type("[]interface {}", &other))),
    }
}

fn lookup<'s>(schema: &'s Schema, key: &str) -> Outcome<&'s Field> {
    let Kind::Object { fields, .. } = &schema.kind else {
        return Err(mismatch(format!(
            "merging an object in json but data type is not struct, instead is: {}",
            text::go_kind(schema)
        )));
    };
    let found = schema
        .field(key)
        .or_else(|| fields.iter().find(|field| field.name.eq_ignore_ascii_case(key)));
    found.ok_or_else(|| {
        let name = schema.name.rsplit('.').next().unwrap_or_default();
        mismatch(format!("unable to find api field in struct {name} for the json field {key:?}"))
    })
}

fn lookup_list<'s>(schema: &'s Schema, key: &str) -> Outcome<(&'s Schema, &'s PatchStrategy)> {
    let field = lookup(schema, key)?;
    match field.schema.items() {
        Some(items) => Ok((items, &field.patch)),
        None => Err(mismatch(format!(
            "expected slice or array type, but got: {}",
            text::go_kind(schema)
        ))),
    }
}

fn unknown_directive(directive: &Value, map: &Object) -> PatchError {
    let name = directive.as_str().map_or_else(|| text::go(directive), str::to_owned);
    mismatch(format!("unknown patch type: {name} in map: {}", text::go_map(map)))
}

/// The value without parts that hold directives; `None` when it is one itself.
fn without_directives(value: Value) -> Option<Value> {
    match value {
        Value::Object(map) if map.contains_key(PATCH) => None,
        Value::Object(map) => {
            let kept =
                map.into_iter().filter_map(|(key, value)| Some((key, without_directives(value)?)));
            Some(Value::Object(kept.collect()))
        }
        Value::Array(list) => {
            Some(Value::Array(list.into_iter().filter_map(without_directives).collect()))
        }
        other => Some(other),
    }
}

fn discard_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, value| !value.is_null());
            map.values_mut().for_each(discard_nulls);
        }
        Value::Array(list) => list.iter_mut().for_each(discard_nulls),
        _ => {}
    }
}
