//! What anybody can send, made up: schemas, expressions, patches, selectors and bodies. Nothing panics, and nothing takes
//! long.
//!
//! `KUBEPLANE_FUZZ_SECONDS` is how long each test goes on (12 s, a minute for all five), `KUBEPLANE_FUZZ_SEED` where it begins; a failure names the
//! seed of the input that made it.

mod chance;
mod words;

use chance::fuzz;
use kubeplane_cel::{Activation, Environment, Shape};
use kubeplane_core::{
    Object,
    decode::{self, FieldValidation, Format},
    patch,
    protobuf::Message,
    schema::{self, SchemaRef},
    selector::{FieldSelector, LabelSelector},
    yaml,
};
use serde_json::{Value, json};
use std::sync::Arc;
use words::{SCHEMA_KEYS, expression};

#[test]
fn schemas_and_their_objects() {
    let user = kubeplane_core::auth::UserInfo::default();
    let warnings = kubeplane_core::admission::Warnings::default();
    let features = kubeplane_core::features::Features::default();
    let context = kubeplane_core::definition::Context {
        now: kubeplane_clock::real().now(),
        user: &user,
        subresource: "",
        warnings: &warnings,
        features: &features,
    };
    let definitions = kubeplane_extensions::definition();
    fuzz(|chance| {
        let crd = json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": "things.example.com"},
            "spec": {
                "group": "example.com", "scope": "Namespaced",
                "names": {"plural": "things", "singular": "thing", "kind": "Thing", "listKind": "ThingList"},
                "versions": [{"name": "v1", "served": true, "storage": true,
                    "schema": {"openAPIV3Schema": words::schema(chance, 5)}}],
            },
        });
        let mut crd = Object::from_value(crd).unwrap();
        definitions.strategy.default(&mut crd);
        let _ = definitions.strategy.validate(&context, &crd);
        let Ok(made) = kubeplane_extensions::definition_of(&crd, "v1") else { return };
        for _ in 0..3 {
            let mut object = Object::from_value(chance.json(SCHEMA_KEYS, 4)).unwrap_or_default();
            let _ = decode::conform(&mut object, &made.schema);
            made.strategy.default(&mut object);
            let _ = made.strategy.validate(&context, &object);
            let mut old = Object::from_value(chance.json(SCHEMA_KEYS, 4)).unwrap_or_default();
            made.strategy.default(&mut old);
            let _ = made.strategy.validate_update(&context, &object, &old);
            let _ = made.strategy.table_row(&object, context.now);
            object.set(&["apiVersion"], "example.com/v1");
            made.strategy.restore(&mut object);
            made.strategy.prune(&mut object);
        }
    });
}

#[test]
fn expressions() {
    let shape = json!({"type": "object", "properties": {
        "a": {"type": "array", "items": {"type": "string", "maxLength": 10}, "maxItems": 10},
        "b": {"type": "object", "additionalProperties": {"type": "integer"}}, "c": {"type": "integer"}}});
    let shape = Arc::new(Shape::of_schema(&shape, false).unwrap());
    let environment = Environment::new();
    fuzz(|chance| {
        let source = expression(chance);
        let Ok(program) = environment.compile(&source, &[("self", &shape), ("oldSelf", &shape)])
        else {
            return;
        };
        let keys = ["a", "b", "c", "aaaa"];
        let [value, old] = [0; 2].map(|_| chance.json(&keys, 3));
        let seen =
            Activation::new().with("self", shape.bind(&value)).with("oldSelf", shape.bind(&old));
        let _ = program.run(&seen, 1_000_000);
    });
}

