//! A JSONSchemaProps, read once from its JSON.

use crate::value;
use regex::Regex;
use serde_json::{Map, Value};
use std::{collections::BTreeMap, sync::OnceLock};

/// One node of a schema; what is missing, null or of another type counts as not set.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Props {
    pub(crate) kind: String,
    pub(crate) format: String,
    pub(crate) title: String,
    pub(crate) description: String,
    pub(crate) default: Option<Value>,
    pub(crate) maximum: Option<f64>,
    pub(crate) exclusive_maximum: bool,
    pub(crate) minimum: Option<f64>,
    pub(crate) exclusive_minimum: bool,
    pub(crate) multiple_of: Option<f64>,
    pub(crate) max_length: Option<i64>,
    pub(crate) min_length: Option<i64>,
    pub(crate) pattern: String,
    pub(crate) matcher: Matcher,
    pub(crate) max_items: Option<i64>,
    pub(crate) min_items: Option<i64>,
    pub(crate) unique_items: bool,
    pub(crate) max_properties: Option<i64>,
    pub(crate) min_properties: Option<i64>,
    pub(crate) required: Vec<String>,
    pub(crate) allowed: Vec<Value>,
    pub(crate) items: Option<Box<Props>>,
    /// `items` is a list of schemas.
    pub(crate) items_list: bool,
    pub(crate) all_of: Vec<Props>,
    pub(crate) one_of: Vec<Props>,
    pub(crate) any_of: Vec<Props>,
    pub(crate) not: Option<Box<Props>>,
    pub(crate) properties: BTreeMap<String, Props>,
    pub(crate) additional: Option<Additional>,
    pub(crate) nullable: bool,
    pub(crate) preserve_unknown: Option<bool>,
    pub(crate) embedded: bool,
    pub(crate) int_or_string: bool,
    pub(crate) list_keys: Vec<String>,
    pub(crate) list_type: Option<String>,
    pub(crate) map_type: Option<String>,
    pub(crate) rules: Vec<Rule>,
    /// Names of fields that are set and that nothing here understands, as in `patternProperties`.
    pub(crate) unsupported: Vec<&'static str>,
    /// `$schema` is set.
    pub(crate) dialect: bool,
}

/// The pattern of a node, compiled when it is first asked for: an object may have very many values to hold against it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Matcher(OnceLock<Result<Regex, String>>);

/// It says nothing that the pattern does not.
impl PartialEq for Matcher {
    fn eq(&self, _other: &Self) -> bool {
        true
    }
}

impl Matcher {
    /// Compiled, or why it cannot be; always to be asked with the same pattern.
    pub(crate) fn of(&self, pattern: &str) -> Result<&Regex, &str> {
        let compile = || value::pattern(pattern).map_err(|error| error.to_string());
        self.0.get_or_init(compile).as_ref().map_err(String::as_str)
    }
}

/// What stands in `additionalProperties`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Additional {
    Any(bool),
    Schema(Box<Props>),
}

impl Additional {
    pub(crate) fn schema(&self) -> Option<&Props> {
        match self {
            Self::Schema(schema) => Some(schema),
            Self::Any(_) => None,
        }
    }
}

/// One of `x-kubernetes-validations`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Rule {
    pub(crate) rule: String,
    pub(crate) message: String,
    pub(crate) message_expression: String,
    pub(crate) reason: Option<String>,
    pub(crate) field_path: String,
    pub(crate) optional_old_self: Option<bool>,
}

/// Fields that are refused wherever they stand.
const UNSUPPORTED: [&str; 6] =
    ["id", "additionalItems", "patternProperties", "definitions", "dependencies", "$ref"];

impl Props {
    pub(crate) fn parse(value: &Value) -> Self {
        let Value::Object(map) = value else { return Self::default() };
        let unsupported = UNSUPPORTED.into_iter().filter(|name| match map.get(*name) {
            None | Some(Value::Null) => false,
            Some(Value::String(text)) => !text.is_empty(),
            Some(Value::Object(inner)) => {
                !inner.is_empty() || matches!(*name, "additionalItems" | "dependencies")
            }
            Some(_) => true,
        });
        Self {
            unsupported: unsupported.collect(),
            items: map.get("items").filter(|items| items.is_object()).map(boxed),
            items_list: !list(map, "items").is_empty(),
            dialect: !text(map, "$schema").is_empty(),
            not: map.get("not").filter(|not| not.is_object()).map(boxed),
            all_of: schemas(map, "allOf"),
            one_of: schemas(map, "oneOf"),
            any_of: schemas(map, "anyOf"),
            properties: named(map),
            additional: additional(map),
            rules: list(map, "x-kubernetes-validations").iter().map(Rule::parse).collect(),
            ..Self::scalars(map)
        }
    }

