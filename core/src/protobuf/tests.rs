use super::*;
use crate::{
    Object,
    decode::conform,
    schema::{Kind, builtin, builtin_names},
};
use proptest::prelude::*;
use serde_json::json;

const POD: &str = "io.k8s.api.core.v1.Pod";

fn message(name: &str) -> Message {
    Message::builtin(name).unwrap()
}

/// To the wire and back.
fn round_trip(name: &str, value: &Value) -> Value {
    let bytes = message(name).encode(value.to_string().as_bytes(), None).unwrap();
    Value::Object(message(name).decode(&bytes).unwrap())
}

fn conformed(name: &str, value: Value) -> Value {
    let mut object = Object::from_value(value).unwrap();
    conform(&mut object, &builtin(name).unwrap()).unwrap();
    object.into_value()
}

#[test]
fn fields_that_are_no_pointers_are_written_empty_too() {
    let name = "io.k8s.api.core.v1.SecretReference";
    assert_eq!(message(name).encode(b"{}", None).unwrap(), b"\x0a\0\x12\0");
    let name = "io.k8s.api.core.v1.ServicePort";
    let json = br#"{"port":80,"targetPort":"http","name":"a"}"#;
    let want = b"\x0a\x01a\x12\0\x18\x50\x22\x0a\x08\x01\x10\0\x1a\x04http\x28\0";
    assert_eq!(message(name).encode(json, None).unwrap(), want);
    // A quantity that is missing is zero, a time that is missing an empty message.
    let name = "io.k8s.api.core.v1.NamespaceCondition";
    let bytes = message(name).encode(br#"{"type":"A","status":"True"}"#, None).unwrap();
    assert_eq!(bytes, b"\x0a\x01A\x12\x04True\x22\0\x2a\0\x32\0");
}

#[test]
fn maps_are_sorted_and_negative_numbers_take_ten_bytes() {
    let name = "io.k8s.api.core.v1.ConfigMap";
    let json = br#"{"data":{"b":"2","a\u0031":"1","a":"\u00e9\n"},"metadata":{}}"#;
    let bytes = message(name).encode(json, Some("9")).unwrap();
    let data =
        b"\x12\x08\x0a\x01a\x12\x03\xc3\xa9\n\x12\x07\x0a\x02a1\x12\x011\x12\x06\x0a\x01b\x12\x012";
    assert!(bytes.ends_with(data), "{bytes:?}");
    let name = "io.k8s.api.scheduling.v1.PriorityClass";
    let bytes = message(name).encode(br#"{"value":-1}"#, None).unwrap();
    let minus = b"\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01";
    assert!(bytes.windows(minus.len()).any(|window| window == minus));
}

#[test]
fn the_revision_is_put_into_the_objects_own_metadata() {
    let json = json!({
        "metadata": {"name": "d", "resourceVersion": "1"},
        "spec": {"template": {"metadata": {"name": "t"}, "spec": {"containers": []}}, "selector": {}},
    });
    let deployment = message("io.k8s.api.apps.v1.Deployment");
    let bytes = deployment.encode(json.to_string().as_bytes(), Some("77")).unwrap();
    let read = deployment.decode(&bytes).unwrap();
    assert_eq!(read["metadata"]["resourceVersion"], "77");
    assert_eq!(read["spec"]["template"]["metadata"].get("resourceVersion"), None);
}

#[test]
fn special_shapes_go_both_ways() {
    let pod = json!({
        "metadata": {
            "name": "a", "creationTimestamp": "2026-01-02T03:04:05Z",
            "managedFields": [{"manager": "m", "fieldsType": "FieldsV1", "fieldsV1": {"f:a": {".": {}}}}],
        },
        "spec": {
            "containers": [{
                "name": "c", "image": "i",
                "resources": {"limits": {"cpu": "100m", "memory": "1Gi"}},
                "livenessProbe": {"httpGet": {"port": 80}},
                "readinessProbe": {"httpGet": {"port": "web"}},
                "envFrom": [{"configMapRef": {"name": "e", "optional": false}}],
            }],
            "volumes": [
                {"name": "x", "emptyDir": {"medium": "Memory"}},
                {"name": "y", "projected": {"sources": [{"secret": {"name": "s"}}], "defaultMode": 420}},
            ],
            "securityContext": {"supplementalGroups": [1, 2]}, "activeDeadlineSeconds": 0,
        },
        "status": {"startTime": "1969-12-31T23:59:59Z"},
    });
    assert_eq!(conformed(POD, round_trip(POD, &pod)), conformed(POD, pod));
    let secret = json!({"metadata": {}, "data": {"k": "AP8=", "empty": ""}});
    let name = "io.k8s.api.core.v1.Secret";
    assert_eq!(round_trip(name, &secret), secret);
    let lease = json!({"metadata": {}, "spec": {"renewTime": "2026-01-02T03:04:05.123456Z"}});
    let name = "io.k8s.api.coordination.v1.Lease";
    assert_eq!(round_trip(name, &lease), lease);
    let review = json!({"metadata": {}, "spec": {"user": "u", "extra": {"a": ["1", "2"], "b": []}}, "status": {"allowed": false}});
    let name = "io.k8s.api.authorization.v1.SubjectAccessReview";
    assert_eq!(round_trip(name, &review), review);
    let rule = json!({
        "paramKind": {"apiVersion": "v1", "kind": "K"},
        "matchConstraints": {"resourceRules": [{
            "resourceNames": ["n"], "operations": ["CREATE"], "apiGroups": ["*"], "resources": ["pods"], "scope": "*",
        }]},
    });
    let name = "io.k8s.api.admissionregistration.v1.ValidatingAdmissionPolicySpec";
    assert_eq!(round_trip(name, &rule), rule);
}

#[test]
fn json_schemas_go_both_ways() {
    let name = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps";
    let schema = json!({
        "type": "object", "minimum": 1.5, "default": {"a": null}, "enum": ["x", 1, [true]],
        "properties": {
            "list": {"type": "array", "items": {"type": "string"}},
            "tuple": {"items": [{"type": "string"}, {"type": "integer"}]},
        },
        "additionalProperties": false, "additionalItems": true,
        "dependencies": {"a": ["b", "c"], "d": {"type": "string"}},
        "x-kubernetes-preserve-unknown-fields": true, "x-kubernetes-list-map-keys": ["k"], "$ref": "r",
        "patternProperties": {"^a": {"additionalProperties": {"type": "integer"}}},
    });
    assert_eq!(round_trip(name, &schema), schema);
}

#[test]
fn every_built_in_shape_survives_empty() {
    for name in builtin_names() {
        let schema = builtin(name).unwrap();
        if !matches!(schema.kind, Kind::Object { .. }) {
            continue;
        }
        let message = message(name);
        let empty = message.encode(b"{}", None).unwrap();
        let read = Value::Object(message.decode(&empty).unwrap());
        assert_eq!(message.encode(read.to_string().as_bytes(), None).unwrap(), empty, "{name}");
    }
}

#[test]
fn packed_repeated_and_unknown_fields_are_read() {
    let name = "io.k8s.api.core.v1.PodSecurityContext";
    // supplementalGroups packed, then alone; an unknown field, a group.
    let bytes = b"\x22\x02\x01\x02\x20\x03\xfa\x3f\x01x\x93\x40\x08\x01\x94\x40";
    let map = message(name).decode(bytes).unwrap();
    assert_eq!(Value::Object(map), json!({"supplementalGroups": [1, 2, 3]}));
}

#[test]
fn damaged_messages_are_refused() {
    let pod = message(POD);
    for (bytes, error) in [
        (&b"\x0a\x05ab"[..], Error::Eof),
        (b"\x0a", Error::Eof),
        (b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", Error::Overflow),
        (b"\x08\x01", Error::WrongWireType { found: 0, field: "ObjectMeta".into() }),
        (b"\x0e", Error::WireType(6)),
        (b"\x00", Error::Tag { message: "Pod".into(), tag: 0, key: 0 }),
        (b"\x0a\x03\x0a\x01\xff", Error::Utf8),
    ] {
        assert_eq!(pod.decode(bytes).unwrap_err(), error);
    }
    assert_eq!(unwrap(b"{}"), Err(Error::Prefix));
    assert!(unwrap(b"k8s\0\x12\xff").is_err());
    for json in [
        "",
        "{",
        "[]",
        "{\"metadata\":[]}",
        "{\"spec\":{\"containers\":{}}}",
        "{\"metadata\":{\"name\":1}}",
        "{} x",
        "{\"metadata\"",
        "{\"metadata\":{\"name\":\"\\",
    ] {
        assert!(pod.encode(json.as_bytes(), None).is_err(), "{json}");
    }
}

#[test]
fn nesting_is_bounded() {
    let name = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps";
    let depth = 100_000;
    let json = format!("{}{{}}{}", "{\"not\":".repeat(depth), "}".repeat(depth));
    assert_eq!(message(name).encode(json.as_bytes(), None), Err(Error::Depth));
    let not = builtin(name).unwrap().field("not").unwrap().tag;
    let mut bytes = Vec::new();
    for _ in 0..1000 {
        let mut out = wire::Reverse::with_capacity(bytes.len() + 16);
        out.bytes(not, &bytes);
        bytes = out.into_vec();
    }
    assert_eq!(message(name).decode(&bytes), Err(Error::Depth));
}

#[test]
fn envelopes_and_frames_open_again() {
    let body = wrap("apps/v1", "Deployment", b"raw");
    let want = b"k8s\0\x0a\x15\x0a\x07apps/v1\x12\x0aDeployment\x12\x03raw\x1a\0\x22\0";
    assert_eq!(body, want);
    let unknown = unwrap(&body).unwrap();
    assert_eq!(
        (&*unknown.api_version, &*unknown.kind, unknown.raw),
        ("apps/v1", "Deployment", &b"raw"[..])
    );
    assert_eq!(frame("ADDED", b"x"), b"\0\0\0\x0c\x0a\x05ADDED\x12\x03\x0a\x01x");
    assert_eq!(list_head("7", "", Some(3)), b"\x0a\x09\x0a\0\x12\x017\x1a\0\x20\x03");
    assert_eq!(
        Message::of_kind("v1", "Status").unwrap().name(),
        "io.k8s.apimachinery.pkg.apis.meta.v1.Status"
    );
    assert!(Message::of_kind("rbac.authorization.k8s.io/v1", "Role").is_some());
    assert!(Message::of_kind("example.com/v1", "Role").is_none());
}

/// A value for a shape, up to some depth.
fn some(schema: &crate::schema::Schema, depth: u32, seed: &mut u64) -> Value {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    let pick = *seed >> 33;
    match &schema.kind {
        Kind::String => format!("t\"{pick}\u{e9}").into(),
        Kind::Bytes => "AAEC".into(),
        Kind::Time { micro: true } => "2026-01-02T03:04:05.000006Z".into(),
        Kind::Time { micro: false } => "2026-01-02T03:04:05Z".into(),
        Kind::Quantity => "15Mi".into(),
        Kind::IntOrString if pick.is_multiple_of(2) => "50%".into(),
        Kind::IntOrString => 8080.into(),
        Kind::Integer { wide } => (if *wide { i64::MIN } else { i64::from(i32::MIN) } + 1).into(),
        Kind::Number => 2.5.into(),
        Kind::Boolean => true.into(),
        Kind::Any => match &*schema.name {
            "v1.JSONSchemaPropsOrStringArray" => json!(["a"]),
            "" => json!({"a": [1, null, "\""]}),
            _ => json!({"type": "string"}),
        },
        Kind::Map { values, .. } => {
            json!({"k2": some(values, depth, seed), "k10": some(values, depth, seed)})
        }
        Kind::List { items, .. } => json!([some(items, depth, seed), some(items, depth, seed)]),
        Kind::Object { fields, .. } => {
            let mut map = Map::new();
            for field in fields.iter().filter(|field| field.tag != 0) {
                *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let nested = matches!(
                    field.schema.kind,
                    Kind::Object { .. } | Kind::List { .. } | Kind::Map { .. }
                );
                if (depth > 0 || !nested) && !(*seed >> 40).is_multiple_of(3) {
                    map.insert(
                        field.name.to_string(),
                        some(&field.schema, depth.saturating_sub(1), seed),
                    );
                }
            }
            Value::Object(map)
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn objects_survive_the_wire(index in 0_usize..503, mut seed in any::<u64>()) {
        let name = builtin_names().nth(index).unwrap();
        let schema = builtin(name).unwrap();
        let value = conformed(name, some(&schema, 4, &mut seed));
        let bytes = message(name).encode(value.to_string().as_bytes(), None).unwrap();
        let read = Value::Object(message(name).decode(&bytes).unwrap());
        prop_assert_eq!(conformed(name, read), value);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), at in any::<prop::sample::Index>(), mut seed in any::<u64>()) {
        let _ = message(POD).decode(&bytes);
        let _ = unwrap(&bytes);
        let _ = message(POD).encode(&bytes, None);
        let value = some(&builtin(POD).unwrap(), 3, &mut seed).to_string();
        let mut json = value.clone().into_bytes();
        let mut wire = message(POD).encode(value.as_bytes(), None).unwrap();
        for damaged in [&mut json, &mut wire] {
            let at = at.index(damaged.len());
            damaged[at] = bytes.first().copied().unwrap_or(b'"');
        }
        let _ = message(POD).encode(&json, None);
        let _ = message(POD).decode(&wire);
        let _ = message(POD).decode(&wire[..at.index(wire.len())]);
    }
}

/// Objects as a server of Kubernetes 1.36 sent them in both forms. With `KUBEPLANE_PROTOBUF_PAIRS` a file of more of
/// them is taken instead.
#[test]
fn recorded_bodies_are_the_same_byte_for_byte() {
    let more = std::env::var("KUBEPLANE_PROTOBUF_PAIRS").ok();
    let more = more.map(|path| std::fs::read_to_string(path).unwrap());
    let text = more.as_deref().unwrap_or(include_str!("pairs.jsonl"));
    let mut different = Vec::new();
    for line in text.lines() {
        let pair: Value = serde_json::from_str(line).unwrap();
        let id = pair["id"].as_str().unwrap();
        let want = base64::Engine::decode(
            &base64::engine::general_purpose::STANDARD,
            pair["proto"].as_str().unwrap(),
        )
        .unwrap();
        let json = pair["json"].as_str().unwrap();
        let mut object: Value = serde_json::from_str(json).unwrap();
        let text = |key: &str| object[key].as_str().unwrap().to_owned();
        let (version, kind) = (&*text("apiVersion"), &*text("kind"));
        let message = Message::of_kind(version, kind).unwrap();
        let raw = message.encode(json.as_bytes(), None).unwrap();
        if wrap(version, kind, &raw) != want {
            let original = Value::Object(message.decode(unwrap(&want).unwrap().raw).unwrap());
            let own = Value::Object(message.decode(&raw).unwrap());
            let at = wrap(version, kind, &raw).iter().zip(&want).position(|(a, b)| a != b);
            different.push(format!("{id} at {at:?}, values equal: {}", own == original));
        }
        let mut read = unwrap(&want).map(|sent| message.decode(sent.raw).unwrap()).unwrap();
        read.insert("kind".into(), kind.into());
        read.insert("apiVersion".into(), version.into());
        let read = conformed(message.name(), Value::Object(read));
        // The kinds of claim templates are no part of the protobuf form; defaults put them in again.
        let claims = object.pointer_mut("/spec/volumeClaimTemplates").and_then(Value::as_array_mut);
        for claim in claims.into_iter().flatten().filter_map(Value::as_object_mut) {
            claim.retain(|key, _| !matches!(key.as_str(), "kind" | "apiVersion"));
        }
        let object = conformed(message.name(), object);
        if read != object {
            different.push(format!("{id} is read otherwise:\n{read}\n{object}"));
        }
    }
    assert!(different.is_empty(), "{} differ:\n{}", different.len(), different.join("\n"));
}
