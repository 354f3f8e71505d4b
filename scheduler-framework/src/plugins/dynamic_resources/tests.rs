mod of_nodes;

use super::{claims::is_ready, filtering::Cycle, tracker::Tracker};
use crate::{
    ClusterObjects, CycleState, DynamicResources, FilterVerdict, NodeInfo, PodInfo, PreFilter,
    PreFilterVerdict, Reserve, Score, Snapshot,
    plugins::fixtures::{filter, fitting, node},
};
use k8s_openapi::api::resource::v1::ResourceClaim;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::sync::Arc;

fn read<K: DeserializeOwned>(values: &[Value]) -> Arc<Vec<Arc<K>>> {
    let one = |own: &Value| Arc::new(serde_json::from_value(own.clone()).unwrap());
    Arc::new(values.iter().map(one).collect())
}

/// Two devices on `a`, one on `b`.
fn slices() -> Vec<Value> {
    let slice = |node: &str, devices: &[&str]| {
        let devices: Vec<_> = devices.iter().map(|name| json!({"name": name})).collect();
        json!({"metadata": {"name": node}, "spec": {"driver": "drv", "nodeName": node,
            "pool": {"name": node, "generation": 1, "resourceSliceCount": 1}, "devices": devices}})
    };
    vec![slice("a", &["d1", "d2"]), slice("b", &["d1"])]
}

fn claim(name: &str, count: i64) -> Value {
    let request = json!({"name": "r", "exactly": {"deviceClassName": "gpu",
        "allocationMode": "ExactCount", "count": count}});
    json!({"metadata": {"name": name, "namespace": "d", "uid": name, "resourceVersion": "5"},
        "spec": {"devices": {"requests": [request]}}})
}

/// Allocated on a node, and used by these pods.
fn allocated(name: &str, on: &str, device: &str, users: &[&str]) -> Value {
    let mut claim = claim(name, 1);
    let field = json!({"key": "metadata.name", "operator": "In", "values": [on]});
    let users: Vec<_> =
        users.iter().map(|uid| json!({"resource": "pods", "name": uid, "uid": uid})).collect();
    claim["status"] = json!({"reservedFor": users, "allocation": {
        "nodeSelector": {"nodeSelectorTerms": [{"matchFields": [field]}]},
        "devices": {"results": [{"request": "r", "driver": "drv", "pool": on, "device": device}]}}});
    claim
}

fn class(more: Value) -> Value {
    json!({"metadata": {"name": "gpu"}, "spec": more})
}

fn cluster(claims: &[Value], class: Value) -> Snapshot {
    let objects = ClusterObjects {
        resource_claims: read::<ResourceClaim>(claims),
        resource_slices: read(&slices()),
        device_classes: read(&[class]),
        ..ClusterObjects::default()
    };
    let nodes = vec![node("a", "", &[]), node("b", "", &[]), node("c", "", &[])];
    Snapshot::new(nodes).with_objects(Arc::new(objects))
}

fn pod(spec: Value, status: Value) -> PodInfo {
    let mut spec = spec;
    if spec.get("containers").is_none() {
        spec["containers"] = json!([{"name": "c"}]);
    }
    let value = json!({"metadata": {"name": "p", "namespace": "d", "uid": "p"}, "spec": spec,
        "status": status});
    PodInfo::new(Arc::new(serde_json::from_value(value).unwrap()))
}

fn using(claims: &[&str]) -> PodInfo {
    let each = claims.iter().map(|name| json!({"name": name, "resourceClaimName": name}));
    pod(json!({"resourceClaims": each.collect::<Vec<_>>()}), json!({}))
}

fn reason(pod: &PodInfo, nodes: &Snapshot, index: usize) -> String {
    match &filter(&DynamicResources::default(), pod, nodes)[index] {
        FilterVerdict::Unresolvable(why) => why.join(", "),
        other => panic!("{other:?}"),
    }
}

