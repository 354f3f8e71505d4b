use super::*;
use crate::{
    GroupVersion,
    schema::{Field, Kind, Presence, builtin, builtin_names},
};
use serde_json::json;
use std::borrow::Cow;

fn known(api_version: &str, kind: &str) -> (GroupVersionKind, SchemaRef) {
    let version = GroupVersion::parse(api_version).unwrap();
    let group =
        if version.group.is_empty() { "core" } else { version.group.split('.').next().unwrap() };
    let tail = format!(".{group}.{}.{kind}", version.version);
    let name = builtin_names().find(|name| name.ends_with(&tail)).unwrap();
    let kind = GroupVersionKind {
        group: version.group,
        version: version.version,
        kind: kind.to_owned().into(),
    };
    (kind, builtin(name).unwrap())
}

fn typed(
    api_version: &str,
    kind: &str,
    body: &str,
    validation: FieldValidation,
) -> ApiResult<Decoded> {
    let (kind, schema) = known(api_version, kind);
    decode_as(body.as_bytes(), Format::Json, &kind, &schema, validation)
}

fn good(api_version: &str, kind: &str, body: &Value) -> Value {
    let decoded = typed(api_version, kind, &body.to_string(), FieldValidation::Strict).unwrap();
    Value::Object(decoded.object.map().clone())
}

fn message(api_version: &str, kind: &str, body: &str) -> String {
    typed(api_version, kind, body, FieldValidation::Strict).unwrap_err().message().to_owned()
}

/// Answers recorded from a 1.36 server, to bodies cut down to what matters.
#[test]
fn explains_wrong_types_as_recorded() {
    let answers = [
        (
            "v1/ConfigMap",
            r#"{"metadata":[]}"#,
            "array into Go struct field ConfigMap.metadata of type v1.ObjectMeta",
        ),
        (
            "v1/ConfigMap",
            r#"{"metadata":{"labels":{"a":"b","c":1}}}"#,
            "number into Go struct field ObjectMeta.metadata.labels of type string",
        ),
        (
            "v1/ConfigMap",
            r#"{"binaryData":[]}"#,
            "array into Go struct field ConfigMap.binaryData of type map[string][]uint8",
        ),
        (
            "v1/ConfigMap",
            r#"{"binaryData":{"b":7}}"#,
            "number into Go struct field ConfigMap.binaryData of type []uint8",
        ),
        (
            "v1/Secret",
            r#"{"type":7}"#,
            "number into Go struct field Secret.type of type v1.SecretType",
        ),
        (
            "v1/Node",
            r#"{"spec":{"taints":{}}}"#,
            "object into Go struct field NodeSpec.spec.taints of type []v1.Taint",
        ),
        (
            "v1/Node",
            r#"{"spec":{"taints":[{"key":7}]}}"#,
            "number into Go struct field Taint.spec.taints.key of type string",
        ),
        (
            "v1/Node",
            r#"{"spec":{"unschedulable":"x"}}"#,
            "string into Go struct field NodeSpec.spec.unschedulable of type bool",
        ),
        (
            "v1/Pod",
            r#"{"spec":{"priority":1.5}}"#,
            "number 1.5 into Go struct field PodSpec.spec.priority of type int32",
        ),
        (
            "v1/Pod",
            r#"{"spec":{"priority":99999999999}}"#,
            "number 99999999999 into Go struct field PodSpec.spec.priority of type int32",
        ),
        (
            "v1/Pod",
            r#"{"spec":{"containers":[{"resources":{"limits":[]}}]}}"#,
            "array into Go struct field ResourceRequirements.spec.containers.resources.limits of type v1.ResourceList",
        ),
        (
            "v1/Pod",
            r#"{"spec":{"volumes":[{"emptyDir":{"medium":7}}]}}"#,
            "number into Go struct field EmptyDirVolumeSource.spec.volumes.VolumeSource.emptyDir.medium of type v1.StorageMedium",
        ),
        (
            "apps/v1/Deployment",
            r#"{"spec":{"strategy":{"rollingUpdate":{"maxUnavailable":1.5}}}}"#,
            "number 1.5 into Go struct field RollingUpdateDeployment.spec.strategy.rollingUpdate.maxUnavailable of type int32",
        ),
        (
            "apiextensions.k8s.io/v1/CustomResourceDefinition",
            r#"{"spec":{"versions":[{"schema":{"openAPIV3Schema":{"properties":{"a":{"items":{"type":7}}}}}}]}}"#,
            "number into Go struct field JSONSchemaProps.spec.versions.schema.openAPIV3Schema.properties.items.type of type string",
        ),
    ];
    for (id, body, want) in answers {
        let (version, kind) = id.rsplit_once('/').unwrap();
        let short = version.rsplit('/').next().unwrap();
        let want = format!(
            "{kind} in version \"{short}\" cannot be handled as a {kind}: json: cannot unmarshal {want}"
        );
        assert_eq!(message(version, kind, body), want, "{body}");
    }
}

