//! The rules of `metadata` that hold for every kind, and of the parts other fields share with it: labels,
//! selectors, conditions, and the options of requests.

mod options;
mod parts;

pub use options::{
    PatchForm, validate_create_options, validate_delete_options, validate_dry_run,
    validate_field_manager, validate_field_validation, validate_patch_options,
};
pub use parts::{
    validate_annotations, validate_condition, validate_conditions, validate_finalizer_name,
    validate_label_name, validate_label_selector, validate_labels,
};

use crate::{
    Definition, Object,
    definition::NameRule,
    field::{Error, Errors, Path},
    names,
};
use serde_json::Value;

/// Keeps the object until its dependents are gone.
pub const FOREGROUND_FINALIZER: &str = "foregroundDeletion";
/// Has the object's dependents left alone.
pub const ORPHAN_FINALIZER: &str = "orphan";

/// What is wrong with the metadata of an object about to be created, its name already generated.
#[must_use]
pub fn validate_metadata(object: &Object, namespaced: bool, rule: NameRule, path: &Path) -> Errors {
    let mut errors = identity_errors(object, namespaced, rule, path);
    errors.extend(common_errors(object, path));
    errors.extend(finalizer_errors(object, &path.child("finalizers")));
    errors.extend(managed_field_errors(object, &path.child("managedFields")));
    errors
}

/// What is wrong with the metadata of an object about to be created, by the rules of its kind.
#[must_use]
pub fn validate_created(object: &Object, definition: &Definition) -> Errors {
    let path = Path::new("metadata");
    let rule = definition.strategy.name_rule();
    let mut errors = validate_metadata(object, definition.is_namespaced(), rule, &path);
    if definition.metadata.qualified_finalizers {
        errors.extend(unqualified_finalizers(object, &path));
    }
    errors
}

/// What is wrong with an updated object's metadata, by the rules of all kinds and then as often again as the rules of
/// its own kind say. The resource version must be there; that it is the present one is the store's to check.
#[must_use]
pub fn validate_updated(
    object: &Object,
    old: &Object,
    definition: &Definition,
    subresource: &str,
) -> Errors {
    let path = Path::new("metadata");
    let (rules, checks) = (definition.metadata, definition.metadata.checks(subresource));
    let common = common_errors(object, &path);
    let finalizers = finalizer_errors(object, &path.child("finalizers"));
    let managed = managed_field_errors(object, &path.child("managedFields"));
    let unqualified = match rules.qualified_finalizers {
        true => unqualified_finalizers(object, &path),
        false => Vec::new(),
    };
    let change = change_errors(object, old, &path);
    let as_new = |rule, again: &[Error]| -> Vec<Error> {
        let own = identity_errors(object, definition.is_namespaced(), rule, &path);
        let rest = [&common, &finalizers, &managed, again].into_iter().flatten().cloned();
        own.into_iter().chain(rest).collect()
    };
    let as_changed = [&change, &common, &managed];
    // All kinds are looked at so first, then each in its own way.
    let mut errors = as_new(NameRule::PathSegment, &[]);
    errors.extend(as_changed.into_iter().flatten().cloned());
    for _ in 0..checks.whole {
        errors.extend(as_new(definition.strategy.name_rule(), &unqualified));
    }
    for _ in 0..checks.change {
        errors.extend(as_changed.into_iter().flatten().chain(&unqualified).cloned());
    }
    errors
}

/// Name, namespace and generation.
fn identity_errors(object: &Object, namespaced: bool, rule: NameRule, path: &Path) -> Errors {
    let mut errors = Vec::new();
    let prefix = object.text(&["metadata", "generateName"]);
    if !prefix.is_empty() {
        let found = names::check(rule, prefix, true);
        errors.extend(
            found.into_iter().map(|text| Error::invalid(&path.child("generateName"), prefix, text)),
        );
    }
    let (name, at) = (object.name(), path.child("name"));
    if name.is_empty() {
        errors.push(Error::required(&at, "name or generateName is required"));
    } else {
        errors.extend(
            names::check(rule, name, false).into_iter().map(|text| Error::invalid(&at, name, text)),
        );
    }
    errors.extend(namespace_errors(object.namespace(), namespaced, &path.child("namespace")));
    if object.generation() < 0 {
        let text = "must be greater than or equal to 0";
        errors.push(Error::invalid(&path.child("generation"), object.generation(), text));
    }
    errors
}

/// What may not change.
fn change_errors(object: &Object, old: &Object, path: &Path) -> Errors {
    let mut errors = Vec::new();
    if old.is_deleting() {
        errors.extend(new_finalizer_error(object, old, &path.child("finalizers")));
    }
    if object.resource_version().is_empty() {
        errors.push(Error::invalid(
            &path.child("resourceVersion"),
            "",
            "must be specified for an update",
        ));
    }
    if object.generation() < old.generation() {
        errors.push(Error::invalid(
            &path.child("generation"),
            object.generation(),
            "must not be decremented",
        ));
    }
    let immutable = [
        "name",
        "namespace",
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
    ];
    for field in immutable {
        let value =
            |object: &Object| object.at(&["metadata", field]).cloned().filter(|value| *value != "");
        let (new, old) = (value(object), value(old));
        if new != old {
            let text = matches!(field, "name" | "namespace" | "uid");
            let missing = if text { Value::from("") } else { Value::Null };
            errors.push(Error::invalid(
                &path.child(field),
                new.unwrap_or(missing),
                "field is immutable",
            ));
        }
    }
    errors
}

