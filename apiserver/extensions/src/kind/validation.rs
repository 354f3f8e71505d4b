//! What may be wrong with a CustomResourceDefinition, in the original's words and at its paths.
//!
//! The original looks at an internal form in which a part that all versions share (as the only one does) stands at
//! the top: `spec.validation`, `spec.subresources`, `spec.additionalPrinterColumns`. The paths follow it.

mod cel;
mod defaults;
mod names;
mod nonstructural;
mod schema;
mod structural;
mod versions;

use super::{conversion, stored_versions, versions as versions_of};
use crate::{
    approval::{self, Approval},
    conditions,
    props::Props,
};
use kubeplane_core::{
    Object,
    definition::NameRule,
    field::{Error, ErrorKind, Errors, Path, go_quote, verbatim},
    metadata::validate_metadata,
    names as rules,
};
use schema::is_extended;
use serde_json::{Value, json};
use versions::Version;

pub(crate) use nonstructural::{is_possible as may_be_nonstructural, note as note_structure};

/// What to ask of a definition; an update does not ask for what the old one lacked.
#[derive(Debug, Default)]
struct Options {
    immutable_names: bool,
    conversion: conversion::Asked,
    schema: bool,
    valid_types: bool,
    structural: bool,
    pruned_defaults: bool,
    atomic_sets: bool,
    map_keys: bool,
    /// Versions whose schema did not change: its cost is not held against it.
    unchanged: Vec<String>,
    /// Versions that may keep too many selectable fields.
    many_fields: Vec<String>,
}

impl Options {
    fn create() -> Self {
        Self {
            // Authorities need not be readable before the definition is established.
            conversion: conversion::Asked { known_review: true, authorities: false },
            schema: true,
            valid_types: true,
            structural: true,
            pruned_defaults: true,
            atomic_sets: true,
            map_keys: true,
            ..Self::default()
        }
    }

    fn update(object: &Object, old: &Object) -> Self {
        let before = Version::all(old);
        let schemas: Vec<&Props> =
            before.iter().filter_map(|version| version.schema.as_ref()).collect();
        let none = |is: &dyn Fn(&Props) -> bool| !schemas.iter().any(|schema| schema.any(is));
        let same = |version: &&Version, field: &str| {
            let old = before.iter().find(|old| old.name == version.name);
            old.is_some_and(|old| old.json.get(field) == version.json.get(field))
        };
        let after = Version::all(object);
        let named = |kept: &dyn Fn(&&Version) -> bool| {
            after.iter().filter(kept).map(|version| version.name.clone()).collect()
        };
        Self {
            immutable_names: conditions::is_true(old, "Established"),
            conversion: conversion::Asked {
                known_review: conversion::speaks_known_review(old.at(&["spec", "conversion"])),
                authorities: conditions::is_true(old, "Established")
                    && !conversion::has_invalid_authorities(old),
            },
            schema: before.iter().all(|version| version.schema.is_some()),
            valid_types: none(&|node| !schema::is_valid_type(&node.kind)),
            structural: !preserves(object)
                || schemas.iter().all(|schema| {
                    nonstructural::unreadable(schema).is_none()
                        && structural::validate(schema, &Path::root()).is_empty()
                })
                || after.iter().filter_map(|version| version.schema.as_ref()).any(is_extended),
            pruned_defaults: schemas.iter().all(|schema| defaults::are_pruned(schema)),
            atomic_sets: none(&schema::has_open_set),
            map_keys: none(&|node| !schema::map_keys(node, &Path::root()).is_empty()),
            unchanged: named(&|version| same(version, "schema")),
            many_fields: named(&|version| same(version, "selectableFields")),
        }
    }
}

/// What is wrong with a new definition.
pub(super) fn create(object: &Object) -> Errors {
    let mut errors = metadata(object);
    errors.extend(spec(object, &Options::create()));
    errors.extend(status(object));
    errors.extend(stored(object));
    errors.extend(approval(object, None));
    errors.extend(preserve_unknown(object, None));
    errors
}

