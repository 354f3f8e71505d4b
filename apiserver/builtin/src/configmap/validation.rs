//! Whether a ConfigMap makes sense.

use super::{bytes_size, is_immutable, text_size};
use crate::{check, look::At};
use kubeplane_core::{
    Object,
    field::{Error, Errors, Path},
    names,
};

/// One mebibyte of values.
pub(crate) const SIZE_MAX: usize = 1024 * 1024;

pub(super) fn config_map(object: &Object) -> Errors {
    let mut errors = Errors::new();
    let (data, binary) = (At::top(object.map(), "data"), At::top(object.map(), "binaryData"));
    for (key, value) in data.entries() {
        check::messages(&value.with(&key.into()), names::is_config_map_key(key), &mut errors);
        if binary.key(key).is_set() {
            errors.push(value.invalid_as(key, "duplicate of key present in binaryData"));
        }
    }
    for (key, value) in binary.entries() {
        check::messages(&value.with(&key.into()), names::is_config_map_key(key), &mut errors);
    }
    if text_size(data.value()) + bytes_size(binary.value()) > SIZE_MAX {
        errors.push(Error::too_long(&Path::new("[]"), SIZE_MAX));
    }
    errors
}

pub(super) fn update(object: &Object, old: &Object) -> Errors {
    let mut errors = immutable(object, old, &["data", "binaryData"]);
    errors.extend(config_map(object));
    errors
}

/// An object that says it never changes does not.
pub(crate) fn immutable(object: &Object, old: &Object, fields: &[&'static str]) -> Errors {
    const DETAIL: &str = "field is immutable when `immutable` is set";
    let mut errors = Errors::new();
    if !is_immutable(old) {
        return errors;
    }
    if !is_immutable(object) {
        errors.push(At::top(object.map(), "immutable").forbidden(DETAIL));
    }
    for field in fields {
        let (new, before) = (At::top(object.map(), field), At::top(old.map(), field));
        if new.value() != before.value() {
            errors.push(new.forbidden(DETAIL));
        }
    }
    errors
}
