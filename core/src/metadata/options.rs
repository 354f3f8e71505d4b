//! The options of requests.

use crate::field::{Error, Errors, Path};
use serde_json::Value;

/// What a patch is, as far as its options care.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PatchForm {
    /// Server-side apply.
    Apply,
    /// Any other.
    Other,
}

/// What is wrong with the name of a field manager: up to 128 bytes, printable.
#[must_use]
pub fn validate_field_manager(manager: &str, path: &Path) -> Errors {
    const MAX: usize = 128;
    let mut errors = Vec::new();
    if manager.len() > MAX {
        errors.push(Error::too_long(path, MAX));
    }
    for (at, c) in
        manager.char_indices().filter(|(_, c)| c.is_control() || c.is_whitespace() && *c != ' ')
    {
        let text = format!("invalid character U+{:04X} (at position {at})", c as u32);
        errors.push(Error::invalid(path, manager, text));
    }
    errors
}

/// What is wrong with `dryRun`.
#[must_use]
pub fn validate_dry_run(values: &[&str], path: &Path) -> Errors {
    if values.iter().all(|value| *value == "All") {
        return Vec::new();
    }
    vec![Error::not_supported(path, values.to_vec(), &["All"])]
}

/// What is wrong with `fieldValidation`.
#[must_use]
pub fn validate_field_validation(value: &str, path: &Path) -> Errors {
    if matches!(value, "" | "Ignore" | "Strict" | "Warn") {
        return Vec::new();
    }
    vec![Error::not_supported(path, value, &["", "Ignore", "Strict", "Warn"])]
}

/// What is wrong with the options of a create or an update.
#[must_use]
pub fn validate_create_options(manager: &str, dry_run: &[&str], field_validation: &str) -> Errors {
    let mut errors = validate_field_manager(manager, &Path::new("fieldManager"));
    errors.extend(validate_dry_run(dry_run, &Path::new("dryRun")));
    errors.extend(validate_field_validation(field_validation, &Path::new("fieldValidation")));
    errors
}

/// What is wrong with the options of a patch.
#[must_use]
pub fn validate_patch_options(
    form: PatchForm,
    force: Option<bool>,
    manager: &str,
    dry_run: &[&str],
    field_validation: &str,
) -> Errors {
    let mut errors = Vec::new();
    match form {
        PatchForm::Apply if manager.is_empty() => {
            errors.push(Error::required(&Path::new("fieldManager"), "is required for apply patch"));
        }
        PatchForm::Other if force.is_some() => {
            errors.push(Error::forbidden(
                &Path::new("force"),
                "may not be specified for non-apply patch",
            ));
        }
        _ => {}
    }
    errors.extend(validate_create_options(manager, dry_run, field_validation));
    errors
}

/// What is wrong with DeleteOptions as JSON.
#[must_use]
pub fn validate_delete_options(options: &Value) -> Errors {
    let mut errors = Vec::new();
    let at = Path::new("propagationPolicy");
    let policy = options["propagationPolicy"].as_str();
    if let Some(policy) = policy {
        if options["orphanDependents"].is_boolean() {
            let text = "orphanDependents and deletionPropagation cannot be both set";
            errors.push(Error::invalid(&at, policy, text));
        }
        if !matches!(policy, "Foreground" | "Background" | "Orphan") {
            // In this order, which is not the sorted one.
            let detail = "supported values: \"Foreground\", \"Background\", \"Orphan\", \"nil\"";
            errors.push(Error { detail: detail.into(), ..Error::not_supported(&at, policy, &[]) });
        }
    }
    let dry_run: Vec<_> =
        options["dryRun"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    errors.extend(validate_dry_run(&dry_run, &Path::new("dryRun")));
    errors
}
