//! ResourceQuotas: nothing is written beyond them, and everything is charged once.

use crate::harness::Server;
use futures::future::join_all;
use kubeplane_core::Object;
use kubeplane_handlers::admission::{LimitedResources, ResourceQuota};
use serde_json::{Value, json};

const QUOTAS: &str = "/api/v1/namespaces/default/resourcequotas";
const PODS: &str = "/api/v1/namespaces/default/pods";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";

async fn server() -> Server {
    Server::with(|builder| builder.admit(ResourceQuota::new(kubeplane_clock::real()))).await
}

/// A quota that was counted already, as its controller leaves it.
async fn quota(server: &Server, name: &str, spec: Value) {
    let hard = spec["hard"].clone();
    let quota = json!({"metadata": {"name": name}, "spec": spec});
    server.admin("POST", QUOTAS, &quota).await.expect(201);
    let names = hard.as_object().unwrap().keys();
    let used: serde_json::Map<_, _> = names.map(|name| (name.clone(), "0".into())).collect();
    let status = json!({"status": {"hard": hard, "used": used}});
    server.admin("PATCH", &format!("{QUOTAS}/{name}/status"), &status).await.expect(200);
    server.admin("GET", QUOTAS, &Value::Null).await.expect(200);
}

async fn used(server: &Server, name: &str) -> Value {
    let quota = server.admin("GET", &format!("{QUOTAS}/{name}"), &Value::Null).await.expect(200);
    quota["status"]["used"].clone()
}

