//! Devices that take of the resources of their node.

use super::*;
use crate::plugins::assumed;
use k8s_openapi::api::core::v1::Pod;

/// One node with four cores, on which two devices take three each.
fn mapped(pods: &[Arc<PodInfo>], claims: &[Value]) -> Snapshot {
    let mappings = json!({"cpu": {"allocationMultiplier": "3"}});
    let device =
        |name: &str| json!({"name": name, "nodeAllocatableResourceMappings": mappings.clone()});
    let slice = json!({"metadata": {"name": "a"}, "spec": {"driver": "drv", "nodeName": "a",
        "pool": {"name": "a", "generation": 1, "resourceSliceCount": 1},
        "devices": [device("d1"), device("d2")]}});
    let objects = ClusterObjects {
        resource_claims: read::<ResourceClaim>(claims),
        resource_slices: read(&[slice]),
        device_classes: read(&[class(json!({}))]),
        ..ClusterObjects::default()
    };
    Snapshot::new(vec![node("a", "", pods)]).with_objects(Arc::new(objects))
}

/// A pod whose container asks for so much and uses the claim `x`.
fn wanting(cpu: &str) -> PodInfo {
    pod(spec(cpu), json!({}))
}

fn spec(cpu: &str) -> Value {
    let resources = json!({"requests": {"cpu": cpu}, "claims": [{"name": "entry"}]});
    json!({"containers": [{"name": "c", "resources": resources}],
        "resourceClaims": [{"name": "entry", "resourceClaimName": "x"}]})
}

fn mapping() -> DynamicResources {
    let gate = "DRANodeAllocatableResources=true";
    DynamicResources::default().with_features(&gate.parse().unwrap())
}

fn on_node(pod: &PodInfo, nodes: &Snapshot) -> FilterVerdict {
    filter(&mapping(), pod, nodes).remove(0)
}

fn never(why: &str) -> FilterVerdict {
    FilterVerdict::Unresolvable(vec![why.to_owned()])
}

#[test]
fn there_is_to_be_room_for_what_devices_take() {
    let nodes = mapped(&[], &[claim("x", 1)]);
    assert_eq!(on_node(&wanting("1"), &nodes), FilterVerdict::Fits);
    assert_eq!(on_node(&wanting("1001m"), &nodes), never("Insufficient cpu"));
    let both = mapped(&[], &[claim("x", 2)]);
    assert_eq!(on_node(&wanting("0"), &both), never("Insufficient cpu"));
    let other = crate::plugins::fixtures::pod(
        "q",
        "",
        json!({"containers": [{"name": "c", "resources": {"requests": {"cpu": "500m"}}}]}),
    );
    let crowded = mapped(&[other], &[claim("x", 1)]);
    let leaves_room = FilterVerdict::Unschedulable(vec!["Insufficient cpu".to_owned()]);
    assert_eq!(on_node(&wanting("1"), &crowded), leaves_room);
    let plain = DynamicResources::default();
    assert_eq!(fitting(&plain, &wanting("1"), &crowded), "a", "without the gate");
}

#[test]
fn what_devices_take_counts_while_the_pod_is_on_the_node() {
    let (plugin, nodes, own) = (mapping(), mapped(&[], &[claim("x", 1)]), Arc::new(wanting("1")));
    let mut state = prepared(&plugin, &own, &nodes);
    plugin.reserve(&mut state, &own, "a").unwrap();
    let there = assumed(&state, &own, "a");
    assert_eq!((own.requests().milli_cpu, there.requests().milli_cpu), (1000, 4000));
    assert_eq!(there.scored_requests().milli_cpu, 4000);
    let status = there.pod().status.clone().unwrap();
    let told = json!(status.node_allocatable_resource_claim_statuses);
    let expected =
        json!([{"containers": ["c"], "resourceClaimName": "x", "resources": {"cpu": "3"}}]);
    assert_eq!(told, expected);
    let mut back = Pod::clone(there.pod());
    back.spec.get_or_insert_default().node_name = None;
    let waiting = PodInfo::new(Arc::new(back));
    assert_eq!(waiting.requests().milli_cpu, 1000, "left over from an attempt that failed");
}

#[test]
fn claims_that_take_of_nodes_are_for_the_containers_of_one_pod() {
    let nodes = mapped(&[], &[claim("x", 1)]);
    let why =
        "claim x: node-allocatable resource claim not referenced by any container within the pod";
    assert_eq!(on_node(&using(&["x"]), &nodes), never(why));
    let user = |uid: &str| {
        let mut own = Pod::clone(wanting("100m").pod());
        (own.metadata.name, own.metadata.uid) = (Some(uid.to_owned()), Some(uid.to_owned()));
        let share = json!({"nodeAllocatableResourceClaimStatuses": [
            {"containers": ["c"], "resourceClaimName": "x", "resources": {"cpu": "1"}}]});
        own.status = serde_json::from_value(share).unwrap();
        Arc::new(PodInfo::new(Arc::new(own)))
    };
    let taken = || allocated("x", "a", "d1", &[]);
    let with = |users: &[&str]| {
        let pods: Vec<_> = users.iter().map(|uid| user(uid)).collect();
        on_node(&wanting("100m"), &mapped(&pods, &[taken()]))
    };
    let used = "node allocatable resource claim x is already used by another pod";
    let shared = "node allocatable resource claim x shared by multiple pods";
    assert_eq!(with(&[]), FilterVerdict::Fits);
    assert_eq!(with(&["p"]), FilterVerdict::Fits, "itself");
    assert_eq!(with(&["q"]), never(used));
    assert_eq!(with(&["q", "r"]), never(shared));
}

#[test]
fn requests_of_a_pod_as_a_whole_are_enough_for_its_devices() {
    let nodes = mapped(&[], &[claim("x", 1)]);
    let whole = |cpu: &str| {
        let mut spec = spec("500m");
        spec["resources"] = json!({"requests": {"cpu": cpu}});
        on_node(&pod(spec, json!({})), &nodes)
    };
    assert_eq!(whole("3500m"), FilterVerdict::Fits);
    let why = "pod level request for cpu is insufficient to cover the aggregated container and node-allocatable DRA requests";
    assert_eq!(whole("3"), never(why));
}
