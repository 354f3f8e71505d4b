//! Structural schemas: every field has one type, and what stands under `anyOf` and the like only narrows it.

use crate::{
    props::{Additional, Props},
    value,
};
use kubeplane_core::field::{Error, Errors, Path};

#[derive(Clone, Copy, PartialEq)]
enum Level {
    Root,
    Item,
    Field,
}

/// What keeps a schema from being structural, sorted as printed.
pub(super) fn validate(props: &Props, path: &Path) -> Errors {
    let mut errors = node(props, Level::Root, path);
    errors.extend(complete(props, Some(props), path, path));
    errors.sort_by_cached_key(ToString::to_string);
    errors
}

fn int_or_string(any_of: &[Props]) -> bool {
    let plain = |kind: &str| Props { kind: kind.to_owned(), ..Props::default() };
    any_of.len() == 2 && any_of[0] == plain("integer") && any_of[1] == plain("string")
}

fn node(props: &Props, level: Level, path: &Path) -> Errors {
    let mut errors = Vec::new();
    if props.kind == "array" && props.items.is_none() {
        errors.push(Error::required(&path.child("items"), "must be specified"));
    }
    if let Some(items) = &props.items {
        errors.extend(node(items, Level::Item, &path.child("items")));
    }
    for (name, property) in &props.properties {
        errors.extend(node(property, Level::Field, &path.child("properties").key(name)));
    }
    if let Some(additional) = &props.additional {
        let at = path.child("additionalProperties");
        if level == Level::Root {
            errors.push(Error::forbidden(&at, "must not be used at the root"));
        }
        if let Some(values) = additional.schema() {
            errors.extend(node(values, Level::Field, &at));
        }
        if props.embedded {
            let detail = "must not be used if x-kubernetes-embedded-resource is set";
            errors.push(Error::forbidden(&at, detail));
        }
    }
    if props.int_or_string {
        let flags = [
            ("x-kubernetes-preserve-unknown-fields", props.preserves_unknown()),
            ("x-kubernetes-embedded-resource", props.embedded),
        ];
        let detail = "must be false if x-kubernetes-int-or-string is true";
        let set = flags.into_iter().filter(|(_, set)| *set);
        errors.extend(set.map(|(name, _)| Error::invalid(&path.child(name), true, detail)));
    }
    let first_all_of = props.all_of.first().is_some_and(|first| int_or_string(&first.any_of));
    errors.extend(narrowing(props, int_or_string(&props.any_of), first_all_of, path));
    errors.extend(own_type(props, level, path));
    errors.extend(metadata(props, level, path));
    errors
}

fn own_type(props: &Props, level: Level, path: &Path) -> Errors {
    let at = path.child("type");
    let mut errors = Vec::new();
    if props.embedded && props.kind != "object" {
        let detail = "must be object if x-kubernetes-embedded-resource is true";
        errors.push(match props.kind.as_str() {
            "" => Error::required(&at, detail),
            kind => Error::invalid(&at, kind, detail),
        });
    } else if props.kind.is_empty() && !props.int_or_string && !props.preserves_unknown() {
        errors.push(Error::required(
            &at,
            match level {
                Level::Root => "must not be empty at the root",
                Level::Item => "must not be empty for specified array items",
                Level::Field => "must not be empty for specified object fields",
            },
        ));
    }
    if level == Level::Root && !props.kind.is_empty() && props.kind != "object" {
        errors.push(Error::invalid(&at, props.kind.as_str(), "must be object at the root"));
    }
    errors
}

fn metadata(props: &Props, level: Level, path: &Path) -> Errors {
    let mut errors = Vec::new();
    let is_resource = level == Level::Root || props.embedded;
    let at = |name: &str| path.child("properties").key(name);
    for name in ["kind", "apiVersion"] {
        let Some(property) = props.properties.get(name).filter(|_| is_resource) else { continue };
        if property.kind != "string" {
            errors.push(Error::invalid(
                &at(name).child("type"),
                property.kind.as_str(),
                "must be string",
            ));
        }
    }
    if let Some(own) = props.properties.get("metadata") {
        if is_resource && own.kind != "object" {
            errors.push(Error::invalid(
                &at("metadata").child("type"),
                own.kind.as_str(),
                "must be object",
            ));
        }
        let named =
            own.properties.keys().all(|name| matches!(name.as_str(), "name" | "generateName"));
        let mut rest = Props { kind: String::new(), default: None, ..own.clone() };
        if named {
            rest.properties.clear();
        }
        if level == Level::Root && rest != Props::default() {
            let detail = "must not specify anything other than name and generateName, but metadata is implicitly specified";
            errors.push(Error::forbidden(&at("metadata"), detail));
        }
    }
    if props.embedded && !props.preserves_unknown() && props.properties.is_empty() {
        let detail = "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields";
        errors.push(Error::required(&path.child("properties"), detail));
    }
    errors
}

