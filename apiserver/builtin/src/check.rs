//! Checks of single values that many kinds share; each adds what it finds to the errors.

use crate::look::At;
use kubeplane_core::{
    field::Errors,
    names::{self, address},
    quantity::Quantity,
    schema::builtin,
};
use serde_json::Value;
use std::collections::HashSet;

pub(crate) const IMMUTABLE: &str = "field is immutable";
pub(crate) const NEGATIVE: &str = "must be greater than or equal to 0";
pub(crate) const NOT_POSITIVE: &str = "must be greater than zero";

/// Each message as an error about the value.
pub(crate) fn messages(at: &At<'_>, messages: Vec<String>, errors: &mut Errors) {
    errors.extend(messages.into_iter().map(|message| at.invalid(message)));
}

/// Whether there is a text; an error if there is none.
pub(crate) fn required(at: &At<'_>, errors: &mut Errors) -> bool {
    let missing = at.str().is_empty();
    if missing {
        errors.push(at.required(""));
    }
    !missing
}

pub(crate) fn dns_label(at: &At<'_>, errors: &mut Errors) {
    messages(at, names::is_dns1123_label(at.str()), errors);
}

pub(crate) fn dns_subdomain(at: &At<'_>, errors: &mut Errors) {
    messages(at, names::is_dns1123_subdomain(at.str()), errors);
}

pub(crate) fn required_dns_subdomain(at: &At<'_>, errors: &mut Errors) {
    if required(at, errors) {
        dns_subdomain(at, errors);
    }
}

/// A DNS subdomain, if there is a text at all.
pub(crate) fn optional_dns_subdomain(at: &At<'_>, errors: &mut Errors) {
    if !at.str().is_empty() {
        dns_subdomain(at, errors);
    }
}

/// A DNS label, if there is a text at all.
pub(crate) fn optional_dns_label(at: &At<'_>, errors: &mut Errors) {
    if !at.str().is_empty() {
        dns_label(at, errors);
    }
}

pub(crate) fn required_dns_label(at: &At<'_>, errors: &mut Errors) {
    if required(at, errors) {
        dns_label(at, errors);
    }
}

pub(crate) fn qualified_name(at: &At<'_>, errors: &mut Errors) {
    messages(at, names::is_qualified_name(at.str()), errors);
}

pub(crate) fn label_value(at: &At<'_>, errors: &mut Errors) {
    messages(at, names::is_valid_label_value(at.str()), errors);
}

/// One of a set of texts; nothing and the empty text are errors too.
pub(crate) fn one_of(at: &At<'_>, supported: &[&str], errors: &mut Errors) {
    match at.str() {
        "" => errors.push(at.required("")),
        text if supported.contains(&text) => {}
        _ => errors.push(at.not_supported(supported)),
    }
}

/// One of a set of texts, where it is set at all (even to an empty text).
pub(crate) fn one_of_if_set(at: &At<'_>, supported: &[&str], errors: &mut Errors) {
    if at.is_set() && !supported.contains(&at.str()) {
        errors.push(at.not_supported(supported));
    }
}

pub(crate) fn nonnegative(at: &At<'_>, errors: &mut Errors) {
    if let Some(number) = at.int().filter(|number| *number < 0) {
        errors.push(at.invalid_as(number, NEGATIVE));
    }
}

pub(crate) fn positive(at: &At<'_>, errors: &mut Errors) {
    let number = at.int().unwrap_or_default();
    if number <= 0 {
        errors.push(at.invalid_as(number, NOT_POSITIVE));
    }
}

pub(crate) fn in_range(at: &At<'_>, low: i64, high: i64, errors: &mut Errors) {
    if let Some(number) = at.int().filter(|number| !(low..=high).contains(number)) {
        errors.push(at.invalid_as(number, names::range_message(low, high)));
    }
}

pub(crate) fn port_number(at: &At<'_>, errors: &mut Errors) {
    let number = at.int().unwrap_or_default();
    errors.extend(
        names::is_valid_port_num(number).into_iter().map(|message| at.invalid_as(number, message)),
    );
}

/// A port by number or by name.
pub(crate) fn port(at: &At<'_>, errors: &mut Errors) {
    match at.value() {
        Value::String(name) => messages(at, names::is_valid_port_name(name), errors),
        _ => port_number(at, errors),
    }
}

