//! Steps that the prepare hooks of many kinds share.

use crate::{look::NULL, row::schema};
use kubeplane_core::{GroupVersionKind, Object};
use serde_json::Value;

/// Starts the generation of a kind that counts its changes.
pub(crate) fn start_generation(object: &mut Object) {
    object.set(&["metadata", "generation"], 1);
}

/// Counts a change of one of these top-level fields.
pub(crate) fn step_generation(object: &mut Object, old: &Object, fields: &[&str]) {
    let changed = fields.iter().any(|field| !is_same(object, old, &[*field]));
    object.set(&["metadata", "generation"], old.generation() + i64::from(changed));
}

/// Whether two objects of a kind say the same at a path, in whatever words.
pub(crate) fn is_same(object: &Object, old: &Object, path: &[&str]) -> bool {
    let (new, before) = (object.at(path).unwrap_or(&NULL), old.at(path).unwrap_or(&NULL));
    if new == before {
        return true;
    }
    let Some(version) = object.group_version() else { return false };
    let kind = GroupVersionKind::new(version.group, version.version, object.kind().to_owned());
    let whole = schema(&kind);
    let shape = path.iter().try_fold(&*whole, |shape, name| shape.child(name));
    shape.is_some_and(|shape| shape.means_same(new, before))
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
