//! `kubeplane scheduler explain` says what every plugin makes of every node for a pod.

use axum::{Json, Router, routing::post};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::{Api, api::PostParams};
use kubeplane::testing::TestCluster;
use serde_json::{Value, json};
use std::{
    path::Path,
    process::{Command, Output},
};

async fn explain(kubeconfig: &Path, arguments: &[&str]) -> Output {
    explain_with(kubeconfig, &[], arguments).await
}

/// With arguments of the scheduler itself.
async fn explain_with(kubeconfig: &Path, own: &[&str], arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kubeplane"));
    command.arg("scheduler").arg("--kubeconfig").arg(kubeconfig).args(own);
    command.arg("explain").args(arguments);
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

/// Leaves out the node b, and likes d best.
fn extender() -> Router {
    let filter = |Json(question): Json<Value>| async move {
        let names = question["NodeNames"].as_array().cloned().unwrap_or_default();
        let left: Vec<_> = names.into_iter().filter(|name| name != "b").collect();
        Json(json!({"NodeNames": left, "FailedNodes": {"b": "node(s) were being repaired"}}))
    };
    let prioritize = |Json(question): Json<Value>| async move {
        let names = question["NodeNames"].as_array().cloned().unwrap_or_default();
        let score = |name: &Value| if name == "d" { 7 } else { 0 };
        let scores = names.iter().map(|name| json!({"Host": name, "Score": score(name)}));
        Json(scores.collect::<Value>())
    };
    let fail = || async { Json(json!({"Error": "out of order"})) };
    Router::new()
        .route("/own/filter", post(filter))
        .route("/own/prioritize", post(prioritize))
        .route("/bad/filter", post(fail))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn extenders_are_asked_too_and_have_rows_of_their_own() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let served = tokio::spawn(async move { axum::serve(listener, extender()).await });
    let cluster = TestCluster::builder().listen().controllers_named("serviceaccount-controller");
    let cluster = cluster.start().await.unwrap();
    let kubeconfig = cluster.kubeconfig().unwrap().to_owned();
    let nodes: Api<Node> = Api::all(cluster.client());
    for name in ["a", "b", "d"] {
        nodes.create(&PostParams::default(), &node(name, "4", &json!([]))).await.unwrap();
    }
    let small = node("c", "1", &json!([]));
    nodes.create(&PostParams::default(), &small).await.unwrap();
    let pods: Api<Pod> = Api::default_namespaced(cluster.client());
    pods.create(&PostParams::default(), &pod("p", "2")).await.unwrap();
    let file = |bad: &str| {
        let text = format!(
            "apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
extenders:
- {{urlPrefix: 'http://{address}/own', filterVerb: filter, prioritizeVerb: prioritize, weight: 3, nodeCacheCapable: true}}
- {{urlPrefix: 'http://{address}/gpu', filterVerb: filter, managedResources: [{{name: test.io/gpu}}]}}
- {{urlPrefix: 'http://{address}/bad', filterVerb: filter, ignorable: {bad}}}
"
        );
        let path = cluster.directory().join(format!("scheduler-{bad}.yaml"));
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let (passed_over, fatal) = (file("true"), file("false"));
    let ask = async |config: &str, output: &str| {
        let own = ["--config", config];
        let answer = explain_with(&kubeconfig, &own, &["p", "--output", output]).await;
        assert!(answer.status.success(), "{}", String::from_utf8_lossy(&answer.stderr));
        String::from_utf8(answer.stdout).unwrap()
    };

    let trace: Value = serde_json::from_str(&ask(&passed_over, "json").await).unwrap();
    assert_eq!(trace["best"], json!(["d"]), "{trace:#}");
    assert_eq!(against(&trace, "b", "Extender"), "node(s) were being repaired");
    assert_eq!(against(&trace, "c", "NodeResourcesFit"), "Insufficient cpu");
    let total = |name: &str| {
        let all = trace["nodes"].as_array().unwrap();
        all.iter().find(|own| own["node"] == name).unwrap()["total"].as_i64().unwrap()
    };
    assert_eq!(total("d") - total("a"), 7 * 3 * 10, "seven of ten points, three times");
    let own = &trace["extenders"][0];
    assert_eq!(own["extender"], format!("http://{address}/own"));
    let told: Vec<_> = own["nodes"].as_array().unwrap().iter().map(|own| &own["node"]).collect();
    assert_eq!(told.len(), 3, "it is not asked about what plugins refuse: {told:?}");
    assert_eq!(trace["extenders"][1]["asked"], false);
    let error = trace["extenders"][2]["error"].as_str().unwrap();
    assert!(error.contains("out of order"), "{error}");

    let table = ask(&passed_over, "table").await;
    let row = |name: &str| {
        let begins = format!("http://{address}/own ");
        let rows = table.lines().filter(|line| line.starts_with(&begins));
        rows.map(|line| line.split_whitespace().skip(1).collect::<Vec<_>>().join(" "))
            .find(|line| line.starts_with(name))
            .unwrap_or_else(|| panic!("{table}"))
    };
    assert_eq!(row("d "), "d yes 7 x30");
    assert_eq!(row("b "), "b no node(s) were being repaired");
    assert!(table.contains("not asked: it manages nothing that the pod wants"), "{table}");

    // One that must not fail keeps the pod from being placed, and that is said.
    let trace: Value = serde_json::from_str(&ask(&fatal, "json").await).unwrap();
    assert_eq!(trace["best"], json!([]));
    assert!(trace["message"].as_str().unwrap().contains("out of order"), "{trace:#}");
    cluster.stop().await.unwrap();
    served.abort();
}
