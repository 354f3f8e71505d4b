//! Steps that the prepare hooks of many kinds share.

use kubeplane_core::Object;
use serde_json::Value;

/// Starts the generation of a kind that counts its changes.
pub(crate) fn start_generation(object: &mut Object) {
    object.set(&["metadata", "generation"], 1);
}

/// Counts a change of one of these top-level fields.
pub(crate) fn step_generation(object: &mut Object, old: &Object, fields: &[&str]) {
    let changed = fields.iter().any(|field| object.at(&[*field]) != old.at(&[*field]));
    object.set(&["metadata", "generation"], old.generation() + i64::from(changed));
}

/// Takes a top-level field from the stored object.
pub(crate) fn keep(object: &mut Object, old: &Object, field: &str) {
    keep_at(object, old, &[field]);
}

/// Comparing costs less than copying, and most often nothing was changed.
fn keep_at(object: &mut Object, old: &Object, path: &[&str]) {
    match old.at(path) {
        kept if kept == object.at(path) => {}
        Some(value) => object.set(path, value.clone()),
        None => drop(object.remove(path)),
    }
}

/// Takes a field of the metadata from the stored object.
pub(crate) fn keep_metadata(object: &mut Object, old: &Object, field: &str) {
    keep_at(object, old, &["metadata", field]);
}

/// Keeps every top-level field of the stored object but metadata and this one.
pub(crate) fn change_only(object: &mut Object, old: &Object, field: &str) {
    let stays = |key: &str| key != "metadata" && key != field;
    object.map_mut().retain(|key, _| !stays(key) || old.map().contains_key(key));
    for key in old.map().keys().filter(|key| stays(key)) {
        keep(object, old, key);
    }
}

/// Sets or removes a top-level field.
pub(crate) fn put(object: &mut Object, field: &str, value: Option<Value>) {
    match value {
        Some(value) => object.set(&[field], value),
        None => drop(object.remove(&[field])),
    }
}
