use super::*;
use crate::schema::{Field, Kind, ListType, PatchStrategy, Presence, Schema};
use serde_json::{Value, json};
use std::borrow::Cow;

fn scalar() -> Schema {
    Schema::anonymous(Kind::String)
}

fn field(name: &'static str, schema: Schema, patch: PatchStrategy) -> Field {
    Field {
        name: name.into(),
        schema: schema.into(),
        required: false,
        nullable: false,
        presence: Presence::Optional,
        default: None,
        patch,
        tag: 0,
    }
}

fn list(items: Schema) -> Schema {
    Schema::anonymous(Kind::List { items: items.into(), list: ListType::Atomic })
}

fn merged(key: &'static str) -> PatchStrategy {
    PatchStrategy { merge: true, retain_keys: false, merge_key: key.into() }
}

fn plain() -> PatchStrategy {
    PatchStrategy::default()
}

fn object(name: &'static str, mut fields: Vec<Field>) -> Schema {
    fields.sort_by(|left, right| left.name.cmp(&right.name));
    let kind = Kind::Object { fields: Cow::Owned(fields), preserve_unknown: false, atomic: false };
    Schema { name: name.into(), kind }
}

/// A made-up kind with every sort of field, three levels deep.
fn sample(depth: u8) -> Schema {
    let mut fields = vec![
        field("name", scalar(), plain()),
        field("value", scalar(), plain()),
        field("other", scalar(), plain()),
        field("mergingIntList", list(Schema::anonymous(Kind::Integer { wide: true })), merged("")),
        field("nonMergingIntList", list(scalar()), plain()),
    ];
    if depth > 0 {
        fields.push(field("simpleMap", map(), plain()));
        fields.push(field("mergingList", list(sample(depth - 1)), merged("name")));
        fields.push(field("nonMergingList", list(sample(depth - 1)), plain()));
        fields.push(field("union", sample(depth - 1), plain()));
    }
    object("test.v1.MergeItem", fields)
}

fn map() -> Schema {
    Schema::anonymous(Kind::Map { values: scalar().into(), atomic: false })
}

fn smp(original: Value, patch: Value) -> Result<Value, String> {
    strategic::merge(original, patch, &sample(3)).map_err(|error| error.to_string())
}

#[test]
fn strategic_merge_of_maps_and_scalars() {
    let cases = [
        (json!({"name": "1"}), json!({}), json!({"name": "1"})),
        (json!({"name": "1"}), json!({"value": "2"}), json!({"name": "1", "value": "2"})),
        (json!({"name": "1", "value": "1"}), json!({"value": null}), json!({"name": "1"})),
        (json!({"name": "1"}), json!({"$patch": "delete"}), json!({})),
        (json!({"name": "1"}), json!({"$patch": "replace", "value": "2"}), json!({"value": "2"})),
        (
            json!({"simpleMap": {"k1": "1", "k2": "2"}}),
            json!({"simpleMap": {"$patch": "delete"}}),
            json!({"simpleMap": {}}),
        ),
        (
            json!({}),
            json!({"simpleMap": {"k": "v", "gone": null}}),
            json!({"simpleMap": {"k": "v"}}),
        ),
        (json!({}), json!({"simpleMap": {"$patch": "delete"}}), json!({})),
        (json!({}), json!({"union": {"$patch": "replace", "name": "1"}}), json!({})),
        (
            json!({"simpleMap": "odd"}),
            json!({"simpleMap": {"k": "v"}}),
            json!({"simpleMap": {"k": "v"}}),
        ),
    ];
    for (original, patch, expected) in cases {
        assert_eq!(smp(original.clone(), patch.clone()), Ok(expected), "{original} + {patch}");
    }
}

