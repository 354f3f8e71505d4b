//! What brings a pod back for which there was no room.

use super::{amounts::A, asking};
use crate::{
    ActionType, ClusterEvent, EventObject, EventResource, Hint, NodeResourcesFit, PodInfo,
    SchedulerPlugin, plugins::fixtures::pod,
};
use k8s_openapi::api::{
    core::v1::{Node, Pod},
    resource::v1::DeviceClass,
};
use serde_json::{Value, json};
use std::{slice, sync::Arc};

const GPU: &str = "example.com/gpu";
const BY_NAME: &str = "deviceclass.resource.kubernetes.io/gpus";

fn helps(own: &PodInfo, object: &EventObject) -> bool {
    let event = ClusterEvent::new(EventResource::Any, ActionType::ALL);
    let plugin = NodeResourcesFit::default().with_devices(false);
    plugin.as_enqueue_extensions().unwrap().hint(own, event, object) == Hint::Queue
}

/// A pod on a node, if any, that asks for something in its container or as a whole.
fn spec(resource: &str, amount: &str, as_whole: bool, node: &str) -> Value {
    let asked = json!({"requests": {resource: amount}});
    let (own, whole) = if as_whole { (Value::Null, asked) } else { (asked, Value::Null) };
    json!({"nodeName": node, "resources": whole, "containers": [{"name": "c", "resources": own}]})
}

fn placed(name: &str, spec: &Value) -> Arc<Pod> {
    pod(name, "", spec.clone()).pod().clone()
}

#[test]
fn pods_that_leave_or_shrink_help_where_they_took_what_is_wanted() {
    for as_whole in [false, true] {
        let asks =
            |resource: &str, amount: &str, node: &str| spec(resource, amount, as_whole, node);
        let own = pod("p", "", asks("cpu", "1", ""));
        let left = |old: Arc<Pod>| helps(&own, &EventObject::Pod { old: Some(old), new: None });
        assert!(left(placed("q", &asks("cpu", "1", "n"))));
        assert!(!left(placed("q", &asks("cpu", "1", ""))));
        let mut awaited = (*placed("q", &asks("cpu", "2", ""))).clone();
        awaited.status.get_or_insert_default().nominated_node_name = Some(String::new());
        assert!(!left(Arc::new(awaited.clone())));
        awaited.status.get_or_insert_default().nominated_node_name = Some("n".to_owned());
        assert!(left(Arc::new(awaited)), "room was made for it");
        for (name, resource, node, expected) in [
            ("q", "cpu", "", false),
            ("q", "memory", "n", false),
            ("q", "cpu", "n", true),
            ("p", "cpu", "", true),
        ] {
            let at = |amount: &str| Some(placed(name, &asks(resource, amount, node)));
            let object = EventObject::Pod { old: at("2"), new: at("1") };
            assert_eq!(helps(&own, &object), expected, "{object:?}");
        }
    }
}

/// Nothing is no node; there is room for 32 pods unless it is said.
fn node(allocatable: &Value) -> Option<Arc<Node>> {
    let mut all = allocatable.clone();
    all.as_object_mut()?.entry("pods").or_insert(json!("32"));
    let value = json!({"metadata": {"name": "n"}, "status": {"allocatable": all}});
    Some(Arc::new(serde_json::from_value(value).unwrap()))
}

