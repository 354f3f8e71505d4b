mod finding;
mod waiting;

use super::*;
use crate::plugins::{
    NodeVolumeLimits, VolumeRestrictions, VolumeZone,
    fixtures::{filter, fitting, node, pod},
};
use kubeplane_workload::storage::BIND_COMPLETED;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

fn all<K: DeserializeOwned>(values: &[Value]) -> Arc<Vec<Arc<K>>> {
    let read = |value: &Value| Arc::new(serde_json::from_value(value.clone()).unwrap());
    Arc::new(values.iter().map(read).collect())
}

fn read<K: DeserializeOwned>(value: &Value) -> Arc<K> {
    Arc::new(serde_json::from_value(value.clone()).unwrap())
}

fn with_version(mut object: Value, version: &str) -> Value {
    object["metadata"]["resourceVersion"] = json!(version);
    object
}

fn class(name: &str, mode: &str, provisioner: &str) -> Value {
    json!({"metadata": {"name": name}, "provisioner": provisioner, "volumeBindingMode": mode})
}

fn claim(name: &str, class: &str, size: &str) -> Value {
    json!({"metadata": {"name": name, "namespace": "d", "uid": name, "resourceVersion": "5"},
        "spec": {"storageClassName": class, "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": size}}}})
}

fn bound(name: &str, volume: &str) -> Value {
    let mut claim = claim(name, "wait", "1Gi");
    claim["spec"]["volumeName"] = json!(volume);
    claim["metadata"]["annotations"] = json!({BIND_COMPLETED: "yes"});
    claim
}

fn volume(name: &str, host: &str, size: &str) -> Value {
    json!({"metadata": {"name": name, "resourceVersion": "5"}, "status": {"phase": "Available"},
        "spec": {"storageClassName": "wait", "accessModes": ["ReadWriteOnce"],
            "capacity": {"storage": size}, "csi": {"driver": "drv", "volumeHandle": name},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions":
                [{"key": "host", "operator": "In", "values": [host]}]}]}}}})
}

fn using(claims: &[&str]) -> Arc<PodInfo> {
    let volume = |name: &&str| json!({"name": name, "persistentVolumeClaim": {"claimName": name}});
    pod("p", "", json!({"volumes": claims.iter().map(volume).collect::<Vec<_>>()}))
}

fn cluster(claims: &[Value], volumes: &[Value], classes: &[Value]) -> ClusterObjects {
    ClusterObjects {
        claims: all::<PersistentVolumeClaim>(claims),
        volumes: all::<PersistentVolume>(volumes),
        classes: all(classes),
        ..ClusterObjects::default()
    }
}

fn two(objects: ClusterObjects) -> Snapshot {
    Snapshot::new(vec![node("a", "host=a", &[]), node("b", "host=b", &[])])
        .with_objects(Arc::new(objects))
}

fn reason(plugin: &dyn SchedulerPlugin, own: &PodInfo, nodes: &Snapshot) -> String {
    match &filter(plugin, own, nodes)[0] {
        FilterVerdict::Unresolvable(why) | FilterVerdict::Unschedulable(why) => why.join(", "),
        other => panic!("{other:?}"),
    }
}

const NONE: &str = "kubernetes.io/no-provisioner";

#[test]
fn pods_wait_for_their_claims() {
    let plugin = VolumeBinding::default();
    let classes = [class("now", "Immediate", "drv"), class("wait", "WaitForFirstConsumer", NONE)];
    let why =
        |claims: &[Value]| reason(&plugin, &using(&["c"]), &two(cluster(claims, &[], &classes)));
    assert_eq!(why(&[]), "persistentvolumeclaim \"c\" not found");
    let unbound = "pod has unbound immediate PersistentVolumeClaims";
    assert_eq!(why(&[claim("c", "now", "1Gi")]), unbound);
    let missing = "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)";
    assert_eq!(why(&[bound("c", "gone")]), missing);
    let none = "node(s) didn't find available persistent volumes to bind";
    assert_eq!(why(&[claim("c", "wait", "1Gi")]), none);
    let mut lost = bound("c", "v");
    lost["status"] = json!({"phase": "Lost"});
    let lost = why(&[lost]);
    assert_eq!(lost, "persistentvolumeclaim \"c\" bound to non-existent persistentvolume \"v\"");
}

