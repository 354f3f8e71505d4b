//! What brings a pod back that a plugin refused.

use super::asking;
use crate::{
    ActionType, ClusterEvent, EventObject, EventResource, Hint, NodeAffinity, NodePorts,
    NodeUnschedulable, PodInfo, PreEnqueue, PreEnqueueVerdict, SchedulerPlugin, SchedulingGates,
    TaintToleration, plugins::fixtures::pod,
};
use k8s_openapi::api::core::v1::Node;
use serde_json::{Value, json};
use std::sync::Arc;

fn node(spec: &Value) -> Option<Arc<Node>> {
    let value = json!({"metadata": {"name": "n"}, "spec": spec});
    (!spec.is_null()).then(|| Arc::new(serde_json::from_value(value).unwrap()))
}

fn helps(plugin: &dyn SchedulerPlugin, own: &PodInfo, object: &EventObject) -> bool {
    let event = ClusterEvent::new(EventResource::Node, ActionType::ALL);
    plugin.as_enqueue_extensions().unwrap().hint(own, event, object) == Hint::Queue
}

/// A node before (null: it is new) and after, and whether that helps.
fn on_nodes(plugin: &dyn SchedulerPlugin, own: &PodInfo, cases: &[(Value, Value, bool)]) {
    for (old, new, expected) in cases {
        let object = EventObject::Node { old: node(old), new: node(new) };
        assert_eq!(helps(plugin, own, &object), *expected, "{old} to {new}");
    }
}

/// Another state of a pod that waits.
fn changed(pod: &PodInfo) -> EventObject {
    EventObject::Pod { old: Some(pod.pod().clone()), new: Some(pod.pod().clone()) }
}

#[test]
fn nodes_whose_taints_are_tolerated_help_if_they_were_not_before() {
    let tolerating = json!({"tolerations": [{"key": "k", "operator": "Exists"}]});
    let own = pod("p", "", tolerating);
    let with = |key: &str| json!({"taints": [{"key": key, "effect": "NoSchedule"}]});
    let soft = json!({"taints": [{"key": "other", "effect": "PreferNoSchedule"}]});
    on_nodes(
        &TaintToleration::default(),
        &own,
        &[
            (Value::Null, with("other"), false),
            (Value::Null, with("k"), true),
            (Value::Null, json!({}), true),
            (with("other"), with("k"), true),
            (with("k"), json!({}), false),
            (with("other"), with("another"), false),
            (with("k"), with("other"), false),
            (soft, json!({}), false),
        ],
    );
    assert!(helps(&TaintToleration::default(), &own, &changed(&own)));
    assert!(!helps(&TaintToleration::default(), &own, &changed(&pod("q", "", json!({})))));
}

#[test]
fn nodes_that_are_open_help_if_they_were_not_before() {
    let own = pod("p", "", json!({}));
    let (closed, open) = (json!({"unschedulable": true}), json!({}));
    on_nodes(
        &NodeUnschedulable,
        &own,
        &[
            (Value::Null, closed.clone(), false),
            (Value::Null, open.clone(), true),
            (closed.clone(), open.clone(), true),
            (closed.clone(), closed.clone(), false),
            (open.clone(), open, false),
        ],
    );
    assert!(!helps(&NodeUnschedulable, &own, &changed(&own)), "it tolerates no more than before");
    let key = "node.kubernetes.io/unschedulable";
    let tolerant = json!({"tolerations": [{"key": key, "operator": "Exists"}]});
    let changes = |name: &str| changed(&pod(name, "", tolerant.clone()));
    let unrelated = json!({"tolerations": [{"key": "other", "operator": "Exists"}]});
    assert!(!helps(&NodeUnschedulable, &own, &changed(&pod("p", "", unrelated))));
    assert!(helps(&NodeUnschedulable, &own, &changes("p")));
    assert!(!helps(&NodeUnschedulable, &own, &changes("q")), "another pod's matter");
}

