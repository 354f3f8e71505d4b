//! What the schema table means on the wire, made from the table once it is asked for.

use crate::{
    generated::schema::BUILTIN,
    schema::{Kind, Presence, Schema},
};
use std::{
    collections::HashMap,
    sync::{LazyLock, OnceLock},
};

/// A message.
#[derive(Debug)]
pub(super) struct Message {
    /// The OpenAPI name.
    pub(super) name: &'static str,
    /// The fields that have a tag, sorted by name.
    pub(super) fields: Vec<Field>,
    /// The same by tag, those of embedded messages below these.
    pub(super) parts: Vec<Part>,
    /// Where `metadata.resourceVersion` is, in the message of the metadata.
    pub(super) revision: Option<usize>,
}

/// A field.
#[derive(Debug)]
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) shape: Shape,
    /// Written only where it is there (a pointer in Go).
    pub(super) pointer: bool,
    /// Left out of JSON when empty.
    pub(super) omit: bool,
}

/// What stands under a tag.
#[derive(Debug)]
pub(super) enum Part {
    /// The field of this index.
    Field(u32, usize),
    /// A message whose fields stand beside the others in JSON.
    Embedded(u32, Vec<Part>),
}

impl Part {
    pub(super) fn tag(&self) -> u32 {
        match self {
            Self::Field(tag, _) | Self::Embedded(tag, _) => *tag,
        }
    }
}

/// What a value is.
#[derive(Debug, Clone)]
pub(super) enum Shape {
    String,
    Bytes,
    Time {
        micro: bool,
    },
    Quantity,
    IntOrString,
    Integer {
        wide: bool,
    },
    Number,
    Boolean,
    /// JSON text in a message of its own.
    Raw,
    /// A JSON schema, or a list of them.
    SchemaOrArray,
    /// A JSON schema, or a truth value.
    SchemaOrBool,
    /// A JSON schema, or names.
    SchemaOrStrings,
    /// The message of this index.
    Message(usize),
    List(Box<Shape>),
    Map(Box<Shape>),
}

/// By the first label of the group, the version and the kind: the index of the message.
type Kinds = HashMap<[&'static str; 3], usize>;

/// Derived from static tables alone, each when it is first asked for: few clients want this form of few kinds. In the
/// order of [`BUILTIN`].
static MESSAGES: [OnceLock<Box<Message>>; BUILTIN.len()] =
    [const { OnceLock::new() }; BUILTIN.len()];

static KINDS: LazyLock<Kinds> = LazyLock::new(|| {
    let kind = |(index, (name, _)): (usize, &(&'static str, &Schema))| {
        let mut labels = name.rsplitn(4, '.');
        let (kind, version) = (labels.next()?, labels.next()?);
        Some(([labels.next()?, version, kind], index))
    };
    BUILTIN.iter().enumerate().filter_map(kind).collect()
});

static METADATA_ONLY: LazyLock<Message> = LazyLock::new(|| {
    let shape = index_of(OBJECT_META).map_or(Shape::Raw, Shape::Message);
    let metadata = Field { name: "metadata", shape, pointer: false, omit: false };
    Message {
        name: "PartialObjectMetadata",
        fields: vec![metadata],
        parts: vec![Part::Field(1, 0)],
        revision: None,
    }
});

static JSON_SCHEMA: LazyLock<usize> = LazyLock::new(|| {
    index_of("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps")
        .unwrap_or_default()
});

const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

fn index_of(name: &str) -> Option<usize> {
    BUILTIN.binary_search_by(|(known, _)| (*known).cmp(name)).ok()
}

/// The message of an OpenAPI name.
pub(super) fn find(name: &str) -> Option<&'static Message> {
    index_of(name).map(at)
}

/// The message of a kind; those of no group are the core's, or `meta.k8s.io`'s.
pub(super) fn of_kind(api_version: &str, kind: &str) -> Option<&'static Message> {
    let (group, version) = api_version.rsplit_once('/').unwrap_or(("core", api_version));
    let group = group.split('.').next().unwrap_or_default();
    let kinds: &HashMap<[&str; 3], usize> = &KINDS;
    let found = match group {
        "core" => {
            kinds.get(&["core", version, kind]).or_else(|| kinds.get(&["meta", version, kind]))
        }
        group => kinds.get(&[group, version, kind]),
    };
    found.map(|index| at(*index))
}