#[test]
fn nodes_must_reach_bound_volumes_and_have_free_ones() {
    let plugin = VolumeBinding::default();
    let classes = [class("wait", "WaitForFirstConsumer", NONE)];
    let nodes = two(cluster(&[bound("c", "v")], &[volume("v", "b", "1Gi")], &classes));
    assert_eq!(fitting(&plugin, &using(&["c"]), &nodes), "b");
    let why = reason(&plugin, &using(&["c"]), &nodes);
    assert_eq!(why, "node(s) didn't match PersistentVolume's node affinity");
    let fits = |claims: &[Value], volumes: &[Value], own: &[&str]| {
        fitting(&plugin, &using(own), &two(cluster(claims, volumes, &classes)))
    };
    let (c1, c2) = (claim("c1", "wait", "1Gi"), claim("c2", "wait", "5Gi"));
    let some = [volume("v1", "a", "2Gi"), volume("v2", "a", "9Gi"), volume("v3", "b", "9Gi")];
    assert_eq!(fits(std::slice::from_ref(&c1), &some, &["c1"]), "a b");
    // One volume serves one claim only.
    assert_eq!(fits(&[c1.clone(), c2.clone()], &some, &["c2", "c1"]), "a");
    assert_eq!(fits(&[claim("c1", "wait", "10Gi")], &some, &["c1"]), "");
    let mut other = some[2].clone();
    other["spec"]["claimRef"] = json!({"name": "x", "namespace": "d"});
    assert_eq!(fits(std::slice::from_ref(&c1), &[other.clone()], &["c1"]), "");
    other["spec"]["claimRef"] = json!({"name": "c1", "namespace": "d"});
    // The volume set aside for the claim, and no other.
    assert_eq!(fits(std::slice::from_ref(&c1), &[other.clone(), some[0].clone()], &["c1"]), "b");
    let mut selected = c1;
    selected["metadata"]["annotations"] = json!({SELECTED_NODE: "b"});
    assert_eq!(fits(&[selected], &some, &["c1"]), "");
}

#[test]
fn volumes_are_made_where_the_class_and_room_allow() {
    let plugin = VolumeBinding::default();
    let mut own = class("wait", "WaitForFirstConsumer", "drv");
    let nodes = |class: &Value, room: &str| {
        let mut objects = cluster(&[claim("c", "wait", "5Gi")], &[], std::slice::from_ref(class));
        objects.csi_drivers =
            all(&[json!({"metadata": {"name": "drv"}, "spec": {"storageCapacity": true}})]);
        objects.capacities = all(&[json!({"metadata": {"name": "r", "namespace": "d"},
            "storageClassName": "wait", "capacity": room,
            "nodeTopology": {"matchLabels": {"host": "b"}}})]);
        two(objects)
    };
    assert_eq!(fitting(&plugin, &using(&["c"]), &nodes(&own, "5Gi")), "b");
    assert_eq!(fitting(&plugin, &using(&["c"]), &nodes(&own, "4Gi")), "");
    let why = reason(&plugin, &using(&["c"]), &nodes(&own, "4Gi"));
    assert_eq!(why, "node(s) did not have enough free storage");
    own["allowedTopologies"] =
        json!([{"matchLabelExpressions": [{"key": "host", "values": ["a"]}]}]);
    assert_eq!(fitting(&plugin, &using(&["c"]), &nodes(&own, "5Gi")), "");
}

/// The scores of nodes once they were filtered; `None` when the plugin has no opinion.
fn weighed(plugin: &VolumeBinding, own: &PodInfo, nodes: &Snapshot) -> Option<Vec<i64>> {
    let mut state = CycleState::of(nodes.clone());
    if plugin.pre_filter(&mut state, own, nodes) == PreFilterVerdict::Skip {
        return None;
    }
    for node in nodes.nodes() {
        assert_eq!(plugin.filter(&state, own, node), FilterVerdict::Fits, "{}", node.name());
    }
    if plugin.pre_score(&mut state, own, nodes.nodes()) == crate::PreScoreVerdict::Skip {
        return None;
    }
    Some(nodes.nodes().iter().map(|node| plugin.score(&state, own, node)).collect())
}

