//! Conditions in the form that all newer kinds share.

use crate::look::At;
use kubeplane_core::{field::Errors, names};
use std::collections::HashSet;

const REASON_MAX: usize = 1024;
const MESSAGE_MAX: usize = 32 * 1024;

/// A list of conditions, one of each type.
pub(crate) fn conditions(list: &At<'_>, errors: &mut Errors) {
    let mut seen = HashSet::new();
    for condition in list.items() {
        if !seen.insert(condition.get("type").str()) {
            errors.push(condition.get("type").duplicate());
        }
        self::condition(&condition, errors);
    }
}

fn condition(condition: &At<'_>, errors: &mut Errors) {
    let get = |field| condition.get(field);
    crate::check::qualified_name(&get("type"), errors);
    if !matches!(get("status").str(), "True" | "False" | "Unknown") {
        errors.push(get("status").not_supported(&["False", "True", "Unknown"]));
    }
    if get("observedGeneration").int().is_some_and(|number| number < 0) {
        errors.push(get("observedGeneration").invalid("must be greater than or equal to zero"));
    }
    if get("lastTransitionTime").str().is_empty() {
        errors.push(get("lastTransitionTime").required(""));
    }
    reason(&get("reason"), errors);
    if get("message").str().len() > MESSAGE_MAX {
        errors.push(get("message").too_long(MESSAGE_MAX));
    }
}

fn reason(reason: &At<'_>, errors: &mut Errors) {
    if !crate::check::required(reason, errors) {
        return;
    }
    let text = reason.str();
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ',' | ':');
    let starts = text.starts_with(|c: char| c.is_ascii_alphabetic());
    let ends = text.ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
    if !(starts && ends && text.chars().all(inner)) {
        let problem = names::regex_message(
            "a condition reason must start with alphabetic character, optionally followed by a string of alphanumeric characters or '_,:', and must end with an alphanumeric character or '_'",
            "[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?",
            &["my_name", "MY_NAME", "MyName", "ReasonA,ReasonB", "ReasonA:ReasonB"],
        );
        errors.push(reason.invalid(problem));
    }
    if text.len() > REASON_MAX {
        errors.push(reason.too_long(REASON_MAX));
    }
}
