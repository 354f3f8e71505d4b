//! How many volumes a driver may have on a node, and which are its own.

use super::{all, offering, told};
use crate::{
    ActionType, ClusterEvent, ClusterObjects, EventObject, EventResource, Hint, NodeVolumeLimits,
    PodInfo, PreFilter, PreFilterVerdict, SchedulerPlugin, Snapshot,
    plugins::fixtures::{filter, pod},
};
use k8s_openapi::api::{
    core::v1::{PersistentVolume, PersistentVolumeClaim},
    storage::v1::{CSINode, StorageClass, VolumeAttachment},
};
use serde_json::{Value, json};
use std::sync::Arc;

const EBS: &str = "ebs.csi.aws.com";
const GCE: &str = "pd.csi.storage.gke.io";
const AWS: &str = "kubernetes.io/aws-ebs";
const FULL: &str = "full: node(s) exceed max volume count";

fn claim(name: &str, spec: Value) -> Value {
    json!({"metadata": {"name": name, "namespace": "d"}, "spec": spec})
}

/// A claim that was made for a volume of a pod.
fn made(pod: &str, volume: &str) -> Value {
    let mut claim = claim(&format!("{pod}-{volume}"), json!({"storageClassName": "c"}));
    claim["metadata"]["ownerReferences"] = json!([{"apiVersion": "v1", "kind": "Pod", "name": pod,
        "uid": pod, "controller": true}]);
    claim
}

/// The list of the node's drivers, each with room for so many volumes.
fn csi_node(drivers: &[&str], most: Option<i64>) -> Value {
    let driver = |name: &&str| {
        let mut driver = json!({"name": name, "nodeID": "n"});
        if let Some(most) = most {
            driver["allocatable"] = json!({"count": most});
        }
        driver
    };
    let drivers: Vec<_> = drivers.iter().map(driver).collect();
    json!({"metadata": {"name": "n"}, "spec": {"drivers": drivers}})
}

/// Four bound claims `ebs-N`, `gce-N`, `aws-N` (a plugin that was in the tree) and `host-N` (one that has no driver), and
/// the claims `pending`, `bare` (without a class) and `lost` (its volume is not there).
fn cluster(provisioner: &str, node: Option<Value>, more: Vec<Value>) -> ClusterObjects {
    let (mut claims, mut volumes) = (more, Vec::new());
    for index in 0..4 {
        for (kind, source) in [
            ("ebs", json!({"csi": {"driver": EBS, "volumeHandle": format!("ebs-{index}")}})),
            ("gce", json!({"csi": {"driver": GCE, "volumeHandle": format!("gce-{index}")}})),
            ("aws", json!({"awsElasticBlockStore": {"volumeID": format!("aws-{index}")}})),
            ("host", json!({"hostPath": {"path": "/tmp"}})),
        ] {
            let name = format!("{kind}-{index}");
            claims.push(claim(&name, json!({"volumeName": name})));
            volumes.push(json!({"metadata": {"name": name}, "spec": source}));
        }
    }
    claims.push(claim("pending", json!({"storageClassName": "c"})));
    claims.push(claim("bare", json!({})));
    claims.push(claim("lost", json!({"storageClassName": "c", "volumeName": "gone"})));
    let class = json!({"metadata": {"name": "c"}, "provisioner": provisioner});
    ClusterObjects {
        claims: all::<PersistentVolumeClaim>(claims),
        volumes: all::<PersistentVolume>(volumes),
        classes: all::<StorageClass>(vec![class]),
        csi_nodes: all::<CSINode>(node.into_iter().collect()),
        ..ClusterObjects::default()
    }
}

fn using(claims: &[&str]) -> Value {
    let volume = |name: &&str| json!({"name": name, "persistentVolumeClaim": {"claimName": name}});
    json!(claims.iter().map(volume).collect::<Vec<_>>())
}

fn inline(id: &str) -> Value {
    json!([{"name": "v", "awsElasticBlockStore": {"volumeID": id}}])
}

fn ephemeral(volumes: &[&str]) -> Value {
    let volume = |name: &&str| json!({"name": name, "ephemeral": {}});
    json!(volumes.iter().map(volume).collect::<Vec<_>>())
}

