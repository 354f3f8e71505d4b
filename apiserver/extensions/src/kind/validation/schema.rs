//! What the schema of a version may say.

use super::{
    Options, cel::Rules, defaults, nonstructural, structural, unsupported, versions::Version,
};
use crate::{
    fieldpath,
    props::{Additional, Props},
};
use kubeplane_core::field::{Error, Errors, Path};
use serde_json::Value;

const TYPES: [&str; 6] = ["array", "boolean", "integer", "number", "object", "string"];
const REASONS: [&str; 4] =
    ["FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired"];

/// Where in a schema a node stands.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) path: Path,
    /// Why no default may stand here.
    no_defaults: Option<String>,
    in_metadata: bool,
    root: bool,
    /// The first place above whose items cannot be told apart on an update.
    pub(super) uncorrelated: Option<Path>,
}

impl Place {
    fn root(path: Path) -> Self {
        Self { path, no_defaults: None, in_metadata: false, root: true, uncorrelated: None }
    }

    fn at(&self, path: Path) -> Self {
        Self { path, root: false, ..self.clone() }
    }
}

pub(super) fn is_valid_type(kind: &str) -> bool {
    kind.is_empty() || TYPES.contains(&kind)
}

/// What is wrong with the schema of a version.
pub(super) fn validate(
    version: &Version<'_>,
    has_status: bool,
    options: &Options,
    path: &Path,
) -> Errors {
    let Some(props) = &version.schema else { return Vec::new() };
    let json = version.json.pointer("/schema/openAPIV3Schema").unwrap_or(&Value::Null);
    let path = path.child("openAPIV3Schema");
    let mut errors = Vec::new();
    if has_status {
        errors.extend(root_with_status(props, json, &path));
    }
    if props.nullable {
        errors
            .push(Error::forbidden(&path.child("nullable"), "nullable cannot be true at the root"));
    }
    let mut rules = None;
    let unreadable = nonstructural::unreadable(props);
    let structural = options.structural || is_extended(props);
    if unreadable.is_none() && structural {
        let mut found = structural::validate(props, &path);
        if found.is_empty() {
            found = defaults::validate(props, json, options.pruned_defaults, &path);
        }
        if found.is_empty() {
            rules = Some(Rules::new(options.unchanged.contains(&version.name)));
        }
        errors.extend(found);
    }
    let mut walk = Walk { options, rules, broken: Vec::new() };
    errors.extend(walk.node(props, json, &Place::root(path.clone()), Some(1)));
    errors.append(&mut walk.broken);
    // Mostly it was refused above, with its place.
    if let Some(why) = unreadable.filter(|_| structural && errors.is_empty()) {
        errors.push(Error::invalid(&path, "", why));
    }
    if let Some(rules) = walk.rules {
        errors.extend(rules.finish(&path));
    }
    errors
}

/// Whether a schema uses what only structural schemas can have.
pub(super) fn is_extended(props: &Props) -> bool {
    props.any(|node| {
        node.embedded
            || node.preserve_unknown.is_some()
            || node.int_or_string
            || !node.list_keys.is_empty()
            || node.list_type.is_some()
            || !node.rules.is_empty()
            || node.default.is_some()
    })
}

/// With a status subresource the schema of `status` must be that property's alone.
fn root_with_status(props: &Props, json: &Value, path: &Path) -> Errors {
    const ALLOWED: &str = "[Description Type Format Title Maximum ExclusiveMaximum Minimum ExclusiveMinimum MaxLength MinLength Pattern MaxItems MinItems UniqueItems MultipleOf Required Items Properties ExternalDocs Example XPreserveUnknownFields XValidations]";
    let mut errors = Vec::new();
    if !props.kind.is_empty() && props.kind != "object" {
        let detail = "only \"object\" is allowed as the type at the root of the schema if the status subresource is enabled";
        errors.push(Error::invalid(&path.child("type"), props.kind.as_str(), detail));
        return errors;
    }
    let refused = [
        !props.unsupported.is_empty(),
        props.dialect,
        !props.allowed.is_empty(),
        !props.all_of.is_empty(),
        !props.any_of.is_empty(),
        !props.one_of.is_empty(),
        props.not.is_some(),
        props.default.is_some(),
        props.additional.is_some(),
        props.max_properties.is_some(),
        props.min_properties.is_some(),
        props.nullable,
        props.embedded,
        props.int_or_string,
        props.list_type.is_some(),
        props.map_type.is_some(),
        !props.list_keys.is_empty(),
    ];
    if refused.contains(&true) {
        let detail = format!(
            "only {ALLOWED} fields are allowed at the root of the schema if the status subresource is enabled"
        );
        errors.push(Error::invalid(path, json.clone(), detail));
    }
    errors
}