#[test]
fn nodes_help_that_have_room_and_more_of_what_is_wanted() {
    let (two, both) = (json!({"memory": "2"}), json!({"memory": "2", A: "1"}));
    let all = |amount: &str| json!({"cpu": amount, "memory": amount, "ephemeral-storage": amount, A: amount});
    let with = |mut own: Value, more: Value| {
        for (name, amount) in more.as_object().unwrap() {
            own[name] = amount.clone();
        }
        own
    };
    let has = |memory: &str, other: &str| json!({"memory": memory, A: other});
    let few = json!({"cpu": "1m", "memory": "2"});
    for (wanted, old, new, expected) in [
        (&two, Value::Null, json!({"memory": "1"}), false),
        (&json!({A: "1"}), Value::Null, json!({"example.com/bbb": "1"}), false),
        (&both, Value::Null, has("4", "2"), true),
        (&both, has("2", "2"), with(has("2", "1"), json!({"example.com/bbb": "2"})), false),
        (&both, has("2", "1"), has("2", "2"), true),
        (&both, has("4", "2"), has("1", "2"), false),
        (&both, has("1", "2"), has("4", "2"), true),
        // Nothing is wanted but a place.
        (&json!({}), all("1"), all("2"), false),
        (
            &json!({}),
            with(all("1"), json!({"pods": "1"})),
            with(all("1"), json!({"pods": "2"})),
            true,
        ),
        // All of it is.
        (&all("2"), all("4"), with(all("4"), json!({"ephemeral-storage": "3", A: "2"})), false),
        (&all("2"), all("4"), with(all("4"), json!({"cpu": "5", "memory": "6"})), true),
        (&all("2"), all("4"), with(all("4"), json!({"ephemeral-storage": "5"})), true),
        (&all("2"), json!({"cpu": "4"}), json!({"cpu": "5", "memory": "4"}), false),
        // Some of it is.
        (&few, all("4"), with(all("4"), json!({"ephemeral-storage": "1", A: "1"})), false),
        (&few, all("4"), with(all("4"), json!({"ephemeral-storage": "5", A: "6"})), false),
    ] {
        let object = EventObject::Node { old: node(&old), new: node(&new) };
        let own = asking("p", slice::from_ref(wanted));
        assert_eq!(helps(&own, &object), expected, "{old} to {new} for {wanted}");
    }
}

#[test]
fn classes_help_that_come_to_stand_for_what_is_wanted() {
    let class = |(name, resource): (&str, Option<&str>)| -> Arc<DeviceClass> {
        let spec = json!({"extendedResourceName": resource});
        let value = json!({"metadata": {"name": name}, "spec": spec});
        Arc::new(serde_json::from_value(value).unwrap())
    };
    let (plain, gpus) = (("gpus", None), ("gpus", Some(GPU)));
    for (wanted, old, new, expected) in [
        (GPU, Some(plain), plain, false),
        (GPU, Some(gpus), gpus, false),
        ("memory", Some(gpus), gpus, false),
        (BY_NAME, None, gpus, true),
        (BY_NAME, None, ("others", Some(GPU)), false),
        ("example.com/other", None, gpus, false),
        // By its name it has stood for it since it came.
        (BY_NAME, Some(plain), gpus, false),
        (GPU, None, gpus, true),
        (GPU, Some(plain), gpus, true),
        (GPU, Some(("gpus", Some("example.com/older"))), gpus, true),
    ] {
        let object = EventObject::DeviceClass { old: old.map(class), new: Some(class(new)) };
        let own = asking("p", &[json!({wanted: "1"})]);
        assert_eq!(helps(&own, &object), expected, "{old:?} to {new:?} for {wanted}");
    }
}

#[test]
fn classes_are_waited_for_where_devices_may_stand_for_something() {
    let waits = |devices: bool, resource: EventResource, action: ActionType| {
        let events = NodeResourcesFit::default().with_devices(devices).requeue_on();
        events.iter().any(|own| own.matches(ClusterEvent::new(resource, action)))
    };
    for devices in [false, true] {
        for (resource, action, expected) in [
            (EventResource::AssignedPod, ActionType::DELETE, true),
            (EventResource::AssignedPod, ActionType::UPDATE_SCALE_DOWN, true),
            (EventResource::AssignedPod, ActionType::ADD, false),
            (EventResource::AssignedPod, ActionType::UPDATE_LABELS, false),
            (EventResource::UnscheduledPod, ActionType::UPDATE_SCALE_DOWN, true),
            (EventResource::Node, ActionType::ADD, true),
            (EventResource::Node, ActionType::UPDATE_ALLOCATABLE, true),
            (EventResource::Node, ActionType::UPDATE_LABELS, false),
            (EventResource::Node, ActionType::UPDATE_TAINTS, false),
            (EventResource::DeviceClass, ActionType::ADD, devices),
            (EventResource::DeviceClass, ActionType::UPDATE_OTHER, devices),
            (EventResource::DeviceClass, ActionType::DELETE, false),
        ] {
            assert_eq!(waits(devices, resource, action), expected, "{resource:?} {action:?}");
        }
    }
}
