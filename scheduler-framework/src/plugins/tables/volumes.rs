//! Plugins that look at volumes: who uses them, and where they are.

use super::{all, node, told};
use crate::{
    ClusterObjects, SchedulerPlugin, Snapshot, VolumeRestrictions, VolumeZone,
    plugins::fixtures::{filter, pod},
};
use k8s_openapi::api::{
    core::v1::{PersistentVolume, PersistentVolumeClaim},
    storage::v1::StorageClass,
};
use serde_json::{Value, json};
use std::sync::Arc;

/// A pod with these volumes, on a node with these labels where others have theirs.
fn said(
    plugin: &dyn SchedulerPlugin,
    objects: &Arc<ClusterObjects>,
    volumes: &[Value],
    there: &[&[Value]],
    labels: &Value,
) -> String {
    let other = |(index, volumes): (usize, &&[Value])| {
        pod(&format!("o{index}"), "", json!({"volumes": volumes}))
    };
    let others: Vec<_> = there.iter().enumerate().map(other).collect();
    let there = node(&json!({"metadata": {"labels": labels}}), &others);
    let nodes = Snapshot::new(vec![there]).with_objects(objects.clone());
    told(filter(plugin, &pod("p", "", json!({"volumes": volumes})), &nodes).remove(0))
}

fn claimed(name: &str) -> Value {
    json!({"name": name, "persistentVolumeClaim": {"claimName": name}})
}

#[test]
fn disks_have_one_user_or_readers_only() {
    let gce = |name: &str, read: bool| json!({"name": "v", "gcePersistentDisk": {"pdName": name, "readOnly": read}});
    let aws = |id: &str| json!({"name": "v", "awsElasticBlockStore": {"volumeID": id}});
    let rbd = |monitors: &[&str], pool: &str, read: bool| {
        json!({"name": "v", "rbd": {"monitors": monitors, "pool": pool, "image": "bar",
            "readOnly": read}})
    };
    let iscsi = |iqn: &str, read: bool| {
        json!({"name": "v", "iscsi": {"targetPortal": "127.0.0.1:3260", "iqn": iqn, "lun": 0,
            "readOnly": read}})
    };
    let empty = json!({"name": "v", "emptyDir": {}});
    let full = "full: node(s) had no available disk";
    let none = Arc::default();
    for (own, other, expected) in [
        (gce("foo", false), gce("foo", false), full),
        (gce("foo", false), gce("bar", false), "ok"),
        (gce("foo", true), gce("foo", false), full),
        (gce("foo", true), gce("foo", true), "ok"),
        (aws("foo"), aws("foo"), full),
        (aws("foo"), aws("bar"), "ok"),
        (rbd(&["a", "b"], "foo", false), rbd(&["a", "b"], "foo", false), full),
        (rbd(&["a", "b"], "foo", false), rbd(&["c", "b"], "foo", false), full),
        (rbd(&["a", "b"], "foo", false), rbd(&["c", "d"], "foo", false), "ok"),
        (rbd(&["a", "b"], "foo", false), rbd(&["a", "b"], "other", false), "ok"),
        (rbd(&["a", "b"], "foo", true), rbd(&["a", "b"], "foo", true), "ok"),
        (iscsi("iqn.1", false), iscsi("iqn.1", false), full),
        (iscsi("iqn.1", false), iscsi("iqn.2", false), "ok"),
        (iscsi("iqn.1", true), iscsi("iqn.1", true), "ok"),
        (empty, gce("foo", false), "ok"),
        (gce("foo", false), aws("foo"), "ok"),
    ] {
        let own = std::slice::from_ref(&own);
        let there = std::slice::from_ref(&other);
        let verdict = said(&VolumeRestrictions, &none, own, &[there], &json!({}));
        assert_eq!(verdict, expected, "{own:?} beside {other}");
        assert_eq!(said(&VolumeRestrictions, &none, own, &[], &json!({})), "ok", "{own:?} alone");
        assert_eq!(said(&VolumeRestrictions, &none, &[], &[there], &json!({})), "ok");
    }
}

#[test]
fn claims_that_say_so_have_one_pod_at_a_time() {
    let claim = |name: &str, mode: &str| json!({"metadata": {"name": name, "namespace": "d"}, "spec": {"accessModes": [mode]}});
    let objects = Arc::new(ClusterObjects {
        claims: all::<PersistentVolumeClaim>(vec![
            claim("one", "ReadWriteOncePod"),
            claim("two", "ReadWriteOncePod"),
            claim("many", "ReadWriteMany"),
        ]),
        ..ClusterObjects::default()
    });
    let full = "full: node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod access \
                mode already in-use by another pod";
    let missing = "never: persistentvolumeclaim \"gone\" not found";
    for (own, there, expected) in [
        (&["one"][..], &["many"][..], "ok"),
        (&[], &[], "ok"),
        (&["one"], &["two"], "ok"),
        (&["one"], &["one", "many"], full),
        (&["one", "two"], &["one", "two", "many"], full),
        (&["many"], &["many"], "ok"),
        (&["gone"], &[], missing),
    ] {
        let volumes = |names: &[&str]| names.iter().map(|name| claimed(name)).collect::<Vec<_>>();
        let (volumes, others) = (volumes(own), volumes(there));
        let verdict = said(&VolumeRestrictions, &objects, &volumes, &[&others], &json!({}));
        assert_eq!(verdict, expected, "{own:?} beside {there:?}");
    }
}