pub(super) fn at(index: usize) -> &'static Message {
    let (name, schema) = BUILTIN[index];
    MESSAGES[index].get_or_init(|| Box::new(message(name, schema)))
}

pub(super) fn metadata_only() -> &'static Message {
    &METADATA_ONLY
}

/// The message of a JSON schema, as CustomResourceDefinitions hold.
pub(super) fn json_schema() -> &'static Message {
    at(*JSON_SCHEMA)
}

fn message(name: &'static str, schema: &'static Schema) -> Message {
    let mut parts = Vec::new();
    let mut fields = Vec::new();
    for field in schema.fields().iter().filter(|field| field.tag != 0) {
        place(&mut parts, field.tag, fields.len());
        let name: &'static str = static_text(&field.name);
        // The one field whose pointer-like JSON form is a plain struct in Go.
        let zero_time = schema.name == OBJECT_META && name == "creationTimestamp";
        fields.push(Field {
            name,
            shape: shape(&field.schema),
            pointer: matches!(field.presence, Presence::Optional | Presence::Null) && !zero_time
                || matches!(field.schema.kind, Kind::Bytes),
            omit: field.presence == Presence::OmitEmpty,
        });
    }
    sort(&mut parts);
    let revision = (name == OBJECT_META)
        .then(|| fields.iter().position(|field| field.name == "resourceVersion"))
        .flatten();
    Message { name, fields, parts, revision }
}

/// Built-in tables borrow all their texts.
fn static_text(text: &crate::schema::Text) -> &'static str {
    match text {
        std::borrow::Cow::Borrowed(text) => text,
        std::borrow::Cow::Owned(_) => "",
    }
}

/// A tag has the tags of up to two messages around it above its lower 16 bits.
fn place(parts: &mut Vec<Part>, tag: u32, index: usize) {
    let mut parts = parts;
    for outer in [tag >> 24, tag >> 16 & 0xff] {
        if outer == 0 {
            continue;
        }
        let at = parts.iter().position(|part| part.tag() == outer).unwrap_or_else(|| {
            parts.push(Part::Embedded(outer, Vec::new()));
            parts.len() - 1
        });
        let Part::Embedded(_, inner) = &mut parts[at] else { return };
        parts = inner;
    }
    parts.push(Part::Field(tag & 0xffff, index));
}

fn sort(parts: &mut [Part]) {
    parts.sort_by_key(Part::tag);
    for part in parts {
        if let Part::Embedded(_, inner) = part {
            sort(inner);
        }
    }
}

fn shape(schema: &Schema) -> Shape {
    match &schema.kind {
        Kind::String => Shape::String,
        Kind::Bytes => Shape::Bytes,
        Kind::Time { micro } => Shape::Time { micro: *micro },
        Kind::Quantity => Shape::Quantity,
        Kind::IntOrString => Shape::IntOrString,
        Kind::Integer { wide } => Shape::Integer { wide: *wide },
        Kind::Number => Shape::Number,
        Kind::Boolean => Shape::Boolean,
        Kind::Any => match &*schema.name {
            "v1.JSONSchemaPropsOrArray" => Shape::SchemaOrArray,
            "v1.JSONSchemaPropsOrBool" => Shape::SchemaOrBool,
            "v1.JSONSchemaPropsOrStringArray" => Shape::SchemaOrStrings,
            _ => Shape::Raw,
        },
        Kind::Map { values, .. } => Shape::Map(Box::new(shape(values))),
        Kind::List { items, .. } => Shape::List(Box::new(shape(items))),
        Kind::Object { .. } => index_of(&schema.name).map_or(Shape::Raw, Shape::Message),
    }
}
