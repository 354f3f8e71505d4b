//! How nodes are scored by resources that devices stand for.

use super::{all, asking, told};
use crate::{
    ClusterObjects, NodeInfo, NodeResourcesBalancedAllocation, NodeResourcesFit, PodInfo,
    SchedulerPlugin, ScoringStrategy, Snapshot,
    plugins::fixtures::{filter, scores},
};
use serde_json::{Value, json};
use std::sync::Arc;

const GPU: &str = "example.com/gpu";
const BY_NAME: &str = "deviceclass.resource.kubernetes.io/gpus";

fn node(name: &str, allocatable: &Value, pods: &[Arc<PodInfo>]) -> Arc<NodeInfo> {
    let value = json!({"metadata": {"name": name, "labels": {"zone": "1"}},
        "status": {"allocatable": allocatable}});
    let mut info = NodeInfo::new(Arc::new(serde_json::from_value(value).unwrap()));
    pods.iter().for_each(|own| info.add_pod(own.clone()));
    Arc::new(info)
}

fn class(resource: Option<&str>) -> Value {
    json!({"metadata": {"name": "gpus"}, "spec": {"extendedResourceName": resource}})
}

fn slice(place: &Value, devices: &Value) -> Value {
    let pool = json!({"name": "pool", "generation": 1, "resourceSliceCount": 1});
    let mut spec = json!({"driver": "drv", "pool": pool, "devices": devices});
    for (key, value) in place.as_object().unwrap() {
        spec[key] = value.clone();
    }
    json!({"metadata": {"name": "slice"}, "spec": spec})
}

/// So many devices of a node.
fn devices(node: &str, count: usize) -> Value {
    let one = |index| json!({"name": format!("d{index}")});
    let devices: Vec<_> = (0..count).map(one).collect();
    slice(&json!({"nodeName": node}), &json!(devices))
}

/// A claim that got a device, or a share of it.
fn given(device: &str, share: Option<&str>) -> Value {
    let result = json!({"request": "r", "driver": "drv", "pool": "pool", "device": device,
        "shareID": share});
    json!({"metadata": {"name": device, "namespace": "d", "uid": device}, "spec": {},
        "status": {"allocation": {"devices": {"results": [result]}}}})
}

fn scored(
    plugin: &dyn SchedulerPlugin,
    own: &PodInfo,
    nodes: &[Arc<NodeInfo>],
    (class, slices, claims): (Value, &[Value], &[Value]),
) -> Option<Vec<i64>> {
    let objects = ClusterObjects {
        device_classes: all(vec![class]),
        resource_slices: all(slices.to_vec()),
        resource_claims: all(claims.to_vec()),
        ..ClusterObjects::default()
    };
    let all = Snapshot::new(nodes.to_vec()).with_objects(Arc::new(objects));
    scores(plugin, own, &all, nodes)
}

#[test]
fn devices_count_for_what_their_class_stands_for() {
    let (own, none) = (json!({GPU: "4"}), json!({}));
    let explicit = || class(Some(GPU));
    let demanding = {
        let rule = "device.driver == 'drv' && \
            device.capacity['drv'].memory.compareTo(quantity('8Gi')) >= 0 && \
            device.attributes['drv'].model.startsWith('some-')";
        let mut own = explicit();
        own["spec"]["selectors"] = json!([{"cel": {"expression": rule}}]);
        own
    };
    let apart = {
        let of = |name: &str, key: &str, place: Value, memory: &str| {
            json!({"name": name, key: place, "attributes": {"model": {"string": "some-x"}},
                "capacity": {"memory": {"value": memory}}})
        };
        let zone = json!({"key": "zone", "operator": "In", "values": ["1"]});
        let terms = json!({"nodeSelectorTerms": [{"matchExpressions": [zone]}]});
        let list = [
            of("d0", "nodeName", json!("n"), "16Gi"),
            of("d1", "nodeName", json!("other"), "12Gi"),
            of("d2", "nodeSelector", terms, "24Gi"),
            of("d3", "allNodes", json!(true), "8Gi"),
            of("d4", "allNodes", json!(true), "4Gi"),
        ];
        slice(&json!({"perDeviceNodeSelection": true}), &json!(list))
    };
    let (one, shared) = (given("d0", None), given("d1", Some("share")));
    let four = || vec![devices("n", 4)];
    // The part that would be used of what there is.
    for (wanted, allocatable, class, slices, claims, by_devices, expected) in [
        (GPU, &own, explicit(), vec![], vec![], false, 25),
        (GPU, &own, explicit(), four(), vec![one.clone()], true, 25),
        (GPU, &none, explicit(), four(), vec![], false, 0),
        (GPU, &none, explicit(), four(), vec![], true, 25),
        (BY_NAME, &none, class(None), four(), vec![], true, 25),
        (GPU, &none, class(None), four(), vec![], true, 0),
        (GPU, &none, explicit(), vec![], vec![], true, 0),
        (GPU, &none, explicit(), vec![devices("other", 4)], vec![], true, 0),
        (GPU, &none, explicit(), four(), vec![one.clone()], true, 50),
        (GPU, &none, explicit(), four(), vec![shared.clone()], true, 50),
        (GPU, &none, explicit(), vec![devices("n", 5)], vec![one.clone(), shared], true, 60),
        // d0, d2 and d3.
        (GPU, &none, demanding, vec![apart], vec![one], true, 66),
    ] {
        let plugin = NodeResourcesFit::scoring([(wanted.to_owned(), 1)])
            .strategy(ScoringStrategy::MostAllocated)
            .with_devices(by_devices);
        let pod = asking("p", &[json!({wanted: "1"})]);
        let there = [node("n", allocatable, &[])];
        let found = scored(&plugin, &pod, &there, (class, &slices, &claims));
        assert_eq!(found, Some(vec![expected]), "{slices:?} for {wanted}, {claims:?} given");
    }
}

