//! Which nodes PodTopologySpread leaves a pod that must be spread.

use super::spreading::{Place, place};
use crate::{
    FilterVerdict, NodeInfo, PodInfo, PodTopologySpread, Snapshot,
    plugins::fixtures::{filter, node, pod},
};
use serde_json::{Value, json};
use std::sync::Arc;

/// Pods with a label must be spread.
fn hard(key: &str, max_skew: i32, label: &str) -> Value {
    json!({"topologyKey": key, "maxSkew": max_skew, "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchExpressions": [{"key": label, "operator": "Exists"}]}})
}

fn with(mut constraint: Value, key: &str, value: Value) -> Value {
    constraint[key] = value;
    constraint
}

fn spread(labels: &str, constraints: &[Value]) -> Arc<PodInfo> {
    pod("p", labels, json!({"topologySpreadConstraints": constraints}))
}

/// What is said of each node: that the pod fits, that others leaving may help, or that it never does.
fn said(own: &PodInfo, nodes: Vec<Arc<NodeInfo>>) -> String {
    let verdicts = filter(&PodTopologySpread::default(), own, &Snapshot::new(nodes));
    let words = verdicts.iter().map(|own| match own {
        FilterVerdict::Fits => "ok",
        FilterVerdict::Unschedulable(_) => "full",
        FilterVerdict::Unresolvable(_) => "never",
        FilterVerdict::Error(why) => why.as_str(),
    });
    words.collect::<Vec<_>>().join(" ")
}

const LABELS: [(&str, &str); 4] = [
    ("a", "zone=1 node=a"),
    ("b", "zone=1 node=b"),
    ("x", "zone=2 node=x"),
    ("y", "zone=2 node=y"),
];

/// Two zones of two nodes, with so many pods labelled `foo` each.
fn four(counts: [usize; 4]) -> Vec<Place<'static>> {
    let places = LABELS.into_iter().zip(counts);
    places.map(|((name, labels), foo)| (name, labels, [foo, 0, 0])).collect()
}

#[test]
fn domains_differ_by_no_more_than_the_skew() {
    let (zone, by_node) = (|| hard("zone", 1, "foo"), |skew: i32| hard("node", skew, "foo"));
    let mut unlabelled = four([1, 1, 1, 1]);
    unlabelled[1].1 = "zon=1 node=b";
    for (labels, constraint, places, expected) in [
        ("foo=", zone(), four([0; 4]), "ok ok ok ok"),
        ("foo=", hard("zone", 1, "bar"), four([0; 4]), "ok ok ok ok"),
        ("foo=", with(zone(), "labelSelector", Value::Null), four([0, 0, 1, 1]), "ok ok ok ok"),
        ("foo=", zone(), four([2, 1, 0, 3]), "ok ok ok ok"),
        ("foo=", zone(), unlabelled, "ok never full full"),
        ("foo=", hard("rack", 1, "foo"), four([0; 4]), "never never never never"),
        ("foo=", by_node(1), four([2, 1, 0, 3]), "full full ok full"),
        ("foo=", by_node(2), four([2, 1, 0, 3]), "full ok ok full"),
        // It does not count itself.
        ("bar=", by_node(1), four([2, 1, 0, 3]), "full ok ok full"),
    ] {
        let own = spread(labels, std::slice::from_ref(&constraint));
        let nodes = places.iter().map(place).collect();
        assert_eq!(said(&own, nodes), expected, "{constraint} on {places:?}");
    }
}

#[test]
fn with_too_few_domains_the_least_counts_as_none() {
    let three =
        vec![("a", "node=a", [2, 0, 0]), ("b", "node=b", [2, 0, 0]), ("c", "node=c", [1, 0, 0])];
    for (key, wanted, places, expected) in [
        ("node", 4, three.clone(), "full full ok"),
        ("node", 2, three, "ok ok ok"),
        ("zone", 3, four([1, 1, 0, 1]), "full full ok ok"),
        ("zone", 1, four([1, 1, 0, 1]), "ok ok ok ok"),
    ] {
        let constraint = with(hard(key, 2, "foo"), "minDomains", json!(wanted));
        let nodes = places.iter().map(place).collect();
        assert_eq!(said(&spread("foo=", &[constraint]), nodes), expected, "{wanted} of {places:?}");
    }
}

