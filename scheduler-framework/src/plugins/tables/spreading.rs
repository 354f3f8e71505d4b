//! How PodTopologySpread scores nodes: the fewer pods alike are around, the more.

use crate::{
    ClusterObjects, NodeInfo, PodInfo, PodTopologySpread, Snapshot,
    plugins::fixtures::{node, pod, scores},
};
use serde_json::{Value, json};
use std::sync::Arc;

const HOSTNAME: &str = "kubernetes.io/hostname";

/// A node, its labels, and how many pods it has that are labelled `foo`, both `foo` and `bar`, and `bar`.
pub(super) type Place<'a> = (&'a str, &'a str, [usize; 3]);

/// `HOST` stands for the label by which a node says its name.
pub(super) fn place((name, labels, [foo, both, bar]): &Place<'_>) -> Arc<NodeInfo> {
    let kinds = [("foo=", *foo), ("foo= bar=", *both), ("bar=", *bar)];
    let of = |(labels, count): (&'static str, usize)| {
        (0..count).map(move |index| pod(&format!("{name}-{labels}{index}"), labels, json!({})))
    };
    let pods: Vec<_> = kinds.into_iter().flat_map(of).collect();
    node(name, &labels.replace("HOST", &format!("{HOSTNAME}={name}")), &pods)
}

/// Pods with a label are to be spread.
fn soft(key: &str, max_skew: i32, label: &str) -> Value {
    json!({"topologyKey": key, "maxSkew": max_skew, "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchExpressions": [{"key": label, "operator": "Exists"}]}})
}

fn with(mut constraint: Value, key: &str, value: Value) -> Value {
    constraint[key] = value;
    constraint
}

fn spread(labels: &str, constraints: &[Value]) -> Arc<PodInfo> {
    pod("p", labels, json!({"topologySpreadConstraints": constraints}))
}

/// The first few nodes are the candidates.
fn scored(own: &PodInfo, nodes: &[Arc<NodeInfo>], candidates: usize) -> Option<Vec<i64>> {
    let all = Snapshot::new(nodes.to_vec());
    scores(&PodTopologySpread::default(), own, &all, &nodes[..candidates])
}

#[test]
fn one_constraint_prefers_domains_with_few_pods() {
    let host = |skew: i32| soft(HOSTNAME, skew, "foo");
    let four = |counts: [usize; 4]| -> Vec<Place<'static>> {
        let names = ["a", "b", "c", "d"].into_iter().zip(counts);
        names.map(|(name, foo)| (name, "HOST", [foo, 0, 0])).collect()
    };
    for (constraint, places, candidates, expected) in [
        (host(1), four([0; 4]), 2, &[100, 100][..]),
        (host(1), four([2, 1, 0, 0]), 1, &[100]),
        (host(1), four([1, 1, 0, 0]), 2, &[100, 100]),
        (host(1), four([2, 1, 0, 3]), 4, &[20, 60, 100, 0]),
        (with(host(1), "labelSelector", Value::Null), four([2, 1, 0, 3]), 4, &[100; 4]),
        (host(2), four([2, 1, 0, 3]), 4, &[33, 66, 100, 16]),
        (host(3), four([4, 3, 2, 1]), 4, &[44, 66, 77, 100]),
        (host(1), four([4, 2, 1, 3]), 3, &[33, 83, 100]),
        // The second lacks the label.
        (
            host(1),
            vec![
                ("a", "HOST", [4, 0, 0]),
                ("b", "n=b", [2, 0, 0]),
                ("x", "HOST", [1, 0, 0]),
                ("y", "HOST", [3, 0, 0]),
            ],
            3,
            &[16, 0, 100],
        ),
        (
            soft("zone", 1, "foo"),
            vec![
                ("a", "zone=1", [4, 0, 0]),
                ("b", "zone=1", [2, 0, 0]),
                ("x", "zone=2", [1, 0, 0]),
                ("y", "zone=2", [3, 0, 0]),
            ],
            3,
            &[75, 75, 100],
        ),
        (
            with(soft("node", 2, "foo"), "minDomains", json!(10)),
            vec![
                ("a", "node=a", [2, 0, 0]),
                ("b", "node=b", [2, 0, 0]),
                ("c", "node=c", [1, 0, 0]),
            ],
            3,
            &[75, 75, 100],
        ),
    ] {
        let own = spread("foo=", std::slice::from_ref(&constraint));
        let nodes: Vec<_> = places.iter().map(place).collect();
        let found = scored(&own, &nodes, candidates);
        assert_eq!(found.as_deref(), Some(expected), "{constraint} on {places:?}");
    }
}