#[test]
fn explains_wrong_texts_as_recorded() {
    let quantity = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";
    let answers = [
        ("Secret", r#"{"data":{"k":"x y"}}"#, "illegal base64 data at input byte 1"),
        ("Secret", r#"{"data":{"k":"100"}}"#, "illegal base64 data at input byte 0"),
        ("Secret", r#"{"data":{"k":"UPPER_Case!"}}"#, "illegal base64 data at input byte 5"),
        ("Pod", r#"{"spec":{"containers":[{"resources":{"requests":{"cpu":""}}}]}}"#, quantity),
        (
            "Event",
            r#"{"firstTimestamp":"x y"}"#,
            r#"parsing time "x y" as "2006-01-02T15:04:05Z07:00": cannot parse "x y" as "2006""#,
        ),
        (
            "Event",
            r#"{"eventTime":"2026-01-01T00:00:00Z"}"#,
            r#"parsing time "2026-01-01T00:00:00Z" as "2006-01-02T15:04:05.000000Z07:00": cannot parse "Z" as ".000000""#,
        ),
        (
            "Event",
            r#"{"firstTimestamp":"2026-13-01T00:00:00Z"}"#,
            r#"parsing time "2026-13-01T00:00:00Z": month out of range"#,
        ),
    ];
    for (kind, body, want) in answers {
        let want = format!("{kind} in version \"v1\" cannot be handled as a {kind}: {want}");
        assert_eq!(message("v1", kind, body), want, "{body}");
    }
}

#[test]
fn names_unknown_and_duplicate_fields_in_order() {
    let body = r#"{"spec":{"x":1,"containers":[{"name":"a","y":2,"name":"b"}],"nodeName":"a","nodeName":"b"},"Kind":1}"#;
    let found = [
        r#"unknown field "spec.x""#,
        r#"unknown field "spec.containers[0].y""#,
        r#"duplicate field "spec.containers[0].name""#,
        r#"duplicate field "spec.nodeName""#,
        r#"unknown field "Kind""#,
    ];
    let decoded = typed("v1", "Pod", body, FieldValidation::Warn).unwrap();
    assert_eq!(decoded.warnings, found);
    assert_eq!(decoded.object.text(&["spec", "nodeName"]), "b");
    assert!(decoded.object.at(&["spec", "x"]).is_none());
    let refused = format!(
        "Pod in version \"v1\" cannot be handled as a Pod: strict decoding error: {}",
        found.join(", ")
    );
    assert_eq!(message("v1", "Pod", body), refused);
    assert!(typed("v1", "Pod", body, FieldValidation::Ignore).unwrap().warnings.is_empty());
}

#[test]
fn writes_what_the_original_writes() {
    let body = json!({
        "metadata": {"name": "a", "labels": {}, "creationTimestamp": null, "annotations": {"x": null}},
        "spec": {
            "hostNetwork": false, "nodeName": "", "terminationGracePeriodSeconds": 0, "nodeSelector": null,
            "containers": [{"name": "c", "image": "i", "ports": [{"containerPort": 80}], "resources": {"limits": {"cpu": 0.5}},
                "env": [{"name": "e", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}}]}],
        },
    });
    assert_eq!(
        good("v1", "Pod", &body),
        json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "annotations": {"x": ""}}, "status": {},
            "spec": {
                "terminationGracePeriodSeconds": 0,
                "containers": [{"name": "c", "image": "i", "ports": [{"containerPort": 80, "protocol": "TCP"}],
                    "resources": {"limits": {"cpu": "500m"}},
                    "env": [{"name": "e", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu", "divisor": "0"}}}]}],
            },
        })
    );
    let role = good(
        "rbac.authorization.k8s.io/v1",
        "Role",
        &json!({"metadata": {"name": "r"}, "rules": []}),
    );
    assert_eq!(role["rules"], Value::Null);
    let secret = good("v1", "Secret", &json!({"data": {"a": null}, "stringData": {"b": null}}));
    assert_eq!((&secret["data"], &secret["stringData"]), (&json!({"a": ""}), &json!({"b": ""})));
    let times = json!({"firstTimestamp": "2026-01-01T01:00:00.5+01:00", "eventTime": "2026-01-01T00:00:00.123456Z"});
    let event = good("v1", "Event", &times);
    assert_eq!(event["firstTimestamp"], "2026-01-01T00:00:00Z");
    assert_eq!(event["eventTime"], "2026-01-01T00:00:00.123456Z");
}

#[test]
fn what_was_decoded_conforms() {
    let (_, schema) = known("apps/v1", "Deployment");
    let body = json!({"metadata": {"name": "d"}, "spec": {"replicas": 2, "template": {"spec": {"containers": [{"name": "c"}]}}}});
    let mut object = Object::from_value(good("apps/v1", "Deployment", &body)).unwrap();
    let before = object.clone();
    assert_eq!(conform(&mut object, &schema), Ok(Vec::new()));
    assert_eq!(object, before);
    object.set(&["spec", "replicas"], "x");
    assert!(conform(&mut object, &schema).is_err());
    let mut object = before;
    object.set(&["spec", "nonsense"], 1);
    assert_eq!(conform(&mut object, &schema).unwrap(), [r#"unknown field "spec.nonsense""#]);
}

#[test]
fn compares_kind_and_version_with_the_path() {
    assert_eq!(
        message(
            "autoscaling/v2",
            "HorizontalPodAutoscaler",
            r#"{"kind":"HorizontalPodAutoscaler","apiVersion":"autoscaling/v1"}"#
        ),
        "the API version in the data (autoscaling/v1) does not match the expected API version (autoscaling/v2)"
    );
    assert_eq!(
        message("v1", "Pod", r#"{"kind":"Service"}"#),
        "Service in version \"v1\" cannot be handled as a Pod: converting (v1.Service) to (core.Pod): unknown conversion"
    );
    assert_eq!(
        message("v1", "Pod", r#"{"kind":"Foo"}"#),
        "Foo in version \"v1\" cannot be handled as a Pod: no kind \"Foo\" is registered for version \"v1\" in scheme \
         \"pkg/api/legacyscheme/scheme.go:30\""
    );
    assert_eq!(
        message("v1", "Pod", r#"{"kind":7}"#),
        "the object provided is unrecognized (must be of type Pod): couldn't get version/kind; json parse error: json: \
         cannot unmarshal number into Go struct field .kind of type string ({\"kind\":7})"
    );
}

#[test]
fn explains_bad_json_as_go_does() {
    for (body, why) in [
        ("{\"a\":}", "invalid character '}' looking for beginning of value ({\"a\":})"),
        (
            "{\"a\":1,}",
            "invalid character '}' looking for beginning of object key string ({\"a\":1,})",
        ),
        ("{\"a\":1", "unexpected end of JSON input ({\"a\":1)"),
        ("{} x", "invalid character 'x' after top-level value ({} x)"),
        ("", "unexpected end of JSON input (<empty>)"),
        ("nope", "invalid character 'o' in literal null (expecting 'u') (6e6f7065)"),
    ] {
        let want = format!(
            "the object provided is unrecognized (must be of type Pod): couldn't get version/kind; json parse error: {why}"
        );
        assert_eq!(message("v1", "Pod", body), want);
    }
}

#[test]
fn reads_yaml() {
    let (kind, schema) = known("v1", "ConfigMap");
    let body = b"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\ndata:\n  k: |\n    x\n  k: z\nbogus: 1\n";
    let decoded = decode_as(body, Format::Yaml, &kind, &schema, FieldValidation::Warn).unwrap();
    assert_eq!(decoded.object.text(&["data", "k"]), "z");
    assert_eq!(decoded.warnings.len(), 2);
    assert!(decoded.warnings[0].contains("key \"k\" already set in map"), "{:?}", decoded.warnings);
    let body = b"data:\n  k: 1\n";
    let error = decode_as(body, Format::Yaml, &kind, &schema, FieldValidation::Warn).unwrap_err();
    assert!(
        error.message().ends_with(
            "cannot unmarshal number into Go struct field ConfigMap.data of type string"
        )
    );
}

fn shape(
    fields: Vec<(&'static str, SchemaRef, Option<&'static str>)>,
    preserve_unknown: bool,
) -> SchemaRef {
    let mut fields: Vec<_> = fields
        .into_iter()
        .map(|(name, schema, default)| Field {
            name: name.into(),
            schema,
            required: false,
            nullable: false,
            presence: Presence::Optional,
            default: default.map(Cow::Borrowed),
            patch: Default::default(),
            tag: 0,
        })
        .collect();
    fields.sort_by(|a, b| a.name.cmp(&b.name));
    Schema::anonymous(Kind::Object { fields: fields.into(), preserve_unknown, atomic: false })
        .into()
}

fn custom_schema() -> SchemaRef {
    let integer = || SchemaRef::from(Schema::anonymous(Kind::Integer { wide: true }));
    let free = shape(vec![("known", shape(vec![("n", integer(), None)], false), None)], true);
    let spec = shape(vec![("size", integer(), Some("3")), ("free", free, None)], false);
    let metadata = builtin("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta").unwrap();
    shape(vec![("metadata", metadata, None), ("spec", spec, Some("{}"))], false)
}

#[test]
fn prunes_and_defaults_custom_objects() {
    let kind =
        GroupVersionKind { group: "example.com".into(), version: "v1".into(), kind: "Size".into() };
    let body = json!({
        "apiVersion": "example.com/v1", "kind": "Size", "metadata": {"name": "a", "labels": {}, "nonsense": 1}, "x": 1,
        "spec": {"size": null, "bogus": 1, "free": {"any": {"thing": 1}, "known": {"n": "kept", "y": 1}}},
    });
    let body = body.to_string();
    let decoded =
        decode_as(body.as_bytes(), Format::Json, &kind, &custom_schema(), FieldValidation::Warn)
            .unwrap();
    assert_eq!(
        decoded.object.into_value(),
        json!({
            "apiVersion": "example.com/v1", "kind": "Size", "metadata": {"name": "a"},
            "spec": {"size": 3, "free": {"any": {"thing": 1}, "known": {"n": "kept"}}},
        })
    );
    assert_eq!(
        decoded.warnings,
        [
            r#"unknown field "metadata.nonsense""#,
            r#"unknown field "spec.bogus""#,
            r#"unknown field "spec.free.known.y""#,
            r#"unknown field "x""#,
        ]
    );
    let body = br#"{"apiVersion":"example.com/v1","kind":"Size","metadata":{"name":"a"},"spec":{"size":{"x":1}}}"#;
    let decoded =
        decode_as(body, Format::Json, &kind, &custom_schema(), FieldValidation::Warn).unwrap();
    assert_eq!(decoded.object.at(&["spec", "size"]), Some(&json!({})));
    assert_eq!(decoded.warnings, [r#"unknown field "spec.size.x""#]);
    let body = br#"{"apiVersion":"example.com/v1","metadata":{}}"#;
    let error =
        decode_as(body, Format::Json, &kind, &custom_schema(), FieldValidation::Warn).unwrap_err();
    assert!(error.message().contains("Object 'Kind' is missing in '{"), "{error}");
    let body = br#"{"apiVersion":"example.com/v2","kind":"Size"}"#;
    let error =
        decode_as(body, Format::Json, &kind, &custom_schema(), FieldValidation::Warn).unwrap_err();
    assert_eq!(
        error.message(),
        "the API version in the data (example.com/v2) does not match the expected API version (example.com/v1)"
    );
    for body in [r#"{"kind":"Size"}"#, r#"{"kind":"Other"}"#] {
        let body = body.as_bytes();
        let error = decode_as(body, Format::Json, &kind, &custom_schema(), FieldValidation::Warn)
            .unwrap_err();
        assert_eq!(
            error.message(),
            "the API version in the data () does not match the expected API version (example.com/v1)"
        );
    }
    let body = br#"{"apiVersion":"example.com/v1","kind":"Other","metadata":{"name":"a"}}"#;
    let error =
        decode_as(body, Format::Json, &kind, &custom_schema(), FieldValidation::Warn).unwrap_err();
    assert_eq!(
        error.message(),
        "Other.example.com \"a\" is invalid: kind: Invalid value: \"Other\": must be Size"
    );
}

/// With a resource inside, and a map of such.
fn nesting_schema() -> SchemaRef {
    let resource = || crate::schema::of_object(Vec::new(), true);
    let all = Schema::anonymous(Kind::Map { values: resource(), atomic: false });
    let spec = shape(vec![("inside", resource(), None), ("all", all.into(), None)], false);
    let metadata = builtin("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta").unwrap();
    shape(vec![("metadata", metadata, None), ("spec", spec, None)], false)
}

fn nested(spec: Value, validation: FieldValidation) -> Result<Decoded, String> {
    let kind =
        GroupVersionKind { group: "example.com".into(), version: "v1".into(), kind: "Nest".into() };
    let body = json!({"apiVersion": "example.com/v1", "kind": "Nest", "zz": 1,
        "metadata": {"name": "a", "nonsense": 1}, "spec": spec});
    let body = body.to_string();
    decode_as(body.as_bytes(), Format::Json, &kind, &nesting_schema(), validation)
        .map_err(|error| error.message().to_owned())
}

#[test]
fn the_metadata_of_resources_inside_others_is_that_of_resources() {
    let inside = json!({"apiVersion": "v1", "kind": "A", "any": {"metadata": {"bogus": 1}},
        "metadata": {"name": "b", "bogus": 1, "creationTimestamp": null, "generation": 1.0}});
    let none = json!({"apiVersion": "v1", "kind": "A", "metadata": null});
    let spec = json!({"inside": inside, "all": {"k.x": inside, "n": none}});
    let decoded = nested(spec, FieldValidation::Warn).unwrap();
    let kept = json!({"apiVersion": "v1", "kind": "A", "any": {"metadata": {"bogus": 1}},
        "metadata": {"name": "b", "generation": 1}});
    let none = json!({"apiVersion": "v1", "kind": "A", "metadata": {}});
    let wanted = json!({"inside": kept, "all": {"k.x": kept, "n": none}});
    assert_eq!(decoded.object.at(&["spec"]), Some(&wanted));
    assert_eq!(
        decoded.warnings,
        [
            r#"unknown field "metadata.nonsense""#,
            r#"unknown field "zz""#,
            r#"unknown field "spec.all[k.x].metadata.bogus""#,
            r#"unknown field "spec.inside.metadata.bogus""#,
        ]
    );
}

#[test]
fn what_is_wrong_with_resources_inside_others_is_told_by_its_place() {
    for validation in [FieldValidation::Ignore, FieldValidation::Warn] {
        for (spec, wanted) in [
            (
                json!({"inside": {"metadata": {"name": 5}}}),
                r#"spec.inside.metadata: Invalid value: {"name":5}: json: cannot unmarshal number into Go struct field ObjectMeta.name of type string"#,
            ),
            (
                json!({"all": {"": {}, "k.x": {"metadata": "x"}}}),
                r#"spec.all[k.x].metadata: Invalid value: "x": json: cannot unmarshal string into Go value of type v1.ObjectMeta"#,
            ),
            (
                json!({"all": {"k": {"kind": 1}}}),
                "spec.all[k].kind: Invalid value: 1: must be a string",
            ),
            (
                json!({"inside": {"apiVersion": null}}),
                "spec.inside.apiVersion: Invalid value: null: must be a string",
            ),
        ] {
            let said = nested(spec, validation).unwrap_err();
            assert!(said.ends_with(wanted), "{said}");
        }
    }
}

/// What was stored before the definition said that it is a resource.
#[test]
fn what_is_no_metadata_is_dropped_from_what_was_stored() {
    let inside = json!({"apiVersion": 1, "kind": "K", "x": 1,
        "metadata": {"name": "a", "labels": {"a": 1, "b": "c"}, "generation": "x", "uid": "u"}});
    let mut object = Object::from_value(json!({"spec": {"inside": inside}})).unwrap();
    prune(&mut object, &nesting_schema());
    let wanted = json!({"kind": "K", "x": 1, "metadata": {"name": "a", "uid": "u"}});
    assert_eq!(object.at(&["spec", "inside"]), Some(&wanted));
}

#[test]
fn prune_names_what_it_drops() {
    let mut object =
        Object::from_value(json!({"kind": "Size", "spec": {"b": 1, "free": {"z": 1}}, "a": 1}))
            .unwrap();
    assert_eq!(prune(&mut object, &custom_schema()), ["a", "spec.b"]);
    assert_eq!(object.into_value(), json!({"kind": "Size", "spec": {"free": {"z": 1}}}));
}

/// Settling is conforming, where nothing has to be told.
#[test]
fn what_is_settled_in_place_is_what_conforms() {
    let whole = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "a", "creationTimestamp": "2026-01-02T03:04:05Z", "labels": {"a": "b"}},
        "spec": {
            "containers": [{"name": "c", "image": "i", "resources": {"limits": {"cpu": "1", "memory": "1Gi"}},
                "ports": [{"containerPort": 80, "protocol": "TCP"}], "env": [{"name": "A", "value": "b"}],
                "livenessProbe": {"httpGet": {"port": "http"}}}],
            "volumes": [{"name": "v", "emptyDir": {"sizeLimit": "10Mi"}}],
            "tolerations": [{"key": "k", "operator": "Exists"}],
        },
        "status": {"startTime": "2026-01-02T03:04:05Z", "conditions": [{"type": "Ready", "status": "True"}]},
    });
    let changes: &[(&str, Value, bool)] = &[
        ("/metadata/name", json!("other"), true),
        ("/metadata/name", json!(1), false),
        ("/metadata/name", json!(null), true),
        ("/metadata/creationTimestamp", json!(null), true),
        ("/metadata/creationTimestamp", json!("2026-01-02T05:04:05+02:00"), true),
        ("/metadata/creationTimestamp", json!("2026-02-31T05:04:05Z"), false),
        ("/metadata/creationTimestamp", json!("2026-01-31T05:04:05.123Z"), true),
        ("/metadata/labels", json!({}), true),
        ("/metadata/labels/a", json!(null), true),
        ("/metadata/labels/a", json!(true), false),
        ("/metadata", json!([]), false),
        ("/metadata", json!(null), true),
        ("/spec/containers/0/resources/limits/cpu", json!("1000m"), true),
        ("/spec/containers/0/resources/limits/cpu", json!("0.5"), true),
        ("/spec/containers/0/resources/limits/cpu", json!(" 2 "), true),
        ("/spec/containers/0/resources/limits/cpu", json!(2), true),
        ("/spec/containers/0/resources/limits/cpu", json!(null), true),
        ("/spec/containers/0/resources/limits/cpu", json!("nonsense"), false),
        ("/spec/containers/0/resources/limits/memory", json!("1024Mi"), true),
        ("/spec/containers/0/resources/limits/memory", json!("1000k"), true),
        ("/spec/containers/0/resources/limits", json!({}), true),
        ("/spec/containers/0/resources", json!({}), true),
        ("/spec/containers/0/ports/0/protocol", json!(null), true),
        ("/spec/containers/0/ports/0/protocol", json!(""), true),
        ("/spec/containers/0/ports/0/containerPort", json!(1i64 << 40), false),
        ("/spec/containers/0/ports/0/containerPort", json!(1.5), false),
        ("/spec/containers/0/ports/0", json!(null), true),
        ("/spec/containers/0/ports", json!([]), true),
        ("/spec/containers/0/env/0", json!({"nme": "x"}), false),
        ("/spec/containers/0/env/0", json!({}), true),
        ("/spec/containers/0/livenessProbe/httpGet/port", json!(80), true),
        ("/spec/containers/0/livenessProbe/httpGet/port", json!(80.5), false),
        ("/spec/containers/0/livenessProbe/httpGet/port", json!(null), true),
        ("/spec/containers", json!(null), true),
        ("/spec/volumes/0/emptyDir/sizeLimit", json!(null), true),
        ("/spec/tolerations", json!([null]), true),
        ("/status/conditions/0", json!({"type": "Ready", "lastProbeTime": null}), true),
        ("/status/startTime", json!("0001-01-01T00:00:00Z"), false),
        ("/status", json!({}), true),
    ];
    let (_, schema) = known("v1", "Pod");
    let mut stored = Object::from_value(whole).unwrap();
    conform(&mut stored, &schema).unwrap();
    assert!(settle(&mut stored.clone(), &schema));
    for (pointer, value, settles) in changes {
        let mut changed = stored.clone().into_value();
        *changed.pointer_mut(pointer).unwrap() = value.clone();
        let changed = Object::from_value(changed).unwrap();
        let (mut settled, mut conformed) = (changed.clone(), changed);
        assert_eq!(settle(&mut settled, &schema), *settles, "{pointer} {value}");
        if *settles {
            assert!(conform(&mut conformed, &schema).unwrap().is_empty());
            assert_eq!(settled, conformed, "{pointer} {value}");
        }
    }
}