#[test]
fn several_constraints_all_hold() {
    let (zone, by_node) = (hard("zone", 1, "foo"), hard("node", 1, "foo"));
    let other = hard("node", 1, "bar");
    let mut mixed = four([0; 4]);
    (mixed[0].2, mixed[3].2) = ([0, 1, 0], [0, 0, 1]);
    for (constraints, places, expected) in [
        ([zone.clone(), by_node.clone()], four([2, 1, 0, 3]), "full full ok full"),
        ([zone.clone(), by_node], four([2, 1, 0, 4]), "full full full full"),
        ([zone, other], mixed, "full full ok full"),
    ] {
        let own = spread("foo= bar=", &constraints);
        let nodes = places.iter().map(place).collect();
        assert_eq!(said(&own, nodes), expected, "{constraints:?} on {places:?}");
    }
}

#[test]
fn nodes_that_are_not_asked_for_are_no_domains() {
    let rule = |key: &str, operator: &str, values: &[&str]| {
        let expression = json!({"key": key, "operator": operator, "values": values});
        let terms = json!({"nodeSelectorTerms": [{"matchExpressions": [expression]}]});
        let rules = json!({"requiredDuringSchedulingIgnoredDuringExecution": terms});
        json!({"affinity": {"nodeAffinity": rules}})
    };
    let by_node = || hard("node", 1, "foo");
    let ignoring = || with(by_node(), "nodeAffinityPolicy", json!("Ignore"));
    let mut picked = four([1, 1, 0, 1]);
    for place in &mut picked[..3] {
        place.1 = match place.0 {
            "a" => "node=a foo=",
            "b" => "node=b foo=",
            _ => "node=x foo=",
        };
    }
    let selecting = json!({"nodeSelector": {"foo": ""}});
    // Other plugins refuse the nodes that the pod does not ask for.
    for (spec, constraint, places, expected) in [
        (rule("node", "In", &["a", "y"]), by_node(), four([2, 1, 0, 3]), "ok ok ok full"),
        (
            rule("node", "NotIn", &["b"]),
            hard("zone", 1, "foo"),
            four([0, 2, 0, 1]),
            "ok ok full full",
        ),
        (selecting.clone(), by_node(), picked.clone(), "full full ok ok"),
        (selecting, ignoring(), picked.clone(), "full full ok full"),
        (rule("foo", "In", &[""]), by_node(), picked.clone(), "full full ok ok"),
        (rule("foo", "In", &[""]), ignoring(), picked, "full full ok full"),
    ] {
        let mut spec = spec;
        spec["topologySpreadConstraints"] = json!([constraint]);
        let nodes = places.iter().map(place).collect();
        assert_eq!(said(&pod("p", "foo=", spec.clone()), nodes), expected, "{spec}");
    }
}

#[test]
fn tainted_nodes_are_no_domains_where_the_policy_says_so() {
    let tainted = || {
        let mut own = (**node("y", "node=y", &[]).node()).clone();
        let spec = json!({"taints": [{"key": "k", "effect": "NoSchedule"}]});
        own.spec = serde_json::from_value(spec).unwrap();
        let mut info = NodeInfo::new(Arc::new(own));
        info.add_pod(pod("y0", "foo=", json!({})));
        Arc::new(info)
    };
    let honoring = with(hard("node", 1, "foo"), "nodeTaintsPolicy", json!("Honor"));
    for (constraint, expected) in
        [(honoring, "full full ok ok"), (hard("node", 1, "foo"), "full full ok full")]
    {
        let mut nodes: Vec<_> = four([1, 1, 0, 0])[..3].iter().map(place).collect();
        nodes.push(tainted());
        assert_eq!(said(&spread("foo=", &[constraint]), nodes), expected);
    }
}

#[test]
fn pods_of_other_namespaces_and_those_that_leave_do_not_count() {
    let foo = |name: &str| pod(name, "foo=", json!({}));
    let place = |index: usize, pods: &[Arc<PodInfo>]| node(LABELS[index].0, LABELS[index].1, pods);
    let others = [foo("ns1/a1"), foo("ns2/a2")];
    let nodes =
        vec![place(0, &others), place(1, &[]), place(2, &[foo("x1")]), place(3, &[foo("y1")])];
    let own = spread("foo=", &[hard("zone", 1, "foo")]);
    assert_eq!(said(&own, nodes), "ok ok full full");

    let mut leaving = (**foo("a").pod()).clone();
    leaving.metadata.deletion_timestamp =
        serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap();
    let leaving = Arc::new(PodInfo::new(Arc::new(leaving)));
    let nodes = vec![place(0, &[leaving]), place(1, &[foo("b")])];
    assert_eq!(said(&spread("foo=", &[hard("node", 1, "foo")]), nodes), "ok full");
}
