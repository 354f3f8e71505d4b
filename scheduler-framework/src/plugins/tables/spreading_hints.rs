//! What brings a pod back that PodTopologySpread refused.

use crate::{
    ActionType, ClusterEvent, EventObject, EventResource, Hint, PodInfo, PodTopologySpread,
    SchedulerPlugin,
    plugins::fixtures::{node, pod},
};
use k8s_openapi::api::core::v1::{Node, Pod};
use serde_json::{Value, json};
use std::sync::Arc;

const CLOSED: &str = "node.kubernetes.io/unschedulable";

fn hard(key: &str, label: &str, taints: Option<&str>) -> Value {
    json!({"topologyKey": key, "maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule",
        "nodeTaintsPolicy": taints,
        "labelSelector": {"matchExpressions": [{"key": label, "operator": "Exists"}]}})
}

fn spread(labels: &str, constraints: &[Value]) -> Arc<PodInfo> {
    pod("p", labels, json!({"topologySpreadConstraints": constraints}))
}

fn helps(own: &PodInfo, object: &EventObject) -> bool {
    let event = ClusterEvent::new(EventResource::Any, ActionType::ALL);
    let plugin = PodTopologySpread::with_defaults(Vec::new());
    plugin.as_enqueue_extensions().unwrap().hint(own, event, object) == Hint::Queue
}

/// What is said of a node: labels, and after `!` the taint it has; nothing if there is none.
fn place(text: Option<&str>) -> Option<Arc<Node>> {
    let text = text?;
    let (labels, taint) = text.split_once('!').unwrap_or((text, ""));
    let mut own = (**node("n", labels, &[]).node()).clone();
    if !taint.is_empty() {
        let spec = json!({"taints": [{"key": taint, "value": "v", "effect": "NoSchedule"}]});
        own.spec = serde_json::from_value(spec).unwrap();
    }
    Some(Arc::new(own))
}

#[test]
fn nodes_help_that_change_which_domains_there_are() {
    let zone = [hard("zone", "foo", None)];
    let both = [hard("zone", "foo", None), hard("node", "foo", None)];
    let (one, two) = (&zone[..], &both[..]);
    for (constraints, old, new, expected) in [
        (one, Some("zone=1"), Some("zone=2"), true),
        (one, Some("foo=1"), Some("foo=2"), false),
        (two, Some("zone=1 node=1 foo=1"), Some("zone=1 node=1"), false),
        (one, None, Some("foo=1"), false),
        (one, None, Some("zone=1"), true),
        (one, Some("foo=1"), None, false),
        (one, Some("zone=1"), None, true),
        // It takes part only where it has all labels.
        (two, None, Some("zone=1"), false),
        (two, None, Some("zone=1 node=1"), true),
        (two, Some("zone=1"), None, false),
        (two, Some("zone=1"), Some("zone=1"), false),
        (two, Some("zone=1 node=1"), Some("zone=1 node=2"), true),
        (two, Some("zone=1 node=1"), Some("zone=1"), true),
        (two, Some("zone=1 node=1!a"), Some("zone=1 node=1!b"), true),
        (two, Some("node=1!a"), Some("node=1!b"), false),
    ] {
        let object = EventObject::Node { old: place(old), new: place(new) };
        let own = spread("", constraints);
        assert_eq!(helps(&own, &object), expected, "{old:?} to {new:?} for {constraints:?}");
    }
}

/// What is said of a pod: labels, after `waits:` if it has no node, `awaited:` if room was made for it, and after a
/// namespace if it is not that of the others.
fn other(name: &str, text: Option<&str>) -> Option<Arc<Pod>> {
    let text = text?;
    let (state, text) = text.split_once(':').unwrap_or(("", text));
    let (namespace, labels) = text.split_once('/').unwrap_or(("d", text));
    let spec = if state.is_empty() { json!({"nodeName": "n"}) } else { json!({}) };
    let mut own = (**pod(&format!("{namespace}/{name}"), labels, spec).pod()).clone();
    if state == "awaited" {
        own.status.get_or_insert_default().nominated_node_name = Some("n".to_owned());
    }
    Some(Arc::new(own))
}

#[test]
fn pods_help_that_begin_or_cease_to_count() {
    let zone = [hard("zone", "foo", None)];
    let both = [hard("zone", "foo", None), hard("node", "bar", None)];
    let (one, two) = (&zone[..], &both[..]);
    let (foo, bar) = (Some("foo="), Some("bar="));
    for (constraints, old, new, expected) in [
        (one, None, foo, true),
        (one, None, Some("waits:foo="), false),
        (one, Some("waits:bar="), Some("waits:foo="), false),
        (one, Some("waits:foo="), None, false),
        (one, None, Some("elsewhere/foo="), false),
        (one, None, bar, false),
        (one, foo, None, true),
        (one, Some("awaited:bar="), None, false),
        (one, Some("awaited:foo="), None, true),
        (one, bar, None, false),
        (one, Some("foo= bar=1"), Some("foo= bar=2"), false),
        (one, Some(""), foo, true),
        (one, foo, Some(""), true),
        (one, Some("foo=1"), Some("foo=2"), false),
        (two, foo, Some("foo= bar=2"), true),
        (two, foo, Some("foo= baz="), false),
        (two, Some("foo= bar="), Some("foo= bar=2"), false),
    ] {
        let own = spread("foo=", constraints);
        let object = EventObject::Pod { old: other("q", old), new: other("q", new) };
        assert_eq!(helps(&own, &object), expected, "{old:?} to {new:?} for {constraints:?}");
    }
}

#[test]
fn a_pod_helps_itself_by_what_its_constraints_look_at() {
    let with = |taints: &str| [hard("zone", "foo", Some(taints)), hard("node", "bar", None)];
    let state = |labels: &str, tolerant: bool| {
        let tolerations = json!([{"key": CLOSED, "operator": "Exists", "effect": "NoSchedule"}]);
        let spec = if tolerant { json!({"tolerations": tolerations}) } else { json!({}) };
        Some(pod("p", labels, spec).pod().clone())
    };
    for (policy, old, new, expected) in [
        ("Honor", ("foo=", false), ("foo=", true), true),
        ("Ignore", ("foo=", false), ("foo=", true), false),
        ("Ignore", ("", false), ("foo=", false), true),
        ("Ignore", ("", false), ("unrelated=", false), false),
    ] {
        let own = spread("foo=", &with(policy));
        let object = EventObject::Pod { old: state(old.0, old.1), new: state(new.0, new.1) };
        assert_eq!(helps(&own, &object), expected, "{policy}, {old:?} to {new:?}");
    }
}
