//! Evictions and the budgets that hold them back, with the answers of a server of Kubernetes 1.36.

use crate::harness::Server;
use serde_json::{Value, json};

const PODS: &str = "/api/v1/namespaces/default/pods";
const BUDGETS: &str = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";

async fn cluster(ready: &str, status: Value) -> Server {
    let server = Server::with(|builder| builder).await;
    for name in ["one", "two"] {
        server.pod(name, "node").await;
        let status =
            json!({"phase": "Running", "conditions": [{"type": "Ready", "status": ready}]});
        let body = json!({"status": status});
        server.admin("PATCH", &format!("{PODS}/{name}/status"), &body).await.expect(200);
    }
    budget(&server, "budget", status).await;
    server
}

async fn budget(server: &Server, name: &str, status: Value) {
    let spec = json!({"minAvailable": 1, "selector": {"matchLabels": {"app": "web"}}});
    let body = json!({"metadata": {"name": name}, "spec": spec});
    server.admin("POST", BUDGETS, &body).await.expect(201);
    let mut body = json!({"status": status});
    body["status"]["observedGeneration"] = 1.into();
    server.admin("PATCH", &format!("{BUDGETS}/{name}/status"), &body).await.expect(200);
}

async fn evict(server: &Server, name: &str, options: Value) -> (u16, Value) {
    let mut body =
        json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}});
    if !options.is_null() {
        body["deleteOptions"] = options;
    }
    let answer = server.admin("POST", &format!("{PODS}/{name}/eviction"), &body).await;
    let code = answer.code.as_u16();
    (code, answer.expect(code))
}

fn cause(status: &Value) -> &str {
    assert_eq!(status["details"]["causes"][0]["reason"], "DisruptionBudget", "{status}");
    status["details"]["causes"][0]["message"].as_str().unwrap_or_default()
}

#[tokio::test]
async fn a_budget_gives_what_it_has_and_then_refuses() {
    let status = json!({"disruptionsAllowed": 1, "currentHealthy": 2, "desiredHealthy": 1});
    let server = cluster("True", status).await;
    let (code, _) = evict(&server, "one", json!({"dryRun": ["All"]})).await;
    assert_eq!(code, 201);
    let (code, status) = evict(&server, "one", Value::Null).await;
    assert_eq!((code, &status["code"]), (201, &201.into()));
    let budget = server.admin("GET", &format!("{BUDGETS}/budget"), &Value::Null).await.expect(200);
    assert_eq!(budget["status"]["disruptionsAllowed"], 0, "{budget}");
    assert!(budget["status"]["disruptedPods"]["one"].is_string(), "{budget}");
    assert_eq!(budget["status"]["conditions"][0]["reason"], "InsufficientPods");
    let pod = server.admin("GET", &format!("{PODS}/one"), &Value::Null).await.expect(200);
    assert!(pod["metadata"]["deletionTimestamp"].is_string());
    assert_eq!(pod["status"]["conditions"][1]["type"], "DisruptionTarget");
    let (code, status) = evict(&server, "two", Value::Null).await;
    assert_eq!(code, 429);
    let why = "The disruption budget budget does not allow evicting pods currently";
    assert_eq!(cause(&status), why);
    // Whatever the budget says now, its controller has not yet seen it.
    let body = json!({"spec": {"minAvailable": 2}});
    server.admin("PATCH", &format!("{BUDGETS}/budget"), &body).await.expect(200);
    let (code, status) = evict(&server, "two", Value::Null).await;
    assert_eq!((code, &status["details"]["retryAfterSeconds"]), (429, &10.into()));
    let why = "The disruption budget budget is still being processed by the server.";
    assert_eq!(cause(&status), why);
}

#[tokio::test]
async fn a_pod_that_is_not_ready_goes_where_nothing_is_lost() {
    let status = json!({"disruptionsAllowed": 0, "currentHealthy": 0, "desiredHealthy": 1});
    let server = cluster("False", status).await;
    let (code, status) = evict(&server, "one", Value::Null).await;
    assert_eq!(code, 429);
    let why = "The disruption budget budget needs 1 healthy pods and has 0 currently";
    assert_eq!(cause(&status), why);
    let body = json!({"status": {"currentHealthy": 1}});
    server.admin("PATCH", &format!("{BUDGETS}/budget/status"), &body).await.expect(200);
    assert_eq!(evict(&server, "one", Value::Null).await.0, 201);
    let body = json!({
        "status": {"currentHealthy": 0},
        "spec": {"unhealthyPodEvictionPolicy": "AlwaysAllow"},
    });
    server.admin("PATCH", &format!("{BUDGETS}/budget/status"), &body).await.expect(200);
    server.admin("PATCH", &format!("{BUDGETS}/budget"), &body).await.expect(200);
    assert_eq!(evict(&server, "two", Value::Null).await.0, 201);
}

#[tokio::test]
async fn a_pod_that_is_not_ready_goes_as_it_is_whatever_version_was_asked_for() {
    let status = json!({"disruptionsAllowed": 0, "currentHealthy": 1, "desiredHealthy": 1});
    let server = cluster("False", status).await;
    let options = json!({"preconditions": {"resourceVersion": "1"}});
    assert_eq!(evict(&server, "one", options).await.0, 201);
}

#[tokio::test]
async fn preconditions_hold_and_two_budgets_are_too_many() {
    let status = json!({"disruptionsAllowed": 1, "currentHealthy": 2, "desiredHealthy": 1});
    let server = cluster("True", status).await;
    let (code, status) = evict(&server, "one", json!({"preconditions": {"uid": "x"}})).await;
    assert_eq!((code, &status["details"]["kind"]), (409, &"Pod".into()));
    let options = json!({"ignoreStoreReadErrorWithClusterBreakingPotential": true});
    assert_eq!(evict(&server, "one", options).await.0, 422);
    budget(&server, "another", json!({"disruptionsAllowed": 1})).await;
    let (code, status) = evict(&server, "one", Value::Null).await;
    assert_eq!(code, 500, "{status}");
    // One that has not run yet is of no use to anybody.
    let body = json!({"status": {"phase": "Pending"}});
    server.admin("PATCH", &format!("{PODS}/one/status"), &body).await.expect(200);
    assert_eq!(evict(&server, "one", Value::Null).await.0, 201);
}