/// A pod `p` with volumes, on a node where the pods `o0`, `o1`, … have theirs.
fn check(objects: ClusterObjects, volumes: &Value, there: &[Value], expected: &str) {
    let other = |(index, volumes): (usize, &Value)| {
        pod(&format!("o{index}"), "", json!({"volumes": volumes}))
    };
    let others: Vec<_> = there.iter().enumerate().map(other).collect();
    let nodes = Snapshot::new(vec![offering(&json!({}), &others)]).with_objects(Arc::new(objects));
    let own = pod("p", "", json!({"volumes": volumes}));
    let said = told(filter(&NodeVolumeLimits::default(), &own, &nodes).remove(0));
    assert_eq!(said, expected, "{volumes} beside {there:?}");
}

#[test]
fn volumes_of_a_driver_are_counted_once_each_whether_they_are_there_yet_or_not() {
    let (one, two) = (using(&["ebs-0"]), using(&["ebs-1", "ebs-2"]));
    let (third, pending) = (using(&["ebs-3"]), using(&["pending"]));
    let gce = using(&["gce-1", "gce-2"]);
    for (volumes, there, most, expected) in [
        (&one, vec![third.clone(), two.clone()], 4, "ok"),
        (&one, vec![third.clone(), two.clone()], 2, FULL),
        (&one, vec![pending.clone(), two.clone()], 2, FULL),
        (&one, vec![pending.clone(), pending, two.clone()], 4, "ok"),
        (&one, vec![using(&["lost"]), two.clone()], 2, FULL),
        (&one, vec![third.clone(), using(&["bare"])], 2, "ok"),
        (&one, vec![using(&["never-made"])], 1, "ok"),
        (&one, vec![gce.clone(), two.clone()], 2, FULL),
        (&gce, vec![two.clone(), third], 2, "ok"),
        (&two, vec![two.clone()], 2, "ok"),
    ] {
        let node = csi_node(&[EBS, GCE], Some(most));
        check(cluster(EBS, Some(node), vec![]), volumes, &there, expected);
    }
    let boundless = || cluster(EBS, Some(csi_node(&[EBS], None)), vec![]);
    check(boundless(), &one, std::slice::from_ref(&two), "ok");
    check(cluster(EBS, None, vec![]), &one, &[two], "ok");
}

#[test]
fn volumes_that_were_in_the_tree_count_as_those_of_the_driver_that_serves_them() {
    let (one, two) = (using(&["aws-0"]), using(&["aws-1", "aws-2"]));
    let (csi, csi_two) = (using(&["ebs-0"]), using(&["ebs-1", "ebs-2"]));
    for (volumes, there, most, expected) in [
        (&one, vec![two.clone()], 2, FULL),
        (&one, vec![two.clone()], 3, "ok"),
        (&using(&["pending"]), vec![two.clone()], 2, FULL),
        (&using(&["host-0"]), vec![csi_two.clone()], 2, "ok"),
        (&inline("vol-1"), vec![two.clone()], 2, FULL),
        (&inline("vol-1"), vec![two.clone()], 3, "ok"),
        (&one, vec![csi_two.clone()], 2, FULL),
        (&inline("vol-1"), vec![csi_two.clone(), one.clone()], 3, FULL),
        // The driver knows both as one volume.
        (&inline("ebs-1"), vec![csi_two, one.clone()], 3, "ok"),
        (&inline("aws://zone/vol-1"), vec![two.clone(), inline("vol-1")], 2, "ok"),
        (&csi, vec![two.clone()], 2, FULL),
    ] {
        let node = csi_node(&[AWS, EBS], Some(most));
        check(cluster(AWS, Some(node), vec![]), volumes, &there, expected);
    }
    let boundless = cluster(AWS, Some(csi_node(&[AWS, EBS], None)), vec![]);
    check(boundless, &one, std::slice::from_ref(&two), "ok");
    check(cluster(AWS, None, vec![]), &inline("vol-1"), &[two], "ok");
}

