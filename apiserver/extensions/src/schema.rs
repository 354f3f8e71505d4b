//! From a structural schema to the shape that decoding, pruning, defaulting and server-side apply work with.

use crate::props::{Additional, Props};
use kubeplane_core::schema::{Field, Kind, ListType, Schema, SchemaRef, Text, with_object_fields};
use std::borrow::Cow;

static ANY: Schema = Schema::anonymous(Kind::Any);

/// The shape of the objects of a custom resource.
pub(crate) fn of_resource(root: &Props) -> SchemaRef {
    let fields = with_object_fields(fields(root));
    Schema::anonymous(object(fields, root.preserves_unknown(), root.is_atomic())).into()
}

/// The shape of anything at all with metadata, for versions without a schema.
pub(crate) fn of_nothing() -> SchemaRef {
    kubeplane_core::schema::of_object(Vec::new(), true)
}

/// The shape of one node.
pub(crate) fn shape(props: &Props) -> SchemaRef {
    Schema::anonymous(kind(props)).into()
}

fn kind(props: &Props) -> Kind {
    if props.int_or_string {
        return Kind::IntOrString;
    }
    match props.kind.as_str() {
        "object" => of_object(props),
        "array" => {
            Kind::List { items: props.items.as_deref().map_or_else(any, shape), list: list(props) }
        }
        "string" => Kind::String,
        "integer" => Kind::Integer { wide: props.format != "int32" },
        "number" => Kind::Number,
        "boolean" => Kind::Boolean,
        _ if !props.properties.is_empty() || props.embedded => of_object(props),
        _ => Kind::Any,
    }
}

fn any() -> SchemaRef {
    SchemaRef::Static(&ANY)
}

fn of_object(props: &Props) -> Kind {
    let mut fields = fields(props);
    if props.embedded {
        fields = with_object_fields(fields);
    }
    let atomic = props.is_atomic();
    if fields.is_empty() {
        match &props.additional {
            Some(Additional::Schema(values)) => return Kind::Map { values: shape(values), atomic },
            Some(Additional::Any(true)) => return Kind::Map { values: any(), atomic },
            _ => {}
        }
    }
    let preserve =
        props.preserves_unknown() || matches!(props.additional, Some(Additional::Any(true)));
    object(fields, preserve, atomic)
}

fn object(fields: Vec<Field>, preserve_unknown: bool, atomic: bool) -> Kind {
    Kind::Object { fields: Cow::Owned(fields), preserve_unknown, atomic }
}

fn fields(props: &Props) -> Vec<Field> {
    let required = |name: &String| props.required.contains(name);
    // Sorted by name, as the map is.
    let fields = props.properties.iter().map(|(name, props)| Field {
        required: required(name),
        nullable: props.nullable,
        default: props.default.as_ref().map(|value| Text::Owned(value.to_string())),
        ..Field::optional(name.clone(), shape(props))
    });
    fields.collect()
}

fn list(props: &Props) -> ListType {
    match props.list_type.as_deref() {
        Some("set") => ListType::Set,
        Some("map") => ListType::Map(props.list_keys.iter().cloned().map(Text::Owned).collect()),
        _ => ListType::Atomic,
    }
}
