//! The versions of a definition and their parts: schema, subresources, printer columns, selectable fields.

use super::{Options, schema};
use crate::{fieldpath, kind::versions, props::Props};
use kubeplane_core::{
    Object,
    field::{Error, Errors, Path, verbatim},
};
use serde_json::{Value, json};

const MAX_SELECTABLE_FIELDS: usize = 8;
const COLUMN_TYPES: [&str; 5] = ["boolean", "date", "integer", "number", "string"];
const COLUMN_FORMATS: [&str; 8] =
    ["byte", "date", "date-time", "double", "float", "int32", "int64", "password"];

/// A version, read once.
#[derive(Debug)]
pub(super) struct Version<'a> {
    pub(super) name: String,
    pub(super) served: bool,
    pub(super) json: &'a Value,
    pub(super) schema: Option<Props>,
}

impl<'a> Version<'a> {
    pub(super) fn all(object: &'a Object) -> Vec<Self> {
        let read = versions(object).iter().map(|json| Self {
            name: json.get("name").and_then(Value::as_str).unwrap_or_default().to_owned(),
            served: json.get("served") == Some(&Value::Bool(true)),
            schema: Self::schema_of(json).map(Props::parse),
            json,
        });
        read.collect()
    }

    fn schema_of(json: &Value) -> Option<&Value> {
        json.pointer("/schema/openAPIV3Schema").filter(|schema| schema.is_object())
    }

    fn part(&self, field: &str) -> Option<&'a Value> {
        self.json.get(field).filter(|part| !part.is_null() && **part != json!([]))
    }

    fn has_status(&self) -> bool {
        self.json.pointer("/subresources/status").is_some_and(|status| !status.is_null())
    }
}

/// Which parts all versions have in common.
#[derive(Debug)]
pub(super) struct Shared {
    schema: bool,
    subresources: bool,
    columns: bool,
    fields: bool,
}