#[test]
fn nodes_with_more_devices_left_score_more() {
    let nodes = ["n", "m"].map(|name| node(name, &json!({}), &[]));
    let pools = [("n", 3), ("m", 2)].map(|(name, count)| {
        let mut own = devices(name, count);
        own["metadata"]["name"] = json!(name);
        own["spec"]["pool"]["name"] = json!(name);
        own
    });
    let plugin = NodeResourcesFit::scoring([(GPU.to_owned(), 1)]);
    let own = asking("p", &[json!({GPU: "1"})]);
    let found = scored(&plugin, &own, &nodes, (class(Some(GPU)), &pools, &[]));
    assert_eq!(found, Some(vec![66, 50]));
}

#[test]
fn devices_are_balanced_where_there_are_some() {
    let all = json!({"cpu": "3500m", "memory": "40000"});
    let cpu = asking("o", &[json!({"cpu": "1"}), json!({"cpu": "2"})]);
    let both = asking(
        "o",
        &[json!({"cpu": "1", "memory": "2000"}), json!({"cpu": "2", "memory": "3000"})],
    );
    let nodes = [node("n", &all, &[cpu]), node("m", &all, &[both])];
    let names = ["cpu", "memory", GPU].map(str::to_owned);
    let plugin = NodeResourcesBalancedAllocation::of(names);
    let own = asking("p", &[json!({GPU: "1"})]);
    // Of the first CPU 86 %, no memory, and one device of eight instead of none: from 59 to 62. The other has no devices.
    let found = scored(&plugin, &own, &nodes, (class(Some(GPU)), &[devices("n", 8)], &[]));
    assert_eq!(found, Some(vec![76, 75]));
}

#[test]
fn devices_stand_for_what_a_node_has_none_of_itself() {
    let never = format!("never: Insufficient {GPU}");
    let with = |more: Value| {
        let mut all = json!({"cpu": "10m", "memory": "20", "pods": "32"});
        for (name, amount) in more.as_object().unwrap() {
            all[name] = amount.clone();
        }
        all
    };
    for (wanted, allocatable, resource, by_devices, expected) in [
        ("1", with(json!({GPU: "5"})), Some(GPU), true, "ok"),
        ("1", with(json!({})), Some(GPU), true, "ok"),
        ("1", with(json!({GPU: "0"})), Some(GPU), true, "ok"),
        ("1", with(json!({})), Some(GPU), false, &*never),
        ("1", with(json!({})), Some("example.com/other"), true, &*never),
        ("1", with(json!({})), None, true, &*never),
        // It has some, and they are too few.
        ("2", with(json!({GPU: "1"})), Some(GPU), true, &*never),
    ] {
        let objects = ClusterObjects {
            device_classes: all(vec![class(resource)]),
            ..ClusterObjects::default()
        };
        let nodes = Snapshot::new(vec![node("n", &allocatable, &[])]);
        let plugin = NodeResourcesFit::default().with_devices(by_devices);
        let own = asking("p", &[json!({"cpu": "1m", "memory": "1", GPU: wanted})]);
        let found = filter(&plugin, &own, &nodes.with_objects(Arc::new(objects))).remove(0);
        assert_eq!(told(found), expected, "{wanted} on {allocatable}, {resource:?}");
    }
}