#[test]
fn scores_of_several_constraints_add_up() {
    let zone = |label: &str| soft("zone", 1, label);
    let host = |label: &str| soft(HOSTNAME, 1, label);
    let zones = |counts: [[usize; 3]; 4], order: [usize; 4]| -> Vec<Place<'static>> {
        let places = [
            ("a", "zone=1 HOST"),
            ("b", "zone=1 HOST"),
            ("x", "zone=2 HOST"),
            ("y", "zone=2 HOST"),
        ];
        order.into_iter().map(|own| (places[own].0, places[own].1, counts[own])).collect()
    };
    let (straight, crossed) = ([0, 1, 2, 3], [0, 2, 1, 3]);
    let mixed = [[1, 0, 0], [0, 1, 0], [0, 0, 0], [1, 0, 1]];
    for (constraints, places, candidates, expected) in [
        (
            [zone("foo"), host("foo")],
            zones([[2, 0, 0], [1, 0, 0], [2, 0, 0], [4, 0, 0]], crossed),
            2,
            &[100, 63][..],
        ),
        (
            [zone("foo"), zone("bar")],
            zones([[1, 1, 0], [0, 1, 0], [0, 0, 0], [2, 1, 0]], crossed),
            2,
            &[85, 100],
        ),
        ([zone("foo"), host("bar")], zones(mixed, straight), 4, &[60, 20, 100, 60]),
        (
            [zone("foo"), host("bar")],
            zones([[0, 0, 0], [0, 0, 1], [1, 0, 0], [0, 1, 0]], straight),
            4,
            &[100, 60, 40, 0],
        ),
        ([zone("foo"), host("bar")], zones(mixed, straight), 3, &[50, 25, 100]),
    ] {
        let nodes: Vec<_> = places.iter().map(place).collect();
        let found = scored(&spread("foo= bar=", &constraints), &nodes, candidates);
        assert_eq!(found.as_deref(), Some(expected), "{constraints:?} on {places:?}");
    }
}

#[test]
fn who_does_not_count_is_left_out() {
    let own = spread("foo=", &[soft(HOSTNAME, 1, "foo")]);
    let host = |name: &str, pods: &[Arc<PodInfo>]| node(name, &format!("{HOSTNAME}={name}"), pods);
    let foo = |name: &str| pod(name, "foo=", json!({}));
    let nodes = [host("a", &[foo("other/a1"), foo("a2")]), host("b", &[foo("b1"), foo("b2")])];
    assert_eq!(scored(&own, &nodes, 2), Some(vec![100, 33]), "those of other namespaces");

    let mut leaving = (**foo("a").pod()).clone();
    leaving.metadata.deletion_timestamp =
        serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap();
    let leaving = Arc::new(PodInfo::new(Arc::new(leaving)));
    let nodes = [host("a", &[leaving]), host("b", &[foo("b")])];
    assert_eq!(scored(&own, &nodes, 2), Some(vec![100, 0]), "those that leave");
}