/// A map of labels; errors stand at the map, as the original's do.
pub(crate) fn labels(at: &At<'_>, errors: &mut Errors) {
    for (key, value) in at.entries() {
        let problems = names::is_qualified_name(key).into_iter();
        errors.extend(problems.map(|message| at.invalid_as(key, message)));
        let value = value.str();
        let problems = names::is_valid_label_value(value).into_iter();
        errors.extend(problems.map(|message| at.invalid_as(value, message)));
    }
}

/// A LabelSelector.
pub(crate) fn label_selector(at: &At<'_>, errors: &mut Errors) {
    labels(&at.get("matchLabels"), errors);
    for requirement in at.get("matchExpressions").items() {
        label_requirement(&requirement, false, errors);
    }
}

/// Takes out what is wrong with the values that selectors look for: what was stored with such may keep them.
pub(crate) fn forgive_selected_values(errors: &mut Errors) {
    errors.retain(|error| !error.path.as_str().contains(".values["));
}

/// One requirement of a LabelSelector.
pub(crate) fn label_requirement(at: &At<'_>, any_operator: bool, errors: &mut Errors) {
    let (operator, values) = (at.get("operator"), at.get("values"));
    match operator.str() {
        "In" | "NotIn" if values.is_empty() => {
            errors.push(values.required("must be specified when `operator` is 'In' or 'NotIn'"));
        }
        "Exists" | "DoesNotExist" if !values.is_empty() => {
            errors.push(
                values.forbidden(
                    "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
                ),
            );
        }
        "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
        _ if any_operator => {}
        _ => errors.push(operator.invalid("not a valid selector operator")),
    }
    qualified_name(&at.get("key"), errors);
    for value in values.items() {
        label_value(&value, errors);
    }
}

/// An address in a field as old as the API.
pub(crate) fn legacy_ip(at: &At<'_>, known: &[&str], errors: &mut Errors) {
    if !known.contains(&at.str()) {
        messages(at, address::is_valid_ip_for_legacy_field(at.str()), errors);
    }
}

/// A network in a field as old as the API.
pub(crate) fn legacy_cidr(at: &At<'_>, known: &[&str], errors: &mut Errors) {
    if !known.contains(&at.str()) {
        messages(at, address::is_valid_cidr_for_legacy_field(at.str()), errors);
    }
}

/// The value as a quantity; zero where nothing is.
pub(crate) fn quantity(at: &At<'_>) -> Quantity {
    Quantity::from_json(at.value()).unwrap_or_default()
}

/// A path that stays below where it starts.
pub(crate) fn descending_path(at: &At<'_>, errors: &mut Errors) {
    if at.str().starts_with('/') {
        errors.push(at.invalid("must be a relative path"));
    }
    no_backsteps(at, errors);
}

pub(crate) fn no_backsteps(at: &At<'_>, errors: &mut Errors) {
    if has_backsteps(at.str()) {
        errors.push(at.invalid("must not contain '..'"));
    }
}

pub(crate) fn has_backsteps(path: &str) -> bool {
    path.split('/').any(|part| part == "..")
}

/// A descending path that is none of those the kubelet keeps for itself.
pub(crate) fn local_path(at: &At<'_>, errors: &mut Errors) {
    descending_path(at, errors);
    if at.str().starts_with("..") && !at.str().starts_with("../") {
        errors.push(at.invalid("must not start with '..'"));
    }
}

/// The texts at a field of the items of a list, for looking them up.
pub(crate) fn texts<'a>(list: &At<'a>, field: &'static str) -> HashSet<&'a str> {
    list.items().map(|item| item.get(field).str()).filter(|text| !text.is_empty()).collect()
}

/// The value must not have changed.
pub(crate) fn unchanged(at: &At<'_>, old: &Value, errors: &mut Errors) {
    if at.value() != old {
        errors.push(at.invalid(IMMUTABLE));
    }
}

/// The value must say the same as before; `definition` is the OpenAPI name of its shape.
pub(crate) fn same(at: &At<'_>, old: &Value, definition: &str, errors: &mut Errors) {
    if !is_same(at.value(), old, definition) {
        errors.push(at.invalid(IMMUTABLE));
    }
}

/// Whether two values of this shape say the same, in whatever words.
pub(crate) fn is_same(new: &Value, old: &Value, definition: &str) -> bool {
    new == old || builtin(definition).is_some_and(|shape| shape.means_same(new, old))
}
