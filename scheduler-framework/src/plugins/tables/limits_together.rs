//! How several constraints of PodTopologySpread hold together, and keys that narrow them.

use super::{spreading::Place, told};
use crate::{
    NodeInfo, PodInfo, PodTopologySpread, Snapshot,
    plugins::fixtures::{filter, node, pod, scores},
};
use serde_json::{Value, json};
use std::sync::Arc;

const HOSTNAME: &str = "kubernetes.io/hostname";

fn constraint(key: &str, label: &str, action: &str, more: &Value) -> Value {
    let mut own = json!({"topologyKey": key, "maxSkew": 1, "whenUnsatisfiable": action,
        "labelSelector": {"matchExpressions": [{"key": label, "operator": "Exists"}]}});
    for (key, value) in more.as_object().into_iter().flatten() {
        own[key] = value.clone();
    }
    own
}

fn hard(key: &str, label: &str) -> Value {
    constraint(key, label, "DoNotSchedule", &Value::Null)
}

fn hard_with(key: &str, policy: &str, value: &str) -> Value {
    constraint(key, "foo", "DoNotSchedule", &json!({policy: value}))
}

/// The same as elsewhere; a node whose name ends with `!` is closed.
fn place(own: &Place<'_>) -> Arc<NodeInfo> {
    let plain = super::spreading::place(own);
    if !own.0.ends_with('!') {
        return plain;
    }
    let mut closed = (**plain.node()).clone();
    let spec = json!({"taints": [{"key": "k", "effect": "NoSchedule"}]});
    closed.spec = serde_json::from_value(spec).unwrap();
    let mut info = NodeInfo::new(Arc::new(closed));
    plain.pods().iter().for_each(|pod| info.add_pod(pod.clone()));
    Arc::new(info)
}

/// Two zones of two nodes, with so many pods labelled `foo`, both `foo` and `bar`, and `bar`.
fn four(pods: [[usize; 3]; 4]) -> Vec<Place<'static>> {
    let places = [
        ("a", "zone=1 node=a"),
        ("b", "zone=1 node=b"),
        ("x", "zone=2 node=x"),
        ("y", "zone=2 node=y"),
    ];
    places.into_iter().zip(pods).map(|((name, labels), pods)| (name, labels, pods)).collect()
}

/// With these labels besides, in order; names and all.
fn marked(marks: [(&'static str, &'static str); 4]) -> Vec<Place<'static>> {
    let pods = [[1, 0, 0], [1, 0, 0], [0; 3], [1, 0, 0]];
    marks.into_iter().zip(pods).map(|((name, labels), pods)| (name, labels, pods)).collect()
}