#[test]
fn files_of_azure_and_disks_of_vsphere_are_not_counted_and_what_has_no_meaning_is_told() {
    let azure = |kind: &str| json!([{"name": "v", "azureDisk": {"diskName": "d", "diskURI": "u", "kind": kind}}]);
    let files = json!([{"name": "v", "azureFile": {"secretName": "s", "shareName": "f"}}]);
    let disk = json!([{"name": "v", "vsphereVolume": {"volumePath": "p"}}]);
    let full = || {
        let drivers = ["disk.csi.azure.com", "file.csi.azure.com", "csi.vsphere.vmware.com", EBS];
        csi_node(&drivers, Some(0))
    };
    for (volumes, expected) in [
        (&azure("Managed"), FULL),
        (&files, "ok"),
        (&disk, "ok"),
        (
            &azure("Dedicated"),
            "error: converting volume(v) from inline to csi: kind(Dedicated) is not supported in \
             csi migration",
        ),
        (
            &inline("aws://zone/disk"),
            "error: converting volume(v) from inline to csi: failed to translate Kubernetes ID to \
             EBS Volume ID Invalid format for AWS volume (aws://zone/disk)",
        ),
    ] {
        check(cluster(EBS, Some(full()), vec![]), volumes, &[], expected);
    }
    for provisioner in ["kubernetes.io/azure-file", "kubernetes.io/vsphere-volume"] {
        check(cluster(provisioner, Some(full()), vec![]), &using(&["pending"]), &[], "ok");
    }
    // Nobody knows of a driver there.
    check(cluster(EBS, None, vec![]), &azure("Dedicated"), &[], "ok");
}

#[test]
fn volumes_of_single_pods_are_counted_by_the_claims_that_were_made_for_them() {
    let missing = "never: looking up PVC d/p-xyz: persistentvolumeclaim \"p-xyz\" not found";
    let strange = claim("p-xyz", json!({"storageClassName": "c"}));
    let not_its_own = "error: PVC d/p-xyz was not created for pod d/p (pod is not owner)";
    for (claims, expected) in
        [(vec![], missing), (vec![strange], not_its_own), (vec![made("p", "xyz")], "ok")]
    {
        let node = csi_node(&[EBS], None);
        check(cluster(EBS, Some(node), claims), &ephemeral(&["xyz"]), &[], expected);
    }
    let (third, two) = (using(&["ebs-3"]), using(&["ebs-1", "ebs-2"]));
    let with =
        |most: i64, claims: Vec<Value>| cluster(EBS, Some(csi_node(&[EBS], Some(most))), claims);
    let own = with(2, vec![made("p", "xyz")]);
    check(own, &ephemeral(&["xyz"]), &[third.clone(), two.clone()], FULL);
    let theirs = || vec![made("o1", "x"), made("o1", "y")];
    let there = [third, ephemeral(&["x", "y"]), two];
    check(with(2, theirs()), &using(&["ebs-0"]), &there[..2], FULL);
    check(with(5, theirs()), &using(&["ebs-0"]), &there, FULL);
    check(with(6, theirs()), &using(&["ebs-0"]), &there, "ok");
}

#[test]
fn what_is_attached_counts_whoever_uses_it() {
    let attached = |names: &[&str], attacher: &str| {
        let one = |name: &&str| {
            json!({"metadata": {"name": format!("va-{name}")}, "spec": {"attacher": attacher,
                "nodeName": "n", "source": {"persistentVolumeName": name}}})
        };
        let node = csi_node(&[EBS], Some(2));
        ClusterObjects {
            attachments: all::<VolumeAttachment>(names.iter().map(one).collect()),
            ..cluster(EBS, Some(node), vec![])
        }
    };
    let (one, other) = (using(&["ebs-0"]), using(&["ebs-1"]));
    check(attached(&["ebs-1"], EBS), &one, &[], "ok");
    check(attached(&["ebs-1", "ebs-2"], EBS), &one, &[], FULL);
    // The pod there uses what is attached, so that it is one volume.
    check(attached(&["ebs-1"], EBS), &one, &[other], "ok");
    // The volume is attached, and no pod has it.
    check(attached(&["ebs-0", "ebs-1"], EBS), &one, &[], FULL);
    // Of volumes of plugins in the tree, of no driver or of none that is there, nothing is known.
    check(attached(&["aws-1", "aws-2"], EBS), &one, &[], "ok");
    check(attached(&["ebs-1", "ebs-2"], ""), &one, &[], "ok");
    check(attached(&["gone", "lost"], EBS), &one, &[], "ok");
}

