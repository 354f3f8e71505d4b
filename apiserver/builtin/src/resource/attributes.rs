//! What drivers say of their devices.

use super::{
    lists::map,
    values::{NO_LIMIT, qualified_name},
};
use crate::look::{At, Look};
use kubeplane_core::field::Errors;
use regex::Regex;
use serde_json::Value;
use std::sync::LazyLock;

/// How much of a domain and a name is shown.
pub(super) const KEY_SHOWN: usize = 63 + 1 + 32;
const ENTRIES_MAX: usize = 32;
const VALUES_MAX: usize = 48;
const VALUE_MAX: usize = 64;
const LISTS: [&str; 4] = ["bools", "ints", "strings", "versions"];

/// A version as semver.org has it.
static VERSION: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(concat!(
        r"^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)",
        r"(-(0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)(\.(0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*))*)?",
        r"(\+[0-9a-zA-Z-]+(\.[0-9a-zA-Z-]+)*)?$"
    ))
    .ok()
});

pub(super) fn attributes(device: &At<'_>, errors: &mut Errors) {
    let (attributes, capacity) = (device.get("attributes"), device.get("capacity"));
    let entries = attributes.len() + capacity.len();
    if entries > ENTRIES_MAX {
        let detail =
            format!("the total number of attributes and capacities must not exceed {ENTRIES_MAX}");
        errors.push(device.invalid_as(entries, detail));
    }
    let values: usize = attributes.entries().map(|(_, attribute)| count(attribute.value())).sum();
    if values > VALUES_MAX {
        let detail = format!("the total number of attribute values must not exceed {VALUES_MAX}");
        errors.push(device.invalid_as(values, detail));
    }
    map(&attributes, NO_LIMIT, KEY_SHOWN, qualified_name, attribute, errors);
}

fn count(attribute: &Value) -> usize {
    LISTS.iter().map(|list| attribute.list(list).len()).sum::<usize>().max(1)
}

fn attribute(at: &At<'_>, errors: &mut Errors) {
    let mut given = ["bool", "int"].iter().filter(|field| at.get(field).is_set()).count();
    for (field, check) in [("string", text as fn(&At<'_>, &mut Errors)), ("version", version)] {
        if at.get(field).is_set() {
            given += 1;
            check(&at.get(field), errors);
        }
    }
    for field in LISTS {
        let list = at.get(field);
        if !list.is_set() {
            continue;
        }
        given += 1;
        if list.is_empty() {
            errors.push(list.invalid("must not be empty if specified"));
        }
        for item in list.items() {
            match field {
                "strings" => text(&item, errors),
                "versions" => version(&item, errors),
                _ => {}
            }
        }
    }
    if given != 1 {
        let shown = if given == 0 { Value::from("") } else { at.value().clone() };
        errors.push(at.invalid_as(shown, "exactly one value must be specified"));
    }
}

fn text(at: &At<'_>, errors: &mut Errors) {
    if at.str().len() > VALUE_MAX {
        errors.push(at.too_long(VALUE_MAX));
    }
}

fn version(at: &At<'_>, errors: &mut Errors) {
    if VERSION.as_ref().is_some_and(|version| !version.is_match(at.str())) {
        errors.push(at.invalid("must be a string compatible with semver.org spec 2.0.0"));
    }
    text(at, errors);
}
