//! The tests that `namespace` starts.

use crate::{
    network::{self, Answer, Flow, sh, tcp, udp},
    node::{Node, eventually},
};
use serde_json::json;
use std::{collections::BTreeSet, io};

type Ask = fn(&str, &str) -> io::Result<Answer>;

/// Waits until answers of both pods came from an address.
async fn both(ask: Ask, from: &'static str, to: &'static str) {
    let mut seen = BTreeSet::new();
    eventually(&format!("both pods answer {from:?} at {to}"), move || {
        seen.extend(ask(from, to).ok().map(|answer| answer.pod));
        seen.len() == 2
    })
    .await;
}

async fn answered(ask: Ask, from: &'static str, to: &'static str) {
    eventually(&format!("{from:?} is answered at {to}"), move || ask(from, to).is_ok()).await;
}

async fn refused(ask: Ask, from: &'static str, to: &'static str) {
    eventually(&format!("{from:?} is refused at {to}"), move || {
        ask(from, to).is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
    })
    .await;
}

#[tokio::test]
#[ignore = "started by namespace::traffic_reaches_endpoints"]
async fn traffic_reaches_endpoints() {
    network::build();
    let node = Node::start().await;
    for (name, ip, protocol, port) in
        [("web", "10.96.0.10", "TCP", 30080), ("names", "10.96.0.11", "UDP", 30053)]
    {
        let ports = json!([{"name": "p", "port": 80, "nodePort": port, "protocol": protocol, "targetPort": 8080}]);
        node.service(name, ip, json!({"type": "NodePort", "ports": ports})).await;
        node.endpoints(name, protocol, &[(1, "here"), (2, "here")]).await;
    }
    for from in ["", "client", "pod1"] {
        both(tcp, from, "10.96.0.10:80").await;
        both(tcp, from, "192.0.2.1:30080").await;
        both(udp, from, "10.96.0.11:80").await;
        both(udp, from, "192.0.2.1:30053").await;
    }
    refused(tcp, "", "10.96.0.10:81").await;
    refused(tcp, "client", "10.96.0.10:81").await;
    let metrics = node.metrics.encode();
    assert!(
        metrics.contains("kubeproxy_sync_proxy_rules_duration_seconds_count{ip_family=\"IPv4\"}"),
        "{metrics}"
    );
    assert!(metrics.contains("kubeproxy_sync_proxy_rules_last_timestamp_seconds"), "{metrics}");
}

#[tokio::test]
#[ignore = "started by namespace::clients_stay_with_their_endpoint"]
async fn clients_stay_with_their_endpoint() {
    network::build();
    let node = Node::start().await;
    let ways = [
        ("web", "TCP", "10.96.0.10", 30080, tcp as Ask, ["10.96.0.10:80", "192.0.2.1:30080"]),
        ("names", "UDP", "10.96.0.11", 30053, udp as Ask, ["10.96.0.11:80", "192.0.2.1:30053"]),
    ];
    for (name, protocol, ip, port, ask, addresses) in ways {
        let ports = json!([{"name": "p", "port": 80, "nodePort": port, "protocol": protocol, "targetPort": 8080}]);
        let sticky = json!({
            "type": "NodePort", "ports": ports, "sessionAffinity": "ClientIP",
            "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 600}},
        });
        node.service(name, ip, sticky).await;
        node.endpoints(name, protocol, &[(1, "here"), (2, "here")]).await;
        for to in addresses {
            for from in ["", "client", "pod1"] {
                answered(ask, from, to).await;
                let answers: BTreeSet<_> = (0..30).map(|_| ask(from, to).unwrap().pod).collect();
                assert_eq!(answers.len(), 1, "{from:?} to {to}: {answers:?}");
            }
        }
        // Without the endpoint it had, a client goes to the other, by whichever address.
        for (from, to) in [("", addresses[0]), ("client", addresses[1])] {
            node.endpoints(name, protocol, &[(1, "here"), (2, "here")]).await;
            answered(ask, from, to).await;
            let had = ask(from, to).unwrap().pod;
            let other = if had == "pod1" { 2 } else { 1 };
            node.endpoints(name, protocol, &[(other, "here")]).await;
            let wanted = format!("pod{other}");
            eventually(&format!("{from:?} to {to} changes its endpoint"), move || {
                ask(from, to).is_ok_and(|answer| answer.pod == wanted)
            })
            .await;
        }
    }
}

#[tokio::test]
#[ignore = "started by namespace::without_endpoints_connections_are_refused"]
async fn without_endpoints_connections_are_refused() {
    network::build();
    let node = Node::start().await;
    let ports = json!([{"name": "p", "port": 80, "nodePort": 30080, "protocol": "TCP", "targetPort": 8080}]);
    for _ in 0..2 {
        node.service("web", "10.96.0.10", json!({"type": "NodePort", "ports": ports})).await;
        node.endpoints("web", "TCP", &[]).await;
        refused(tcp, "", "10.96.0.10:80").await;
        refused(tcp, "client", "10.96.0.10:80").await;
        refused(tcp, "client", "192.0.2.1:30080").await;
        node.endpoints("web", "TCP", &[(2, "here")]).await;
        answered(tcp, "", "10.96.0.10:80").await;
        answered(tcp, "client", "192.0.2.1:30080").await;
        node.endpoints("web", "TCP", &[]).await;
        refused(tcp, "", "10.96.0.10:80").await;
        node.delete_service("web").await;
        // An address nobody has is dropped, not refused.
        eventually("the address is free", || {
            tcp("", "10.96.0.10:80")
                .is_err_and(|error| error.kind() != io::ErrorKind::ConnectionRefused)
        })
        .await;
    }
}

