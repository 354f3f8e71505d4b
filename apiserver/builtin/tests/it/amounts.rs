//! Amounts written in other words are no changes, as for the original, which compares what they mean.

use crate::hooks::Kind;
use kubeplane_core::Object;
use serde_json::{Value, json};

const NONE: Vec<String> = Vec::new();
/// One gibibyte, in a form that stays as it is.
const BYTES: &str = "1073741824";

fn pod_spec() -> Value {
    json!({"containers": [{"name": "c", "image": "i:1", "resources": {
        "requests": {"memory": "1Gi", "ephemeral-storage": "1Gi"}, "limits": {"memory": "1Gi"}}}]})
}

fn workload() -> Value {
    let labels = json!({"a": "b"});
    json!({"metadata": {"name": "w", "namespace": "d"}, "spec": {"selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": pod_spec()}}})
}

/// Writes an amount of the first container of this pod in bytes.
fn in_bytes(pod: &mut Value, list: &str, resource: &str) {
    pod["containers"][0]["resources"][list][resource] = BYTES.into();
}

fn template(object: &mut Object) -> &mut Value {
    let template = object.map_at_mut(&["spec"]).get_mut("template").unwrap();
    &mut template["spec"]
}

#[test]
fn the_generation_counts_what_changes() {
    for name in ["Deployment", "ReplicaSet", "DaemonSet", "StatefulSet"] {
        let kind = Kind::of("apps/v1", name);
        let old = kind.created(workload());
        let (same, errors) =
            kind.updated(&old, "", |object| in_bytes(template(object), "requests", "memory"));
        assert_eq!((same.generation(), errors), (1, NONE), "{name}");
        // It is stored as it was written all the same.
        let stored = same.at(&["spec", "template", "spec", "containers"]).unwrap();
        assert_eq!(stored[0]["resources"]["requests"]["memory"], BYTES, "{name}");
        let (changed, errors) = kind.updated(&old, "", |object| {
            template(object)["containers"][0]["resources"]["limits"]["memory"] = "2Gi".into();
        });
        assert_eq!((changed.generation(), errors), (2, NONE), "{name}");
    }
}

#[test]
fn a_daemon_set_counts_templates_by_what_they_mean() {
    const GENERATION: &str = "deprecated.daemonset.template.generation";
    let kind = Kind::of("apps/v1", "DaemonSet");
    let old = kind.created(workload());
    let (same, _) = kind.updated(&old, "", |object| in_bytes(template(object), "limits", "memory"));
    assert_eq!(same.annotation(GENERATION), Some("1"));
}

#[test]
fn what_is_immutable_may_be_written_in_other_words() {
    let pods = Kind::of("v1", "Pod");
    let old =
        pods.created(json!({"metadata": {"name": "p", "namespace": "d"}, "spec": pod_spec()}));
    let change = |subresource: &str, list: &str, resource: &str| {
        let (pod, errors) = pods.updated(&old, subresource, |pod| {
            let mut spec = pod.at(&["spec"]).cloned().unwrap();
            in_bytes(&mut spec, list, resource);
            pod.set(&["spec"], spec);
        });
        (pod.generation(), errors)
    };
    assert_eq!(change("", "requests", "memory"), (1, NONE));
    assert_eq!(change("resize", "requests", "ephemeral-storage"), (1, NONE));
    let jobs = Kind::of("batch/v1", "Job");
    let mut spec = pod_spec();
    spec["restartPolicy"] = "Never".into();
    let old = jobs.created(json!({"metadata": {"name": "j", "namespace": "d", "uid": "u"},
        "spec": {"template": {"spec": spec}}}));
    let (same, errors) =
        jobs.updated(&old, "", |object| in_bytes(template(object), "limits", "memory"));
    assert_eq!((same.generation(), errors), (1, NONE));
}

#[test]
fn claims_and_their_templates_keep_their_size() {
    let spec =
        json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}});
    let path = ["spec", "resources", "requests", "storage"];
    let claims = Kind::of("v1", "PersistentVolumeClaim");
    let old = claims.created(json!({"metadata": {"name": "c", "namespace": "d"}, "spec": spec}));
    // A claim that is not bound may not be changed at all.
    let with = |claim: &Object, amount: &str| {
        let mut claim = claim.clone();
        claim.set(&path, amount);
        claims.updated(&old, "", |object| *object = claim).1
    };
    assert_eq!(with(&old, BYTES), NONE);
    let errors = with(&old, "2Gi");
    assert!(
        errors[0].starts_with("spec: Forbidden: spec is immutable after creation"),
        "{errors:?}"
    );
    let sets = Kind::of("apps/v1", "StatefulSet");
    let mut set = workload();
    set["spec"]["volumeClaimTemplates"] = json!([{"metadata": {"name": "data"}, "spec": spec}]);
    let old = sets.created(set);
    let change = |amount: &str| {
        let (_, errors) = sets.updated(&old, "", |set| {
            let templates = set.map_at_mut(&["spec"]).get_mut("volumeClaimTemplates").unwrap();
            templates[0]["spec"]["resources"]["requests"]["storage"] = amount.into();
        });
        errors
    };
    assert_eq!(change(BYTES), NONE);
    let errors = change("2Gi");
    assert!(errors[0].starts_with("spec: Forbidden: updates to statefulset spec"), "{errors:?}");
}
