//! The Lease of an API server that is there.

use crate::harness::Server;
use kubeplane_apiserver::Api;
use kubeplane_clock::{PausedClock, Seed};
use kubeplane_core::{
    GroupResource,
    component::{Component, lifecycle},
};
use kubeplane_handlers::{Bootstrap, BootstrapOptions};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};

const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases";

fn bootstrap(api: Api, host: Option<&str>) -> Bootstrap {
    let options = BootstrapOptions {
        address: ([127, 0, 0, 1], 6443).into(),
        service_address: [10, 96, 0, 1].into(),
        service_ranges: vec!["10.96.0.0/16".parse().unwrap()],
        node_ports: 30_000..=32_767,
        client_authority: String::new(),
        front_proxy: None,
        kubelet_client: "kubelets".to_owned(),
        roles: Vec::new(),
        host: host.map(str::to_owned),
    };
    Bootstrap::new(api, options)
}

async fn on(clock: &Arc<PausedClock>) -> Server {
    let clock = clock.clone();
    Server::with(move |builder| builder.clock(clock).seed(Seed::new(7))).await
}

fn paused() -> Arc<PausedClock> {
    Arc::new(PausedClock::starting_at("2026-01-01T00:00:00Z".parse().unwrap()))
}

async fn leases(server: &Server) -> Vec<Value> {
    let list = server.admin("GET", LEASES, &Value::Null).await.expect(200);
    list["items"].as_array().unwrap().clone()
}

/// The Leases once they are as wanted; each look lets some time pass.
async fn until(
    server: &Server,
    clock: &PausedClock,
    step: Duration,
    wanted: impl Fn(&[Value]) -> bool,
) -> Vec<Value> {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    loop {
        let found = leases(server).await;
        if wanted(&found) {
            return found;
        }
        assert!(tokio::time::Instant::now() < deadline, "{found:?}");
        clock.advance(step);
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn a_server_says_that_it_is_there_until_it_stops() {
    let clock = paused();
    let server = on(&clock).await;
    let (own, supervision) = lifecycle();
    let run = Box::new(bootstrap(server.0.api(), Some("master-1"))).run(own);
    let run = tokio::spawn(run);
    let still = Duration::ZERO;
    let made = until(&server, &clock, still, |found| found.len() == 1).await.remove(0);
    let name = made["metadata"]["name"].as_str().unwrap().to_owned();
    assert!(name.starts_with("apiserver-") && name.len() == 36, "{name}");
    let labels = json!({"apiserver.kubernetes.io/identity": "kube-apiserver",
        "kubernetes.io/hostname": "master-1"});
    assert_eq!(made["metadata"]["labels"], labels);
    assert_eq!(made["metadata"]["managedFields"][0]["manager"], "kube-apiserver");
    let spec = &made["spec"];
    assert!(spec["holderIdentity"].as_str().unwrap().starts_with(&format!("{name}_")));
    assert_eq!(spec["leaseDurationSeconds"], 3600);
    assert_eq!(spec["renewTime"], "2026-01-01T00:00:00.000000Z");

    // Every ten seconds and a little more it is renewed, by the same holder.
    let renewed = |found: &[Value]| {
        found.len() == 1 && found[0]["spec"]["renewTime"] != "2026-01-01T00:00:00.000000Z"
    };
    let renewed = until(&server, &clock, Duration::from_secs(1), renewed).await.remove(0);
    assert_eq!(renewed["spec"]["holderIdentity"], made["spec"]["holderIdentity"]);
    assert_eq!(renewed["metadata"]["uid"], made["metadata"]["uid"]);

    supervision.stop();
    run.await.unwrap().unwrap();
    assert!(leases(&server).await.is_empty(), "it is not there any more");
}

#[tokio::test]
async fn leases_of_servers_that_are_long_gone_are_deleted_and_no_others() {
    let clock = paused();
    let server = on(&clock).await;
    let (own, supervision) = lifecycle();
    let run = tokio::spawn(Box::new(bootstrap(server.0.api(), Some("master-1"))).run(own));
    until(&server, &clock, Duration::ZERO, |found| found.len() == 1).await;
    for (name, label) in [("gone", "kube-apiserver"), ("another", "other")] {
        let lease = json!({"metadata": {"name": name, "labels": {"apiserver.kubernetes.io/identity": label}},
            "spec": {"holderIdentity": "x", "leaseDurationSeconds": 60, "renewTime": "2026-01-01T00:00:00.000000Z"}});
        server.admin("POST", LEASES, &lease).await.expect(201);
    }
    let named =
        |found: &[Value], name: &str| found.iter().any(|lease| lease["metadata"]["name"] == name);
    let step = Duration::from_secs(600);
    let left = until(&server, &clock, step, |found| !named(found, "gone")).await;
    assert!(named(&left, "another"), "{left:?}");
    supervision.stop();
    run.await.unwrap().unwrap();
}

#[tokio::test]
async fn who_is_not_told_where_it_is_says_nothing_and_the_same_seed_makes_the_same_lease() {
    let clock = paused();
    let server = on(&clock).await;
    let (own, mut supervision) = lifecycle();
    let run = tokio::spawn(Box::new(bootstrap(server.0.api(), None)).run(own));
    assert!(supervision.became_ready().await);
    supervision.stop();
    run.await.unwrap().unwrap();
    assert!(leases(&server).await.is_empty());

    let mut made = Vec::new();
    for _ in 0..2 {
        let clock = paused();
        let server = on(&clock).await;
        let (own, supervision) = lifecycle();
        let run = tokio::spawn(Box::new(bootstrap(server.0.api(), Some("master-1"))).run(own));
        // Not by requests, which take chance for their own names.
        let (api, leases) = (server.0.api(), GroupResource::new("coordination.k8s.io", "leases"));
        let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
        let lease = loop {
            let found = api.list_stored(&leases, "kube-system").await.unwrap();
            if let Some(lease) = found.into_iter().next() {
                break lease;
            }
            assert!(tokio::time::Instant::now() < deadline, "there is no Lease");
            tokio::time::sleep(Duration::from_millis(2)).await;
        };
        supervision.stop();
        run.await.unwrap().unwrap();
        made.push((lease.uid().to_owned(), lease.at(&["spec"]).cloned()));
    }
    assert_eq!(made[0], made[1]);
}