#[test]
fn pods_go_where_their_devices_are() {
    let plugin = DynamicResources::default();
    let nodes = |claims: &[Value]| cluster(claims, class(json!({})));
    assert_eq!(fitting(&plugin, &using(&[]), &nodes(&[])), "a b c");
    assert_eq!(fitting(&plugin, &using(&["x"]), &nodes(&[claim("x", 1)])), "a b");
    assert_eq!(fitting(&plugin, &using(&["x"]), &nodes(&[claim("x", 2)])), "a");
    let two = [claim("x", 1), claim("y", 1)];
    assert_eq!(fitting(&plugin, &using(&["x", "y"]), &nodes(&two)), "a");
    let used = [claim("x", 1), allocated("y", "b", "d1", &["other"])];
    assert_eq!(fitting(&plugin, &using(&["x"]), &nodes(&used)), "a");
    assert_eq!(fitting(&plugin, &using(&["y"]), &nodes(&used)), "b");
    assert_eq!(reason(&using(&["x"]), &nodes(&used), 2), "cannot allocate all claims");
    assert_eq!(reason(&using(&["y"]), &nodes(&used), 0), "resourceclaim not available on the node");
}

#[test]
fn pods_wait_for_their_claims_and_classes() {
    let nodes = |claims: &[Value]| cluster(claims, class(json!({})));
    let why = "could not find ResourceClaim \"d/x\"";
    assert_eq!(reason(&using(&["x"]), &nodes(&[]), 0), why);
    let mut going = claim("x", 1);
    going["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    assert_eq!(reason(&using(&["x"]), &nodes(&[going]), 0), "resourceclaim \"x\" is being deleted");
    let other = cluster(&[claim("x", 1)], json!({"metadata": {"name": "other"}, "spec": {}}));
    let missing = "request r: device class gpu does not exist";
    assert_eq!(reason(&using(&["x"]), &other, 0), missing);
    let template = json!({"resourceClaims": [{"name": "x", "resourceClaimTemplateName": "t"}]});
    let unmade = pod(template.clone(), json!({}));
    let why = "pod \"d/p\": ResourceClaim not created yet";
    assert_eq!(reason(&unmade, &nodes(&[]), 0), why);
    let made =
        |name: Value| json!({"resourceClaimStatuses": [{"name": "x", "resourceClaimName": name}]});
    let foreign = pod(template.clone(), made(json!("x")));
    let why = "ResourceClaim d/x was not created for Pod d/p (Pod is not owner)";
    assert_eq!(reason(&foreign, &nodes(&[claim("x", 1)]), 0), why);
    // None was needed.
    let plugin = DynamicResources::default();
    assert_eq!(fitting(&plugin, &pod(template, made(Value::Null)), &nodes(&[])), "a b c");
}

fn prepared(plugin: &DynamicResources, pod: &PodInfo, nodes: &Snapshot) -> CycleState {
    let mut state = CycleState::of(nodes.clone());
    assert_eq!(plugin.pre_filter(&mut state, pod, nodes), PreFilterVerdict::Continue);
    let point = crate::SchedulerPlugin::as_filter(plugin).unwrap();
    for node in nodes.nodes() {
        let _ = point.filter(&state, pod, node);
    }
    state
}

#[test]
fn what_is_reserved_is_nobody_elses_until_it_is_given_up() {
    let plugin = DynamicResources::default();
    let nodes = cluster(&[claim("x", 2), claim("y", 1)], class(json!({})));
    let own = using(&["x"]);
    let mut state = prepared(&plugin, &own, &nodes);
    plugin.reserve(&mut state, &own, "a").unwrap();
    assert_eq!(fitting(&plugin, &using(&["y"]), &nodes), "b");
    let mut again = CycleState::of(nodes.clone());
    assert_eq!(
        plugin.pre_filter(&mut again, &own, &nodes),
        PreFilterVerdict::Unresolvable(
            "resource claim d/x is in the process of being allocated".to_owned()
        )
    );
    plugin.unreserve(&mut state, &own, "a");
    assert_eq!(fitting(&plugin, &using(&["y"]), &nodes), "a b");
}