/// One way through a schema; rules are compiled where all else is well.
struct Walk<'a> {
    options: &'a Options,
    rules: Option<Rules>,
    /// What is wrong with rules. That keeps nobody from looking at the rules above.
    broken: Errors,
}

impl Walk<'_> {
    /// `count`: how often the node can occur in one object, if that is bounded.
    fn node(&mut self, props: &Props, json: &Value, place: &Place, count: Option<u64>) -> Errors {
        static NULL: Value = Value::Null;
        let path = &place.path;
        let below = |key: &str| json.get(key).unwrap_or(&NULL);
        let mut errors = self.standard(props, place);
        let inner = count.zip(most(props)).map(|(count, most)| count.saturating_mul(most));
        if let Some(additional) = &props.additional {
            if !props.properties.is_empty() && *additional != Additional::Any(true) {
                let detail = "additionalProperties and properties are mutual exclusive";
                errors.push(Error::forbidden(&path.child("additionalProperties"), detail));
            }
            if let Some(values) = additional.schema() {
                let mut next = place.at(path.child("additionalProperties"));
                if place.in_metadata {
                    next.no_defaults =
                        Some("inside additionalProperties applying to object metadata".to_owned());
                }
                errors.extend(self.node(values, below("additionalProperties"), &next, inner));
            }
        }
        for (name, property) in &props.properties {
            let mut next = place.at(path.child("properties").key(name));
            if !matches!(props.map_type.as_deref(), None | Some("granular" | "atomic")) {
                next.uncorrelated.get_or_insert_with(|| path.clone());
            }
            if (place.root || props.embedded)
                && matches!(name.as_str(), "metadata" | "kind" | "apiVersion")
            {
                next.in_metadata = true;
                if place.root {
                    next.no_defaults = Some(format!("in top-level {name}"));
                }
            }
            errors.extend(self.node(
                property,
                below("properties").get(name).unwrap_or(&NULL),
                &next,
                inner,
            ));
        }
        errors.extend(self.junctors(props, place));
        if let Some(items) = &props.items {
            let mut next = place.at(path.child("items"));
            if props.list_type.as_deref() != Some("map") {
                next.uncorrelated.get_or_insert_with(|| path.clone());
            }
            errors.extend(self.node(items, below("items"), &next, inner));
        }
        errors.extend(extensions(props, self.options, path));
        errors.extend(rule_fields(props, path));
        if errors.is_empty()
            && !props.rules.is_empty()
            && let Some(rules) = &mut self.rules
        {
            let resource = place.root || props.embedded;
            self.broken.extend(rules.node(props, json, place, resource, count));
        }
        errors
    }

    /// Nested schemas have no rules of their own, and are not looked at for them.
    fn junctors(&mut self, props: &Props, place: &Place) -> Errors {
        let rules = self.rules.take();
        let mut errors = Vec::new();
        let not = props.not.as_deref().map(|not| (place.path.child("not"), not));
        let listed = [("allOf", &props.all_of), ("oneOf", &props.one_of), ("anyOf", &props.any_of)];
        let listed = listed.into_iter().flat_map(|(name, schemas)| {
            let each = schemas.iter().enumerate();
            each.map(move |(index, schema)| (place.path.child(name).index(index), schema))
        });
        for (path, schema) in not.into_iter().chain(listed) {
            errors.extend(self.node(schema, &Value::Null, &place.at(path), None));
        }
        self.rules = rules;
        errors
    }

    fn standard(&self, props: &Props, place: &Place) -> Errors {
        let path = &place.path;
        let mut errors = Vec::new();
        if self.options.valid_types && !is_valid_type(&props.kind) {
            errors.push(unsupported(&path.child("type"), &props.kind, &TYPES));
        }
        if let Some(why) = place.no_defaults.as_ref().filter(|_| props.default.is_some()) {
            errors.push(Error::forbidden(&path.child("default"), format!("must not be set {why}")));
        }
        for name in &props.unsupported {
            errors.push(Error::forbidden(&path.child(name), format!("{name} is not supported")));
        }
        if props.kind == "null" {
            let detail = "type cannot be set to null, use nullable as an alternative";
            errors.push(Error::forbidden(&path.child("type"), detail));
        }
        if props.items_list {
            let detail = "items must be a schema object and not an array";
            errors.push(Error::forbidden(&path.child("items"), detail));
        }
        if place.in_metadata && props.embedded {
            let detail = "must not be used inside of resource meta";
            errors.push(Error::forbidden(&path.child("x-kubernetes-embedded-resource"), detail));
        }
        if props.unique_items {
            let detail =
                "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
            errors.push(Error::forbidden(&path.child("uniqueItems"), detail));
        }
        errors
    }
}