#[test]
fn nodes_are_preferred_by_how_much_storage_is_in_use() {
    let room = |class: &str, host: &str, capacity: &str| {
        json!({"metadata": {"name": format!("{class}-{host}"), "namespace": "d"},
            "storageClassName": class, "capacity": capacity,
            "nodeTopology": {"matchLabels": {"host": host}}})
    };
    let classes = ["wait", "other"].map(|name| class(name, "WaitForFirstConsumer", "drv"));
    let claims = [claim("c1", "wait", "30"), claim("c2", "wait", "20"), claim("o", "other", "60")];
    let mut objects = cluster(&claims, &[], &classes);
    objects.csi_drivers =
        all(&[json!({"metadata": {"name": "drv"}, "spec": {"storageCapacity": true}})]);
    let rooms =
        [("wait", "a", "100"), ("wait", "b", "50"), ("other", "a", "100"), ("other", "b", "60")];
    objects.capacities = all(&rooms.map(|(class, host, most)| room(class, host, most)));
    let nodes = two(objects);
    let emptiest = VolumeBinding::default().emptiest_first();
    assert_eq!(weighed(&emptiest, &using(&["c1"]), &nodes), Some(vec![70, 40]));
    // Both are of one class, which has its room once.
    assert_eq!(weighed(&emptiest, &using(&["c1", "c2"]), &nodes), Some(vec![50, 0]));
    // The mean of 70 and 40, and of 40 and 0.
    assert_eq!(weighed(&emptiest, &using(&["c1", "o"]), &nodes), Some(vec![55, 20]));
    let points = [(50, 0), (80, 3), (100, 5)];
    let points = points.map(|(utilization, score)| crate::ShapePoint { utilization, score });
    let fullest = VolumeBinding::default().scoring(points);
    // 0 and 10; 10 and 50.
    assert_eq!(weighed(&fullest, &using(&["c1", "o"]), &nodes), Some(vec![5, 30]));
    let plain = VolumeBinding::default();
    assert!(plain.as_score().is_none() && plain.as_pre_score().is_none());
    assert_eq!(weighed(&plain, &using(&["c1"]), &nodes), None);

    // Of volumes that are there it is told how much of them would be.
    let classes = [class("wait", "WaitForFirstConsumer", NONE)];
    let volumes = [volume("v1", "a", "60"), volume("v2", "b", "100")];
    let nodes = two(cluster(&[claim("c", "wait", "30")], &volumes, &classes));
    assert_eq!(weighed(&emptiest, &using(&["c"]), &nodes), Some(vec![50, 70]));
    assert_eq!(weighed(&emptiest, &using(&[]), &nodes), None);
}

#[test]
fn what_was_reserved_is_taken_until_it_is_given_up() {
    let plugin = VolumeBinding::default();
    let classes = [class("wait", "WaitForFirstConsumer", NONE)];
    let claims = [claim("c1", "wait", "1Gi"), claim("c2", "wait", "1Gi")];
    let nodes = two(cluster(&claims, &[volume("v", "a", "1Gi")], &classes));
    let own = using(&["c1"]);
    let mut state = CycleState::of(nodes.clone());
    plugin.pre_filter(&mut state, &own, &nodes);
    assert_eq!(plugin.filter(&state, &own, nodes.node("a").unwrap()), FilterVerdict::Fits);
    plugin.reserve(&mut state, &own, "a").unwrap();
    assert_eq!(fitting(&plugin, &using(&["c2"]), &nodes), "");
    plugin.unreserve(&mut state, &own, "a");
    assert_eq!(fitting(&plugin, &using(&["c2"]), &nodes), "a");
}

#[test]
fn disks_and_exclusive_claims_have_one_user() {
    let plugin = VolumeRestrictions;
    let disk = |read_only: bool| json!({"volumes": [{"name": "v", "gcePersistentDisk": {"pdName": "x", "readOnly": read_only}}]});
    let on = |spec| Snapshot::new(vec![node("a", "", &[pod("o", "", spec)]), node("b", "", &[])]);
    assert_eq!(fitting(&plugin, &pod("p", "", disk(false)), &on(disk(false))), "b");
    assert_eq!(fitting(&plugin, &pod("p", "", disk(true)), &on(disk(true))), "a b");
    let why = reason(&plugin, &pod("p", "", disk(false)), &on(disk(true)));
    assert_eq!(why, "node(s) had no available disk");
    let mut alone = claim("c", "wait", "1Gi");
    alone["spec"]["accessModes"] = json!(["ReadWriteOncePod"]);
    let spec = json!({"volumes": [{"name": "c", "persistentVolumeClaim": {"claimName": "c"}}]});
    let objects = Arc::new(cluster(&[alone], &[], &[]));
    let nodes = on(spec).with_objects(objects.clone());
    let why = reason(&plugin, &using(&["c"]), &nodes);
    assert!(
        why.starts_with("node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod")
    );
    let free = on(json!({})).with_objects(objects);
    assert_eq!(fitting(&plugin, &using(&["c"]), &free), "a b");
}