#[test]
fn what_was_written_counts_before_informers_show_it() {
    let nodes = cluster(&[claim("x", 1)], class(json!({})));
    let tracker = Tracker::default();
    let mut written = allocated("x", "b", "d1", &["p"]);
    written["metadata"]["resourceVersion"] = json!("6");
    tracker.end("x", Some(Arc::new(serde_json::from_value(written).unwrap())));
    let own = tracker.claim(nodes.objects(), "d", "x").unwrap();
    assert_eq!(own.metadata.resource_version.as_deref(), Some("6"));
    let mut shown = claim("x", 1);
    shown["metadata"]["resourceVersion"] = json!("7");
    let later = cluster(&[shown], class(json!({})));
    let own = tracker.claim(later.objects(), "d", "x").unwrap();
    assert_eq!(own.metadata.resource_version.as_deref(), Some("7"));
}

#[test]
fn nodes_with_devices_that_are_wanted_more_score_more() {
    let plugin = DynamicResources::default();
    let mut wish = claim("x", 1);
    let sub = |name: &str, count: i64| json!({"name": name, "deviceClassName": "gpu", "allocationMode": "ExactCount", "count": count});
    wish["spec"]["devices"]["requests"] =
        json!([{"name": "r", "firstAvailable": [sub("two", 2), sub("one", 1)]}]);
    let nodes = cluster(&[wish], class(json!({})));
    let own = using(&["x"]);
    let state = prepared(&plugin, &own, &nodes);
    let score = |node: &Arc<NodeInfo>| plugin.score(&state, &own, node);
    let mut scores: Vec<_> = nodes.nodes()[..2].iter().map(score).collect();
    assert_eq!(scores, [8, 7]);
    plugin.normalize(&state, &own, &mut scores);
    assert_eq!(scores, [100, 87]);
}

#[test]
fn devices_stand_for_extended_resources() {
    let plugin = DynamicResources::default();
    let limits = |name: &str, count: &str| {
        let requests = json!({name: count});
        json!({"name": "c", "resources": {"requests": requests, "limits": requests}})
    };
    let nodes = cluster(&[], class(json!({"extendedResourceName": "example.com/gpu"})));
    let own = pod(json!({"containers": [limits("example.com/gpu", "2")]}), json!({}));
    assert_eq!(fitting(&plugin, &own, &nodes), "a");
    assert_eq!(fitting(&crate::NodeResourcesFit::default(), &own, &nodes), "a b c");
    let implicit = pod(
        json!({"containers": [limits("deviceclass.resource.kubernetes.io/gpu", "1")]}),
        json!({}),
    );
    assert_eq!(fitting(&plugin, &implicit, &nodes), "a b");
    let foreign = pod(json!({"containers": [limits("example.com/other", "1")]}), json!({}));
    assert_eq!(fitting(&plugin, &foreign, &nodes), "a b c");
    assert_eq!(fitting(&crate::NodeResourcesFit::default(), &foreign, &nodes), "");
    // A container that only starts the pod uses what the others will have.
    let spec = json!({"initContainers": [limits("example.com/gpu", "1")],
        "containers": [limits("example.com/gpu", "1")]});
    let own = pod(spec, json!({}));
    let mut state = prepared(&plugin, &own, &nodes);
    plugin.reserve(&mut state, &own, "b").unwrap();
    let cycle = state.value::<Cycle>().unwrap();
    let found = cycle.found.lock();
    let told: Vec<_> = found["b"].mappings.iter().map(|own| own.request_name.clone()).collect();
    assert_eq!(told, ["container-1-request-0", "container-1-request-0"]);
}