#[test]
fn nodes_that_policies_leave_out_have_nobody() {
    let by_node = || soft("node", 1, "foo");
    let ignoring = || with(by_node(), "nodeAffinityPolicy", json!("Ignore"));
    let honoring = || with(by_node(), "nodeTaintsPolicy", json!("Honor"));
    let selecting = json!({"nodeSelector": {"foo": ""}});
    let expression = json!({"key": "foo", "operator": "In", "values": [""]});
    let terms = json!({"nodeSelectorTerms": [{"matchExpressions": [expression]}]});
    let rules = json!({"requiredDuringSchedulingIgnoredDuringExecution": terms});
    let requiring = json!({"affinity": {"nodeAffinity": rules}});
    let (left_out, counted) = ([0, 33, 100], [66, 100, 100]);
    let pods = |name: &str, count: usize| -> Vec<_> {
        (0..count).map(|index| pod(&format!("{name}{index}"), "foo=", json!({}))).collect()
    };
    let tainted = {
        let mut own = (**node("c", "node=c", &[]).node()).clone();
        own.spec =
            serde_json::from_value(json!({"taints": [{"key": "k", "effect": "NoSchedule"}]}))
                .unwrap();
        let mut info = NodeInfo::new(Arc::new(own));
        pods("c", 1).into_iter().for_each(|own| info.add_pod(own));
        Arc::new(info)
    };
    let other = node("c", "node=c", &pods("c", 1));
    for (constraint, spec, last, expected) in [
        (by_node(), &selecting, &other, left_out),
        (ignoring(), &selecting, &other, counted),
        (by_node(), &requiring, &other, left_out),
        (ignoring(), &requiring, &other, counted),
        (honoring(), &json!({}), &tainted, left_out),
        (by_node(), &json!({}), &tainted, counted),
    ] {
        let mut spec = spec.clone();
        spec["topologySpreadConstraints"] = json!([constraint]);
        let nodes = [
            node("a", "node=a foo=", &pods("a", 2)),
            node("b", "node=b foo=", &pods("b", 1)),
            last.clone(),
        ];
        let found = scored(&pod("p", "foo=", spec.clone()), &nodes, 3);
        assert_eq!(found, Some(expected.to_vec()), "{spec}");
    }
}

#[test]
fn pods_are_alike_by_their_own_labels_where_keys_say_so() {
    let keyed = |key: &str, label: &str| {
        let any = with(soft(key, 1, "any"), "labelSelector", json!({}));
        with(any, "matchLabelKeys", json!([label]))
    };
    let constraints = [keyed("zone", "foo"), keyed(HOSTNAME, "bar")];
    let nodes: Vec<_> = [
        ("a", "zone=1 HOST", [1, 0, 0]),
        ("b", "zone=1 HOST", [0, 1, 0]),
        ("c", "zone=2 HOST", [1, 0, 1]),
        ("d", "zone=2 HOST", [0, 0, 0]),
    ]
    .iter()
    .map(place)
    .collect();
    let found = scored(&spread("foo= bar=", &constraints), &nodes, 4);
    assert_eq!(found, Some(vec![60, 20, 60, 100]));
}

#[test]
fn clusters_without_zones_spread_over_nodes_by_default() {
    let service = json!({"metadata": {"name": "s", "namespace": "d"},
        "spec": {"selector": {"foo": ""}}});
    let services = vec![Arc::new(serde_json::from_value(service).unwrap())];
    let objects = ClusterObjects { services: Arc::new(services), ..ClusterObjects::default() };
    let places = [
        ("a", "HOST", [4, 0, 0]),
        ("b", "HOST", [3, 0, 0]),
        ("c", "HOST", [2, 0, 0]),
        ("d", "HOST", [1, 0, 0]),
    ];
    let nodes: Vec<_> = places.iter().map(place).collect();
    let all = Snapshot::new(nodes.clone()).with_objects(Arc::new(objects));
    let own = pod("p", "foo=", json!({}));
    let found = scores(&PodTopologySpread::default(), &own, &all, &nodes);
    assert_eq!(found, Some(vec![44, 66, 77, 100]));
}