/// What is wrong with a changed definition, beside its metadata.
pub(super) fn update(object: &Object, old: &Object) -> Errors {
    let options = Options::update(object, old);
    let mut errors = spec(object, &options);
    let immutable: &[&[&str]] = match options.immutable_names {
        true => &[&["scope"], &["names", "kind"], &["group"], &["names", "plural"]],
        false => &[&["group"], &["names", "plural"]],
    };
    for field in immutable {
        let keys: Vec<_> = ["spec"].iter().chain(*field).copied().collect();
        if object.text(&keys) != old.text(&keys) {
            errors.push(Error::invalid(
                &Path::new(keys.join(".")),
                object.text(&keys),
                "field is immutable",
            ));
        }
    }
    errors.extend(status(object));
    errors.extend(stored(object));
    errors.extend(approval(object, Some(old)));
    errors.extend(preserve_unknown(object, Some(old)));
    errors
}

/// What is wrong with the status.
pub(super) fn status(object: &Object) -> Errors {
    let names = object.at(&["status", "acceptedNames"]).unwrap_or(&Value::Null);
    names::validate(names, &Path::new("status.acceptedNames"))
}

/// Formats no one knows, in the order they stand there.
pub(super) fn unrecognized_formats(object: &Object) -> Vec<String> {
    let mut found = Vec::new();
    for schema in Version::all(object).iter().filter_map(|version| version.schema.as_ref()) {
        schema.walk(&mut |node| {
            if !crate::value::is_known_format(node) {
                found.push(node.format.clone());
            }
        });
    }
    found
}

/// An error that names the supported values in this order.
pub(super) fn unsupported(path: &Path, value: &str, supported: &[&str]) -> Error {
    let names: Vec<_> = supported.iter().map(|name| go_quote(name)).collect();
    let detail = format!("supported values: {}", names.join(", "));
    Error { kind: ErrorKind::NotSupported, path: path.clone(), value: value.into(), detail }
}