#[test]
fn strategic_merge_of_lists() {
    let cases = [
        // scalars are unique, the patch's come in its order
        (
            json!({"mergingIntList": [1, 2, 1]}),
            json!({"mergingIntList": [2, 3]}),
            json!({"mergingIntList": [1, 2, 3]}),
        ),
        (
            json!({"nonMergingIntList": ["1"]}),
            json!({"nonMergingIntList": ["2"]}),
            json!({"nonMergingIntList": ["2"]}),
        ),
        (json!({"mergingList": []}), json!({"mergingList": []}), json!({"mergingList": []})),
        (
            json!({"mergingList": [{"name": "1"}, {"name": "2", "value": "2"}]}),
            json!({"mergingList": [{"name": "2", "other": "x"}, {"name": "3"}]}),
            json!({"mergingList": [{"name": "1"}, {"name": "2", "value": "2", "other": "x"}, {"name": "3"}]}),
        ),
        (
            json!({"mergingList": [{"name": "1"}, {"name": "2"}, {"name": "1"}]}),
            json!({"mergingList": [{"name": "1", "$patch": "delete"}]}),
            json!({"mergingList": [{"name": "2"}]}),
        ),
        (
            json!({"mergingList": [{"name": "1"}, {"name": "2"}]}),
            json!({"mergingList": [{"name": "3", "value": "v"}, {"$patch": "replace"}]}),
            json!({"mergingList": [{"name": "3", "value": "v"}]}),
        ),
        (
            json!({"mergingList": [{"name": "1"}, {"name": "2"}]}),
            json!({"mergingList": [{"$patch": "replace"}]}),
            json!({"mergingList": []}),
        ),
        // the order of the patch wins over that of the server
        (
            json!({"mergingList": [{"name": "1"}, {"name": "2"}, {"name": "3"}]}),
            json!({"mergingList": [{"name": "3", "value": "3"}, {"name": "1", "value": "1"}]}),
            json!({"mergingList": [{"name": "2"}, {"name": "3", "value": "3"}, {"name": "1", "value": "1"}]}),
        ),
        (
            json!({"mergingList": [{"name": "1", "mergingIntList": [1, 2]}]}),
            json!({"mergingList": [{"name": "1", "$deleteFromPrimitiveList/mergingIntList": [1]}]}),
            json!({"mergingList": [{"name": "1", "mergingIntList": [2]}]}),
        ),
        (
            json!({}),
            json!({"mergingList": [{"name": "1", "$patch": "delete"}]}),
            json!({"mergingList": []}),
        ),
    ];
    for (original, patch, expected) in cases {
        assert_eq!(smp(original.clone(), patch.clone()), Ok(expected), "{original} + {patch}");
    }
}

#[test]
fn strategic_merge_directives() {
    let cases = [
        (
            json!({"nonMergingIntList": ["1", "2"]}),
            json!({"$deleteFromPrimitiveList/nonMergingIntList": ["2", "9"]}),
            json!({"nonMergingIntList": ["1"]}),
        ),
        (json!({}), json!({"$deleteFromPrimitiveList/mergingIntList": [1]}), json!({})),
        (
            json!({"mergingIntList": []}),
            json!({"$deleteFromPrimitiveList/mergingIntList": [1]}),
            json!({"mergingIntList": []}),
        ),
        (
            json!({"union": {"name": "old", "value": "1"}}),
            json!({"union": {"$retainKeys": ["name", "other"], "other": "2"}}),
            json!({"union": {"name": "old", "other": "2"}}),
        ),
        (
            json!({"mergingIntList": [1, 2, 3]}),
            json!({"$setElementOrder/mergingIntList": [3, 1, 4], "mergingIntList": [4],
                   "$deleteFromPrimitiveList/mergingIntList": [2]}),
            json!({"mergingIntList": [3, 1, 4]}),
        ),
        (
            json!({"mergingList": [{"name": "1"}, {"name": "2"}, {"name": "3"}]}),
            json!({"$setElementOrder/mergingList": [{"name": "3"}, {"name": "1"}]}),
            json!({"mergingList": [{"name": "2"}, {"name": "3"}, {"name": "1"}]}),
        ),
        // items only the server has keep their place
        (
            json!({"mergingList": [{"name": "1"}, {"name": "server"}, {"name": "3"}]}),
            json!({"$setElementOrder/mergingList": [{"name": "1"}, {"name": "2"}, {"name": "3"}],
                   "mergingList": [{"name": "2", "value": "v"}]}),
            json!({"mergingList": [{"name": "1"}, {"name": "2", "value": "v"}, {"name": "server"}, {"name": "3"}]}),
        ),
        (
            json!({"mergingList": [{"name": "1"}, {"name": "2"}]}),
            json!({"$setElementOrder/mergingList": [{"name": "2"}],
                   "mergingList": [{"name": "1", "$patch": "delete"}]}),
            json!({"mergingList": [{"name": "2"}]}),
        ),
        (
            json!({}),
            json!({"$setElementOrder/mergingList": [{"name": "2"}, {"name": "1"}],
                   "mergingList": [{"name": "2"}, {"name": "1"}]}),
            json!({"mergingList": [{"name": "2"}, {"name": "1"}]}),
        ),
    ];
    for (original, patch, expected) in cases {
        assert_eq!(smp(original.clone(), patch.clone()), Ok(expected), "{original} + {patch}");
    }
}