#[test]
fn pods_without_such_volumes_are_no_matter_of_the_plugin() {
    let nodes = Snapshot::new(vec![offering(&json!({}), &[])]).with_objects(Arc::new(cluster(
        EBS,
        None,
        vec![],
    )));
    let before = |volumes: Value| {
        let own = pod("p", "", json!({"volumes": volumes}));
        let mut state = crate::CycleState::of(nodes.clone());
        NodeVolumeLimits::default().pre_filter(&mut state, &own, &nodes)
    };
    let plain = json!([{"name": "m", "configMap": {"name": "m"}}, {"name": "s", "secret": {}}]);
    assert_eq!(before(plain), PreFilterVerdict::Skip);
    for volumes in [using(&["ebs-0"]), ephemeral(&["xyz"]), inline("vol-1")] {
        assert_eq!(before(volumes.clone()), PreFilterVerdict::Continue, "{volumes}");
    }
}

fn helps(own: &PodInfo, object: &EventObject) -> bool {
    let event = ClusterEvent::new(EventResource::Any, ActionType::ALL);
    let plugin = NodeVolumeLimits::default();
    plugin.as_enqueue_extensions().unwrap().hint(own, event, object) == Hint::Queue
}

#[test]
fn pods_that_leave_help_if_they_had_volumes_of_drivers() {
    let own = pod("p", "", json!({"volumes": using(&["ebs-0"])}));
    for (volumes, expected) in [
        (using(&["ebs-2"]), true),
        (inline("vol-1"), true),
        (ephemeral(&["x"]), true),
        (json!([]), false),
        (json!([{"name": "s", "secret": {"secretName": "s"}}]), false),
    ] {
        let left = pod("q", "", json!({"volumes": volumes, "nodeName": "n"}));
        let object = EventObject::Pod { old: Some(left.pod().clone()), new: None };
        assert_eq!(helps(&own, &object), expected, "{volumes}");
    }
}

#[test]
fn volumes_that_are_detached_help_pods_with_claims_or_with_volumes_of_that_driver() {
    let gone: VolumeAttachment = serde_json::from_value(json!({"metadata": {"name": "va"},
        "spec": {"attacher": EBS, "nodeName": "n", "source": {"persistentVolumeName": "v"}}}))
    .unwrap();
    let object = EventObject::VolumeAttachment { old: Some(Arc::new(gone)), new: None };
    let gce = json!([{"name": "v", "gcePersistentDisk": {"pdName": "d"}}]);
    let mut both = inline("vol-1");
    both.as_array_mut().unwrap().push(using(&["ebs-1"])[0].clone());
    for (volumes, expected) in [
        (using(&["ebs-1"]), true),
        (inline("vol-1"), true),
        (gce, false),
        (both, true),
        (ephemeral(&["x"]), false),
        (json!([]), false),
    ] {
        let own = pod("p", "", json!({"volumes": volumes}));
        assert_eq!(helps(&own, &object), expected, "{volumes}");
    }
}

#[test]
fn lists_of_drivers_help_if_one_has_more_room_than_before() {
    let own = pod("p", "", json!({"volumes": using(&["ebs-0"])}));
    let node = |most: Option<i64>| -> Option<Arc<CSINode>> {
        Some(Arc::new(serde_json::from_value(csi_node(&[EBS], most)).unwrap()))
    };
    for (old, new, expected) in [
        (Some(1), Some(2), true),
        (Some(2), Some(1), false),
        (Some(1), Some(1), false),
        (None, Some(1), true),
        (Some(1), None, false),
    ] {
        let object = EventObject::CsiNode { old: node(old), new: node(new) };
        assert_eq!(helps(&own, &object), expected, "{old:?} to {new:?}");
    }
    assert!(helps(&own, &EventObject::CsiNode { old: None, new: node(Some(1)) }));
}

#[test]
fn a_claim_that_is_named_by_nothing_is_an_error() {
    let why = "error: PersistentVolumeClaim had no name";
    let objects = || cluster(EBS, Some(csi_node(&[EBS], Some(2))), vec![]);
    check(objects(), &using(&[""]), &[], why);
    check(objects(), &using(&["ebs-0"]), &[using(&[""])], why);
}