/// How many values of a child there can be for one value of this node.
fn most(props: &Props) -> Option<u64> {
    let bound = |bound: Option<i64>| bound.map(|bound| u64::try_from(bound).unwrap_or(0));
    match props.kind.as_str() {
        "object" if props.additional.is_some() => bound(props.max_properties),
        "array" => bound(props.max_items),
        _ => Some(1),
    }
}

fn extensions(props: &Props, options: &Options, path: &Path) -> Errors {
    let mut errors = Vec::new();
    if props.preserve_unknown == Some(false) {
        let at = path.child("x-kubernetes-preserve-unknown-fields");
        errors.push(Error::invalid(&at, false, "must be true or undefined"));
    }
    let types = [
        ("x-kubernetes-map-type", &props.map_type, "object"),
        ("x-kubernetes-list-type", &props.list_type, "array"),
    ];
    for (name, own, wanted) in types {
        let detail = format!("must be {wanted} if {name} is specified");
        let at = path.child("type");
        match (own, props.kind.as_str()) {
            (None, _) => {}
            (Some(_), "") => errors.push(Error::required(&at, detail)),
            (Some(_), kind) if kind != wanted => errors.push(Error::invalid(&at, kind, detail)),
            _ => {}
        }
        if name == "x-kubernetes-list-type" && props.kind == "array" && options.atomic_sets {
            errors.extend(open_set(props, path));
        }
        let supported: &[&str] =
            if wanted == "object" { &["atomic", "granular"] } else { &["atomic", "set", "map"] };
        if let Some(own) = own.as_deref().filter(|own| !supported.contains(own)) {
            errors.push(unsupported(&path.child(name), own, supported));
        }
    }
    errors.extend(list_map(props, path));
    if options.map_keys {
        errors.extend(map_keys(props, path));
    }
    errors
}

/// Items of a set must be compared as a whole.
fn open_set(props: &Props, path: &Path) -> Option<Error> {
    let items = props.items.as_deref().filter(|_| props.list_type.as_deref() == Some("set"))?;
    let detail = "must be atomic as item of a list with x-kubernetes-list-type=set";
    let open = |own: &Option<String>| own.as_deref().map_or(Value::Null, Value::from);
    match items.kind.as_str() {
        "array" if items.list_type.as_deref().is_some_and(|own| own != "atomic") => {
            let at = path.child("items").child("x-kubernetes-list-type");
            Some(Error::invalid(&at, open(&items.list_type), detail))
        }
        "object" if !items.is_atomic() => {
            let at = path.child("items").child("x-kubernetes-map-type");
            Some(Error::invalid(&at, open(&items.list_type), detail))
        }
        _ => None,
    }
}

pub(super) fn has_open_set(props: &Props) -> bool {
    open_set(props, &Path::root()).is_some()
}