/// Finalizers that are neither the system's own nor of a domain.
fn unqualified_finalizers(object: &Object, path: &Path) -> Errors {
    let system = ["kubernetes", ORPHAN_FINALIZER, FOREGROUND_FINALIZER];
    let at = path.child("finalizers");
    let why = "name is neither a standard finalizer name nor is it fully qualified";
    let names = object.finalizers().into_iter().enumerate();
    names
        .filter(|(_, name)| !name.contains('/') && !system.contains(name))
        .map(|(index, name)| Error::invalid(&at.index(index), name, why))
        .collect()
}

fn namespace_errors(namespace: &str, namespaced: bool, path: &Path) -> Errors {
    match (namespaced, namespace.is_empty()) {
        (true, true) => vec![Error::required(path, "")],
        (true, false) => {
            let found = names::is_dns1123_label(namespace);
            found.into_iter().map(|text| Error::invalid(path, namespace, text)).collect()
        }
        (false, true) => Vec::new(),
        (false, false) => vec![Error::forbidden(path, "not allowed on this type")],
    }
}

fn common_errors(object: &Object, path: &Path) -> Errors {
    let mut errors = validate_labels(object.labels(), &path.child("labels"));
    errors.extend(validate_annotations(object.annotations(), &path.child("annotations")));
    errors.extend(owner_errors(object, &path.child("ownerReferences")));
    errors
}

fn list<'a>(object: &'a Object, field: &str) -> &'a [Value] {
    object.at(&["metadata", field]).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}

fn owner_errors(object: &Object, path: &Path) -> Errors {
    let mut errors = Vec::new();
    let mut controller: Option<String> = None;
    let owners = list(object, "ownerReferences");
    for owner in owners {
        errors.extend(owner_error(owner, path));
        if owner["controller"] == true {
            let found = format!("{}/{}", text(owner, "kind"), text(owner, "name"));
            match &controller {
                None => controller = Some(found),
                Some(first) => {
                    let text = format!(
                        "Only one reference can have Controller set to true. Found \"true\" in references for {first} and {found}"
                    );
                    errors.push(Error::invalid(path, owners.to_vec(), text));
                }
            }
        }
    }
    errors
}

fn owner_error(owner: &Value, path: &Path) -> Errors {
    let mut errors = Vec::new();
    let version = text(owner, "apiVersion");
    let version_part = if version.matches('/').count() > 1 {
        ""
    } else {
        version.rsplit('/').next().unwrap_or_default()
    };
    if version_part.is_empty() {
        errors.push(Error::invalid(
            &path.child("apiVersion"),
            version,
            "version must not be empty",
        ));
    }
    for field in ["kind", "name", "uid"] {
        if text(owner, field).is_empty() {
            errors.push(Error::invalid(&path.child(field), "", "must not be empty"));
        }
    }
    if version == "v1" && text(owner, "kind") == "Event" {
        errors.push(Error::invalid(
            path,
            owner.clone(),
            "/v1, Kind=Event is disallowed from being an owner",
        ));
    }
    errors
}

fn finalizer_errors(object: &Object, path: &Path) -> Errors {
    let finalizers = object.finalizers();
    let mut errors: Errors =
        finalizers.iter().flat_map(|name| validate_finalizer_name(name, path)).collect();
    if finalizers.contains(&ORPHAN_FINALIZER) && finalizers.contains(&FOREGROUND_FINALIZER) {
        let text =
            format!("finalizer {ORPHAN_FINALIZER} and {FOREGROUND_FINALIZER} cannot be both set");
        errors.push(Error::invalid(path, finalizers, text));
    }
    errors
}

fn new_finalizer_error(object: &Object, old: &Object, path: &Path) -> Option<Error> {
    let before = old.finalizers();
    let mut added: Vec<_> =
        object.finalizers().into_iter().filter(|name| !before.contains(name)).collect();
    added.sort_unstable();
    added.dedup();
    (!added.is_empty()).then(|| {
        let quoted: Vec<_> = added.iter().map(|name| crate::field::go_quote(name)).collect();
        let text =
            "no new finalizers can be added if the object is being deleted, found new finalizers";
        Error::forbidden(path, format!("{text} []string{{{}}}", quoted.join(", ")))
    })
}

fn managed_field_errors(object: &Object, path: &Path) -> Errors {
    const MAX_SUBRESOURCE: usize = 256;
    let mut errors = Vec::new();
    for (index, entry) in list(object, "managedFields").iter().enumerate() {
        let at = path.index(index);
        let (operation, form) = (text(entry, "operation"), text(entry, "fieldsType"));
        if !matches!(operation, "Apply" | "Update") {
            errors.push(Error::invalid(
                &at.child("operation"),
                operation,
                "must be `Apply` or `Update`",
            ));
        }
        if !form.is_empty() && form != "FieldsV1" {
            errors.push(Error::invalid(&at.child("fieldsType"), form, "must be `FieldsV1`"));
        }
        errors.extend(validate_field_manager(text(entry, "manager"), &at.child("manager")));
        if text(entry, "subresource").len() > MAX_SUBRESOURCE {
            errors.push(Error::too_long(&at.child("subresource"), MAX_SUBRESOURCE));
        }
    }
    errors
}

#[cfg(test)]
mod tests;
