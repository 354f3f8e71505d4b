//! What a node may not do, although its rights would let it.

use crate::harness::Server;
use async_trait::async_trait;
use kubeplane_core::{
    Definition,
    admission::{Admission, Operation, Request},
    status::{ApiError, ApiResult},
};
use kubeplane_handlers::admission::NodeRestriction;
use serde_json::{Value, json};

const PODS: &str = "/api/v1/namespaces/default/pods";
const ONE: &str = "system:node:one";

async fn server() -> Server {
    Server::with(|builder| builder.admit(NodeRestriction)).await
}

fn eviction(name: &str) -> Value {
    json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}})
}

#[tokio::test]
async fn a_node_evicts_its_own_pods_alone() {
    let server = server().await;
    server.pod("mine", "one").await;
    server.pod("theirs", "two").await;
    let path = |name: &str| format!("{PODS}/{name}/eviction");
    let refused = server.as_user(ONE, "POST", &path("theirs"), &eviction("theirs")).await;
    refused.forbidden("can only evict pods with spec.nodeName set to itself");
    let theirs = server.admin("GET", &format!("{PODS}/theirs"), &Value::Null).await.expect(200);
    assert!(theirs["metadata"]["deletionTimestamp"].is_null(), "{theirs}");
    server.as_user(ONE, "POST", &path("mine"), &eviction("mine")).await.expect(201);
    let refused = server.as_user(ONE, "DELETE", &format!("{PODS}/theirs"), &Value::Null).await;
    refused.forbidden("can only delete pods with spec.nodeName set to itself");
}

#[tokio::test]
async fn a_node_writes_the_status_of_its_own_pods_and_not_their_labels() {
    let server = server().await;
    server.pod("mine", "one").await;
    server.pod("theirs", "two").await;
    let path = |name: &str| format!("{PODS}/{name}/status");
    let running = json!({"status": {"phase": "Running"}});
    server.as_user(ONE, "PATCH", &path("mine"), &running).await.expect(200);
    let refused = server.as_user(ONE, "PATCH", &path("theirs"), &running).await;
    refused.forbidden("can only update pod status for pods with spec.nodeName set to itself");
    for labels in [json!({"app": "bank"}), json!({"app": null}), json!({"new": "one"})] {
        let patch = json!({"metadata": {"labels": labels}, "status": {"phase": "Failed"}});
        let refused = server.as_user(ONE, "PATCH", &path("mine"), &patch).await;
        refused.forbidden("cannot update labels through pod status");
    }
    let mine = server.admin("GET", &format!("{PODS}/mine"), &Value::Null).await.expect(200);
    assert_eq!(mine["metadata"]["labels"], json!({"app": "web"}));
    assert_eq!(mine["status"]["phase"], "Running");
    let whole = server.as_user(ONE, "PATCH", &format!("{PODS}/mine"), &running).await;
    whole.forbidden("unexpected operation");
}

#[tokio::test]
async fn a_node_leaves_the_labels_of_operators_as_they_are() {
    const RESERVED: &str = "node-restriction.kubernetes.io/tier";
    let server = server().await;
    let nodes = "/api/v1/nodes";
    let named = |labels: Value| json!({"metadata": {"name": "one", "labels": labels}});
    let refused = server.as_user(ONE, "POST", nodes, &named(json!({RESERVED: "gold"}))).await;
    refused.forbidden("is not allowed to modify labels: node-restriction.kubernetes.io/tier");
    let own = json!({"kubernetes.io/hostname": "one", "example.org/rack": "4"});
    server.as_user(ONE, "POST", nodes, &named(own)).await.expect(201);
    let path = "/api/v1/nodes/one";
    let label = |key: &str, value: Value| json!({"metadata": {"labels": {key: value}}});
    for key in [RESERVED, "kubernetes.io/role", "x.k8s.io/y"] {
        let refused = server.as_user(ONE, "PATCH", path, &label(key, "mine".into())).await;
        refused.forbidden(key);
        server.admin("PATCH", path, &label(key, "gold".into())).await.expect(200);
        for change in [json!("silver"), Value::Null] {
            for place in [path.to_owned(), format!("{path}/status")] {
                let refused =
                    server.as_user(ONE, "PATCH", &place, &label(key, change.clone())).await;
                refused.forbidden(key);
            }
        }
    }
    server.as_user(ONE, "PATCH", path, &label("example.org/rack", "5".into())).await.expect(200);
    let node = server.admin("GET", path, &Value::Null).await.expect(200);
    assert_eq!(node["metadata"]["labels"][RESERVED], "gold");
    let taints = json!({"spec": {"taints": []}});
    server
        .admin("PATCH", path, &json!({"spec": {"taints": [{"key": "a", "effect": "NoSchedule"}]}}))
        .await
        .expect(200);
    server.as_user(ONE, "PATCH", path, &taints).await.forbidden("is not allowed to modify taints");
    let other = server.as_user("system:node:two", "PATCH", path, &label("a", "b".into())).await;
    other.forbidden("is not allowed to modify node");
}

/// Refuses what it has been told to, and so shows that it was asked.
#[derive(Debug)]
struct NoNodeTwo;

#[async_trait]
impl Admission for NoNodeTwo {
    fn name(&self) -> &'static str {
        "NoNodeTwo"
    }

    fn handles(&self, operation: Operation, definition: &Definition, subresource: &str) -> bool {
        operation == Operation::Create && &*definition.plural == "pods" && subresource == "binding"
    }

    async fn validate(&self, request: &Request<'_>) -> ApiResult<()> {
        let target = request.object.as_deref().map(|object| object.text(&["target", "name"]));
        match target {
            Some("two") => Err(ApiError::bad_request("node two is closed")),
            _ => Ok(()),
        }
    }
}

#[tokio::test]
async fn bindings_pass_admission() {
    let server = Server::with(|builder| builder.admit(NodeRestriction).admit(NoNodeTwo)).await;
    server.pod("free", "").await;
    let path = format!("{PODS}/free/binding");
    let binding = |node: &str| {
        json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "free"},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node}})
    };
    server.as_user(ONE, "POST", &path, &binding("one")).await.forbidden("unexpected operation");
    let refused = server.as_user("system:kube-scheduler", "POST", &path, &binding("two")).await;
    assert!(refused.expect(400)["message"].as_str().unwrap().contains("node two is closed"));
    let pod = server.admin("GET", &format!("{PODS}/free"), &Value::Null).await.expect(200);
    assert!(pod["spec"]["nodeName"].is_null(), "{pod}");
    server.as_user("system:kube-scheduler", "POST", &path, &binding("one")).await.expect(201);
    let pod = server.admin("GET", &format!("{PODS}/free"), &Value::Null).await.expect(200);
    assert_eq!(pod["spec"]["nodeName"], "one");
}