fn list_map(props: &Props, path: &Path) -> Errors {
    let mut errors = Vec::new();
    let (keys_at, type_at) =
        (path.child("x-kubernetes-list-map-keys"), path.child("x-kubernetes-list-type"));
    let detail = "must be map if x-kubernetes-list-map-keys is non-empty";
    match props.list_type.as_deref() {
        None if !props.list_keys.is_empty() => errors.push(Error::required(&type_at, detail)),
        Some(own) if own != "map" && !props.list_keys.is_empty() => {
            errors.push(Error::invalid(&type_at, own, detail))
        }
        _ => {}
    }
    if props.list_type.as_deref() != Some("map") {
        return errors;
    }
    if props.list_keys.is_empty() {
        errors
            .push(Error::required(&keys_at, "must not be empty if x-kubernetes-list-type is map"));
    }
    let items_at = path.child("items");
    let Some(items) = &props.items else {
        errors.push(match props.items_list {
            true => {
                let detail = "must only have a single schema if x-kubernetes-list-type is map";
                Error::invalid(&items_at, Value::Null, detail)
            }
            false => {
                let detail = "must have a schema if x-kubernetes-list-type is map";
                Error::required(&items_at, detail)
            }
        });
        return errors;
    };
    if items.kind != "object" {
        let detail = "must be object if parent array's x-kubernetes-list-type is map";
        errors.push(Error::invalid(&items_at.child("type"), items.kind.as_str(), detail));
        return errors;
    }
    for (index, key) in props.list_keys.iter().enumerate() {
        let keys = || Value::from(props.list_keys.clone());
        match items.properties.get(key) {
            None => errors.push(Error::invalid(
                &keys_at,
                keys(),
                "entries must all be names of item properties",
            )),
            Some(property) if matches!(property.kind.as_str(), "array" | "object") => {
                let at = items_at.child("properties").key(key).child("type");
                let detail =
                    "must be a scalar type if parent array's x-kubernetes-list-type is map";
                errors.push(Error::invalid(&at, items.kind.as_str(), detail));
            }
            Some(_) => {}
        }
        if props.list_keys[..index].contains(key) {
            errors.push(Error::invalid(&keys_at, keys(), "must not contain duplicate entries"));
        }
    }
    errors
}

/// Keys of a list must always be there.
pub(super) fn map_keys(props: &Props, path: &Path) -> Errors {
    let Some(items) = props.items.as_deref() else { return Vec::new() };
    let Some(own) = props.list_type.as_deref().filter(|own| matches!(*own, "set" | "map")) else {
        return Vec::new();
    };
    let mut errors = Vec::new();
    let items_at = path.child("items");
    if items.nullable {
        let detail = format!("cannot be nullable when x-kubernetes-list-type is {own}");
        errors.push(Error::forbidden(&items_at.child("nullable"), detail));
    }
    for key in props.list_keys.iter().filter(|_| own == "map") {
        let Some(property) = items.properties.get(key) else { continue };
        let at = items_at.child("properties").key(key);
        if !items.required.contains(key) && property.default.is_none() {
            let detail = "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property";
            errors.push(Error::required(&at.child("default"), detail));
        }
        if property.nullable {
            let detail = "this property is in x-kubernetes-list-map-keys, so it cannot be nullable";
            errors.push(Error::forbidden(&at.child("nullable"), detail));
        }
    }
    errors
}

/// The texts of rules, without the expressions.
fn rule_fields(props: &Props, path: &Path) -> Errors {
    let mut errors = Vec::new();
    let breaks = |text: &str| text.contains(['\n', '\r']);
    for (index, rule) in props.rules.iter().enumerate() {
        let at = path.child("x-kubernetes-validations").index(index);
        let (source, message) = (rule.rule.trim(), rule.message.trim());
        let message_at = at.child("message");
        if source.is_empty() {
            errors.push(Error::required(&at.child("rule"), "rule is not specified"));
        } else if !rule.message.is_empty() && message.is_empty() {
            errors.push(Error::invalid(
                &message_at,
                rule.message.as_str(),
                "must be non-empty if specified",
            ));
        } else if breaks(message) {
            errors.push(Error::invalid(
                &message_at,
                rule.message.as_str(),
                "must not contain line breaks",
            ));
        } else if breaks(source) && message.is_empty() {
            errors.push(Error::required(
                &message_at,
                "message must be specified if rule contains line breaks",
            ));
        }
        if !rule.message_expression.is_empty() && rule.message_expression.trim().is_empty() {
            let detail = "messageExpression must be non-empty if specified";
            errors.push(Error::required(&at.child("messageExpression"), detail));
        }
        if let Some(reason) = rule.reason.as_deref().filter(|reason| !REASONS.contains(reason)) {
            errors.push(unsupported(&at.child("reason"), reason, &REASONS));
        }
        let (field_at, own) = (at.child("fieldPath"), rule.field_path.as_str());
        if own.is_empty() {
            continue;
        }
        if own.trim().is_empty() {
            errors.push(Error::invalid(&field_at, own, "must be non-empty if specified"));
        }
        if breaks(own) {
            errors.push(Error::invalid(&field_at, own, "must not contain line breaks"));
        }
        if fieldpath::resolve(own, props, true).is_err() {
            errors.push(Error::invalid(&field_at, own, "must be a valid path"));
        }
    }
    errors
}
