//! Cluster addresses of Services, and the IPAddresses that stand for them.

use crate::harness::Server;
use kubeplane_core::GroupResource;
use kubeplane_handlers::ServiceAddresses;
use serde_json::{Value, json};
use std::sync::Arc;

const SERVICES: &str = "/api/v1/namespaces/default/services";
const ADDRESSES: &str = "/apis/networking.k8s.io/v1/ipaddresses";

async fn server() -> Server {
    of_ranges(&["10.96.0.0/24"]).await
}

async fn of_ranges(ranges: &[&str]) -> Server {
    let ranges = ranges.iter().map(|range| range.parse().unwrap());
    let hook = Arc::new(ServiceAddresses::new(ranges, 30_000..=30_100).unwrap());
    Server::with(|builder| builder.hook(GroupResource::new("", "services"), hook)).await
}

/// A Service of these fields beside its port.
fn with(name: &str, fields: &Value) -> Value {
    let mut made = service(name, "");
    let fields = fields.as_object().unwrap().clone();
    made["spec"].as_object_mut().unwrap().extend(fields);
    made
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
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
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

#[tokio::test]
async fn a_service_of_both_families_has_an_address_of_each() {
    let server = of_ranges(&["10.96.0.0/24", "fd00:10:96::/112"]).await;
    let plain = server.admin("POST", SERVICES, &service("plain", "")).await.expect(201);
    assert_eq!(plain["spec"]["ipFamilies"], json!(["IPv4"]));
    let both = with("both", &json!({"ipFamilyPolicy": "RequireDualStack", "ipFamilies": ["IPv6"]}));
    let both = server.admin("POST", SERVICES, &both).await.expect(201);
    let spec = &both["spec"];
    assert_eq!(spec["ipFamilies"], json!(["IPv6", "IPv4"]));
    assert_eq!(spec["clusterIP"], spec["clusterIPs"][0]);
    let (six, four) =
        (spec["clusterIPs"][0].as_str().unwrap(), spec["clusterIPs"][1].as_str().unwrap());
    assert!(six.starts_with("fd00:10:96::") && four.starts_with("10.96.0."), "{spec}");
    let held = names(&server).await;
    assert!(held.len() == 3 && held.contains(&six.to_owned()) && held.contains(&four.to_owned()));
    // The second family goes with the policy alone, and comes back with it.
    let path = format!("{SERVICES}/both");
    let single = json!({"spec": {"ipFamilyPolicy": "SingleStack"}});
    let down = server.admin("PATCH", &path, &single).await.expect(200);
    assert_eq!(down["spec"]["clusterIPs"], json!([six]));
    assert_eq!(names(&server).await.len(), 2);
    let prefer = json!({"spec": {"ipFamilyPolicy": "PreferDualStack"}});
    let up = server.admin("PATCH", &path, &prefer).await.expect(200);
    assert_eq!(up["spec"]["ipFamilies"], json!(["IPv6", "IPv4"]));
    assert_eq!(names(&server).await.len(), 3);
    let external = json!({"spec": {"type": "ExternalName", "externalName": "example.com",
        "clusterIP": null, "clusterIPs": null}});
    server.admin("PATCH", &path, &external).await.expect(200);
    assert_eq!(names(&server).await.len(), 1);
}

#[tokio::test]
async fn a_family_that_the_cluster_lacks_is_refused() {
    let server = server().await;
    let why =
        |answer: crate::harness::Answer| answer.expect(422)["message"].as_str().unwrap().to_owned();
    let require = with("a", &json!({"ipFamilyPolicy": "RequireDualStack"}));
    let message = why(server.admin("POST", SERVICES, &require).await);
    assert!(
        message.contains("this cluster is not configured for dual-stack services"),
        "{message}"
    );
    let six = with("a", &json!({"ipFamilies": ["IPv6"]}));
    let message = why(server.admin("POST", SERVICES, &six).await);
    assert!(
        message.contains(
            "spec.ipFamilies[0]: Invalid value: \"IPv6\": not configured on this cluster"
        )
    );
    let prefer = with("a", &json!({"ipFamilyPolicy": "PreferDualStack"}));
    let made = server.admin("POST", SERVICES, &prefer).await.expect(201);
    assert_eq!(made["spec"]["ipFamilies"], json!(["IPv4"]));
    let headless = with("b", &json!({"clusterIP": "None"}));
    let made = server.admin("POST", SERVICES, &headless).await.expect(201);
    assert_eq!(made["spec"]["ipFamilies"], json!(["IPv4", "IPv6"]));
}

#[tokio::test]
async fn what_the_server_makes_by_itself_has_a_manager() {
    let server = server().await;
    let made = server.admin("POST", SERVICES, &service("web", "")).await.expect(201);
    let path = format!("{ADDRESSES}/{}", made["spec"]["clusterIP"].as_str().unwrap());
    let object = server.admin("GET", &path, &Value::Null).await.expect(200);
    let managed = &object["metadata"]["managedFields"][0];
    assert_eq!(
        (&managed["manager"], &managed["operation"]),
        (&json!("kube-apiserver"), &json!("Update"))
    );
    assert!(managed["fieldsV1"]["f:spec"]["f:parentRef"]["f:name"].is_object());
}

/// Node ports of `count` Services made at once by each of two servers over one store.
#[tokio::test]
async fn two_servers_never_grant_a_node_port_twice() {
    let store = Arc::new(kubeplane_store_memory::MemoryStore::new());
    let (mut servers, mut granted) = (Vec::new(), Vec::new());
    for _ in 0..2 {
        let ranges = ["10.96.0.0/24".parse().unwrap()];
        let hook = Arc::new(ServiceAddresses::new(ranges, 30_000..=30_039).unwrap());
        let services = GroupResource::new("", "services");
        servers.push(Server::on(store.clone(), |builder| builder.hook(services, hook)).await);
    }
    let node = json!({"type": "NodePort"});
    let makes = (0..40).map(|number| {
        let server = &servers[number % 2];
        let service = with(&format!("s{number}"), &node);
        async move { server.admin("POST", SERVICES, &service).await.expect(201) }
    });
    for made in futures::future::join_all(makes).await {
        granted.push(made["spec"]["ports"][0]["nodePort"].as_u64().unwrap());
    }
    granted.sort_unstable();
    assert_eq!(granted, (30_000..=30_039).collect::<Vec<u64>>());
    let more = with("more", &node);
    let message = servers[0].admin("POST", SERVICES, &more).await.expect(500)["message"].clone();
    assert!(message.as_str().unwrap().contains("failed to allocate a nodePort: range is full"));
    servers[1].admin("DELETE", &format!("{SERVICES}/s7"), &Value::Null).await.expect(200);
    servers[0].admin("POST", SERVICES, &more).await.expect(201);
}