#[test]
fn strategic_merge_errors_are_the_originals() {
    let cases = [
        (
            json!({"mergingList": [{"name": "1"}]}),
            json!({"mergingList": [{"value": "x"}]}),
            "map: map[value:x] does not contain declared merge key: name",
        ),
        (
            json!({"union": {}}),
            json!({"union": {"$patch": "odd"}}),
            "unknown patch type: odd in map: map[$patch:odd]",
        ),
        (
            json!({"union": {}}),
            json!({"union": {"$retainKeys": "x"}}),
            "invalid patch format of retainKeys",
        ),
        (
            json!({"union": {}}),
            json!({"union": {"$retainKeys": ["name"], "value": "x"}}),
            "invalid patch format of retainKeys",
        ),
        (
            json!({"mergingIntList": [1]}),
            json!({"$setElementOrder/mergingIntList": [1], "mergingIntList": [2]}),
            "The order in patch list:\n[2]\n doesn't match $setElementOrder list:\n[1]\n",
        ),
        (
            json!({}),
            json!({"$deleteFromPrimitiveList": [1]}),
            "invalid patch format of primitive list",
        ),
        (
            json!({"mergingIntList": [1]}),
            json!({"mergingIntList": ["1"]}),
            "list element types are not identical: [[1] [1]]",
        ),
        (
            json!({"mergingIntList": [1]}),
            json!({"mergingIntList": [[1]]}),
            "list element types are not identical: [[1] [[1]]]",
        ),
        (
            json!({"mergingIntList": [[2]]}),
            json!({"mergingIntList": [[1]]}),
            "lists of lists are not supported",
        ),
        (
            json!({"bogus": {}}),
            json!({"bogus": {}}),
            "unable to find api field in struct MergeItem for the json field \"bogus\"",
        ),
        (
            json!({"mergingList": [{"name": "1"}]}),
            json!({"mergingList": [{"name": "1", "$patch": "merge"}]}),
            "merging lists cannot yet be specified in the patch",
        ),
    ];
    for (original, patch, expected) in cases {
        assert_eq!(
            smp(original.clone(), patch.clone()),
            Err(expected.to_owned()),
            "{original} + {patch}"
        );
    }
}

#[test]
fn deployments_merge_by_their_table() {
    let schema = crate::schema::builtin("io.k8s.api.apps.v1.Deployment").unwrap();
    let original = json!({"spec": {
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}},
        "template": {"spec": {"containers": [
            {"name": "a", "image": "a:1", "ports": [{"containerPort": 80, "protocol": "TCP"}]},
            {"name": "b", "image": "b:1"}
        ]}}
    }});
    let patch = json!({"spec": {
        "strategy": {"$retainKeys": ["type"], "type": "Recreate"},
        "template": {"spec": {
            "$setElementOrder/containers": [{"name": "b"}, {"name": "a"}],
            "containers": [
                {"name": "a", "image": "a:2", "ports": [{"containerPort": 80, "name": "http"}]},
            ]
        }}
    }});
    let expected = json!({"spec": {
        "strategy": {"type": "Recreate"},
        "template": {"spec": {"containers": [
            {"name": "b", "image": "b:1"},
            {"name": "a", "image": "a:2", "ports": [{"containerPort": 80, "protocol": "TCP", "name": "http"}]},
        ]}}
    }});
    assert_eq!(strategic::merge(original, patch, &schema), Ok(expected));
}

