//! Writes that change nothing leave the times of `managedFields` alone.

use crate::Object;
use serde_json::{Map, Value};

/// Brings back the old times of `managedFields` when nothing else differs, so that a write that changes
/// nothing is none. `metadata.resourceVersion` does not count.
///
/// Done last, after admission.
pub fn settle_times(old: &Object, new: &mut Object) {
    let (Some(before), Some(after)) = (list(old), list(new)) else {
        return;
    };
    let alike = before.len() == after.len()
        && before.iter().zip(after).all(|(before, after)| same_but(before, after, &["time"]));
    if alike && before != after && same_but_managed(old.map(), new.map()) {
        let before = before.clone();
        new.set(&["metadata", "managedFields"], before);
    }
}

fn list(object: &Object) -> Option<&Vec<Value>> {
    object.at(&["metadata", "managedFields"])?.as_array()
}

/// Whether two objects differ in nothing but `managedFields` and `resourceVersion`.
pub(super) fn same_but_managed(left: &Map<String, Value>, right: &Map<String, Value>) -> bool {
    const IGNORED: &[&str] = &["managedFields", "resourceVersion"];
    let same_metadata = match (left.get("metadata"), right.get("metadata")) {
        (Some(left), Some(right)) => same_but(left, right, IGNORED),
        (None, None) => true,
        _ => false,
    };
    same_metadata && same_but_keys(left, right, &["metadata"])
}

fn same_but(left: &Value, right: &Value, ignored: &[&str]) -> bool {
    match (left, right) {
        (Value::Object(left), Value::Object(right)) => same_but_keys(left, right, ignored),
        _ => left == right,
    }
}

fn same_but_keys(left: &Map<String, Value>, right: &Map<String, Value>, ignored: &[&str]) -> bool {
    let count = |map: &Map<String, Value>| {
        map.keys().filter(|key| !ignored.contains(&key.as_str())).count()
    };
    count(left) == count(right)
        && left
            .iter()
            .all(|(key, value)| ignored.contains(&key.as_str()) || right.get(key) == Some(value))
}

/// A copy of an object's map without `managedFields`.
pub(super) fn without_managed_fields(object: &Object) -> Map<String, Value> {
    let copy = |(key, value): (&String, &Value)| {
        let value = match value {
            Value::Object(metadata) if key == "metadata" => {
                let kept = metadata.iter().filter(|(key, _)| *key != "managedFields");
                Value::Object(kept.map(|(key, value)| (key.clone(), value.clone())).collect())
            }
            other => other.clone(),
        };
        (key.clone(), value)
    };
    object.map().iter().map(copy).collect()
}
