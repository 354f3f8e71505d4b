//! The Swagger document in the protobuf form of gnostic (package `openapi.v2`), which kubectl asks for where it has
//! no version 3 to read.

use serde_json::{Map, Value};

/// How a JSON value is written into a field.
#[derive(Clone, Copy)]
enum Form {
    Text,
    Texts,
    Flag,
    Whole,
    Real,
    /// Arbitrary JSON, as text that a YAML parser reads.
    Any,
    Anys,
    Message(fn(&Value) -> Vec<u8>),
    Messages(fn(&Value) -> Vec<u8>),
    /// A map as a message whose field 1 repeats name and value.
    Named(fn(&Value) -> Vec<u8>),
}

type Fields = &'static [(&'static str, u32, Form)];

const DOCUMENT: Fields = &[
    ("swagger", 1, Form::Text),
    ("info", 2, Form::Message(info)),
    ("paths", 8, Form::Message(paths)),
    ("definitions", 9, Form::Named(schema)),
    ("security", 12, Form::Messages(requirement)),
    ("securityDefinitions", 13, Form::Named(security)),
];
const INFO: Fields =
    &[("title", 1, Form::Text), ("version", 2, Form::Text), ("description", 3, Form::Text)];
const PATH_ITEM: Fields = &[
    ("get", 2, Form::Message(operation)),
    ("put", 3, Form::Message(operation)),
    ("post", 4, Form::Message(operation)),
    ("delete", 5, Form::Message(operation)),
    ("options", 6, Form::Message(operation)),
    ("head", 7, Form::Message(operation)),
    ("patch", 8, Form::Message(operation)),
    ("parameters", 9, Form::Messages(parameter)),
];
const OPERATION: Fields = &[
    ("tags", 1, Form::Texts),
    ("description", 3, Form::Text),
    ("operationId", 5, Form::Text),
    ("produces", 6, Form::Texts),
    ("consumes", 7, Form::Texts),
    ("parameters", 8, Form::Messages(parameter)),
    ("responses", 9, Form::Message(responses)),
    ("schemes", 10, Form::Texts),
    ("deprecated", 11, Form::Flag),
];
const BODY_PARAMETER: Fields = &[
    ("description", 1, Form::Text),
    ("name", 2, Form::Text),
    ("in", 3, Form::Text),
    ("required", 4, Form::Flag),
    ("schema", 5, Form::Message(schema)),
];
const QUERY_PARAMETER: Fields = &[
    ("required", 1, Form::Flag),
    ("in", 2, Form::Text),
    ("description", 3, Form::Text),
    ("name", 4, Form::Text),
    ("type", 6, Form::Text),
    ("format", 7, Form::Text),
    ("uniqueItems", 20, Form::Flag),
];
const PATH_PARAMETER: Fields = &[
    ("required", 1, Form::Flag),
    ("in", 2, Form::Text),
    ("description", 3, Form::Text),
    ("name", 4, Form::Text),
    ("type", 5, Form::Text),
    ("format", 6, Form::Text),
    ("uniqueItems", 19, Form::Flag),
];
const RESPONSE: Fields =
    &[("description", 1, Form::Text), ("schema", 2, Form::Message(schema_item))];
const API_KEY: Fields = &[
    ("type", 1, Form::Text),
    ("name", 2, Form::Text),
    ("in", 3, Form::Text),
    ("description", 4, Form::Text),
];
const SCHEMA: Fields = &[
    ("$ref", 1, Form::Text),
    ("format", 2, Form::Text),
    ("title", 3, Form::Text),
    ("description", 4, Form::Text),
    ("default", 5, Form::Any),
    ("multipleOf", 6, Form::Real),
    ("maximum", 7, Form::Real),
    ("exclusiveMaximum", 8, Form::Flag),
    ("minimum", 9, Form::Real),
    ("exclusiveMinimum", 10, Form::Flag),
    ("maxLength", 11, Form::Whole),
    ("minLength", 12, Form::Whole),
    ("pattern", 13, Form::Text),
    ("maxItems", 14, Form::Whole),
    ("minItems", 15, Form::Whole),
    ("uniqueItems", 16, Form::Flag),
    ("maxProperties", 17, Form::Whole),
    ("minProperties", 18, Form::Whole),
    ("required", 19, Form::Texts),
    ("enum", 20, Form::Anys),
    ("additionalProperties", 21, Form::Message(additional)),
    ("type", 22, Form::Message(type_item)),
    ("items", 23, Form::Message(items)),
    ("properties", 25, Form::Named(schema)),
    ("example", 30, Form::Any),
];

/// The encoded `Document`.
pub(crate) fn document(swagger: &Value) -> Vec<u8> {
    message(swagger, DOCUMENT, None)
}

fn info(value: &Value) -> Vec<u8> {
    message(value, INFO, None)
}

fn paths(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    for (path, item) in value.as_object().into_iter().flatten() {
        bytes(&mut out, 2, &named(path, &message(item, PATH_ITEM, None)));
    }
    out
}

fn operation(value: &Value) -> Vec<u8> {
    message(value, OPERATION, Some(13))
}

