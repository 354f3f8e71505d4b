//! A new object is recorded in one walk as it is by being compared with nothing.

use super::*;
use crate::GroupVersion;
use proptest::prelude::*;

fn filters() -> [Filter; 4] {
    [
        Filter::None,
        Filter::exclude(&[&["status"]]),
        Filter::exclude(&[&["spec"], &["metadata", "labels"]]),
        Filter::Include(vec![vec![Step::Field("spec"), Step::Any]]),
    ]
}

/// Both ways to record a new object; whether it was done in one walk.
fn both(kind: &GroupVersionKind, schema: &Schema, body: &Value, reset: &Filter) -> bool {
    let request = Request {
        manager: "maker",
        subresource: "",
        kind,
        schema,
        reset,
        now: Timestamp::from_second(1_700_000_000).unwrap(),
        versions: None,
    };
    let new = Object::from_value(body.clone()).unwrap();
    let expected = recorded(None, new.clone(), &request);
    assert_eq!(update_packed(None, new.clone(), &request), expected, "{body}");
    let mut walked = new.clone();
    let done = crate::apply::whole::update(&mut walked, &request);
    assert_eq!(walked, if done { expected } else { new }, "{body}");
    done
}

fn builtin(version: &str, kind: &str, schema: &str, body: Value, walked: bool) {
    let version = GroupVersion::parse(version).unwrap();
    let kind = GroupVersionKind::new(version.group, version.version, kind.to_owned());
    let schema = schema::builtin(schema).unwrap();
    for reset in &filters() {
        let done = both(&kind, &schema, &body, reset);
        assert_eq!(done, walked && !matches!(reset, Filter::Include(_)), "{reset:?} {body}");
    }
}

fn pod(spec: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {
        "name": "p", "namespace": "d", "uid": "u", "resourceVersion": "7", "creationTimestamp": null,
        "labels": {"a": "b", "\u{e9}\"<\n": "c"}, "annotations": {}, "finalizers": ["x", "y", "x"],
        "ownerReferences": [{"apiVersion": "v1", "kind": "A", "name": "n", "uid": "1", "controller": true}]},
        "spec": spec, "status": {"conditions": [{"type": "Ready", "status": "True"}], "podIPs": []}})
}

#[test]
fn objects_of_built_in_kinds_are_recorded_alike() {
    let schema = "io.k8s.api.core.v1.Pod";
    for spec in [
        json!({}),
        json!({"containers": null}),
        json!({"containers": [], "volumes": [{"name": "v", "emptyDir": {}}, {"name": "w"}, {"name": "v"}]}),
        json!({"containers": [
            {"name": "b", "image": "i", "resources": {"limits": {"cpu": "1"}, "requests": {}},
                "ports": [{"containerPort": 80, "protocol": "TCP"}, {"containerPort": 9, "protocol": "UDP"},
                    {"containerPort": 80}, {"containerPort": 1000, "hostPort": 3}],
                "env": [{"name": "B", "value": ""}, {"name": "A_1", "value": "x"}, {"name": "A"},
                    {"name": "\"q\"", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}}}]},
            {"image": "no name"}, {"name": "a", "resources": {}}, {"name": "b"}]}),
        json!({"containers": {"a": 1}, "nodeSelector": ["x"], "tolerations": [{"key": "k"}], "securityContext": {},
            "affinity": {"nodeAffinity": {}}, "hostNetwork": "text", "dnsConfig": 3,
            "topologySpreadConstraints": [{"topologyKey": "z", "whenUnsatisfiable": "W", "maxSkew": 1}]}),
    ] {
        builtin("v1", "Pod", schema, pod(spec), true);
    }
    let lease = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "l"},
        "spec": {"holderIdentity": "h", "leaseDurationSeconds": 40}});
    builtin("coordination.k8s.io/v1", "Lease", "io.k8s.api.coordination.v1.Lease", lease, true);
    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "r"},
        "rules": null});
    builtin("rbac.authorization.k8s.io/v1", "Role", "io.k8s.api.rbac.v1.Role", role, true);
}

#[test]
fn what_is_raw_and_what_is_always_there_is_recorded_alike() {
    for data in
        [json!({"a": [1, {"b": 2}]}), json!({}), json!([]), json!([1]), json!("text"), json!(0)]
    {
        let body = json!({"apiVersion": "apps/v1", "kind": "ControllerRevision", "metadata": {"name": "c"},
            "revision": 0, "data": data});
        let kind = GroupVersionKind::new("apps", "v1", "ControllerRevision");
        let schema = schema::builtin("io.k8s.api.apps.v1.ControllerRevision").unwrap();
        for reset in &filters() {
            both(&kind, &schema, &body, reset);
        }
    }
    let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"creationTimestamp": null},
        "spec": {"selector": {}, "strategy": {}, "template": {"metadata": {"creationTimestamp": null}, "spec":
            {"containers": [{"name": "a", "resources": {}}]}}}, "status": {}});
    builtin("apps/v1", "Deployment", "io.k8s.api.apps.v1.Deployment", deployment, true);
}

#[test]
fn managers_that_were_sent_are_read() {
    let mut body = pod(json!({}));
    body["metadata"]["managedFields"] = json!([]);
    builtin("v1", "Pod", "io.k8s.api.core.v1.Pod", body.clone(), false);
    body["metadata"]["managedFields"] = json!([{"manager": "m", "operation": "Update", "apiVersion": "v1",
        "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": {}}}]);
    builtin("v1", "Pod", "io.k8s.api.core.v1.Pod", body, false);
}

#[test]
fn what_nobody_manages_is_recorded_for_nobody() {
    let body =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "uid": "u"}});
    builtin("v1", "ConfigMap", "io.k8s.api.core.v1.ConfigMap", body, true);
}

proptest! {
    #[test]
    fn objects_of_custom_kinds_are_recorded_alike(body in super::properties::spec(), filter in 0..4_usize) {
        let kind = GroupVersionKind::new("example.com", "v1", "Thing");
        both(&kind, &custom(), &body, &filters()[filter]);
    }

    #[test]
    fn pods_are_recorded_alike((_, _, body) in super::properties::pod_write(), filter in 0..4_usize) {
        let kind = GroupVersionKind::new("", "v1", "Pod");
        let schema = schema::builtin("io.k8s.api.core.v1.Pod").unwrap();
        both(&kind, &schema, &body, &filters()[filter]);
    }
}