    fn scalars(map: &Map<String, Value>) -> Self {
        Self {
            kind: text(map, "type"),
            format: text(map, "format"),
            title: text(map, "title"),
            description: text(map, "description"),
            default: map.get("default").filter(|value| !value.is_null()).cloned(),
            maximum: float(map, "maximum"),
            exclusive_maximum: flag(map, "exclusiveMaximum"),
            minimum: float(map, "minimum"),
            exclusive_minimum: flag(map, "exclusiveMinimum"),
            multiple_of: float(map, "multipleOf"),
            max_length: int(map, "maxLength"),
            min_length: int(map, "minLength"),
            pattern: text(map, "pattern"),
            max_items: int(map, "maxItems"),
            min_items: int(map, "minItems"),
            unique_items: flag(map, "uniqueItems"),
            max_properties: int(map, "maxProperties"),
            min_properties: int(map, "minProperties"),
            required: texts(map, "required"),
            allowed: list(map, "enum").to_vec(),
            nullable: flag(map, "nullable"),
            preserve_unknown: map
                .get("x-kubernetes-preserve-unknown-fields")
                .and_then(Value::as_bool),
            embedded: flag(map, "x-kubernetes-embedded-resource"),
            int_or_string: flag(map, "x-kubernetes-int-or-string"),
            list_keys: texts(map, "x-kubernetes-list-map-keys"),
            list_type: optional(map, "x-kubernetes-list-type"),
            map_type: optional(map, "x-kubernetes-map-type"),
            ..Self::default()
        }
    }

    pub(crate) fn preserves_unknown(&self) -> bool {
        self.preserve_unknown == Some(true)
    }

    pub(crate) fn is_atomic(&self) -> bool {
        self.map_type.as_deref() == Some("atomic")
    }

    /// This node and all below it, through every kind of nesting.
    pub(crate) fn walk<'a>(&'a self, visit: &mut impl FnMut(&'a Self)) {
        visit(self);
        let nested = self.all_of.iter().chain(&self.any_of).chain(&self.one_of);
        nested.for_each(|nested| nested.walk(visit));
        let single = self.items.as_deref().into_iter().chain(self.not.as_deref());
        single.for_each(|nested| nested.walk(visit));
        self.properties.values().for_each(|nested| nested.walk(visit));
        if let Some(nested) = self.additional.as_ref().and_then(Additional::schema) {
            nested.walk(visit);
        }
    }

    /// Whether any node is so.
    pub(crate) fn any(&self, is: impl Fn(&Self) -> bool) -> bool {
        let mut found = false;
        self.walk(&mut |node| found |= is(node));
        found
    }
}

impl Rule {
    fn parse(value: &Value) -> Self {
        let empty = Map::new();
        let map = value.as_object().unwrap_or(&empty);
        Self {
            rule: text(map, "rule"),
            message: text(map, "message"),
            message_expression: text(map, "messageExpression"),
            reason: optional(map, "reason"),
            field_path: text(map, "fieldPath"),
            optional_old_self: map.get("optionalOldSelf").and_then(Value::as_bool),
        }
    }

    /// Where the absence of an old value is a value of its own.
    pub(crate) fn old_is_optional(&self) -> bool {
        self.optional_old_self == Some(true)
    }
}

fn boxed(value: &Value) -> Box<Props> {
    Box::new(Props::parse(value))
}

fn schemas(map: &Map<String, Value>, key: &str) -> Vec<Props> {
    list(map, key).iter().map(Props::parse).collect()
}

fn named(map: &Map<String, Value>) -> BTreeMap<String, Props> {
    let properties = map.get("properties").and_then(Value::as_object);
    let entries = properties.into_iter().flatten();
    entries.map(|(name, schema)| (name.clone(), Props::parse(schema))).collect()
}

fn additional(map: &Map<String, Value>) -> Option<Additional> {
    match map.get("additionalProperties")? {
        Value::Bool(any) => Some(Additional::Any(*any)),
        schema @ Value::Object(_) => Some(Additional::Schema(boxed(schema))),
        _ => None,
    }
}

fn text(map: &Map<String, Value>, key: &str) -> String {
    optional(map, key).unwrap_or_default()
}

fn optional(map: &Map<String, Value>, key: &str) -> Option<String> {
    map.get(key).and_then(Value::as_str).map(str::to_owned)
}

fn flag(map: &Map<String, Value>, key: &str) -> bool {
    map.get(key).and_then(Value::as_bool).unwrap_or_default()
}

fn int(map: &Map<String, Value>, key: &str) -> Option<i64> {
    map.get(key).and_then(Value::as_i64)
}

fn float(map: &Map<String, Value>, key: &str) -> Option<f64> {
    map.get(key).and_then(Value::as_f64)
}

fn list<'a>(map: &'a Map<String, Value>, key: &str) -> &'a [Value] {
    map.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn texts(map: &Map<String, Value>, key: &str) -> Vec<String> {
    list(map, key).iter().filter_map(Value::as_str).map(str::to_owned).collect()
}