fn said(own: &PodInfo, places: &[Place<'_>]) -> String {
    let nodes = Snapshot::new(places.iter().map(place).collect());
    let short = |told: String| match told.split_once(':') {
        Some((word, _)) => word.to_owned(),
        None => told,
    };
    let verdicts = filter(&PodTopologySpread::default(), own, &nodes);
    verdicts.into_iter().map(|own| short(told(own))).collect::<Vec<_>>().join(" ")
}

fn spread(labels: &str, spec: &Value, constraints: &[Value]) -> Arc<PodInfo> {
    let mut spec = spec.clone();
    spec["topologySpreadConstraints"] = json!(constraints);
    pod("p", labels, spec)
}

#[test]
fn each_constraint_counts_pods_of_its_own() {
    let apart = || [hard("zone", "foo"), hard("node", "bar")];
    let zones = || [hard("zone", "bar"), hard("zone", "foo")];
    let mut unnamed = four([[1, 0, 0], [0; 3], [0; 3], [1, 0, 0]]);
    unnamed[2].1 = "zone=2";
    for (labels, constraints, places, expected) in [
        ("foo= bar=", apart(), four([[1, 0, 0], [0; 3], [0; 3], [0, 0, 1]]), "full full ok full"),
        (
            "foo= bar=",
            apart(),
            four([[1, 0, 0], [0; 3], [0, 0, 1], [0, 0, 1]]),
            "full full full full",
        ),
        ("foo= bar=", apart(), four([[1, 1, 0], [0; 3], [0; 3], [2, 1, 0]]), "full ok full full"),
        // It does not count itself in the zone.
        ("bar=", apart(), four([[1, 0, 0], [0; 3], [0, 0, 1], [0, 0, 1]]), "ok ok full full"),
        ("foo=", [hard("zone", "foo"), hard("node", "foo")], unnamed, "full ok never full"),
        ("foo= bar=", zones(), four([[1, 1, 0], [0, 1, 0], [0; 3], [2, 1, 0]]), "full full ok ok"),
        (
            "foo= bar=",
            zones(),
            four([[1, 1, 0], [0, 1, 0], [0; 3], [3, 1, 0]]),
            "full full full full",
        ),
    ] {
        let own = spread(labels, &Value::Null, &constraints);
        assert_eq!(said(&own, &places), expected, "{constraints:?} on {places:?}");
    }
}

#[test]
fn each_constraint_leaves_out_nodes_by_its_own_policies() {
    let selecting = json!({"nodeSelector": {"foo": ""}});
    let none = json!({});
    let (zone, by_node) = (|| hard("zone", "foo"), || hard("node", "foo"));
    let lenient = || hard_with("node", "nodeAffinityPolicy", "Ignore");
    let strict = || hard_with("zone", "nodeTaintsPolicy", "Honor");
    let (a, b, x, y) =
        ("zone=1 node=a foo=", "zone=1 node=b foo=", "zone=2 node=x foo=", "zone=2 node=y foo=");
    let (plain_b, plain_y) = ("zone=1 node=b", "zone=2 node=y");
    // Other plugins refuse the nodes that the pod does not ask for.
    for (spec, constraints, marks, expected) in [
        (
            &selecting,
            [zone(), lenient()],
            [("a", a), ("b", b), ("x", x), ("y", plain_y)],
            "full full ok full",
        ),
        (
            &none,
            [strict(), by_node()],
            [("a", a), ("b", b), ("x", x), ("y!", plain_y)],
            "full full ok full",
        ),
        (
            &selecting,
            [zone(), by_node()],
            [("a", a), ("b", plain_b), ("x", x), ("y!", y)],
            "full ok ok full",
        ),
        (
            &selecting,
            [strict(), lenient()],
            [("a", a), ("b", plain_b), ("x", x), ("y!", y)],
            "full full ok full",
        ),
    ] {
        let places = marked(marks);
        let own = spread("foo=", spec, &constraints);
        assert_eq!(said(&own, &places), expected, "{constraints:?} on {places:?}");
    }
}

#[test]
fn keys_narrow_what_is_preferred_where_they_count() {
    let soft =
        |key: &str, label: &str, more: Value| constraint(key, label, "ScheduleAnyway", &more);
    let keyed = || json!({"matchLabelKeys": ["baz"]});
    let host = |name: &str, zone: &str, pods: &[&str]| {
        let one =
            |(index, labels): (usize, &&str)| pod(&format!("{name}{index}"), labels, json!({}));
        let pods: Vec<_> = pods.iter().enumerate().map(one).collect();
        node(name, &format!("zone={zone} {HOSTNAME}={name}"), &pods)
    };
    let scored = |plugin: &PodTopologySpread, constraints: &[Value], nodes: Vec<Arc<NodeInfo>>| {
        let own = spread("foo= bar= baz=", &Value::Null, constraints);
        scores(plugin, &own, &Snapshot::new(nodes.clone()), &nodes)
    };
    let nodes = |b: &str, c: &[&str]| {
        vec![
            host("a", "1", &["foo="]),
            host("b", "1", &[b]),
            host("c", "2", c),
            host("d", "2", &[]),
        ]
    };
    let both = [soft("zone", "foo", keyed()), soft(HOSTNAME, "bar", keyed())];
    let keyless = PodTopologySpread::default().with_match_label_keys(false);
    let all = nodes("foo= bar=", &["foo=", "bar="]);
    assert_eq!(scored(&keyless, &both, all), Some(vec![60, 20, 60, 100]));
    let last = [soft("zone", "foo", json!({})), soft(HOSTNAME, "bar", keyed())];
    let some = nodes("foo= bar= baz=", &["foo=", "bar=", "bar= baz="]);
    assert_eq!(scored(&PodTopologySpread::default(), &last, some), Some(vec![60, 20, 60, 100]));
}
