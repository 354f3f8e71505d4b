//! What pods without constraints of their own are spread with: what their Services and their controller select.

use super::super::constraint::owners_selector;
use crate::{ClusterObjects, PodInfo, plugins::fixtures::pod};
use k8s_openapi::api::core::v1::Service;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::sync::Arc;

fn one<K: DeserializeOwned>(value: Value) -> Arc<Vec<Arc<K>>> {
    Arc::new(vec![Arc::new(serde_json::from_value(value).unwrap())])
}

fn named(name: &str, selector: &Value) -> Value {
    json!({"metadata": {"name": name, "namespace": "d"}, "spec": {"selector": selector}})
}

/// A pod with this controller, if any: `apps/v1 ReplicaSet rs`.
fn owned(labels: &str, owner: Option<&str>) -> PodInfo {
    let mut own = (**pod("p", labels, json!({})).pod()).clone();
    own.metadata.owner_references = owner.map(|text| {
        let mut words = text.split(' ').map(str::to_owned);
        let owner = json!({"apiVersion": words.next(), "kind": words.next(), "name": words.next(),
            "uid": "u", "controller": true});
        vec![serde_json::from_value(owner).unwrap()]
    });
    PodInfo::new(Arc::new(own))
}

#[test]
fn services_select_by_all_their_labels() {
    let service = |index: usize| named(&format!("s{index}"), &json!({"app": format!("t{index}")}));
    let all = (0..3).map(|index| Arc::new(serde_json::from_value(service(index)).unwrap()));
    let others = [named("none", &Value::Null), named("every", &json!({}))];
    let others = others.map(|own| Arc::new(serde_json::from_value(own).unwrap()));
    let services: Vec<Arc<Service>> = all.chain(others).collect();
    let objects = ClusterObjects { services: Arc::new(services), ..ClusterObjects::default() };
    for (labels, expected) in [
        ("app=t0 label=l0", "app=t0"),
        ("app=t1 label=l1", "app=t1"),
        ("app=t2 label=l2", "app=t2"),
        ("app=t3 label=l3", ""),
        ("label=l4", ""),
    ] {
        let found = owners_selector(&owned(labels, None), &objects);
        assert_eq!(found.to_string(), expected, "{labels}");
        assert_eq!(found.is_everything(), expected.is_empty(), "{labels}");
    }
}

#[test]
fn controllers_add_what_they_select() {
    let labels = |label: &str| json!({label: "x"});
    let matching = |label: &str| json!({"matchLabels": labels(label)});
    let objects = ClusterObjects {
        services: one(named("s", &labels("app"))),
        replication_controllers: one(named("rc", &labels("by-rc"))),
        replica_sets: one(named("rs", &matching("by-rs"))),
        stateful_sets: one(named("ss", &matching("by-ss"))),
        ..ClusterObjects::default()
    };
    let nothing = ClusterObjects::default();
    for (objects, owner, expected) in [
        (&nothing, None, ""),
        (&objects, None, "app=x"),
        (&objects, Some("apps/v1 ReplicaSet rs"), "app=x,by-rs=x"),
        (&objects, Some("v1 ReplicationController rc"), "app=x,by-rc=x"),
        (&objects, Some("apps/v1 StatefulSet ss"), "app=x,by-ss=x"),
        // One that is not there, and one of a kind that is not looked at.
        (&objects, Some("apps/v1 ReplicaSet gone"), "app=x"),
        (&objects, Some("batch/v1 Job rs"), "app=x"),
        (&nothing, Some("apps/v1 ReplicaSet rs"), ""),
    ] {
        let found = owners_selector(&owned("app=x", owner), objects);
        assert_eq!(found.to_string(), expected, "{owner:?}");
    }
}
