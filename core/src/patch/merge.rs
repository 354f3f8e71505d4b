//! JSON Merge Patch.

use super::{PatchError, unreadable};
use serde_json::{Map, Value};

/// Applies a JSON Merge Patch (RFC 7396).
///
/// # Errors
/// [`PatchError::Malformed`] when the patch is no JSON map.
pub fn merge_patch(original: Value, patch: &[u8]) -> Result<Value, PatchError> {
    let patch: Option<Map<String, Value>> = serde_json::from_slice(patch).map_err(|error| {
        let why = unreadable(patch, &error, "map[string]interface {}");
        PatchError::Malformed(format!("error decoding patch: {why}"))
    })?;
    let patch = patch.ok_or_else(|| PatchError::Malformed("Invalid JSON Patch".to_owned()))?;
    let mut result = match original {
        Value::Object(map) => map,
        _ => Map::new(),
    };
    merge(&mut result, patch);
    Ok(Value::Object(result))
}

fn merge(target: &mut Map<String, Value>, patch: Map<String, Value>) {
    for (key, value) in patch {
        match value {
            Value::Null => {
                target.remove(&key);
            }
            Value::Object(inner) => {
                let slot = target.entry(key).or_insert(Value::Null);
                if let Value::Object(existing) = slot {
                    merge(existing, inner);
                } else {
                    let mut fresh = Value::Object(inner);
                    drop_nulls(&mut fresh);
                    *slot = fresh;
                }
            }
            mut other => {
                // As in the original, what takes the place of a map is not looked into.
                if !target.get(&key).is_some_and(Value::is_object) {
                    drop_nulls(&mut other);
                }
                target.insert(key, other);
            }
        }
    }
}

/// Takes nulls out of maps, those in lists too; lists keep theirs. RFC 7396 leaves lists as they are, the original does not.
fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, value| !value.is_null());
            map.values_mut().for_each(drop_nulls);
        }
        Value::Array(list) => list.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}
