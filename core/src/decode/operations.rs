//! The operations of a JSON patch, as the original decodes them beside applying them.

use super::shape_json;
use crate::schema::{Field, Kind, ListType, PatchStrategy, Presence, Schema, SchemaRef};
use std::borrow::Cow;

/// What is wrong with the operations of a JSON patch beside their paths: unknown fields and those that come twice, in the
/// original's words.
///
/// # Errors
/// The text of the first value of a wrong type.
pub fn operation_faults(body: &[u8]) -> Result<Vec<String>, String> {
    let shaped = shape_json(body, &SchemaRef::Static(&OPERATIONS), true)?;
    shaped.result.map(|_| shaped.found)
}

static OPERATIONS: Schema =
    Schema::anonymous(Kind::List { items: SchemaRef::Static(&OPERATION), list: ListType::Atomic });
static OPERATION: Schema = Schema {
    name: Cow::Borrowed("apiserver.handlers.jsonPatchOp"),
    kind: Kind::Object {
        fields: Cow::Borrowed(&OPERATION_FIELDS),
        preserve_unknown: false,
        atomic: false,
    },
};
static TEXT: Schema = Schema::anonymous(Kind::String);
static ANYTHING: Schema = Schema::anonymous(Kind::Any);
static OPERATION_FIELDS: [Field; 4] = [
    operation_field("from", &TEXT),
    operation_field("op", &TEXT),
    operation_field("path", &TEXT),
    operation_field("value", &ANYTHING),
];

const fn operation_field(name: &'static str, schema: &'static Schema) -> Field {
    Field {
        name: Cow::Borrowed(name),
        schema: SchemaRef::Static(schema),
        required: false,
        nullable: false,
        presence: Presence::Optional,
        default: None,
        patch: PatchStrategy { merge: false, retain_keys: false, merge_key: Cow::Borrowed("") },
        tag: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_named() {
        let body = br#"[{"op": "add", "path": "/a", "bogus": 1}, {"op": "add", "op": "test"}]"#;
        let found = operation_faults(body).unwrap();
        assert_eq!(found, ["unknown field \"[0].bogus\"", "duplicate field \"[1].op\""]);
        let wrong = operation_faults(br#"[{"op": 5}]"#).unwrap_err();
        let text =
            "json: cannot unmarshal number into Go struct field jsonPatchOp.op of type string";
        assert_eq!(wrong, text);
    }
}