#[test]
fn pods_that_leave_help_if_they_had_a_port_that_is_wanted() {
    let with = |name: &str, port: Value| {
        pod(name, "", json!({"containers": [{"name": "c", "ports": [port]}]}))
    };
    let own = with("p", json!({"containerPort": 80, "hostPort": 8080, "protocol": "TCP"}));
    let left = |pod: &PodInfo| {
        let mut own = (**pod.pod()).clone();
        own.spec.get_or_insert_default().node_name = Some("n".to_owned());
        EventObject::Pod { old: Some(Arc::new(own)), new: None }
    };
    for (port, expected) in [
        (json!({"containerPort": 80, "hostPort": 8080, "protocol": "TCP"}), true),
        (
            json!({"containerPort": 80, "hostPort": 8080, "hostIP": "10.0.0.1", "protocol": "TCP"}),
            true,
        ),
        (json!({"containerPort": 80, "hostPort": 8080, "protocol": "UDP"}), false),
        (json!({"containerPort": 80, "hostPort": 8081, "protocol": "TCP"}), false),
        (json!({"containerPort": 8080, "protocol": "TCP"}), false),
    ] {
        assert_eq!(helps(&NodePorts, &own, &left(&with("q", port.clone()))), expected, "{port}");
    }
    assert!(!helps(&NodePorts, &own, &left(&asking("q", &[json!({})]))));
    // One that had no node helps only where room was made for it.
    let mut other = (**own.pod()).clone();
    let waited = EventObject::Pod { old: Some(Arc::new(other.clone())), new: None };
    assert!(!helps(&NodePorts, &own, &waited));
    other.status.get_or_insert_default().nominated_node_name = Some("n".to_owned());
    let awaited = EventObject::Pod { old: Some(Arc::new(other)), new: None };
    assert!(helps(&NodePorts, &own, &awaited));
    on_nodes(&NodePorts, &own, &[(Value::Null, json!({}), true)]);
}

#[test]
fn nodes_that_match_help_if_they_did_not_before() {
    let labelled = |labels: Value| -> Option<Arc<Node>> {
        let value = json!({"metadata": {"name": "n", "labels": labels}});
        Some(Arc::new(serde_json::from_value(value).unwrap()))
    };
    let expression = json!({"key": "foo", "operator": "In", "values": ["bar"]});
    let terms = json!({"nodeSelectorTerms": [{"matchExpressions": [expression]}]});
    let rules = json!({"requiredDuringSchedulingIgnoredDuringExecution": terms});
    let picky = pod("p", "", json!({"affinity": {"nodeAffinity": rules}}));
    let plain = NodeAffinity::default();
    let strict = NodeAffinity::with_added(serde_json::from_value(rules).unwrap());
    let (none, other, own) = (json!({}), json!({"k": "v"}), json!({"foo": "bar"}));
    for (old, new, expected) in [
        (None, &none, false),
        (None, &own, true),
        (Some(&none), &none, false),
        (Some(&none), &other, false),
        (Some(&own), &other, false),
        (Some(&none), &own, true),
        (Some(&own), &own, false),
    ] {
        let old = old.and_then(|old| labelled(old.clone()));
        let is_new = old.is_none();
        let object = EventObject::Node { old, new: labelled(new.clone()) };
        assert_eq!(helps(&plain, &picky, &object), expected, "{object:?}");
        assert_eq!(helps(&strict, &picky, &object), expected, "{object:?}");
        let anywhere = pod("p", "", json!({}));
        assert_eq!(helps(&strict, &anywhere, &object), expected && is_new, "{object:?}");
    }
}

#[test]
fn gates_hold_a_pod_until_they_are_gone() {
    let gated = |gates: &[&str]| {
        let gates: Vec<_> = gates.iter().map(|name| json!({"name": name})).collect();
        pod("p", "", json!({"schedulingGates": gates}))
    };
    assert_eq!(SchedulingGates.pre_enqueue(&gated(&[])), PreEnqueueVerdict::Admit);
    let why = "waiting for scheduling gates: [foo bar]".to_owned();
    let held = SchedulingGates.pre_enqueue(&gated(&["foo", "bar"]));
    assert_eq!(held, PreEnqueueVerdict::Hold(why));
    let own = gated(&["foo"]);
    assert!(helps(&SchedulingGates, &own, &changed(&gated(&[]))));
    let other = pod("q", "", json!({}));
    assert!(!helps(&SchedulingGates, &own, &changed(&other)), "another pod's matter");
}