impl Shared {
    pub(super) fn of(versions: &[Version<'_>]) -> Self {
        let same = |field: &str| {
            versions.windows(2).all(|pair| pair[0].part(field) == pair[1].part(field))
        };
        Self {
            schema: same("schema"),
            subresources: same("subresources"),
            columns: same("additionalPrinterColumns"),
            fields: same("selectableFields"),
        }
    }
}

/// What is wrong with the parts of one version that are its own.
pub(super) fn own_parts(
    version: &Version<'_>,
    shared: &Shared,
    options: &Options,
    path: &Path,
) -> Errors {
    let mut errors = deprecation(version.json, path);
    if !shared.schema {
        errors.extend(schema::validate(
            version,
            version.has_status(),
            options,
            &path.child("schema"),
        ));
    }
    if !shared.subresources {
        errors.extend(subresources(version, &path.child("subresources")));
    }
    if !shared.columns {
        errors.extend(columns(version, &path.child("additionalPrinterColumns")));
    }
    if !shared.fields {
        let without = "may only be set when `version.schema.openAPIV3Schema` is not included";
        let at = path.child("selectableFields");
        errors.extend(selectable_fields(version, options, without, &at));
    }
    errors
}

/// What is wrong with the parts all versions share.
pub(super) fn shared_parts(
    first: &Version<'_>,
    all: &[Version<'_>],
    shared: &Shared,
    options: &Options,
    path: &Path,
) -> Errors {
    let mut errors = Vec::new();
    if shared.schema {
        let status = all.iter().any(Version::has_status);
        errors.extend(schema::validate(first, status, options, &path.child("validation")));
    }
    if shared.subresources {
        errors.extend(subresources(first, &path.child("subresources")));
    }
    if shared.columns {
        errors.extend(columns(first, &path.child("additionalPrinterColumns")));
    }
    if shared.fields {
        let without = "may only be set when validations.schema is included";
        let at = path.child("selectableFields");
        errors.extend(selectable_fields(first, options, without, &at));
    }
    errors
}

/// Names must be unique and one version be stored.
pub(super) fn flags(versions: &[Version<'_>], shared: &Shared, path: &Path) -> Errors {
    let mut errors = Vec::new();
    let at = path.child("versions");
    let shown = || internal(versions, shared);
    let unique = versions
        .iter()
        .enumerate()
        .all(|(index, version)| versions[..index].iter().all(|other| other.name != version.name));
    if !unique {
        errors.push(Error::invalid(&at, shown(), "must contain unique version names"));
    }
    let stored =
        versions.iter().filter(|version| version.json.get("storage") == Some(&Value::Bool(true)));
    if stored.count() != 1 {
        errors.push(Error::invalid(
            &at,
            shown(),
            "must have exactly one version marked as storage version",
        ));
    }
    if let Some(first) = versions.first() {
        let wrong = kubeplane_core::names::is_dns1035_label(&first.name);
        if !first.name.is_empty() && !wrong.is_empty() {
            errors.push(Error::invalid(
                &path.child("version"),
                first.name.as_str(),
                wrong.join(","),
            ));
        }
    }
    errors
}

/// Versions as the original prints them; parts that are shared stand elsewhere.
fn internal(versions: &[Version<'_>], shared: &Shared) -> Value {
    if versions.is_empty() {
        return Value::Null;
    }
    let each: Vec<_> = versions.iter().map(|version| one_internal(version, shared)).collect();
    verbatim(&format!("[{}]", each.join(",")))
}

fn one_internal(version: &Version<'_>, shared: &Shared) -> String {
    let part = |field: &str, shared: bool| {
        version.part(field).filter(|_| !shared).cloned().unwrap_or_default()
    };
    let flag = |field: &str| {
        Value::from(version.json.get(field).and_then(Value::as_bool).unwrap_or_default())
    };
    let fields = [
        ("Name", version.name.as_str().into()),
        ("Served", version.served.into()),
        ("Storage", flag("storage")),
        ("Deprecated", flag("deprecated")),
        ("DeprecationWarning", version.part("deprecationWarning").cloned().unwrap_or_default()),
        ("Schema", part("schema", shared.schema)),
        ("Subresources", part("subresources", shared.subresources)),
        ("AdditionalPrinterColumns", part("additionalPrinterColumns", shared.columns)),
        ("SelectableFields", part("selectableFields", shared.fields)),
    ];
    let each: Vec<_> = fields.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
    format!("{{{}}}", each.join(","))
}

fn deprecation(version: &Value, path: &Path) -> Errors {
    let at = path.child("deprecationWarning");
    let Some(warning) = version.get("deprecationWarning").and_then(Value::as_str) else {
        return Vec::new();
    };
    let invalid = |detail: String| Error::invalid(&at, warning, detail);
    if version.get("deprecated") != Some(&Value::Bool(true)) {
        return vec![invalid("can only be set for deprecated versions".to_owned())];
    }
    let mut errors = Vec::new();
    if warning.len() > 256 {
        errors.push(invalid("must be <= 256 characters long".to_owned()));
    }
    if warning.is_empty() {
        errors.push(invalid("must not be an empty string".to_owned()));
    }
    if let Some((index, _)) = warning.char_indices().find(|(_, c)| !is_printable(*c)) {
        errors.push(invalid(format!(
            "must only contain printable UTF-8 characters; non-printable character found at index {index}"
        )));
    }
    errors
}

/// Whether a character can be printed by the standards of the original: letters, marks, numbers, signs and the plain space.
fn is_printable(c: char) -> bool {
    match c {
        ' ' => true,
        // What Unicode counts to formats, what is for private use and what is no character.
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{feff}' | '\u{110bd}' | '\u{110cd}' => false,
        '\u{600}'..='\u{605}' | '\u{6dd}' | '\u{70f}' | '\u{890}' | '\u{891}' | '\u{8e2}' => false,
        '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' => false,
        '\u{e000}'..='\u{f8ff}' | '\u{fff0}'..='\u{fffb}' | '\u{fffe}' | '\u{ffff}' => false,
        '\u{13430}'..='\u{1343f}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' => false,
        '\u{e0000}'..='\u{e007f}' | '\u{f0000}'..='\u{10ffff}' => false,
        c => !c.is_control() && !c.is_whitespace(),
    }
}

fn subresources(version: &Version<'_>, path: &Path) -> Errors {
    let Some(scale) = version.json.pointer("/subresources/scale").filter(|scale| scale.is_object())
    else {
        return Vec::new();
    };
    let text = |field: &str| scale.get(field).and_then(Value::as_str).unwrap_or_default();
    let mut errors = Vec::new();
    for (field, root) in [("specReplicasPath", "spec"), ("statusReplicasPath", "status")] {
        let (at, own) = (path.child("scale").child(field), text(field));
        if own.is_empty() {
            errors.push(Error::required(&at, ""));
        } else if let Some(error) = not_simple(own, &at) {
            errors.push(error);
        } else if !own.starts_with(&format!(".{root}.")) {
            errors.push(Error::invalid(&at, own, format!("should be a json path under .{root}")));
        }
    }
    let (at, own) = (path.child("scale.labelSelectorPath"), text("labelSelectorPath"));
    if own.is_empty() {
        return errors;
    }
    if let Some(error) = not_simple(own, &at) {
        errors.push(error);
    } else if !own.starts_with(".spec.") && !own.starts_with(".status.") {
        errors.push(Error::invalid(
            &at,
            own,
            "should be a json path under either .spec or .status",
        ));
    }
    errors
}

fn not_simple(path: &str, at: &Path) -> Option<Error> {
    let detail = "must be a simple json path starting with .";
    (!path.starts_with('.')).then(|| Error::invalid(at, path, detail))
}

fn columns(version: &Version<'_>, path: &Path) -> Errors {
    let columns = version.part("additionalPrinterColumns").and_then(Value::as_array);
    let each = columns.into_iter().flatten().enumerate();
    each.flat_map(|(index, column)| validate_column(column, &path.index(index))).collect()
}

fn validate_column(column: &Value, path: &Path) -> Errors {
    let text = |field: &str| column.get(field).and_then(Value::as_str).unwrap_or_default();
    let mut errors = Vec::new();
    if text("name").is_empty() {
        errors.push(Error::required(&path.child("name"), ""));
    }
    let (kind, detail) = (text("type"), format!("must be one of {}", COLUMN_TYPES.join(",")));
    if kind.is_empty() {
        errors.push(Error::required(&path.child("type"), detail));
    } else if !COLUMN_TYPES.contains(&kind) {
        errors.push(Error::invalid(&path.child("type"), kind, detail));
    }
    let format = text("format");
    if !format.is_empty() && !COLUMN_FORMATS.contains(&format) {
        let detail = format!("must be one of {}", COLUMN_FORMATS.join(","));
        errors.push(Error::invalid(&path.child("format"), format, detail));
    }
    let (at, json_path) = (path.child("JSONPath"), text("jsonPath"));
    if json_path.is_empty() {
        errors.push(Error::required(&at, ""));
    } else {
        errors.extend(not_simple(json_path, &at));
    }
    errors
}

/// `without`: what is said where there is no schema.
fn selectable_fields(
    version: &Version<'_>,
    options: &Options,
    without: &str,
    path: &Path,
) -> Errors {
    let Some(Value::Array(fields)) = version.part("selectableFields") else { return Vec::new() };
    let Some(schema) = &version.schema else { return vec![Error::invalid(path, "", without)] };
    let mut errors = Vec::new();
    let mut seen = Vec::new();
    for (index, field) in fields.iter().enumerate() {
        let at = path.index(index).child("jsonPath");
        let own = field.get("jsonPath").and_then(Value::as_str).unwrap_or_default();
        if own.is_empty() {
            errors.push(Error::required(&at, ""));
            continue;
        }
        let (found, node) = match fieldpath::resolve(own, schema, false) {
            Ok(found) => found,
            Err(why) => {
                errors.push(Error::invalid(&at, own, format!("is an invalid path: {why}")));
                continue;
            }
        };
        if found.as_str().split('.').next() == Some("metadata") {
            errors.push(Error::invalid(&at, own, "must not point to fields in metadata"));
        }
        if !matches!(node.kind.as_str(), "string" | "boolean" | "integer") {
            let detail = "must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed.";
            errors.push(Error::invalid(&at, own, detail));
        }
        if seen.contains(&found) {
            errors.push(Error::duplicate(&at, own));
        } else {
            seen.push(found);
        }
    }
    if seen.len() > MAX_SELECTABLE_FIELDS && !options.many_fields.contains(&version.name) {
        errors.push(Error::too_many(path, seen.len(), MAX_SELECTABLE_FIELDS));
    }
    errors
}