/// Another pod with the same claims.
fn like(own: &PodInfo, uid: &str) -> PodInfo {
    let mut pod = own.pod().as_ref().clone();
    (pod.metadata.name, pod.metadata.uid) = (Some(uid.to_owned()), Some(uid.to_owned()));
    PodInfo::new(Arc::new(pod))
}

#[test]
fn pods_of_one_group_use_what_the_first_of_them_got() {
    let plugin = DynamicResources::default();
    let alone = cluster(&[claim("x", 1), claim("y", 1)], class(json!({})));
    let together = || alone.clone().in_group(Arc::default());
    let cycle = together();
    let first = using(&["x"]);
    let mut state = prepared(&plugin, &first, &cycle);
    plugin.reserve(&mut state, &first, "b").unwrap();
    // Neither those outside of the group nor those of its next turn know what will come of it.
    let second = like(&first, "q");
    let waits = "resource claim d/x is in the process of being allocated";
    for others in [alone.clone(), together()] {
        let mut state = CycleState::of(others.clone());
        let verdict = plugin.pre_filter(&mut state, &second, &others);
        assert_eq!(verdict, PreFilterVerdict::Unresolvable(waits.to_owned()));
    }
    assert_eq!(fitting(&plugin, &second, &cycle), "b", "where the device is");
    let mut other = prepared(&plugin, &second, &cycle);
    plugin.reserve(&mut other, &second, "b").unwrap();
    plugin.unreserve(&mut state, &first, "b");
    plugin.unreserve(&mut state, &first, "b");
    assert_eq!(fitting(&plugin, &using(&["y"]), &alone), "a", "the second still counts on it");
    plugin.unreserve(&mut other, &second, "b");
    assert_eq!(fitting(&plugin, &using(&["y"]), &alone), "a b");
}

#[test]
fn claims_of_a_group_are_used_by_the_group() {
    let mut made = claim("x", 1);
    made["metadata"]["ownerReferences"] = json!([{"apiVersion": "scheduling.k8s.io/v1alpha2",
        "kind": "PodGroup", "name": "g", "uid": "gu", "controller": true}]);
    let template = json!({"name": "c", "resourceClaimTemplateName": "t"});
    let group = json!({"metadata": {"name": "g", "namespace": "d", "uid": "gu"},
        "spec": {"resourceClaims": [template]},
        "status": {"resourceClaimStatuses": [{"name": "c", "resourceClaimName": "x"}]}});
    let member = |name: &str| {
        let spec = json!({"schedulingGroup": {"podGroupName": name},
            "resourceClaims": [template, {"name": "own", "resourceClaimName": "y"}]});
        let status = json!({"resourceClaimStatuses": [{"name": "c", "resourceClaimName": "x"}]});
        pod(spec, status)
    };
    let plain = cluster(&[made.clone(), claim("y", 1)], class(json!({})));
    let objects = ClusterObjects { pod_groups: read(&[group]), ..plain.objects().clone() };
    let nodes = plain.with_objects(Arc::new(objects));
    let foreign = |own: &str| format!("ResourceClaim d/x was not created for Pod d/p ({own})");
    assert_eq!(reason(&member("g"), &nodes, 0), foreign("Pod is not owner"), "without the gate");
    let gates = "GenericWorkload=true,DRAWorkloadResourceClaims=true";
    let plugin = DynamicResources::default().with_features(&gates.parse().unwrap());
    assert_eq!(fitting(&plugin, &member("g"), &nodes), "a");
    let why = plugin.claims(nodes.objects(), &member("h")).unwrap_err();
    assert_eq!(why, foreign("neither Pod nor PodGroup h is the owner"));
    let users = plugin.consumers(nodes.objects(), &member("g")).unwrap();
    let users: Vec<_> = users.iter().map(|own| (own.resource.as_str(), own.uid.as_str())).collect();
    assert_eq!(users, [("podgroups", "gu"), ("pods", "p")]);
    made["status"] = json!({"reservedFor": [{"apiGroup": "scheduling.k8s.io",
        "resource": "podgroups", "name": "g", "uid": "gu"}]});
    let reserved: ResourceClaim = serde_json::from_value(made).unwrap();
    assert!(
        plugin.is_reserved(&reserved, &member("g")) && !plugin.is_reserved(&reserved, &member("h"))
    );
    assert!(!DynamicResources::default().is_reserved(&reserved, &member("g")));
}

