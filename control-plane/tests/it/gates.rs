//! Feature gates and the versions that are served.

use crate::{
    cluster::{Ground, Process},
    kubectl::has_row,
    raw::Raw,
};
use serde_json::json;
use std::{process::Command, time::Duration};

const GROUP: &str = r#"
apiVersion: scheduling.k8s.io/v1alpha2
kind: PodGroup
metadata: {name: crew}
spec:
  schedulingPolicy: {gang: {minCount: 3}}
  podGroupTemplateRef: {workload: {workloadName: ship, podGroupTemplateName: hands}}
"#;

#[tokio::test(flavor = "multi_thread")]
async fn an_alpha_version_is_served_when_it_is_asked_for() {
    let ground = Ground::simulated().with(&[
        "--feature-gates=GenericWorkload=true",
        "--runtime-config=scheduling.k8s.io/v1alpha2=true,autoscaling/v1=false",
    ]);
    let cluster = ground.start();
    let kubectl = cluster.kubectl();
    let said = kubectl.ok_with(&["apply", "-f", "-"], GROUP);
    assert_eq!(said, "podgroup.scheduling.k8s.io/crew created\n");
    let table = kubectl.ok(&["get", "podgroups"]);
    assert!(has_row(&table, &["NAME", "POLICY", "WORKLOAD", "STATUS", "AGE"]), "{table}");
    assert!(has_row(&table, &["crew", "Gang", "ship", "Pending"]), "{table}");
    assert!(kubectl.ok(&["explain", "podgroup.spec"]).contains("schedulingPolicy"));
    let none = GROUP.replace("{gang: {minCount: 3}}", "{}").replace("crew", "other");
    let raw = Raw::admin(&cluster).await;
    let path = "/apis/scheduling.k8s.io/v1alpha2/namespaces/default/podgroups";
    let yaml = Some("application/yaml");
    let answer = raw.send("POST", path, yaml, none.into_bytes()).await;
    answer.refused(
        422,
        "Invalid",
        &["spec.schedulingPolicy", "must specify one of: `basic`, `gang`"],
    );

    let pod = json!({
        "metadata": {"name": "hand"},
        "spec": {
            "containers": [{"name": "c", "image": "busybox"}],
            "schedulingGroup": {"podGroupName": "crew"},
        },
    });
    let answer = raw.post("/api/v1/namespaces/default/pods?dryRun=All", pod.to_string()).await;
    assert_eq!(answer.json()["spec"]["schedulingGroup"]["podGroupName"], "crew", "{}", answer.text);
    assert_eq!(raw.get("/apis/autoscaling/v1").await.code, 404);
    assert_eq!(raw.get("/apis/autoscaling/v2").await.code, 200);
    let metrics = raw.get("/metrics").await.text;
    let line = "kubernetes_feature_enabled{name=\"GenericWorkload\",stage=\"ALPHA\"} 1";
    assert!(metrics.lines().any(|found| found == line));
}

#[test]
fn gates_and_versions_that_there_are_not_are_refused() {
    let ground = Ground::simulated();
    for (more, said) in [
        ("--feature-gates=Nonsense=true", "unrecognized feature gate: Nonsense"),
        (
            "--feature-gates=DynamicResourceAllocation=false",
            "cannot set feature gate DynamicResourceAllocation to false, feature is locked to true",
        ),
        ("--runtime-config=apps/v9=true", "group version apps/v9 that has not been registered"),
    ] {
        let mut arguments = ground.arguments();
        arguments.push(more.to_owned());
        let mut process = Process::start(&arguments);
        let status = process.wait_for_end(Duration::from_secs(30));
        assert_eq!(status.code(), Some(1), "{}", process.log());
        assert!(process.log().contains(said), "{}", process.log());
    }
}

#[test]
fn controllers_take_gates_as_the_server_does() {
    let run = |gates: &str| {
        let arguments = ["controllers", "--kubeconfig=/nowhere/kubeconfig", gates];
        let refused =
            Command::new(env!("CARGO_BIN_EXE_kubeplane")).args(arguments).output().unwrap();
        assert!(!refused.status.success());
        String::from_utf8_lossy(&refused.stderr).into_owned()
    };
    let text = run("--feature-gates=HPAScaleToNought=true");
    assert!(text.contains("unrecognized feature gate: HPAScaleToNought"), "{text}");
    let text = run("--feature-gates=HPAScaleToZero=true,DRADeviceTaints=false");
    assert!(text.contains("/nowhere/kubeconfig") && !text.contains("gate"), "{text}");
}