/// What stands under `anyOf` and the like of a node.
fn narrowing(props: &Props, skip_any_of: bool, skip_first_all_of: bool, path: &Path) -> Errors {
    let mut errors = Vec::new();
    let any_of = if skip_any_of { &[][..] } else { &props.any_of };
    for (name, schemas) in [("anyOf", any_of), ("allOf", &props.all_of), ("oneOf", &props.one_of)] {
        for (index, schema) in schemas.iter().enumerate() {
            let skip = name == "allOf" && index == 0 && skip_first_all_of;
            errors.extend(nested(schema, skip, &path.child(name).index(index)));
        }
    }
    if let Some(not) = &props.not {
        errors.extend(nested(not, false, &path.child("not")));
    }
    if !props.pattern.is_empty()
        && let Err(why) = value::pattern(&props.pattern)
    {
        let why = kubeplane_cel::go_words(&props.pattern, &why);
        let detail = format!("must be a valid regular expression, but isn't: {why}");
        errors.push(Error::invalid(&path.child("pattern"), props.pattern.as_str(), detail));
    }
    errors
}

/// Whether anything may stand beside the properties of a nested schema, or is asked of it.
fn additional_is_open(props: &Props) -> bool {
    props.additional.as_ref().is_some_and(|additional| *additional != Additional::Any(false))
}

fn nested(props: &Props, skip_any_of: bool, path: &Path) -> Errors {
    let mut errors = narrowing(props, skip_any_of, false, path);
    if let Some(items) = &props.items {
        errors.extend(nested(items, false, &path.child("items")));
    }
    for (name, property) in &props.properties {
        errors.extend(nested(property, false, &path.child("properties").key(name)));
    }
    let refused = [
        ("type", !props.kind.is_empty(), "empty"),
        ("additionalProperties", additional_is_open(props), "undefined"),
        ("default", props.default.is_some(), "undefined"),
        ("title", !props.title.is_empty(), "empty"),
        ("description", !props.description.is_empty(), "empty"),
        ("nullable", props.nullable, "false"),
        ("x-kubernetes-preserve-unknown-fields", props.preserves_unknown(), "false"),
        ("x-kubernetes-embedded-resource", props.embedded, "false"),
        ("x-kubernetes-int-or-string", props.int_or_string, "false"),
        ("x-kubernetes-list-map-keys", !props.list_keys.is_empty(), "empty"),
        ("x-kubernetes-list-type", props.list_type.is_some(), "undefined"),
        ("x-kubernetes-map-type", props.map_type.is_some(), "undefined"),
        ("x-kubernetes-validations", !props.rules.is_empty(), "empty"),
    ];
    let set = refused.into_iter().filter(|(_, set, _)| *set);
    errors.extend(set.map(|(name, _, wanted)| {
        Error::forbidden(&path.child(name), format!("must be {wanted} to be structural"))
    }));
    if props.properties.contains_key("metadata") {
        let at = path.child("properties").key("metadata");
        errors.push(Error::forbidden(&at, "must not be specified in a nested context"));
    }
    errors
}

/// What nested schemas speak of must be there outside of them.
fn complete(nested: &Props, outer: Option<&Props>, outer_path: &Path, path: &Path) -> Errors {
    let mut errors = Vec::new();
    let listed = [("allOf", &nested.all_of), ("anyOf", &nested.any_of), ("oneOf", &nested.one_of)];
    let each = listed.into_iter().flat_map(|(name, schemas)| {
        schemas
            .iter()
            .enumerate()
            .map(move |(index, schema)| (schema, path.child(name).index(index)))
    });
    let not = nested.not.as_deref().map(|not| (not, path.child("not")));
    for (schema, at) in not.into_iter().chain(each) {
        errors.extend(complete_nested(schema, outer, outer_path, &at));
    }
    errors
}

fn complete_nested(
    nested: &Props,
    outer: Option<&Props>,
    outer_path: &Path,
    path: &Path,
) -> Errors {
    let Some(own) = outer else {
        return vec![Error::required(outer_path, format!("because it is defined in {path}"))];
    };
    let mut errors = complete(nested, outer, outer_path, path);
    if let Some(items) = &nested.items {
        let (outer_at, at) = (outer_path.child("items"), path.child("items"));
        errors.extend(complete_nested(items, own.items.as_deref(), &outer_at, &at));
    }
    for (name, property) in &nested.properties {
        let below = |path: &Path| path.child("properties").key(name);
        match own.properties.get(name) {
            None => {
                let detail = format!("because it is defined in {}", below(path));
                errors.push(Error::required(&below(outer_path), detail));
            }
            outer => {
                errors.extend(complete_nested(property, outer, &below(outer_path), &below(path)))
            }
        }
    }
    errors
}
