use crate::cluster::{Cluster, NODE, eventually, gone, trickle};
use k8s_openapi::api::{
    core::v1::Node,
    networking::v1::{IPAddress, ServiceCIDR},
};
use kube::{Api, api::DeleteParams};
use kubeplane_clock::PausedClock;
use serde_json::json;
use std::{sync::Arc, time::Duration};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_network_is_ready_and_stays_while_its_addresses_are_in_use() {
    let clock = PausedClock::starting_at(kubeplane_clock::real().now());
    let _time = trickle(&clock);
    let cluster = Cluster::with_clock(Arc::new(clock.clone())).await;
    let network = json!({"metadata": {"name": "more"}, "spec": {"cidrs": ["10.7.0.0/24"]}});
    cluster.create::<ServiceCIDR>(network).await;
    let address = json!({
        "metadata": {"name": "10.7.0.9", "labels": {
            "ipaddress.kubernetes.io/ip-family": "IPv4",
            "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io"}},
        "spec": {"parentRef": {"resource": "services", "namespace": "default", "name": "web"}}});
    cluster.create::<IPAddress>(address).await;
    let networks: Api<ServiceCIDR> = Api::all(cluster.client.clone());
    let said = |status: &'static str, reason: &'static str| {
        let networks = networks.clone();
        async move {
            eventually("its condition says so", || async {
                let network = networks.get("more").await.unwrap();
                let conditions = network.status.clone().unwrap_or_default().conditions;
                let ready = conditions.iter().flatten().any(|condition| {
                    condition.type_ == "Ready"
                        && (condition.status.as_str(), condition.reason.as_str())
                            == (status, reason)
                });
                if ready { Ok(network) } else { Err(format!("{network:?}")) }
            })
            .await
        }
    };
    let ready = said("True", "").await;
    let finalizer = "networking.k8s.io/service-cidr-finalizer".to_owned();
    assert_eq!(ready.metadata.finalizers, Some(vec![finalizer]));
    networks.delete("more", &DeleteParams::default()).await.unwrap();
    said("False", "Terminating").await;
    let addresses: Api<IPAddress> = Api::all(cluster.client.clone());
    addresses.delete("10.7.0.9", &DeleteParams::default()).await.unwrap();
    // Those who give addresses must first have seen that the network goes.
    eventually("it goes after a while", || async {
        clock.advance(Duration::from_secs(1));
        match networks.get_opt("more").await.unwrap() {
            None => Ok(()),
            Some(network) => Err(format!("{network:?}")),
        }
    })
    .await;
    gone(&networks, "more").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_are_told_how_long_to_believe_what_they_know() {
    let cluster = Cluster::start().await.with_kubelet().await;
    let nodes: Api<Node> = Api::all(cluster.client.clone());
    eventually("the node is told", || async {
        let annotations = nodes.get(NODE).await.unwrap().metadata.annotations.unwrap_or_default();
        match annotations.get("node.alpha.kubernetes.io/ttl").map(String::as_str) {
            Some("0") => Ok(()),
            _ => Err(format!("{annotations:?}")),
        }
    })
    .await;
}