fn json(original: Value, patch: Value) -> Result<Value, PatchError> {
    json_patch(original, patch.to_string().as_bytes())
}

#[test]
fn json_patch_operations() {
    let cases = [
        (
            json!({"a": 1}),
            json!([{"op": "add", "path": "/b", "value": 2}]),
            json!({"a": 1, "b": 2}),
        ),
        (
            json!({"a": [1, 3]}),
            json!([{"op": "add", "path": "/a/1", "value": 2}]),
            json!({"a": [1, 2, 3]}),
        ),
        (
            json!({"a": [1]}),
            json!([{"op": "add", "path": "/a/-", "value": 2}]),
            json!({"a": [1, 2]}),
        ),
        (json!({"a": [1, 2]}), json!([{"op": "remove", "path": "/a/-1"}]), json!({"a": [1]})),
        (
            json!({"a/b": {"c~d": 1}}),
            json!([{"op": "remove", "path": "/a~1b/c~0d"}]),
            json!({"a/b": {}}),
        ),
        (
            json!({"a": 1}),
            json!([{"op": "replace", "path": "/b", "value": 2}]),
            json!({"a": 1, "b": 2}),
        ),
        (
            json!({"a": 1}),
            json!([{"op": "replace", "path": "", "value": {"c": 3}}]),
            json!({"c": 3}),
        ),
        (json!({"a": 1}), json!([{"op": "move", "from": "/a", "path": "/b"}]), json!({"b": 1})),
        (
            json!({"a": {"x": 1}}),
            json!([{"op": "copy", "from": "/a", "path": "/b"}]),
            json!({"a": {"x": 1}, "b": {"x": 1}}),
        ),
        (json!({"a": 1}), json!([{"op": "test", "path": "/a", "value": 1}]), json!({"a": 1})),
        (json!({"a": 1}), json!([{"op": "test", "path": "/none", "value": null}]), json!({"a": 1})),
    ];
    for (original, patch, expected) in cases {
        assert_eq!(json(original, patch.clone()), Ok(expected), "{patch}");
    }
}

#[test]
fn failing_json_patches_say_why() {
    let cases = [
        (json!([{"op": "test", "path": "/a", "value": 2}]), "testing value /a failed: test failed"),
        (
            json!([{"op": "remove", "path": "/none"}]),
            "error in remove for path: '/none': Unable to remove nonexistent key: none: missing value",
        ),
        (
            json!([{"op": "add", "path": "/x/y", "value": 1}]),
            "add operation does not apply: doc is missing path: \"/x/y\": missing value",
        ),
        (
            json!([{"op": "add", "path": "/list/9", "value": 1}]),
            "error in add for path: '/list/9': Unable to access invalid index: 9: invalid index referenced",
        ),
        (json!([{"op": "fly", "path": "/a"}]), "Unexpected kind: fly"),
    ];
    for (patch, expected) in cases {
        let error = json(json!({"a": 1, "list": []}), patch.clone()).unwrap_err();
        assert_eq!(error, PatchError::Unprocessable(expected.to_owned()), "{patch}");
        assert_eq!(ApiError::from(error).code().as_u16(), 422);
    }
}

