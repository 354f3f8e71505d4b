//! What brings a pod back that InterPodAffinity refused.

use super::neighbours::wishes;
use crate::{
    ActionType, ClusterEvent, EventObject, EventResource, Hint, InterPodAffinity, PodInfo,
    SchedulerPlugin,
    plugins::fixtures::{node, pod},
};
use k8s_openapi::api::core::v1::{Node, Pod};
use serde_json::json;
use std::sync::Arc;

fn helps(own: &PodInfo, object: &EventObject) -> bool {
    let event = ClusterEvent::new(EventResource::Any, ActionType::ALL);
    let plugin = InterPodAffinity::default();
    plugin.as_enqueue_extensions().unwrap().hint(own, event, object) == Hint::Queue
}

/// What is said of another pod: its labels, after `waits:` if it has no node, `awaited:` if room was made for it; nothing
/// if there is none.
fn other(name: &str, text: Option<&str>, apart: &str) -> Option<Arc<Pod>> {
    let text = text?;
    let (state, labels) = text.split_once(':').unwrap_or(("", text));
    let mut spec = wishes("", apart);
    if state.is_empty() {
        spec["nodeName"] = json!("n");
    }
    let mut own = (**pod(name, labels, spec).pod()).clone();
    if state == "awaited" {
        own.status.get_or_insert_default().nominated_node_name = Some("n".to_owned());
    }
    Some(Arc::new(own))
}

#[test]
fn pods_help_that_come_to_be_meant_or_cease_to_be() {
    let near = "service=scan|v@region";
    let two = "a@host b@host";
    let (scan, plain) = (Some("service=scan"), Some("k=v"));
    // What it wants near and apart, another pod before and after.
    for (wanted, apart, old, new, expected) in [
        (near, "", None, scan, true),
        (near, "", None, Some("waits:service=scan"), false),
        (near, "", None, plain, false),
        (near, "", plain, scan, true),
        (near, "", Some("service=v"), scan, false),
        (near, "", Some("waits:k=v"), Some("waits:service=scan"), false),
        (near, "", scan, plain, false),
        (two, "", Some("a=x"), plain, false),
        (two, "", Some("a=x"), Some("a= b="), true),
        ("", near, scan, Some("service=x"), true),
        ("", near, Some("service=x"), scan, false),
        ("", near, plain, None, false),
        ("", near, scan, None, true),
        ("", near, Some("awaited:k=v"), None, false),
        ("", near, Some("awaited:service=scan"), None, true),
        ("", near, Some("waits:service=scan"), None, false),
    ] {
        let own = pod("p", "", wishes(wanted, apart));
        let object = EventObject::Pod { old: other("o", old, ""), new: other("o", new, "") };
        assert_eq!(helps(&own, &object), expected, "{old:?} to {new:?} for {wanted:?}, {apart:?}");
    }
}

#[test]
fn what_a_pod_says_of_itself_and_who_shunned_it_help() {
    let own = pod("p", "foo=x", json!({}));
    let states = (other("p", Some("waits:foo=y"), ""), other("p", Some("waits:foo=x"), ""));
    assert!(helps(&own, &EventObject::Pod { old: states.0, new: states.1 }));
    let shy = "service=scan|v@region";
    for (labels, apart, theirs, expected) in [
        ("service=scan", "", "k=v", true),
        ("service=foo", "", "k=v", false),
        ("service=foo", shy, "service=foo", false),
    ] {
        let own = pod("p", labels, wishes("", apart));
        let object = EventObject::Pod { old: other("o", Some(theirs), shy), new: None };
        assert_eq!(helps(&own, &object), expected, "{labels}, {apart:?}");
    }
}

#[test]
fn nodes_help_that_join_or_leave_a_place() {
    let at = |labels: Option<&str>| -> Option<Arc<Node>> {
        labels.map(|labels| node("n", labels, &[]).node().clone())
    };
    let (zone, other) = (Some("zone=1"), Some("zone=2"));
    let (plain, more) = (Some("k=a"), Some("zone=1 k=a"));
    for (near, apart, old, new, expected) in [
        ("a=x@zone", "", None, zone, true),
        ("a=x@region", "", None, zone, false),
        ("a=x@zone", "", plain, Some("k=b"), false),
        ("a=x@zone", "", zone, more, false),
        ("a=x@zone", "", zone, other, true),
        ("a=x@zone", "", plain, zone, true),
        ("a=x@zone", "", zone, plain, false),
        ("", "a=x@zone", None, zone, true),
        ("", "a=x@zone", None, Some(""), true),
        ("", "a=x@zone", zone, more, false),
        ("", "a=x@zone", zone, other, true),
        ("", "a=x@zone", plain, zone, false),
        ("", "a=x@zone", zone, plain, true),
    ] {
        let own = pod("p", "", wishes(near, apart));
        let object = EventObject::Node { old: at(old), new: at(new) };
        assert_eq!(helps(&own, &object), expected, "{old:?} to {new:?} for {near:?}, {apart:?}");
    }
}
