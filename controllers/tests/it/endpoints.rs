use crate::{
    cluster::{Cluster, NODE, eventually},
    volumes::told,
};
use k8s_openapi::{
    api::{
        core::v1::{Endpoints, Node, Pod, Service},
        discovery::v1::EndpointSlice,
    },
    apimachinery::pkg::apis::meta::v1::Time,
};
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams},
};
use serde_json::json;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn endpoints_follow_ready_pods() {
    let cluster = Cluster::start().await.with_kubelet().await;
    cluster
        .create::<Service>(json!({
            "metadata": {"name": "web", "labels": {"tier": "front"}},
            "spec": {
                "clusterIP": "None",
                "selector": {"app": "web"},
                "ports": [{"name": "http", "port": 80, "targetPort": "web"}],
            },
        }))
        .await;
    for name in ["one", "two"] {
        let ports = json!([{"name": "web", "containerPort": 8080}]);
        cluster
            .create::<Pod>(json!({
                "metadata": {"name": name, "labels": {"app": "web"}},
                "spec": {"nodeName": NODE, "containers": [{"name": "c", "image": "i", "ports": ports}]},
            }))
            .await;
    }
    let ready = |wanted: usize| {
        let cluster = &cluster;
        move || async move {
            let slices = cluster.list::<EndpointSlice>().await;
            let slices =
                slices.into_iter().filter(|slice| slice.address_type == "IPv4").collect::<Vec<_>>();
            let endpoints = slices.iter().flat_map(|slice| slice.endpoints.iter().flatten());
            let ready = endpoints
                .filter(|one| one.conditions.as_ref().and_then(|c| c.ready) == Some(true))
                .count();
            let old = cluster.api::<Endpoints>().get_opt("web").await.unwrap().unwrap_or_default();
            let subsets = old.subsets.clone().unwrap_or_default();
            let addresses =
                subsets.iter().flat_map(|subset| subset.addresses.iter().flatten()).count();
            if ready == wanted && addresses == wanted && slices.len() == 1 {
                Ok((slices[0].clone(), old))
            } else {
                Err(format!("{ready} in {slices:?}, {addresses} in {subsets:?}"))
            }
        }
    };
    let (slice, old) = eventually("both pods are ready", ready(2)).await;
    let labels = slice.metadata.labels.unwrap();
    assert_eq!(labels["kubernetes.io/service-name"], "web");
    assert_eq!(labels["endpointslice.kubernetes.io/managed-by"], "endpointslice-controller.k8s.io");
    assert_eq!(labels["tier"], "front");
    assert!(labels.contains_key("service.kubernetes.io/headless"));
    assert_eq!(slice.ports.unwrap()[0].port, Some(8080));
    let endpoint = &slice.endpoints.unwrap()[0];
    assert_eq!(endpoint.node_name.as_deref(), Some(NODE));
    assert_eq!(endpoint.target_ref.as_ref().and_then(|target| target.kind.as_deref()), Some("Pod"));
    assert_eq!(old.subsets.unwrap()[0].ports.as_ref().unwrap()[0].port, 8080);

    // A pod that has ended is no longer ready, and the kubelet leaves it alone.
    let unready = json!({"status": {"phase": "Succeeded", "conditions": [{"type": "Ready", "status": "False"}]}});
    let pods = cluster.api::<Pod>();
    pods.patch_status("one", &PatchParams::default(), &Patch::Merge(unready)).await.unwrap();
    eventually("one is left", ready(1)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn endpoints_written_by_hand_are_mirrored_while_they_are_there() {
    let cluster = Cluster::start().await;
    let ports = json!([{"port": 5432}]);
    cluster
        .create::<Service>(
            json!({"metadata": {"name": "db"}, "spec": {"clusterIP": "None", "ports": ports}}),
        )
        .await;
    let subsets = json!([{"addresses": [{"ip": "192.0.2.1"}], "ports": [{"port": 5432}]}]);
    cluster.create::<Endpoints>(json!({"metadata": {"name": "db"}, "subsets": subsets})).await;
    let mirrored = |wanted: &'static [&'static str]| {
        let cluster = &cluster;
        move || async move {
            let slices = cluster.list::<EndpointSlice>().await;
            let endpoints = slices.iter().flat_map(|slice| slice.endpoints.iter().flatten());
            let addresses: Vec<_> =
                endpoints.flat_map(|endpoint| endpoint.addresses.clone()).collect();
            if addresses == wanted { Ok(()) } else { Err(format!("{slices:?}")) }
        }
    };
    eventually("the address is copied", mirrored(&["192.0.2.1"])).await;
    let moved =
        json!({"subsets": [{"addresses": [{"ip": "192.0.2.9"}], "ports": [{"port": 5432}]}]});
    let api = cluster.api::<Endpoints>();
    api.patch("db", &PatchParams::default(), &Patch::Merge(moved)).await.unwrap();
    eventually("a change is copied", mirrored(&["192.0.2.9"])).await;
    api.delete("db", &DeleteParams::default()).await.unwrap();
    eventually("the copy goes", mirrored(&[])).await;
}

/// The zones that the endpoints of all slices have hints for, in order.
async fn hinted(cluster: &Cluster) -> Vec<String> {
    let slices = cluster.list::<EndpointSlice>().await;
    let endpoints = slices.iter().flat_map(|slice| slice.endpoints.iter().flatten());
    let hints = endpoints.filter_map(|endpoint| endpoint.hints.as_ref()?.for_zones.as_ref());
    let mut zones: Vec<_> = hints.flatten().map(|zone| zone.name.clone()).collect();
    zones.sort();
    zones
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn zones_have_their_share_of_endpoints_when_a_service_asks_for_it() {
    let cluster = Cluster::start().await;
    let nodes: Api<Node> = Api::all(cluster.client.clone());
    for zone in ["a", "b"] {
        let labels = json!({"topology.kubernetes.io/zone": zone});
        let name = format!("node-{zone}");
        cluster.create::<Node>(json!({"metadata": {"name": name, "labels": labels}})).await;
        let ready = json!({"status": {"allocatable": {"cpu": "4"}, "conditions": [
            {"type": "Ready", "status": "True", "lastHeartbeatTime": Time(kubeplane_clock::real().now())}]}});
        nodes.patch_status(&name, &PatchParams::default(), &Patch::Merge(ready)).await.unwrap();
    }
    let auto = "service.kubernetes.io/topology-mode";
    cluster
        .create::<Service>(json!({
            "metadata": {"name": "web", "annotations": {auto: "Auto"}},
            "spec": {
                "clusterIP": "None", "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack",
                "selector": {"app": "web"}, "ports": [{"port": 80}],
            },
        }))
        .await;
    let pods = cluster.api::<Pod>();
    for (index, zone) in ["a", "a", "a", "b"].into_iter().enumerate() {
        let (name, ip) = (format!("web-{index}"), format!("10.0.0.{}", index + 1));
        cluster
            .create::<Pod>(json!({
                "metadata": {"name": name, "labels": {"app": "web"}},
                "spec": {"nodeName": format!("node-{zone}"), "containers": [{"name": "c", "image": "i"}]},
            }))
            .await;
        let ready = json!({"status": {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}],
            "conditions": [{"type": "Ready", "status": "True"}]}});
        pods.patch_status(&name, &PatchParams::default(), &Patch::Merge(ready)).await.unwrap();
    }
    let have = |wanted: &'static [&'static str]| {
        let cluster = &cluster;
        move || async move {
            let zones = hinted(cluster).await;
            if zones == wanted { Ok(()) } else { Err(format!("{zones:?}")) }
        }
    };
    eventually("each zone has half of them", have(&["a", "a", "b", "b"])).await;
    let enabled = "Topology Aware Hints has been enabled, addressType: IPv4";
    told(&cluster, "web", "TopologyAwareHintsEnabled", enabled).await;
    // With a node of which nobody knows where it is, nothing can be said.
    let nowhere =
        Patch::Merge(json!({"metadata": {"labels": {"topology.kubernetes.io/zone": null}}}));
    nodes.patch("node-b", &PatchParams::default(), &nowhere).await.unwrap();
    eventually("there are no hints", have(&[])).await;
    let disabled = "Insufficient Node information: allocatable CPU or zone not specified on one or more nodes, \
        addressType: IPv4";
    told(&cluster, "web", "TopologyAwareHintsDisabled", disabled).await;
    let back = Patch::Merge(json!({"metadata": {"labels": {"topology.kubernetes.io/zone": "b"}}}));
    nodes.patch("node-b", &PatchParams::default(), &back).await.unwrap();
    eventually("they are back", have(&["a", "a", "b", "b"])).await;
    let services = cluster.api::<Service>();
    let off = Patch::Merge(json!({"metadata": {"annotations": {auto: null}}}));
    services.patch("web", &PatchParams::default(), &off).await.unwrap();
    eventually("nobody asks for them", have(&[])).await;
    let disabled = "Topology Aware Hints has been disabled, addressType: IPv4";
    told(&cluster, "web", "TopologyAwareHintsDisabled", disabled).await;
}