/// `ParametersItem` of `Parameter` of a body or of one of the other places.
fn parameter(value: &Value) -> Vec<u8> {
    let inner = match value["in"].as_str() {
        Some("body") => wrapped(1, &message(value, BODY_PARAMETER, None)),
        Some("path") => wrapped(2, &wrapped(4, &message(value, PATH_PARAMETER, None))),
        _ => wrapped(2, &wrapped(3, &message(value, QUERY_PARAMETER, None))),
    };
    wrapped(1, &inner)
}

fn responses(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    for (code, response) in value.as_object().into_iter().flatten() {
        let response = wrapped(1, &message(response, RESPONSE, None));
        bytes(&mut out, 1, &named(code, &response));
    }
    out
}

fn schema_item(value: &Value) -> Vec<u8> {
    wrapped(1, &schema(value))
}

fn schema(value: &Value) -> Vec<u8> {
    message(value, SCHEMA, Some(31))
}

fn additional(value: &Value) -> Vec<u8> {
    match value.as_bool() {
        Some(allowed) => {
            let mut out = Vec::new();
            number(&mut out, 2, u64::from(allowed));
            out
        }
        None => wrapped(1, &schema(value)),
    }
}

fn type_item(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    match value {
        Value::Array(types) => types
            .iter()
            .filter_map(Value::as_str)
            .for_each(|one| bytes(&mut out, 1, one.as_bytes())),
        other => bytes(&mut out, 1, other.as_str().unwrap_or_default().as_bytes()),
    }
    out
}

fn items(value: &Value) -> Vec<u8> {
    wrapped(1, &schema(value))
}

/// `SecurityRequirement`: a map of string arrays.
fn requirement(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    for name in value.as_object().into_iter().flat_map(Map::keys) {
        bytes(&mut out, 1, &named(name, &[]));
    }
    out
}

/// `SecurityDefinitionsItem` of an `ApiKeySecurity`.
fn security(value: &Value) -> Vec<u8> {
    wrapped(2, &message(value, API_KEY, None))
}

/// A message by its table; extensions (`x-…`) go into the field `extensions`, when it has one.
fn message(value: &Value, fields: Fields, extensions: Option<u32>) -> Vec<u8> {
    let mut out = Vec::new();
    let Some(map) = value.as_object() else { return out };
    for (name, tag, form) in fields {
        if let Some(value) = map.get(*name) {
            field(&mut out, *tag, *form, value);
        }
    }
    let Some(tag) = extensions else { return out };
    for (name, value) in map.iter().filter(|(name, _)| name.starts_with("x-")) {
        bytes(&mut out, tag, &named(name, &any(value)));
    }
    out
}

fn field(out: &mut Vec<u8>, tag: u32, form: Form, value: &Value) {
    let list = value.as_array().map(Vec::as_slice).unwrap_or_default();
    match form {
        Form::Text => bytes(out, tag, value.as_str().unwrap_or_default().as_bytes()),
        Form::Texts => {
            list.iter().filter_map(Value::as_str).for_each(|text| bytes(out, tag, text.as_bytes()));
        }
        Form::Flag => number(out, tag, u64::from(value.as_bool().unwrap_or_default())),
        Form::Whole => number(out, tag, value.as_u64().unwrap_or_default()),
        Form::Real => {
            varint(out, u64::from(tag << 3 | 1));
            out.extend(value.as_f64().unwrap_or_default().to_le_bytes());
        }
        Form::Any => bytes(out, tag, &any(value)),
        Form::Anys => list.iter().for_each(|one| bytes(out, tag, &any(one))),
        Form::Message(encode) => bytes(out, tag, &encode(value)),
        Form::Messages(encode) => list.iter().for_each(|one| bytes(out, tag, &encode(one))),
        Form::Named(encode) => {
            let mut inner = Vec::new();
            for (name, value) in value.as_object().into_iter().flatten() {
                bytes(&mut inner, 1, &named(name, &encode(value)));
            }
            bytes(out, tag, &inner);
        }
    }
}

/// `Any`: JSON is YAML, and a line of its own.
fn any(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    bytes(&mut out, 2, format!("{value}\n").as_bytes());
    out
}

fn named(name: &str, value: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    bytes(&mut out, 1, name.as_bytes());
    bytes(&mut out, 2, value);
    out
}

fn wrapped(tag: u32, inner: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(inner.len() + 6);
    bytes(&mut out, tag, inner);
    out
}

fn bytes(out: &mut Vec<u8>, tag: u32, content: &[u8]) {
    varint(out, u64::from(tag << 3 | 2));
    varint(out, content.len() as u64);
    out.extend_from_slice(content);
}

fn number(out: &mut Vec<u8>, tag: u32, value: u64) {
    varint(out, u64::from(tag << 3));
    varint(out, value);
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_schema_carries_its_extensions_as_yaml() {
        let encoded = schema(&json!({"type": "object", "x-a": {"b": 1}}));
        let expected =
            b"\xb2\x01\x08\x0a\x06object\xfa\x01\x11\x0a\x03x-a\x12\x0a\x12\x08{\"b\":1}\n";
        assert_eq!(encoded, expected);
    }

    #[test]
    fn long_lengths_take_several_bytes() {
        let text = "a".repeat(300);
        let encoded = info(&json!({"title": text}));
        assert_eq!(encoded[..3], [0x0a, 0xac, 0x02]);
        assert_eq!(encoded.len(), 303);
    }
}