#[test]
fn json_patches_are_bounded() {
    let operations = vec![json!({"op": "test", "path": "/a", "value": 1}); MAX_OPERATIONS + 1];
    let error = json(json!({"a": 1}), Value::Array(operations)).unwrap_err();
    assert_eq!(error, PatchError::TooManyOperations(MAX_OPERATIONS + 1));
    let error = ApiError::from(error);
    assert_eq!(error.code().as_u16(), 413);
    assert_eq!(
        error.message(),
        "Request entity too large: The allowed maximum operations in a JSON patch is 10000, got 10001"
    );

    let doubling: Vec<_> = (0..40)
        .map(|at| json!({"op": "copy", "from": "/a", "path": format!("/a/k{at}")}))
        .collect();
    let error = json(json!({"a": {"x": "y".repeat(1000)}}), Value::Array(doubling)).unwrap_err();
    assert!(
        matches!(error, PatchError::Unprocessable(text) if text.contains("exceeding the limit 3145728"))
    );
    assert!(matches!(json(json!({}), json!({})), Err(PatchError::Malformed(_))));
}

#[test]
fn null_is_what_the_original_takes_it_for() {
    let one = json!({"a": 1});
    assert_eq!(json_patch(one.clone(), b" null "), Ok(one.clone()));
    for operations in [&b"[null]"[..], b"[null, {\"op\": \"remove\", \"path\": \"/a\"}]"] {
        let refused = json_patch(one.clone(), operations);
        assert!(matches!(refused, Err(PatchError::Unprocessable(_))), "{refused:?}");
    }
    let refused = merge_patch(one.clone(), b"null");
    assert_eq!(refused, Err(PatchError::Malformed("Invalid JSON Patch".to_owned())));
    assert_eq!(strategic::merge(one.clone(), Value::Null, &sample(3)), Ok(one));
}

#[test]
fn merge_patch_follows_rfc_7396() {
    let cases = [
        (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
        (json!({"a": "b"}), json!({"a": null}), json!({})),
        (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
        (json!({"a": {"b": "c"}}), json!({"a": {"b": "d", "c": null}}), json!({"a": {"b": "d"}})),
        (json!({"a": [{"b": "c"}]}), json!({"a": [1]}), json!({"a": [1]})),
        (json!({}), json!({"a": {"bb": {"ccc": null}}}), json!({"a": {"bb": {}}})),
        (json!({"e": null}), json!({"a": 1}), json!({"e": null, "a": 1})),
        (
            json!({}),
            json!({"a": [{"b": null, "c": [{"d": null}]}, null]}),
            json!({"a": [{"c": [{}]}, null]}),
        ),
        (json!({"a": [1]}), json!({"a": [{"b": null}]}), json!({"a": [{}]})),
        (json!({"a": {}}), json!({"a": [{"b": null}]}), json!({"a": [{"b": null}]})),
    ];
    for (original, patch, expected) in cases {
        assert_eq!(merge_patch(original, patch.to_string().as_bytes()), Ok(expected), "{patch}");
    }
    assert!(matches!(merge_patch(json!({}), b"[1"), Err(PatchError::Malformed(_))));
}

mod properties {
    use super::*;
    use proptest::prelude::*;

    fn item() -> impl Strategy<Value = Value> {
        ("[a-c]", proptest::option::of("[x-z]")).prop_map(|(name, value)| match value {
            Some(value) => json!({"name": name, "value": value}),
            None => json!({"name": name}),
        })
    }

    fn document() -> impl Strategy<Value = Value> {
        let items = proptest::collection::vec(item(), 0..5);
        let numbers = proptest::collection::vec(0..5, 0..5);
        (items, numbers).prop_map(|(items, numbers)| {
            json!({"name": "x", "mergingList": items, "mergingIntList": numbers})
        })
    }

    proptest! {
        #[test]
        fn an_empty_patch_changes_nothing(original in document()) {
            prop_assert_eq!(smp(original.clone(), json!({})), Ok(original.clone()));
            prop_assert_eq!(merge_patch(original.clone(), b"{}"), Ok(original.clone()));
            prop_assert_eq!(json_patch(original.clone(), b"[]"), Ok(original));
        }

        #[test]
        fn a_patch_applied_twice_is_applied_once(original in document(), patch in document()) {
            let once = smp(original, patch.clone()).unwrap();
            prop_assert_eq!(smp(once.clone(), patch), Ok(once));
        }
    }
}
