//! What servers keep while they run: where the Service `kubernetes` leads, and the objects every cluster has.

use crate::harness::Server;
use kubeplane_apiserver::Builder;
use kubeplane_clock::PausedClock;
use kubeplane_core::{
    component::{Component, ComponentError, Supervision, lifecycle},
    features::Features,
};
use kubeplane_handlers::{Bootstrap, BootstrapOptions, FrontProxy};
use kubeplane_store_memory::MemoryStore;
use kubeplane_store_trait::{Key, Store, WriteOptions};
use serde_json::{Value, json};
use std::{net::IpAddr, sync::Arc, time::Duration};
use tokio::task::JoinHandle;

const ENDPOINTS: &str = "/api/v1/namespaces/default/endpoints/kubernetes";
const SLICE: &str = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes";
const SERVICE: &str = "/api/v1/namespaces/default/services/kubernetes";
const FLOWS: &str = "/apis/flowcontrol.apiserver.k8s.io/v1";
const KEEP: &str = "apf.kubernetes.io/autoupdate-spec";

/// Servers on one store, by one clock that stands still until it is moved on.
struct Ground {
    clock: Arc<PausedClock>,
    store: Arc<dyn Store>,
}

impl Ground {
    fn new() -> Self {
        let clock = Arc::new(PausedClock::starting_at("2026-01-01T00:00:00Z".parse().unwrap()));
        let store = MemoryStore::builder().clock(clock.clone()).open().unwrap();
        Self { clock, store: Arc::new(store) }
    }

    async fn start(&self, address: &str) -> Running {
        self.start_with(address, Features::default()).await
    }

    async fn start_with(&self, address: &str, features: Features) -> Running {
        let clock = self.clock.clone();
        let change = move |builder: Builder| builder.clock(clock).features(features);
        let server = Server::on(self.store.clone(), change).await;
        let address: IpAddr = address.parse().unwrap();
        let options = BootstrapOptions {
            address: (address, 6443).into(),
            service_address: [10, 96, 0, 1].into(),
            service_ranges: vec!["10.96.0.0/16".parse().unwrap()],
            node_ports: 30_000..=32_767,
            client_authority: String::new(),
            front_proxy: Some(FrontProxy { authority: "PEM".to_owned(), name: "front".to_owned() }),
            kubelet_client: "kubelets".to_owned(),
            roles: Vec::new(),
            host: None,
        };
        let (own, mut supervision) = lifecycle();
        let run = Box::new(Bootstrap::new(server.0.api(), options)).run(own);
        let run = tokio::spawn(run);
        assert!(supervision.became_ready().await);
        Running { server, supervision, run }
    }

