//! Fields and rules of features that are on by default, where they were switched off.

use crate::hooks::Kind;
use kubeplane_core::Object;
use serde_json::{Value, json};

const NONE: Vec<String> = Vec::new();

fn workload() -> Value {
    let labels = json!({"a": "b"});
    json!({"metadata": {"name": "w", "namespace": "d"}, "spec": {"selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}}}})
}

#[test]
fn pods_on_their_way_out_are_counted_where_that_is_on() {
    let count = ["status", "terminatingReplicas"];
    for name in ["Deployment", "ReplicaSet"] {
        let on = Kind::of("apps/v1", name);
        let gates = "DeploymentReplicaSetTerminatingReplicas=false";
        let off = Kind::gated(gates, "apps/v1", name);
        let old = on.created(workload());
        let (told, errors) = on.updated(&old, "status", |object| object.set(&count, 1));
        assert_eq!((told.at(&count), errors), (Some(&json!(1)), NONE), "{name}");
        let (dropped, errors) = off.updated(&old, "status", |object| object.set(&count, 1));
        assert_eq!((dropped.at(&count), errors), (None, NONE), "{name}");
        let (kept, _) = off.updated(&told, "status", |object| object.set(&count, 2));
        assert_eq!(kept.at(&count), Some(&json!(2)), "{name}");
    }
}

#[test]
fn tolerances_of_autoscalers_are_kept_where_they_were() {
    let path = ["spec", "behavior", "scaleUp", "tolerance"];
    let scaler = json!({"metadata": {"name": "h", "namespace": "d"}, "spec": {"maxReplicas": 3,
        "scaleTargetRef": {"kind": "Deployment", "name": "d", "apiVersion": "apps/v1"},
        "behavior": {"scaleUp": {"tolerance": "100m"}}}});
    let on = Kind::of("autoscaling/v2", "HorizontalPodAutoscaler");
    let gates = "HPAConfigurableTolerance=false";
    let off = Kind::gated(gates, "autoscaling/v2", "HorizontalPodAutoscaler");
    assert_eq!(off.created(scaler.clone()).at(&path), None);
    let old = on.created(scaler);
    assert_eq!(old.at(&path), Some(&json!("100m")));
    let (kept, errors) = off.updated(&old, "", |object| object.set(&path, "200m"));
    assert_eq!((kept.at(&path), errors), (Some(&json!("200m")), NONE));
}

#[test]
fn suspended_jobs_change_as_far_as_gates_let_them() {
    let spec = json!({"restartPolicy": "Never", "containers": [{"name": "c", "image": "i:1"}]});
    let job = json!({"metadata": {"name": "j", "namespace": "d", "uid": "u"},
        "spec": {"suspend": true, "template": {"spec": spec}}});
    let errors = |gates: &str, started: bool, change: fn(&mut Object)| {
        let kind = Kind::gated(gates, "batch/v1", "Job");
        let mut old = kind.created(job.clone());
        if started {
            let suspended = json!([{"type": "Suspended", "status": "True"}]);
            old.set(
                &["status"],
                json!({"startTime": "2026-01-01T00:00:00Z", "conditions": suspended}),
            );
        }
        kind.updated(&old, "", change).1
    };
    let place = |job: &mut Object| {
        job.set(&["spec", "template", "spec", "nodeSelector"], json!({"zone": "a"}));
    };
    let resources = |job: &mut Object| {
        let pod = job.map_at_mut(&["spec", "template", "spec"]);
        pod["containers"][0]["resources"] =
            json!({"limits": {"cpu": "1"}, "requests": {"cpu": "1"}});
    };
    let refused = |errors: Vec<String>| {
        assert_eq!(errors.len(), 1, "{errors:?}");
        assert!(errors[0].starts_with("spec.template: Invalid value: "), "{errors:?}");
    };
    assert_eq!(errors("", true, place), NONE);
    assert_eq!(errors("", true, resources), NONE);
    let scheduling = "MutableSchedulingDirectivesForSuspendedJobs=false";
    assert_eq!(errors(scheduling, false, place), NONE);
    assert_eq!(errors(scheduling, true, resources), NONE);
    let amounts = "MutablePodResourcesForSuspendedJobs=false";
    refused(errors(amounts, false, resources));
    assert_eq!(errors(amounts, true, place), NONE);
    let both = format!("{scheduling},{amounts}");
    refused(errors(&both, true, place));
    assert_eq!(errors(&both, false, place), NONE);
}