#[test]
fn volumes_keep_pods_in_their_zones() {
    let mut own = volume("v", "a", "1Gi");
    own["metadata"]["labels"] = json!({"topology.kubernetes.io/zone": "1__2"});
    let place =
        |name: &str, zone: &str| node(name, &format!("topology.kubernetes.io/zone={zone}"), &[]);
    let nodes = Snapshot::new(vec![place("a", "1"), place("b", "3"), node("c", "", &[])])
        .with_objects(Arc::new(cluster(&[bound("c", "v")], &[own], &[])));
    assert_eq!(fitting(&VolumeZone, &using(&["c"]), &nodes), "a c");
    let FilterVerdict::Unresolvable(why) = &filter(&VolumeZone, &using(&["c"]), &nodes)[1] else {
        panic!("zone 3 must not fit")
    };
    assert_eq!(why, &["node(s) had no available volume zone"]);
}

#[test]
fn drivers_attach_so_many_volumes_and_no_more() {
    let plugin = NodeVolumeLimits::default();
    let names = ["c1", "c2", "c3"];
    let claims: Vec<_> = names.iter().map(|name| bound(name, &format!("v{name}"))).collect();
    let volumes: Vec<_> =
        names.iter().map(|name| volume(&format!("v{name}"), "a", "1Gi")).collect();
    let mut objects = cluster(&claims, &volumes, &[]);
    objects.csi_nodes = all(&[json!({"metadata": {"name": "a"}, "spec": {"drivers":
        [{"name": "drv", "nodeID": "a", "allocatable": {"count": 2}}]}})]);
    let other = |claims: &[&str]| {
        let volume =
            |name: &&str| json!({"name": name, "persistentVolumeClaim": {"claimName": name}});
        pod("o", "", json!({"volumes": claims.iter().map(volume).collect::<Vec<_>>()}))
    };
    let objects = Arc::new(objects);
    let nodes = |there: &[&str]| {
        Snapshot::new(vec![node("a", "", &[other(there)])]).with_objects(objects.clone())
    };
    assert_eq!(fitting(&plugin, &using(&["c1"]), &nodes(&["c2"])), "a");
    assert_eq!(fitting(&plugin, &using(&["c1"]), &nodes(&["c1", "c2"])), "a");
    let full = nodes(&["c2", "c3"]);
    let why = reason(&plugin, &using(&["c1"]), &full);
    assert_eq!(why, "node(s) exceed max volume count");
}

#[test]
fn a_driver_that_is_required_is_on_the_nodes_of_its_pods() {
    let csi_node = |name: &str, drivers: &[&str]| {
        let driver = |driver: &&str| json!({"name": driver, "nodeID": name});
        let drivers: Vec<_> = drivers.iter().map(driver).collect();
        json!({"metadata": {"name": name}, "spec": {"drivers": drivers}})
    };
    let nodes = |required: Option<bool>| {
        let mut objects = cluster(&[bound("c", "v")], &[volume("v", "a", "1Gi")], &[]);
        objects.csi_nodes = all(&[csi_node("a", &["other", "drv"]), csi_node("b", &["other"])]);
        let spec = json!({"preventPodSchedulingIfMissing": required});
        objects.csi_drivers = all(&[json!({"metadata": {"name": "drv"}, "spec": spec})]);
        Snapshot::new(["a", "b", "c"].map(|name| node(name, "", &[])).to_vec())
            .with_objects(Arc::new(objects))
    };
    let gated = crate::Profile::with_features(&"VolumeLimitScaling=true".parse().unwrap());
    let default = crate::Profile::default();
    let fits = |profile: &crate::Profile, nodes: &Snapshot| {
        let mut all = profile.plugins().iter();
        let own = all.find(|own| own.plugin.name() == "NodeVolumeLimits").unwrap();
        fitting(&*own.plugin, &using(&["c"]), nodes)
    };
    assert_eq!(fits(&gated, &nodes(Some(true))), "a");
    assert_eq!(fits(&gated, &nodes(Some(false))), "a b c");
    assert_eq!(fits(&gated, &nodes(None)), "a b c");
    assert_eq!(fits(&default, &nodes(Some(true))), "a b c", "without the gate nobody asks");

    let why = FilterVerdict::Unschedulable(vec![
        "drv CSI driver is not installed on the node".to_owned(),
    ]);
    let plugin = NodeVolumeLimits::default().with_scaling(true);
    let verdicts = filter(&plugin, &using(&["c"]), &nodes(Some(true)));
    assert_eq!(verdicts, [FilterVerdict::Fits, why.clone(), why]);
    // What is known of no CSIDriver is required nowhere.
    let unknown = two(cluster(&[bound("c", "v")], &[volume("v", "a", "1Gi")], &[]));
    assert_eq!(fitting(&plugin, &using(&["c"]), &unknown), "a b");
}
