//! Where traffic to the endpoints of a Service should come from.

use crate::world::{NODES, POD, SERVICE, SLICE, World, items, template, text};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// A pod on a node.
async fn pod(world: &World, name: &str, node: &str, number: u8, ready: &str) {
    let mut pod = template("web");
    pod["metadata"]["name"] = json!(name);
    pod["spec"]["nodeName"] = json!(node);
    world.make(POD, pod).await;
    let ip = format!("10.0.0.{number}");
    let conditions = json!([{"type": "Ready", "status": ready}]);
    let status =
        json!({"phase": "Running", "conditions": conditions, "podIP": ip, "podIPs": [{"ip": ip}]});
    world.merge_status(POD, name, status).await;
}

/// The hints of all endpoints, by pod.
fn hints(slices: &[Value]) -> BTreeMap<String, Value> {
    let endpoints = slices.iter().flat_map(|slice| items(slice, "/endpoints"));
    let hints = endpoints
        .map(|endpoint| (text(endpoint, "/targetRef/name").to_owned(), endpoint["hints"].clone()));
    hints.collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn short_ways_are_hinted_at_as_the_service_prefers() {
    let world = World::selected("endpointslice-controller").await;
    for (node, labels) in [
        ("a", json!({"topology.kubernetes.io/zone": "east"})),
        ("b", json!({"topology.kubernetes.io/zone": "west"})),
        ("nowhere", json!({})),
    ] {
        world.make(NODES, json!({"metadata": {"name": node, "labels": labels}})).await;
    }
    let spec = json!({"clusterIP": "None", "selector": {"app": "web"}, "ports": [{"port": 80}]});
    world.make_spec(SERVICE, "web", spec).await;
    pod(&world, "one", "a", 1, "True").await;
    pod(&world, "two", "b", 2, "True").await;
    pod(&world, "three", "nowhere", 3, "True").await;
    pod(&world, "four", "a", 4, "False").await;
    let come = async |what: &str, [one, two, three]: [Value; 3]| {
        // An endpoint that is not ready has none.
        let all = [("one", one), ("two", two), ("three", three), ("four", Value::Null)];
        let all = BTreeMap::from(all.map(|(pod, hints)| (pod.to_owned(), hints)));
        world.until_all(SLICE, what, |slices| hints(slices) == all).await;
    };
    let prefer = async |distribution: Value| {
        world.merge(SERVICE, "web", json!({"spec": {"trafficDistribution": distribution}})).await;
    };
    let zone = |zone: &str| json!({"forZones": [{"name": zone}]});
    let none = || [Value::Null, Value::Null, Value::Null];
    come("nothing is preferred", none()).await;
    for same_zone in ["PreferClose", "PreferSameZone"] {
        prefer(json!(same_zone)).await;
        come(same_zone, [zone("east"), zone("west"), Value::Null]).await;
        prefer(Value::Null).await;
        come("nothing is preferred any more", none()).await;
    }
    prefer(json!("PreferSameNode")).await;
    let node = |node: &str, mut hints: Value| {
        hints["forNodes"] = json!([{"name": node}]);
        hints
    };
    let nodes = [node("a", zone("east")), node("b", zone("west")), node("nowhere", json!({}))];
    come("nodes are preferred", nodes).await;
    // Who asks for shares by zone has those, or none where they cannot be told.
    let mode =
        json!({"metadata": {"annotations": {"service.kubernetes.io/topology-mode": "Auto"}}});
    world.merge(SERVICE, "web", mode).await;
    come("shares by zone are not known", none()).await;
    let said = world.told("web", "TopologyAwareHintsDisabled").await;
    assert!(said.starts_with("Insufficient Node information"), "{said}");
}
