//! Labels, annotations, selectors, finalizers and conditions, wherever they stand.

use super::text;
use crate::{
    field::{Error, Errors, Path},
    names,
};
use serde_json::Value;

/// Bytes of keys and values together.
const MAX_ANNOTATIONS: usize = 256 * 1024;
/// Bytes.
const MAX_REASON: usize = 1024;
/// Bytes.
const MAX_MESSAGE: usize = 32 * 1024;

/// What is wrong with the key of a label.
#[must_use]
pub fn validate_label_name(name: &str, path: &Path) -> Errors {
    names::is_qualified_name(name)
        .into_iter()
        .map(|text| Error::invalid(path, name, text))
        .collect()
}

/// What is wrong with labels.
pub fn validate_labels<'a>(
    labels: impl IntoIterator<Item = (&'a str, &'a str)>,
    path: &Path,
) -> Errors {
    let mut errors = Vec::new();
    for (key, value) in labels {
        errors.extend(validate_label_name(key, path));
        let found = names::is_valid_label_value(value);
        errors.extend(found.into_iter().map(|text| Error::invalid(path, value, text)));
    }
    errors
}

/// What is wrong with annotations: keys as those of labels but in any case, 256 KiB in all.
pub fn validate_annotations<'a>(
    annotations: impl IntoIterator<Item = (&'a str, &'a str)>,
    path: &Path,
) -> Errors {
    let (mut errors, mut size) = (Vec::new(), 0);
    for (key, value) in annotations {
        let found = names::is_qualified_name(&key.to_lowercase());
        errors.extend(found.into_iter().map(|text| Error::invalid(path, key, text)));
        size += key.len() + value.len();
    }
    if size > MAX_ANNOTATIONS {
        errors.push(Error::too_long(path, MAX_ANNOTATIONS));
    }
    errors
}

/// What is wrong with a finalizer's name.
#[must_use]
pub fn validate_finalizer_name(name: &str, path: &Path) -> Errors {
    names::is_qualified_name(name)
        .into_iter()
        .map(|text| Error::invalid(path, name, text))
        .collect()
}

/// What is wrong with a LabelSelector as JSON; `allow_bad_values` for objects that already hold them.
#[must_use]
pub fn validate_label_selector(selector: &Value, allow_bad_values: bool, path: &Path) -> Errors {
    let labels = selector["matchLabels"].as_object().into_iter().flatten();
    let labels = labels.map(|(key, value)| (key.as_str(), value.as_str().unwrap_or_default()));
    let mut errors = validate_labels(labels, &path.child("matchLabels"));
    for (index, requirement) in
        selector["matchExpressions"].as_array().into_iter().flatten().enumerate()
    {
        errors.extend(requirement_errors(
            requirement,
            allow_bad_values,
            &path.child("matchExpressions").index(index),
        ));
    }
    errors
}

fn requirement_errors(requirement: &Value, allow_bad_values: bool, path: &Path) -> Errors {
    let mut errors = Vec::new();
    let values = requirement["values"].as_array().map_or(&[][..], Vec::as_slice);
    let at = path.child("values");
    match text(requirement, "operator") {
        "In" | "NotIn" if values.is_empty() => {
            errors
                .push(Error::required(&at, "must be specified when `operator` is 'In' or 'NotIn'"));
        }
        "Exists" | "DoesNotExist" if !values.is_empty() => {
            errors.push(Error::forbidden(
                &at,
                "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
            ));
        }
        "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
        other => errors.push(Error::invalid(
            &path.child("operator"),
            other,
            "not a valid selector operator",
        )),
    }
    errors.extend(validate_label_name(text(requirement, "key"), &path.child("key")));
    for (index, value) in values.iter().enumerate().filter(|_| !allow_bad_values) {
        let value = value.as_str().unwrap_or_default();
        let found = names::is_valid_label_value(value);
        errors.extend(found.into_iter().map(|text| Error::invalid(&at.index(index), value, text)));
    }
    errors
}

/// What is wrong with a list of `metav1.Condition`s as JSON.
#[must_use]
pub fn validate_conditions(conditions: &[Value], path: &Path) -> Errors {
    let mut errors = Vec::new();
    for (index, condition) in conditions.iter().enumerate() {
        let at = path.index(index);
        let kind = text(condition, "type");
        if conditions[..index].iter().any(|before| text(before, "type") == kind) {
            errors.push(Error::duplicate(&at.child("type"), kind));
        }
        errors.extend(validate_condition(condition, &at));
    }
    errors
}

/// What is wrong with a `metav1.Condition` as JSON.
#[must_use]
pub fn validate_condition(condition: &Value, path: &Path) -> Errors {
    let mut errors = validate_label_name(text(condition, "type"), &path.child("type"));
    let status = text(condition, "status");
    if !matches!(status, "True" | "False" | "Unknown") {
        errors.push(Error::not_supported(
            &path.child("status"),
            status,
            &["False", "True", "Unknown"],
        ));
    }
    let generation = condition["observedGeneration"].as_i64().unwrap_or_default();
    if generation < 0 {
        errors.push(Error::invalid(
            &path.child("observedGeneration"),
            generation,
            "must be greater than or equal to zero",
        ));
    }
    if text(condition, "lastTransitionTime").is_empty() {
        errors.push(Error::required(&path.child("lastTransitionTime"), ""));
    }
    errors.extend(reason_errors(text(condition, "reason"), &path.child("reason")));
    if text(condition, "message").len() > MAX_MESSAGE {
        errors.push(Error::too_long(&path.child("message"), MAX_MESSAGE));
    }
    errors
}

fn reason_errors(reason: &str, path: &Path) -> Errors {
    if reason.is_empty() {
        return vec![Error::required(path, "")];
    }
    let mut errors = Vec::new();
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let valid = reason.starts_with(|c: char| c.is_ascii_alphabetic())
        && reason.ends_with(word)
        && reason.chars().all(|c| word(c) || matches!(c, ',' | ':'));
    if !valid {
        let rule = "a condition reason must start with alphabetic character, optionally followed by a string of alphanumeric \
                    characters or '_,:', and must end with an alphanumeric character or '_'";
        let examples = ["my_name", "MY_NAME", "MyName", "ReasonA,ReasonB", "ReasonA:ReasonB"];
        let message =
            names::regex_message(rule, "[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?", &examples);
        errors.push(Error::invalid(path, reason, message));
    }
    if reason.len() > MAX_REASON {
        errors.push(Error::too_long(path, MAX_REASON));
    }
    errors
}
