//! `kubeplane scheduler explain` says what every plugin makes of every node for a pod.

use k8s_openapi::api::core::v1::{Node, Pod};
use kube::{Api, api::PostParams};
use kubeplane::testing::TestCluster;
use serde_json::{Value, json};
use std::{
    path::Path,
    process::{Command, Output},
};

async fn explain(kubeconfig: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kubeplane"));
    command.arg("scheduler").arg("--kubeconfig").arg(kubeconfig).arg("explain").args(arguments);
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

async fn answer(kubeconfig: &Path, arguments: &[&str]) -> String {
    let output = explain(kubeconfig, arguments).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn node(name: &str, cpu: &str, taints: &Value) -> Node {
    let resources = json!({"cpu": cpu, "memory": "4Gi", "pods": "20"});
    serde_json::from_value(json!({"metadata": {"name": name}, "spec": {"taints": taints},
        "status": {"allocatable": resources, "capacity": resources}}))
    .unwrap()
}

fn pod(name: &str, cpu: &str) -> Pod {
    let not_ready = json!({"key": "node.kubernetes.io/not-ready", "operator": "Exists"});
    serde_json::from_value(json!({"metadata": {"name": name}, "spec": {
        "tolerations": [not_ready],
        "containers": [{"name": "c", "image": "i", "resources": {"requests": {"cpu": cpu}}}]}}))
    .unwrap()
}

/// What a plugin says against a node.
fn against<'a>(trace: &'a Value, node: &str, plugin: &str) -> &'a str {
    let all = trace["nodes"].as_array().unwrap();
    let node = all.iter().find(|own| own["node"] == node).unwrap();
    let refusals = node["refusals"].as_array().unwrap();
    let own = refusals.iter().find(|own| own["plugin"] == plugin);
    own.and_then(|own| own["says"].as_str()).unwrap_or_else(|| panic!("{node}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_scheduler_explains_where_a_pod_would_go_and_why() {
    let cluster = TestCluster::builder().listen().controllers_named("serviceaccount-controller");
    let cluster = cluster.start().await.unwrap();
    let kubeconfig = cluster.kubeconfig().unwrap().to_owned();
    let nodes: Api<Node> = Api::all(cluster.client());
    let taint = json!([{"key": "dedicated", "effect": "NoSchedule"}]);
    for own in [node("a", "4", &json!([])), node("b", "1", &json!([])), node("c", "4", &taint)] {
        nodes.create(&PostParams::default(), &own).await.unwrap();
    }
    let pods: Api<Pod> = Api::default_namespaced(cluster.client());
    for own in [pod("small", "2"), pod("large", "9")] {
        pods.create(&PostParams::default(), &own).await.unwrap();
    }

    let trace = answer(&kubeconfig, &["small", "--output=json"]).await;
    let trace: Value = serde_json::from_str(&trace).unwrap();
    assert_eq!(trace["best"], json!(["a"]));
    assert_eq!(against(&trace, "b", "NodeResourcesFit"), "Insufficient cpu");
    let why = against(&trace, "c", "TaintToleration");
    assert!(why.starts_with("node(s) had untolerated taint"), "{why}");
    let best = &trace["nodes"].as_array().unwrap().iter().find(|own| own["fits"] == true).unwrap();
    // Half of four CPUs is left, and all the memory but what a container counts as.
    assert!(best["scores"]["NodeResourcesFit"]["score"].as_i64().unwrap() >= 50, "{best}");

    let table = answer(&kubeconfig, &["small"]).await;
    let lines: Vec<_> = table.lines().collect();
    assert_eq!(lines[0], "pod default/small (default-scheduler)");
    assert!(lines[1].starts_with("NODE ") && lines[2].starts_with("a* "), "{table}");
    assert!(table.contains("NodeResourcesFit: Insufficient cpu"), "{table}");

    let trace = answer(&kubeconfig, &["large", "--output=json"]).await;
    let trace: Value = serde_json::from_str(&trace).unwrap();
    let message = trace["message"].as_str().unwrap();
    assert!(message.starts_with("0/3 nodes are available: "), "{message}");
    assert!(message.contains("2 Insufficient cpu"), "{message}");

    let missing = explain(&kubeconfig, &["nobody"]).await;
    assert!(!missing.status.success());
    assert!(String::from_utf8_lossy(&missing.stderr).contains("nobody"));
    assert_eq!(pods.get("small").await.unwrap().spec.unwrap().node_name, None, "it only asks");
    cluster.stop().await.unwrap();
}