/// The plugin where a gate is off.
fn without(gate: &str) -> DynamicResources {
    DynamicResources::default().with_features(&format!("{gate}=false").parse().unwrap())
}

#[test]
fn devices_stand_for_resources_by_their_gate_alone() {
    let nodes = cluster(&[], class(json!({"extendedResourceName": "example.com/gpu"})));
    let requests = json!({"example.com/gpu": "1"});
    let containers = json!([{"name": "c", "resources": {"requests": requests}}]);
    let own = pod(json!({"containers": containers}), json!({}));
    let plugin = without("DRAExtendedResource");
    let verdict = plugin.pre_filter(&mut CycleState::of(nodes.clone()), &own, &nodes);
    assert_eq!(verdict, PreFilterVerdict::Skip);
    let track = crate::SchedulerPlugin::as_track(&plugin).unwrap();
    assert!(matches!(track.track(&own, &nodes), crate::Tracking::Indifferent));
    assert_eq!(track.circumstance(&own, &nodes), 0);
    let fit = crate::NodeResourcesFit::default();
    assert_eq!(fitting(&fit, &own, &nodes), "a b c");
    assert_eq!(fitting(&fit.with_devices(false), &own, &nodes), "");
}

#[test]
fn alternatives_are_refused_where_there_are_none() {
    let sub = json!({"name": "one", "deviceClassName": "gpu", "allocationMode": "ExactCount", "count": 1});
    let mut wish = claim("x", 1);
    wish["spec"]["devices"]["requests"] = json!([{"name": "r", "firstAvailable": [sub]}]);
    let nodes = cluster(&[wish], class(json!({})));
    assert_eq!(fitting(&DynamicResources::default(), &using(&["x"]), &nodes), "a b");
    let why = "resource claim d/x, request r: has subrequests, but the DRAPrioritizedList feature is disabled";
    let refused = FilterVerdict::Unresolvable(vec![why.to_owned()]);
    let plugin = without("DRAPrioritizedList");
    assert_eq!(filter(&plugin, &using(&["x"]), &nodes), vec![refused; 3]);
}

#[test]
fn devices_that_failed_to_be_ready_are_left_by_their_gate_alone() {
    let mut own = allocated("x", "b", "d1", &[]);
    let result = &mut own["status"]["allocation"]["devices"]["results"][0];
    result["bindingConditions"] = json!(["ready"]);
    result["bindingFailureConditions"] = json!(["failed"]);
    let failed = json!({"type": "failed", "status": "True", "reason": "Broken", "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z"});
    own["status"]["devices"] =
        json!([{"driver": "drv", "pool": "b", "device": "d1", "conditions": [failed]}]);
    let nodes = cluster(&[own], class(json!({})));
    assert_eq!(fitting(&DynamicResources::default(), &using(&["x"]), &nodes), "");
    assert_eq!(fitting(&without("DRADeviceBindingConditions"), &using(&["x"]), &nodes), "b");
}

