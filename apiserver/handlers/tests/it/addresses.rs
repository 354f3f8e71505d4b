//! Cluster addresses of Services, and the IPAddresses that stand for them.

use crate::harness::Server;
use kubeplane_core::GroupResource;
use kubeplane_handlers::ServiceAddresses;
use serde_json::{Value, json};
use std::sync::Arc;

const SERVICES: &str = "/api/v1/namespaces/default/services";
const ADDRESSES: &str = "/apis/networking.k8s.io/v1/ipaddresses";

async fn server() -> Server {
    let addresses = ServiceAddresses::new("10.96.0.0/24".parse().unwrap(), 30_000..=30_100);
    let hook = Arc::new(addresses.unwrap());
    Server::with(|builder| builder.hook(GroupResource::new("", "services"), hook)).await
}

fn service(name: &str, address: &str) -> Value {
    let mut service = json!({"metadata": {"name": name}, "spec": {"ports": [{"port": 80}]}});
    if !address.is_empty() {
        service["spec"]["clusterIP"] = address.into();
    }
    service
}

async fn names(server: &Server) -> Vec<String> {
    let list = server.admin("GET", ADDRESSES, &Value::Null).await.expect(200);
    let items = list["items"].as_array().unwrap();
    items.iter().map(|item| item["metadata"]["name"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn an_address_is_an_object_while_its_service_lives() {
    let server = server().await;
    let made = server.admin("POST", SERVICES, &service("web", "")).await.expect(201);
    let address = made["spec"]["clusterIP"].as_str().unwrap().to_owned();
    let path = format!("{ADDRESSES}/{address}");
    let object = server.admin("GET", &path, &Value::Null).await.expect(200);
    assert_eq!(
        object["spec"]["parentRef"],
        json!({"resource": "services", "namespace": "default", "name": "web"})
    );
    let labels = &object["metadata"]["labels"];
    assert_eq!(labels["ipaddress.kubernetes.io/managed-by"], "ipallocator.k8s.io");
    assert_eq!(labels["ipaddress.kubernetes.io/ip-family"], "IPv4");
    server.admin("DELETE", &format!("{SERVICES}/web"), &Value::Null).await.expect(200);
    assert_eq!(names(&server).await, Vec::<String>::new());
}

#[tokio::test]
async fn a_refused_service_keeps_no_address() {
    let server = server().await;
    server.admin("POST", SERVICES, &service("web", "10.96.0.10")).await.expect(201);
    server.admin("POST", SERVICES, &service("web", "")).await.expect(409);
    let dry = format!("{SERVICES}?dryRun=All");
    server.admin("POST", &dry, &service("other", "")).await.expect(201);
    let taken = server.admin("POST", SERVICES, &service("other", "10.96.0.10")).await;
    let message = taken.expect(422)["message"].as_str().unwrap().to_owned();
    assert!(message.contains("provided IP is already allocated"), "{message}");
    assert_eq!(names(&server).await, ["10.96.0.10"]);
}

#[tokio::test]
async fn an_address_of_somebody_else_is_left_alone() {
    let server = server().await;
    let reserved = json!({"metadata": {"name": "10.96.0.20"}, "spec": {"parentRef":
        {"group": "example.com", "resource": "gateways", "name": "front"}}});
    server.admin("POST", ADDRESSES, &reserved).await.expect(201);
    server.admin("POST", SERVICES, &service("web", "10.96.0.20")).await.expect(422);
    let kept = server.admin("GET", &format!("{ADDRESSES}/10.96.0.20"), &Value::Null).await;
    assert_eq!(kept.expect(200)["spec"]["parentRef"]["name"], "front");
}

#[tokio::test]
async fn a_ready_range_serves_beside_the_first() {
    let server = server().await;
    const RANGES: &str = "/apis/networking.k8s.io/v1/servicecidrs";
    server.admin("POST", SERVICES, &service("early", "10.200.0.7")).await.expect(422);
    let range = json!({"metadata": {"name": "more"}, "spec": {"cidrs": ["10.200.0.0/24"]}});
    server.admin("POST", RANGES, &range).await.expect(201);
    server.admin("POST", SERVICES, &service("early", "10.200.0.7")).await.expect(422);
    let ready = json!({"status": {"conditions": [{"type": "Ready", "status": "True", "reason": "Ready",
        "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}]}});
    server.admin("PATCH", &format!("{RANGES}/more/status"), &ready).await.expect(200);
    // The server reads ranges from its cache, which may be a moment behind.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    loop {
        let answer = server.admin("POST", SERVICES, &service("late", "10.200.0.7")).await;
        if answer.code == 201 {
            break;
        }
        assert!(std::time::Instant::now() < deadline, "{}", answer.text);
        tokio::task::yield_now().await;
    }
    assert_eq!(names(&server).await, ["10.200.0.7"]);
}

#[tokio::test]
async fn protocols_of_a_port_share_a_number_and_the_health_check_has_its_own() {
    let server = server().await;
    let mut service = service("web", "");
    service["spec"]["type"] = "LoadBalancer".into();
    service["spec"]["externalTrafficPolicy"] = "Local".into();
    service["spec"]["ports"] = json!([
        {"name": "tcp", "port": 53, "protocol": "TCP"},
        {"name": "udp", "port": 53, "protocol": "UDP"},
    ]);
    let made = server.admin("POST", SERVICES, &service).await.expect(201);
    let ports = &made["spec"]["ports"];
    assert_eq!(ports[0]["nodePort"], ports[1]["nodePort"]);
    let health = made["spec"]["healthCheckNodePort"].as_u64().unwrap();
    assert!((30_000..=30_100).contains(&health) && ports[0]["nodePort"] != health);
    // A Service that stops needing the port gives it back.
    let plain = json!({"spec": {"type": "ClusterIP", "externalTrafficPolicy": null, "healthCheckNodePort": null,
        "allocateLoadBalancerNodePorts": null,
        "ports": [{"name": "tcp", "port": 53, "protocol": "TCP", "nodePort": null}]}});
    server.admin("PATCH", &format!("{SERVICES}/web"), &plain).await.expect(200);
    let mut other = json!({"metadata": {"name": "other"}, "spec": {"type": "NodePort"}});
    other["spec"]["ports"] = json!([{"port": 80, "nodePort": health}]);
    server.admin("POST", SERVICES, &other).await.expect(201);
}