const OLD_ZONE: &str = "failure-domain.beta.kubernetes.io/zone";
const OLD_REGION: &str = "failure-domain.beta.kubernetes.io/region";
const ZONE: &str = "topology.kubernetes.io/zone";
const REGION: &str = "topology.kubernetes.io/region";

#[test]
fn volumes_of_zones_are_used_there() {
    let out = "never: node(s) had no available volume zone";
    let a = "us-west1-a";
    for (labels, on, expected) in [
        (json!({OLD_ZONE: a}), json!({}), "ok"),
        (json!({OLD_ZONE: a}), json!({"uselessLabel": "none"}), "ok"),
        (json!({OLD_ZONE: a}), json!({OLD_ZONE: a, "uselessLabel": "none"}), "ok"),
        (json!({OLD_REGION: "us-west1"}), json!({OLD_REGION: "us-west1"}), "ok"),
        (json!({OLD_REGION: "us-west1"}), json!({OLD_REGION: "no_us-west1"}), out),
        (json!({OLD_ZONE: a}), json!({OLD_ZONE: "no_us-west1-a"}), out),
        (json!({ZONE: a}), json!({ZONE: a}), "ok"),
        (json!({REGION: "us-west1"}), json!({REGION: "us-west1"}), "ok"),
        (json!({REGION: "us-west1"}), json!({REGION: "no_us-west1"}), out),
        (json!({ZONE: a}), json!({ZONE: "no_us-west1-a"}), out),
        (json!({ZONE: a, REGION: "us-west1"}), json!({ZONE: a}), out),
        (json!({ZONE: a}), json!({OLD_ZONE: a}), out),
        (json!({OLD_ZONE: a}), json!({ZONE: a}), "ok"),
        (json!({OLD_ZONE: a}), json!({ZONE: "us-west1-b"}), out),
        (json!({OLD_ZONE: "us-west1-c__us-west1-a"}), json!({OLD_ZONE: a}), "ok"),
        (json!({ZONE: "us-west1-c__us-west1-a"}), json!({ZONE: a}), "ok"),
        (json!({ZONE: "us-west1-c__us-west1-a"}), json!({ZONE: "us-west1-b"}), out),
        // A list with a gap is no list.
        (json!({ZONE: "us-west1-c__"}), json!({ZONE: "us-west1-b"}), "ok"),
        (json!({"uselessLabel": "none"}), json!({ZONE: a}), "ok"),
    ] {
        let volume = json!({"metadata": {"name": "v", "labels": labels}, "spec": {}});
        let claim = json!({"metadata": {"name": "c", "namespace": "d"},
            "spec": {"volumeName": "v"}});
        let objects = Arc::new(ClusterObjects {
            claims: all::<PersistentVolumeClaim>(vec![claim]),
            volumes: all::<PersistentVolume>(vec![volume]),
            ..ClusterObjects::default()
        });
        let verdict = said(&VolumeZone, &objects, &[claimed("c")], &[], &on);
        assert_eq!(verdict, expected, "{labels} on {on}");
        assert_eq!(said(&VolumeZone, &objects, &[], &[], &on), "ok");
    }
}

#[test]
fn zones_of_claims_without_a_volume_are_not_known() {
    let claim = |name: &str, spec: Value| json!({"metadata": {"name": name, "namespace": "d"}, "spec": spec});
    let class = |name: &str, mode: Value| json!({"metadata": {"name": name}, "provisioner": "p", "volumeBindingMode": mode});
    let objects = Arc::new(ClusterObjects {
        claims: all::<PersistentVolumeClaim>(vec![
            claim("none", json!({"storageClassName": "gone"})),
            claim("empty", json!({})),
            claim("waits", json!({"storageClassName": "waits"})),
            claim("now", json!({"storageClassName": "now"})),
            claim("silent", json!({"storageClassName": "silent"})),
            claim("lost", json!({"volumeName": "lost"})),
        ]),
        classes: all::<StorageClass>(vec![
            class("waits", json!("WaitForFirstConsumer")),
            class("now", json!("Immediate")),
            class("silent", Value::Null),
        ]),
        ..ClusterObjects::default()
    });
    for (name, expected) in [
        ("empty", "never: PersistentVolumeClaim had no pv name and storageClass name"),
        ("none", "never: storageclass.storage.k8s.io \"gone\" not found"),
        ("silent", "never: VolumeBindingMode not set for StorageClass \"silent\""),
        ("now", "never: PersistentVolume had no name"),
        ("waits", "ok"),
        ("lost", "never: persistentvolume \"lost\" not found"),
        ("never-made", "never: persistentvolumeclaim \"never-made\" not found"),
        ("", "never: PersistentVolumeClaim had no name"),
    ] {
        let labels = json!({ZONE: "us-west1-a"});
        let verdict = said(&VolumeZone, &objects, &[claimed(name)], &[], &labels);
        assert_eq!(verdict, expected, "{name}");
    }
}