/// A struct as the original prints it: fields in order, and what HTML would take for markup escaped.
fn ordered(fields: &[(&str, Value)]) -> Value {
    let each: Vec<_> = fields.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
    let text = format!("{{{}}}", each.join(","));
    verbatim(&text.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026"))
}

/// What is wrong with the metadata: that the name is not made of others is told with what else is wrong with it.
fn metadata(object: &Object) -> Errors {
    let mut errors =
        validate_metadata(object, false, NameRule::DnsSubdomain, &Path::new("metadata"));
    let of_names = ["metadata.generateName", "metadata.name"];
    let named = errors.iter().take_while(|error| of_names.contains(&error.path.as_str())).count();
    errors.splice(named..named, name(object));
    errors
}

fn name(object: &Object) -> Errors {
    let wanted = format!(
        "{}.{}",
        object.text(&["spec", "names", "plural"]),
        object.text(&["spec", "group"])
    );
    if object.name().is_empty() || object.name() == wanted {
        return Vec::new();
    }
    let detail = "must be spec.names.plural+\".\"+spec.group";
    vec![Error::invalid(&Path::new("metadata.name"), object.name(), detail)]
}

fn spec(object: &Object, options: &Options) -> Errors {
    let path = Path::new("spec");
    let mut errors = group_and_scope(object, &path);
    let versions = Version::all(object);
    for (index, _) in versions.iter().enumerate().filter(|(_, version)| version.schema.is_none()) {
        let at = path.child("versions").index(index).child("schema").child("openAPIV3Schema");
        if options.schema {
            errors.push(Error::required(&at, ""));
        } else if versions[index].served && !preserves(object) {
            errors.push(Error::required(&at, "because otherwise all fields are pruned"));
        }
    }
    let has_default = |schema: &Props| schema.any(|node| node.default.is_some());
    if preserves(object) && versions.iter().any(|one| one.schema.as_ref().is_some_and(has_default))
    {
        let detail = "must be false in order to use defaults in the schema";
        errors.push(Error::invalid(&path.child("preserveUnknownFields"), true, detail));
    }
    let shared = versions::Shared::of(&versions);
    for (index, version) in versions.iter().enumerate() {
        let at = path.child("versions").index(index);
        let wrong = rules::is_dns1035_label(&version.name);
        if !wrong.is_empty() {
            errors.push(Error::invalid(&at.child("name"), version.name.as_str(), wrong.join(",")));
        }
        errors.extend(versions::own_parts(version, &shared, options, &at));
    }
    errors.extend(versions::flags(&versions, &shared, &path));
    errors.extend(names::required(object, &path.child("names")));
    let names = object.at(&["spec", "names"]).unwrap_or(&Value::Null);
    errors.extend(names::validate(names, &path.child("names")));
    if let Some(first) = versions.first() {
        errors.extend(versions::shared_parts(first, &versions, &shared, options, &path));
    }
    if let Some(conversion) = object.at(&["spec", "conversion"]).filter(|value| !value.is_null()) {
        let strategy = object.text(&["spec", "conversion", "strategy"]);
        if preserves(object) && strategy != "None" {
            let detail = "must be None if spec.preserveUnknownFields is true";
            errors.push(Error::invalid(
                &path.child("conversion").child("strategy"),
                strategy,
                detail,
            ));
        }
        errors.extend(conversion::validate(
            conversion,
            options.conversion,
            &path.child("conversion"),
        ));
    }
    errors
}

fn group_and_scope(object: &Object, path: &Path) -> Errors {
    let mut errors = Vec::new();
    let (group, at) = (object.text(&["spec", "group"]), path.child("group"));
    let wrong = rules::is_dns1123_subdomain(group);
    if group.is_empty() {
        errors.push(Error::required(&at, ""));
    } else if !wrong.is_empty() {
        errors.push(Error::invalid(&at, group, wrong.join(",")));
    } else if !group.contains('.') {
        errors.push(Error::invalid(&at, group, "should be a domain with at least one dot"));
    }
    let at = path.child("scope");
    match object.text(&["spec", "scope"]) {
        "" => errors.push(Error::required(&at, "")),
        "Cluster" | "Namespaced" => {}
        other => errors.push(unsupported(&at, other, &["Cluster", "Namespaced"])),
    }
    errors
}

fn stored(object: &Object) -> Errors {
    let path = Path::new("status.storedVersions");
    let stored = stored_versions(object);
    if stored.is_empty() {
        return vec![Error::invalid(&path, Value::Null, "must have at least one stored version")];
    }
    let mut errors = Vec::new();
    let name = |version: &Value| version.get("name").cloned().unwrap_or_default();
    let mut left = stored.to_vec();
    for version in versions_of(object) {
        let known = left.contains(&name(version));
        left.retain(|stored| *stored != name(version));
        if !known && version["storage"] == json!(true) {
            let detail = format!(
                "must have the storage version {}",
                name(version).as_str().unwrap_or_default()
            );
            errors.push(Error::invalid(&path, stored.to_vec(), detail));
        }
    }
    for (index, version) in stored.iter().enumerate() {
        if !versions_of(object).iter().any(|known| name(known) == *version) {
            let version = version.as_str().unwrap_or_default();
            let detail = format!(
                "missing from spec.versions; {version} was previously a storage version, and must remain in spec.versions until a storage migration ensures no data remains persisted in {version} and removes {version} from status.storedVersions"
            );
            errors.push(Error::invalid(&path.index(index), version, detail));
        }
    }
    errors
}

fn approval(object: &Object, old: Option<&Object>) -> Errors {
    let state = Approval::of(object);
    if !approval::is_protected(object) || old.is_some_and(|old| Approval::of(old) == state) {
        return Vec::new();
    }
    let path = Path::new("metadata.annotations").key(approval::ANNOTATION);
    let detail = state.told(object);
    match state {
        Approval::Bypassed | Approval::Approved => Vec::new(),
        Approval::Missing => vec![Error::required(&path, detail)],
        Approval::Invalid => {
            let found = object.annotation(approval::ANNOTATION).unwrap_or_default();
            vec![Error::invalid(&path, found, detail)]
        }
    }
}

/// Only definitions of old, which the original stored, say so.
fn preserves(object: &Object) -> bool {
    object.at(&["spec", "preserveUnknownFields"]) == Some(&Value::Bool(true))
}

fn preserve_unknown(object: &Object, old: Option<&Object>) -> Errors {
    if !preserves(object) || old.is_some_and(preserves) {
        return Vec::new();
    }
    let detail = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead";
    vec![Error::invalid(&Path::new("spec.preserveUnknownFields"), true, detail)]
}

#[cfg(test)]
mod tests;