#[tokio::test]
#[ignore = "started by namespace::local_traffic_keeps_its_source"]
async fn local_traffic_keeps_its_source() {
    network::build();
    let node = Node::start().await;
    let ports = json!([{"name": "p", "port": 80, "nodePort": 30080, "protocol": "TCP", "targetPort": 8080}]);
    node.service("web", "10.96.0.10", json!({"type": "NodePort", "ports": ports})).await;
    node.endpoints("web", "TCP", &[(1, "here"), (2, "there")]).await;
    both(tcp, "client", "192.0.2.1:30080").await;
    let masked = tcp("client", "192.0.2.1:30080").unwrap();
    assert_ne!(masked.source, "192.0.2.2");

    let local = json!({"type": "NodePort", "ports": ports, "externalTrafficPolicy": "Local"});
    node.service("web", "10.96.0.10", local).await;
    eventually("the client is seen as itself", || {
        tcp("client", "192.0.2.1:30080").is_ok_and(|answer| answer.source == "192.0.2.2")
    })
    .await;
    for _ in 0..20 {
        assert_eq!(tcp("client", "192.0.2.1:30080").unwrap().pod, "pod1");
    }
    // The node's own traffic, and that of pods, may still go everywhere.
    both(tcp, "", "192.0.2.1:30080").await;
    both(tcp, "pod1", "192.0.2.1:30080").await;
}

#[tokio::test]
#[ignore = "started by namespace::leftovers_go_and_lost_rules_come_back"]
async fn leftovers_go_and_lost_rules_come_back() {
    network::build();
    sh("nft add table ip kubeplane-proxy");
    sh("nft add chain ip kubeplane-proxy old-service");
    let node = Node::start().await;
    let gone = std::process::Command::new("nft")
        .args(["list", "chain", "ip", "kubeplane-proxy", "old-service"])
        .output()
        .unwrap();
    assert!(!gone.status.success());
    let ports = json!([{"name": "p", "port": 80, "protocol": "TCP", "targetPort": 8080}]);
    node.service("web", "10.96.0.10", json!({"ports": ports})).await;
    node.endpoints("web", "TCP", &[(1, "here")]).await;
    answered(tcp, "", "10.96.0.10:80").await;
    sh("nft flush ruleset");
    answered(tcp, "", "10.96.0.10:80").await;
    assert!(node.health.report(kubeplane_telemetry::Probe::Live, &[]).is_ok());
}

#[tokio::test]
#[ignore = "started by namespace::datagrams_follow_the_endpoints"]
async fn datagrams_follow_the_endpoints() {
    network::build();
    let node = Node::start().await;
    let ports = json!([{"name": "p", "port": 53, "nodePort": 30053, "protocol": "UDP", "targetPort": 8080}]);
    node.service("names", "10.96.0.11", json!({"type": "NodePort", "ports": ports})).await;
    for address in ["10.96.0.11:53", "192.0.2.1:30053"] {
        let flow = Flow::to(address);
        for pod in [1, 2, 1] {
            node.endpoints("names", "UDP", &[(pod, "here")]).await;
            let (same, wanted) = (flow.clone(), format!("pod{pod}"));
            eventually(&format!("the flow to {address} reaches {wanted}"), move || {
                same.ask().is_ok_and(|answer| answer.pod == wanted)
            })
            .await;
        }
    }
}

#[tokio::test]
#[ignore = "started by namespace::both_families_are_served"]
async fn both_families_are_served() {
    network::build();
    let node = Node::start().await;
    for (name, ip, affinity) in [("web", "fd96::10", "None"), ("sticky", "fd96::11", "ClientIP")] {
        let port = if name == "web" { 30080 } else { 30081 };
        let ports = json!([
            {"name": "p", "port": 80, "nodePort": port, "protocol": "TCP", "targetPort": 8080},
        ]);
        let spec = json!({"type": "NodePort", "ports": ports, "sessionAffinity": affinity});
        node.service(name, ip, spec).await;
        node.endpoints_of("IPv6", name, "TCP", &[(1, "here"), (2, "here")]).await;
    }
    for from in ["", "client", "pod1"] {
        both(tcp, from, "[fd96::10]:80").await;
        both(tcp, from, "[fd00:9::1]:30080").await;
    }
    answered(tcp, "client", "[fd96::11]:80").await;
    let seen: BTreeSet<_> = (0..20).map(|_| tcp("client", "[fd96::11]:80").unwrap().pod).collect();
    assert_eq!(seen.len(), 1, "{seen:?}");
    node.endpoints_of("IPv6", "web", "TCP", &[]).await;
    refused(tcp, "client", "[fd96::10]:80").await;
    let ports = json!([{"name": "p", "port": 80, "protocol": "UDP", "targetPort": 8080}]);
    node.service("names", "fd96::12", json!({"ports": ports})).await;
    node.endpoints_of("IPv6", "names", "UDP", &[(1, "here"), (2, "here")]).await;
    both(udp, "client", "[fd96::12]:80").await;
}