    /// The answer once it is as wanted; each look lets some time pass.
    async fn until(&self, server: &Server, path: &str, wanted: impl Fn(u16, &Value) -> bool) {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
        loop {
            let answer = server.admin("GET", path, &Value::Null).await;
            let object = serde_json::from_str(&answer.text).unwrap_or_default();
            if wanted(answer.code.as_u16(), &object) {
                return;
            }
            assert!(tokio::time::Instant::now() < deadline, "{path}: {}", answer.text);
            self.clock.advance(Duration::from_millis(500));
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    async fn until_it_leads_to(&self, server: &Server, wanted: &[&str]) {
        self.until(server, ENDPOINTS, |_, found| ips(found) == wanted).await;
        let leads = |found: &Value| {
            let all = found["endpoints"].as_array().into_iter().flatten();
            let leads: Vec<_> = all.filter_map(|one| one["addresses"][0].as_str()).collect();
            leads == wanted
        };
        self.until(server, SLICE, |_, found| leads(found)).await;
    }
}

struct Running {
    server: Server,
    supervision: Supervision,
    run: JoinHandle<Result<(), ComponentError>>,
}

impl Running {
    async fn stop(self) -> Server {
        self.supervision.stop();
        self.run.await.unwrap().unwrap();
        self.server
    }
}

fn ips(endpoints: &Value) -> Vec<&str> {
    let addresses = endpoints["subsets"][0]["addresses"].as_array().into_iter().flatten();
    addresses.filter_map(|one| one["ip"].as_str()).collect()
}

#[tokio::test]
async fn the_service_leads_to_every_server_that_is_there() {
    let ground = Ground::new();
    let first = ground.start("192.0.2.10").await;
    ground.until_it_leads_to(&first.server, &["192.0.2.10"]).await;
    let other = ground.start("192.0.2.11").await;
    ground.until_it_leads_to(&first.server, &["192.0.2.10", "192.0.2.11"]).await;
    let made = first.server.admin("GET", ENDPOINTS, &Value::Null).await.expect(200);
    assert_eq!(made["metadata"]["labels"]["endpointslice.kubernetes.io/skip-mirror"], "true");
    let ports = json!([{"name": "https", "port": 6443, "protocol": "TCP"}]);
    assert_eq!(made["subsets"][0]["ports"], ports);
    let api = first.server.admin("GET", "/api", &Value::Null).await.expect(200);
    let everybody = json!([{"clientCIDR": "0.0.0.0/0", "serverAddress": "192.0.2.10:6443"}]);
    assert_eq!(api["serverAddressByClientCIDRs"], everybody);

    // One that stops says so, one that dies is forgotten.
    other.stop().await;
    ground.until_it_leads_to(&first.server, &["192.0.2.10"]).await;
    let dead = Key::new("/registry/masterleases/192.0.2.12").unwrap();
    let options = WriteOptions { ttl: Some(Duration::from_secs(15)) };
    ground.store.create(&dead, "k8s".into(), options).await.unwrap();
    ground.until_it_leads_to(&first.server, &["192.0.2.10", "192.0.2.12"]).await;
    ground.until_it_leads_to(&first.server, &["192.0.2.10"]).await;

    for path in [SERVICE, ENDPOINTS, SLICE] {
        first.server.admin("DELETE", path, &Value::Null).await.expect(200);
        ground.until(&first.server, path, |code, _| code == 200).await;
    }
    ground.until_it_leads_to(&first.server, &["192.0.2.10"]).await;

    let server = first.stop().await;
    let left = server.admin("GET", ENDPOINTS, &Value::Null).await.expect(200);
    assert_eq!(left.get("subsets"), None, "{left}");
}

#[tokio::test]
async fn a_server_that_pods_do_not_reach_is_no_endpoint() {
    let ground = Ground::new();
    let running = ground.start("127.0.0.1").await;
    running.server.admin("GET", SERVICE, &Value::Null).await.expect(200);
    running.server.admin("GET", ENDPOINTS, &Value::Null).await.expect(404);
    running.stop().await;
}

#[tokio::test]
async fn what_every_cluster_has_comes_back() {
    let ground = Ground::new();
    let running = ground.start("127.0.0.1").await;
    let server = &running.server;
    let level = |name: &str| format!("{FLOWS}/prioritylevelconfigurations/{name}");
    let shares = json!({"spec": {"limited": {"nominalConcurrencyShares": 7}}});
    let mut claimed = shares.clone();
    claimed["metadata"]["annotations"] = json!({KEEP: "false"});
    server.admin("PATCH", &level("workload-low"), &claimed).await.expect(200);
    server.admin("PATCH", &level("system"), &shares).await.expect(200);
    let of = |found: &Value| found["spec"]["limited"]["nominalConcurrencyShares"].clone();
    ground.until(server, &level("system"), |_, found| of(found) == 30).await;
    let low = server.admin("GET", &level("workload-low"), &Value::Null).await.expect(200);
    assert_eq!(of(&low), 7);

    let old = json!({"metadata": {"name": "old", "annotations": {KEEP: "true"}},
        "spec": {"priorityLevelConfiguration": {"name": "system"}}});
    let flows = format!("{FLOWS}/flowschemas");
    server.admin("POST", &flows, &old).await.expect(201);
    ground.until(server, &format!("{flows}/old"), |code, _| code == 404).await;

    let access = "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication";
    let probes = format!("{flows}/probes");
    for path in [probes.as_str(), access, SERVICE] {
        server.admin("DELETE", path, &Value::Null).await.expect(200);
        ground.until(server, path, |code, _| code == 200).await;
    }
    running.stop().await;
}

#[tokio::test]
async fn extensions_learn_where_the_uid_stands_unless_the_gate_is_off() {
    let path = "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication";
    for (gate, wanted) in
        [("", json!("[\"X-Remote-Uid\"]")), ("RemoteRequestHeaderUID=false", Value::Null)]
    {
        let running = Ground::new().start_with("192.0.2.10", gate.parse().unwrap()).await;
        let told = running.server.admin("GET", path, &Value::Null).await.expect(200);
        assert_eq!(told["data"]["requestheader-username-headers"], "[\"X-Remote-User\"]");
        assert_eq!(told["data"]["requestheader-uid-headers"], wanted, "{gate}");
        running.stop().await;
    }
}