fn pod(name: &str, resources: Value) -> Value {
    json!({"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "i", "resources": resources}]}})
}

fn map(name: &str) -> Value {
    json!({"metadata": {"name": name}})
}

#[tokio::test(flavor = "multi_thread")]
async fn of_creates_that_come_together_no_more_pass_than_there_is_room_for() {
    let server = server().await;
    quota(&server, "maps", json!({"hard": {"count/configmaps": "20", "configmaps": "30"}})).await;
    let names: Vec<_> = (0..50).map(|index| format!("m{index}")).collect();
    let all = names.iter().map(|name| async { server.admin("POST", MAPS, &map(name)).await });
    let all = join_all(all).await;
    assert_eq!(all.iter().filter(|answer| answer.code == 201).count(), 20);
    for refused in all.iter().filter(|answer| answer.code != 201) {
        refused.forbidden("exceeded quota: maps, requested: count/configmaps=1, used: count/configmaps=20, limited: count/configmaps=20");
    }
    assert_eq!(used(&server, "maps").await, json!({"count/configmaps": "20", "configmaps": "20"}));
}

#[tokio::test]
async fn pods_are_charged_with_what_they_ask_for() {
    let server = server().await;
    quota(
        &server,
        "compute",
        json!({"hard": {"pods": "2", "requests.cpu": "1", "limits.memory": "1Gi"}}),
    )
    .await;
    let refused = server.admin("POST", PODS, &pod("a", json!({"requests": {"cpu": "1"}}))).await;
    refused.forbidden(
        "pods \"a\" is forbidden: failed quota: compute: must specify limits.memory for: c",
    );
    let asks = |cpu: &str| json!({"requests": {"cpu": cpu}, "limits": {"memory": "256Mi"}});
    server.admin("POST", PODS, &pod("a", asks("600m"))).await.expect(201);
    let now = json!({"pods": "1", "requests.cpu": "600m", "limits.memory": "256Mi"});
    assert_eq!(used(&server, "compute").await, now);
    let refused = server.admin("POST", PODS, &pod("b", asks("500m"))).await;
    refused.forbidden("exceeded quota: compute, requested: requests.cpu=500m, used: requests.cpu=600m, limited: requests.cpu=1");
    let dry = server.admin("POST", &format!("{PODS}?dryRun=All"), &pod("b", asks("400m"))).await;
    dry.expect(201);
    assert_eq!(used(&server, "compute").await, now);
    let dry = server.admin("POST", &format!("{PODS}?dryRun=All"), &pod("b", asks("500m"))).await;
    dry.forbidden("exceeded quota: compute");
}

#[tokio::test]
async fn scopes_choose_pods_and_a_refusal_by_one_quota_charges_no_other() {
    let server = server().await;
    quota(&server, "all", json!({"hard": {"pods": "5"}})).await;
    let scope = json!({"matchExpressions": [{"scopeName": "PriorityClass", "operator": "In", "values": ["high"]}]});
    quota(&server, "high", json!({"hard": {"pods": "1"}, "scopeSelector": scope})).await;
    let with_class = |name: &str| {
        let mut pod = pod(name, json!({}));
        pod["spec"]["priorityClassName"] = "high".into();
        pod
    };
    server.admin("POST", PODS, &pod("plain", json!({}))).await.expect(201);
    server.admin("POST", PODS, &with_class("one")).await.expect(201);
    let refused = server.admin("POST", PODS, &with_class("two")).await;
    refused.forbidden("exceeded quota: high, requested: pods=1, used: pods=1, limited: pods=1");
    assert_eq!(used(&server, "all").await, json!({"pods": "2"}));
    assert_eq!(used(&server, "high").await, json!({"pods": "1"}));
}

#[tokio::test]
async fn what_one_quota_must_be_told_comes_before_the_room_in_another() {
    let server = server().await;
    quota(&server, "a", json!({"hard": {"pods": "1"}})).await;
    server.admin("POST", PODS, &pod("first", json!({}))).await.expect(201);
    quota(&server, "b", json!({"hard": {"requests.cpu": "1"}})).await;
    let refused = server.admin("POST", PODS, &pod("second", json!({}))).await;
    refused.forbidden("failed quota: b: must specify requests.cpu for: c");
    let asks = json!({"requests": {"cpu": "1"}});
    let refused = server.admin("POST", PODS, &pod("second", asks)).await;
    refused.forbidden("exceeded quota: a, requested: pods=1, used: pods=1, limited: pods=1");
    assert_eq!(used(&server, "b").await, json!({"requests.cpu": "0"}));
}

#[tokio::test]
async fn services_that_become_node_ports_are_charged_with_the_difference() {
    let server = server().await;
    quota(&server, "services", json!({"hard": {"services": "1", "services.nodeports": "1"}})).await;
    let path = "/api/v1/namespaces/default/services";
    let service = json!({"metadata": {"name": "s"}, "spec": {"ports": [{"name": "a", "port": 80}, {"name": "b", "port": 81}]}});
    server.admin("POST", path, &service).await.expect(201);
    assert_eq!(
        used(&server, "services").await,
        json!({"services": "1", "services.nodeports": "0"})
    );
    let node_port = json!({"spec": {"type": "NodePort"}});
    let refused = server.admin("PATCH", &format!("{path}/s"), &node_port).await;
    refused.forbidden("requested: services.nodeports=2, used: services.nodeports=0, limited: services.nodeports=1");
}

#[tokio::test]
async fn a_quota_that_was_not_counted_yet_refuses() {
    let server = server().await;
    let quota = json!({"metadata": {"name": "new"}, "spec": {"hard": {"configmaps": "1"}}});
    server.admin("POST", QUOTAS, &quota).await.expect(201);
    let hard = json!({"status": {"hard": {"configmaps": "1"}}});
    server.admin("PATCH", &format!("{QUOTAS}/new/status"), &hard).await.expect(200);
    server.admin("GET", QUOTAS, &Value::Null).await.expect(200);
    let refused = server.admin("POST", MAPS, &map("m")).await;
    refused.forbidden("status unknown for quota: new, resources: configmaps");
}

fn limited(resources: &Value) -> Result<LimitedResources, String> {
    let configuration = json!({"apiVersion": "apiserver.config.k8s.io/v1",
        "kind": "ResourceQuotaConfiguration", "limitedResources": resources});
    let configuration = Object::from_value(configuration).unwrap();
    LimitedResources::from_object(&configuration).map_err(|error| error.to_string())
}

/// Where these are taken of a quota or not at all.
async fn limiting(resources: Value) -> Server {
    let own = ResourceQuota::new(kubeplane_clock::real()).limiting(limited(&resources).unwrap());
    Server::with(|builder| builder.admit(own)).await
}

#[tokio::test]
async fn what_is_limited_by_default_takes_a_quota() {
    let server = limiting(json!([{"resource": "pods", "matchContains": ["pods"]}])).await;
    let refused = server.admin("POST", PODS, &pod("a", json!({}))).await;
    refused.forbidden("pods \"a\" is forbidden: insufficient quota to consume: count/pods,pods");
    server.admin("POST", MAPS, &map("m")).await.expect(201);
    quota(&server, "half", json!({"hard": {"pods": "5"}})).await;
    let refused = server.admin("POST", PODS, &pod("a", json!({}))).await;
    refused.forbidden("insufficient quota to consume: count/pods");
    quota(&server, "rest", json!({"hard": {"count/pods": "5"}})).await;
    server.admin("POST", PODS, &pod("a", json!({}))).await.expect(201);
    assert_eq!(used(&server, "rest").await, json!({"count/pods": "1"}));
    let nameless = limited(&json!([{"matchContains": ["pods"]}])).unwrap_err();
    assert_eq!(nameless, "limitedResources[0].resource: Required value");
}

#[tokio::test]
async fn a_class_that_is_limited_takes_a_quota_of_its_scope() {
    let high = json!({"scopeName": "PriorityClass", "operator": "In", "values": ["high"]});
    let server = limiting(json!([{"resource": "pods", "matchScopes": [high]}])).await;
    server.admin("POST", PODS, &pod("plain", json!({}))).await.expect(201);
    let mut important = pod("important", json!({}));
    important["spec"]["priorityClassName"] = "high".into();
    let refused = server.admin("POST", PODS, &important).await.expect(500);
    let why = "insufficient quota to match these scopes: [{PriorityClass In [high]}]";
    assert_eq!(refused["message"], why);
    let scope = json!({"matchExpressions": [high]});
    quota(&server, "high", json!({"hard": {"pods": "1"}, "scopeSelector": scope})).await;
    server.admin("POST", PODS, &important).await.expect(201);
}

#[tokio::test]
async fn services_are_charged_by_what_they_are() {
    let server = limiting(json!([{"resource": "pods", "matchContains": ["pods"]}])).await;
    let hard = json!({"services": "4", "services.nodeports": "2", "services.loadbalancers": "2"});
    quota(&server, "services", json!({"hard": hard})).await;
    let make = async |name: &str, kind: &str, node_ports: Option<bool>| {
        let mut service = json!({"metadata": {"name": name},
            "spec": {"type": kind, "ports": [{"port": 80, "targetPort": 80}]}});
        if let Some(node_ports) = node_ports {
            service["spec"]["allocateLoadBalancerNodePorts"] = node_ports.into();
        }
        server.admin("POST", "/api/v1/namespaces/default/services", &service).await
    };
    make("ports", "NodePort", None).await.expect(201);
    make("balanced", "LoadBalancer", Some(true)).await.expect(201);
    let refused = make("more", "LoadBalancer", Some(true)).await;
    refused.forbidden("requested: services.nodeports=1, used: services.nodeports=2");
    make("without", "LoadBalancer", Some(false)).await.expect(201);
    let refused = make("more", "LoadBalancer", Some(false)).await;
    refused.forbidden("requested: services.loadbalancers=1, used: services.loadbalancers=2");
    make("inside", "ClusterIP", None).await.expect(201);
    make("more", "ClusterIP", None).await.forbidden("requested: services=1, used: services=4");
    let all = json!({"services": "4", "services.nodeports": "2", "services.loadbalancers": "2"});
    assert_eq!(used(&server, "services").await, all);
}