#[test]
fn the_device_that_failed_is_told_of_and_no_other() {
    let mut own = allocated("x", "b", "d1", &[]);
    let result = |device: &str| {
        json!({"request": "r", "driver": "drv", "pool": "b", "device": device,
            "bindingConditions": ["ready"], "bindingFailureConditions": ["failed"]})
    };
    let devices = &mut own["status"]["allocation"]["devices"];
    devices["results"] = json!([result("d1"), result("d2")]);
    let told = |device: &str, kind: &str, status: &str, reason: &str| {
        let condition = json!({"type": kind, "status": status, "reason": reason, "message": "m",
            "lastTransitionTime": "2026-01-01T00:00:00Z"});
        json!({"driver": "drv", "pool": "b", "device": device, "conditions": [condition]})
    };
    let ready = |devices: &[Value]| {
        let mut own = own.clone();
        own["status"]["devices"] = json!(devices);
        is_ready(&serde_json::from_value(own).unwrap())
    };
    let is_up = |device: &str| told(device, "ready", "True", "Up");
    assert_eq!(ready(&[is_up("d1")]), Ok(false));
    assert_eq!(ready(&[is_up("d1"), is_up("d2")]), Ok(true));
    let broken = ready(&[is_up("d1"), told("d2", "failed", "True", "Broken")]);
    let why = "device binding failed: claim=x, reason=Broken, message=\"m\"";
    assert_eq!(broken, Err(why.to_owned()));
    let mixed = json!({"driver": "drv", "pool": "b", "device": "d1", "conditions": [
        is_up("d1")["conditions"][0], told("d1", "failed", "False", "Fine")["conditions"][0]]});
    let broken = ready(&[mixed, told("d2", "failed", "True", "Broken")]);
    assert_eq!(broken, Err(why.to_owned()));
}

#[test]
fn alternatives_that_are_wanted_more_are_not_decided_node_by_node() {
    let plugin = DynamicResources::default();
    let mut wish = claim("x", 1);
    let sub = json!({"name": "one", "deviceClassName": "gpu", "allocationMode": "ExactCount", "count": 1});
    wish["spec"]["devices"]["requests"] = json!([{"name": "r", "firstAvailable": [sub]}]);
    let nodes = cluster(&[wish, claim("y", 1)], class(json!({})));
    let level = |pod: &PodInfo| {
        let track = crate::SchedulerPlugin::as_track(&plugin).unwrap();
        assert!(matches!(track.track(pod, &nodes), crate::Tracking::Late));
        track.is_level(&prepared(&plugin, pod, &nodes), pod)
    };
    assert!(level(&using(&["y"])) && !level(&using(&["x"])));
}

#[test]
fn what_is_made_for_a_pod_concerns_no_other_unless_it_frees_devices() {
    use crate::{EnqueueExtensions, EventObject};
    let plugin = DynamicResources::default();
    let template = json!([{"name": "x", "resourceClaimTemplateName": "t"}]);
    let templated = pod(json!({"resourceClaims": template}), json!({}));
    let claim = |own: Value| Arc::new(serde_json::from_value::<ResourceClaim>(own).unwrap());
    let owned = |mut own: Value| {
        own["metadata"]["ownerReferences"] = json!([{"apiVersion": "v1", "kind": "Pod",
            "name": "q", "uid": "q", "controller": true}]);
        claim(own)
    };
    let (taken, free) = (owned(allocated("x", "a", "d1", &["q"])), owned(self::claim("x", 1)));
    let changed = |old: &Arc<ResourceClaim>, new: &Arc<ResourceClaim>| EventObject::ResourceClaim {
        old: Some(old.clone()),
        new: Some(new.clone()),
    };
    let only = |pod: &PodInfo, object: &EventObject| plugin.only_for(pod, object);
    assert_eq!(only(&templated, &changed(&free, &taken)).as_deref(), Some("q"));
    assert_eq!(only(&templated, &changed(&taken, &free)), None, "its devices are free");
    assert_eq!(only(&using(&["x"]), &changed(&free, &taken)), None, "it may name that claim");
    let foreign = claim(self::claim("x", 1));
    assert_eq!(only(&templated, &changed(&foreign, &foreign)), None, "it may be of a group");
    let told = EventObject::Pod { old: None, new: Some(templated.pod().clone()) };
    assert_eq!(only(&templated, &told).as_deref(), Some("p"));
}