#[test]
fn patches() {
    let pod = schema::builtin("io.k8s.api.core.v1.Pod").unwrap();
    let keys = [
        "op",
        "path",
        "from",
        "value",
        "add",
        "remove",
        "replace",
        "move",
        "copy",
        "test",
        "/a",
        "/a/0",
        "/a/-",
        "/~1~0",
        "",
        "/spec/containers/0",
        "spec",
        "containers",
        "name",
        "image",
        "metadata",
        "labels",
        "$patch",
        "delete",
        "merge",
        "$retainKeys",
        "$setElementOrder/containers",
        "$deleteFromPrimitiveList/finalizers",
        "finalizers",
        "volumes",
        "a",
    ];
    let live = json!({"a": [1, {"b": 2}], "metadata": {"name": "x", "labels": {"a": "b"}, "finalizers": ["a"]},
        "spec": {"containers": [{"name": "a", "image": "b", "ports": [{"containerPort": 1}]}], "volumes": []}});
    fuzz(|chance| {
        let operations: Vec<Value> = (0..chance.below(5))
            .map(|_| {
                let mut operation = json!({"op": chance.pick(&keys[4..10]), "path": chance.text(&["/a", "/0", "/-", "/spec"], 4)});
                if chance.one_in(2) {
                    operation["value"] = chance.json(&keys, 3);
                    operation["from"] = chance.text(&["/a", "/0", "/spec"], 3).into();
                }
                operation
            })
            .collect();
        let operations = serde_json::to_vec(&operations).unwrap();
        let _ = patch::json_patch(live.clone(), &operations);
        let _ = patch::json_patch(live.clone(), &chance.damaged(&operations));
        let made = chance.json(&keys, 6);
        let _ = patch::merge_patch(live.clone(), made.to_string().as_bytes());
        let _ = patch::merge_patch(live.clone(), &chance.damaged(made.to_string().as_bytes()));
        let _ = patch::strategic::merge(live.clone(), made, &pod);
        let _ = patch::strategic::merge(chance.json(&keys, 5), chance.json(&keys, 5), &pod);
    });
}

#[test]
fn selectors() {
    let pieces = [
        "a",
        "b/c",
        "=",
        "==",
        "!=",
        "!",
        ",",
        " in ",
        " notin ",
        "(",
        ")",
        "x,y",
        ">",
        "<",
        "1",
        " ",
        "\\,",
        "metadata.name",
    ];
    fuzz(|chance| {
        let text = chance.text(&pieces, 20);
        if let Ok(selector) = LabelSelector::parse(&text) {
            let again = selector.to_string();
            assert!(LabelSelector::parse(&again).is_ok(), "{text:?} prints as {again:?}");
            let _ = selector.matches(|key| (key == "a").then_some("1"));
        }
        if let Ok(selector) = FieldSelector::parse(&text) {
            let _ = selector.matches(|field| field.to_owned());
        }
        let keys =
            ["matchLabels", "matchExpressions", "key", "operator", "values", "In", "Exists", "a"];
        let _ = LabelSelector::from_json(Some(&chance.json(&keys, 4)));
    });
}

#[test]
fn bodies() {
    let pod: SchemaRef = schema::builtin("io.k8s.api.core.v1.Pod").unwrap();
    let kind = kubeplane_core::GroupVersionKind::new("", "v1", "Pod");
    let body = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x", "labels": {"a": "b"}},
        "spec": {"containers": [{"name": "a", "image": "b", "resources": {"limits": {"cpu": "1", "memory": "1Gi"}},
            "ports": [{"containerPort": 80}], "readinessProbe": {"httpGet": {"port": "http"}}}]}});
    let message = Message::of_kind("v1", "Pod").unwrap();
    let json = body.to_string().into_bytes();
    let packed = message.encode(&json, None).unwrap();
    let text = yaml::print(&body).unwrap().into_bytes();
    let keys = [
        "metadata",
        "name",
        "spec",
        "containers",
        "image",
        "ports",
        "containerPort",
        "labels",
        "creationTimestamp",
        "10",
        "1Gi",
    ];
    fuzz(|chance| {
        let mut sent = vec![chance.damaged(&json), chance.damaged(&text)];
        sent.push(chance.json(&keys, 8).to_string().into_bytes());
        sent.push(
            chance
                .text(
                    &[
                        "a: ", "- ", "\n", "  ", "{", "}", "&a ", "*a ", "|", ">", "\"", "'", "[",
                        "]", "? ", "<<: *a", "---\n", "!!int ",
                    ],
                    40,
                )
                .into_bytes(),
        );
        for bytes in &sent {
            let _ = yaml::parse_reporting_duplicates(bytes);
            for format in [Format::Json, Format::Yaml] {
                let _ = decode::decode_as(bytes, format, &kind, &pod, FieldValidation::Strict);
            }
            let _ = decode::duplicates(bytes, &pod);
        }
        let damaged = chance.damaged(&packed);
        let _ = decode::decode_protobuf(&damaged, &kind, &pod);
        if let Ok(map) = message.decode(&damaged) {
            let _ = message.encode(&serde_json::to_vec(&map).unwrap(), Some("1"));
        }
    });
}
