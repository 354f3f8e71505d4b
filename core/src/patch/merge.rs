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
                    let mut fresh = Map::new();
                    merge(&mut fresh, inner);
                    *slot = Value::Object(fresh);
                }
            }
            other => {
                target.insert(key, other);
            }
        }
    }
}
