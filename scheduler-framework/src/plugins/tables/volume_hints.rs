//! What brings a pod back that a plugin of volumes refused.

use crate::{
    ActionType, ClusterEvent, EventObject, EventResource, Hint, PodInfo, SchedulerPlugin,
    VolumeBinding, VolumeRestrictions, VolumeZone, plugins::fixtures::pod,
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::sync::Arc;

fn helps(plugin: &dyn SchedulerPlugin, own: &PodInfo, object: &EventObject) -> bool {
    let event = ClusterEvent::new(EventResource::Any, ActionType::ALL);
    plugin.as_enqueue_extensions().unwrap().hint(own, event, object) == Hint::Queue
}

/// Null for one that is not there.
fn read<K: DeserializeOwned>(value: &Value) -> Option<Arc<K>> {
    (!value.is_null()).then(|| Arc::new(serde_json::from_value(value.clone()).unwrap()))
}

fn with(volumes: Value) -> Arc<PodInfo> {
    pod("p", "", json!({"volumes": volumes}))
}

fn using(claim: &str) -> Arc<PodInfo> {
    with(json!([{"name": "v", "persistentVolumeClaim": {"claimName": claim}}]))
}

fn claim(name: &str, namespace: &str) -> EventObject {
    let new = json!({"metadata": {"name": name, "namespace": namespace}, "spec": {}});
    EventObject::PersistentVolumeClaim { old: None, new: read(&new) }
}

#[test]
fn claims_that_a_pod_names_help_it() {
    let plugins: [&dyn SchedulerPlugin; 3] =
        [&VolumeRestrictions, &VolumeZone, &VolumeBinding::default()];
    for plugin in plugins {
        for (own, object, expected) in [
            (using("c"), claim("c", "d"), true),
            (using("c"), claim("c", "other"), false),
            (using("c"), claim("x", "d"), false),
            (with(json!([])), claim("c", "d"), false),
        ] {
            assert_eq!(helps(plugin, &own, &object), expected, "{} {object:?}", plugin.name());
        }
    }
    let own = with(json!([{"name": "v", "ephemeral": {}}]));
    assert!(helps(&VolumeBinding::default(), &own, &claim("p-v", "d")));
    assert!(!helps(&VolumeBinding::default(), &own, &claim("v", "d")));
    // They look at claims that have names of their own only.
    assert!(!helps(&VolumeRestrictions, &own, &claim("p-v", "d")));
    assert!(!helps(&VolumeZone, &own, &claim("p-v", "d")));
}

#[test]
fn pods_that_leave_help_if_they_had_the_same_disk_or_claim() {
    let disk = |kind: &str, own: Value| json!([{"name": "v", kind: own}]);
    let gce = |name: &str| disk("gcePersistentDisk", json!({"pdName": name}));
    let aws = |id: &str| disk("awsElasticBlockStore", json!({"volumeID": id}));
    let rbd = |monitor: &str| disk("rbd", json!({"monitors": [monitor], "image": "bar"}));
    let iscsi = |iqn: &str| disk("iscsi", json!({"targetPortal": "t", "iqn": iqn, "lun": 0}));
    let claimed = |name: &str| disk("persistentVolumeClaim", json!({"claimName": name}));
    for (own, left, expected) in [
        (gce("foo"), gce("foo"), true),
        (gce("foo"), gce("bar"), false),
        (aws("foo"), aws("foo"), true),
        (aws("foo"), aws("bar"), false),
        (rbd("a"), rbd("a"), true),
        (rbd("a"), rbd("b"), false),
        (iscsi("one"), iscsi("one"), true),
        (iscsi("one"), iscsi("two"), false),
        (claimed("c"), claimed("c"), true),
        (claimed("c"), claimed("x"), false),
        (claimed("c"), json!([]), false),
    ] {
        for (namespace, expected) in [("d", expected), ("other", false)] {
            let left = pod(&format!("{namespace}/q"), "", json!({"volumes": left}));
            let object = EventObject::Pod { old: Some(left.pod().clone()), new: None };
            let helps = helps(&VolumeRestrictions, &with(own.clone()), &object);
            assert_eq!(helps, expected, "{own} after {:?}", left.spec().volumes);
        }
    }
}

#[test]
fn volumes_help_if_they_are_new_or_elsewhere() {
    let zone = "failure-domain.beta.kubernetes.io/zone";
    let region = "failure-domain.beta.kubernetes.io/region";
    let volume = |labels: Value| json!({"metadata": {"name": "v", "labels": labels}, "spec": {}});
    for (old, new, expected) in [
        (Value::Null, volume(json!({zone: "b"})), true),
        (volume(json!({zone: "a"})), volume(json!({zone: "b"})), true),
        (volume(json!({zone: "a"})), volume(json!({zone: "a", region: "r"})), true),
        (volume(json!({zone: "a"})), volume(json!({zone: "a", "other": "x"})), false),
    ] {
        let object = EventObject::PersistentVolume { old: read(&old), new: read(&new) };
        assert_eq!(helps(&VolumeZone, &using("c"), &object), expected, "{old} to {new}");
        assert!(helps(&VolumeBinding::default(), &using("c"), &object));
    }
}

#[test]
fn classes_help_by_when_and_where_they_have_volumes_made() {
    let class = |mode: &str, zones: &[&str]| {
        let expression = json!({"key": "zone", "values": zones});
        json!({"metadata": {"name": "c"}, "provisioner": "p", "volumeBindingMode": mode,
            "allowedTopologies": [{"matchLabelExpressions": [expression]}]})
    };
    let waits = "WaitForFirstConsumer";
    for (mode, expected) in [(waits, true), ("Immediate", false)] {
        let object = EventObject::StorageClass { old: None, new: read(&class(mode, &["a"])) };
        assert_eq!(helps(&VolumeZone, &using("c"), &object), expected, "{mode}");
        assert!(helps(&VolumeBinding::default(), &using("c"), &object));
    }
    for (old, new, expected) in [
        (class(waits, &["a"]), class(waits, &["a", "b"]), true),
        (class(waits, &["a"]), class(waits, &["a"]), false),
    ] {
        let object = EventObject::StorageClass { old: read(&old), new: read(&new) };
        let helps = helps(&VolumeBinding::default(), &using("c"), &object);
        assert_eq!(helps, expected, "{old} to {new}");
    }
}

#[test]
fn room_for_volumes_helps_if_it_grows() {
    let room = |capacity: Option<&str>, largest: Option<&str>| {
        json!({"metadata": {"name": "r", "namespace": "d"}, "storageClassName": "c",
            "capacity": capacity, "maximumVolumeSize": largest})
    };
    for (old, new, expected) in [
        (Value::Null, room(None, None), true),
        (room(None, None), room(Some("100"), None), true),
        (room(None, None), room(None, Some("100")), true),
        (room(Some("50"), None), room(Some("100"), None), true),
        (room(Some("100"), Some("50")), room(Some("100"), None), true),
        (room(Some("100"), Some("50")), room(Some("100"), Some("60")), true),
        (room(Some("100"), Some("50")), room(Some("100"), Some("50")), false),
        (room(Some("100"), None), room(Some("100"), None), false),
        (room(Some("100"), Some("50")), room(Some("50"), None), false),
        (room(Some("100"), None), room(Some("90"), None), false),
        (room(None, Some("100")), room(None, Some("90")), false),
        (room(Some("100"), None), room(None, None), false),
    ] {
        let object = EventObject::CsiStorageCapacity { old: read(&old), new: read(&new) };
        let helps = helps(&VolumeBinding::default(), &using("c"), &object);
        assert_eq!(helps, expected, "{old} to {new}");
    }
}

#[test]
fn drivers_help_if_they_count_no_more_or_serve_others_plugins() {
    let driver = |counts: Option<bool>| json!({"metadata": {"name": "drv"}, "spec": {"storageCapacity": counts}});
    let inline = |driver: &str| with(json!([{"name": "v", "csi": {"driver": driver}}]));
    for (old, new, expected) in [
        (Some(true), Some(false), true),
        (Some(true), None, true),
        (Some(true), Some(true), false),
        (Some(false), Some(true), false),
        (None, Some(true), false),
        (None, Some(false), false),
        (Some(false), None, false),
        (None, None, false),
    ] {
        let object = EventObject::CsiDriver { old: read(&driver(old)), new: read(&driver(new)) };
        let helps = |own: &PodInfo| helps(&VolumeBinding::default(), own, &object);
        assert_eq!(helps(&inline("drv")), expected, "{old:?} to {new:?}");
        assert!(!helps(&inline("other")), "another driver's volume, {old:?} to {new:?}");
        assert!(!helps(&using("c")), "a claim, {old:?} to {new:?}");
    }
    let node = |plugins: Option<&str>| {
        let key = "storage.alpha.kubernetes.io/migrated-plugins";
        let annotations = plugins.map_or_else(|| json!({}), |own| json!({key: own}));
        json!({"metadata": {"name": "n", "annotations": annotations}, "spec": {"drivers": []}})
    };
    for (old, new, expected) in [
        (Value::Null, node(Some("one")), true),
        (node(None), node(Some("one")), true),
        (node(Some("one")), node(Some("one,two")), true),
        (node(Some("one")), node(Some("one")), false),
        (node(None), node(None), false),
    ] {
        let object = EventObject::CsiNode { old: read(&old), new: read(&new) };
        let helps = helps(&VolumeBinding::default(), &using("c"), &object);
        assert_eq!(helps, expected, "{old} to {new}");
    }
}
