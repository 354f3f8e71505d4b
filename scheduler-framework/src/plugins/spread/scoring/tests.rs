//! What is known before nodes are scored: which are not ranked, and how much each constraint weighs.

use super::{IGNORED, Soft, weight};
use crate::{
    ClusterObjects, CycleState, NodeInfo, PodInfo, PodTopologySpread, PreScore, PreScoreVerdict,
    Score, Snapshot,
    plugins::fixtures::{node, pod},
};
use k8s_openapi::api::{apps::v1::ReplicaSet, core::v1::TopologySpreadConstraint};
use serde_json::{Value, json};
use std::sync::Arc;

const ZONE: &str = "topology.kubernetes.io/zone";

fn constraint(key: &str, max_skew: i32, action: &str, more: Value) -> Value {
    let exists = json!({"matchExpressions": [{"key": "foo", "operator": "Exists"}]});
    let mut own = json!({"topologyKey": key, "maxSkew": max_skew, "whenUnsatisfiable": action,
        "labelSelector": exists});
    for (key, value) in more.as_object().unwrap() {
        own[key] = value.clone();
    }
    own
}

fn soft(key: &str, more: Value) -> Value {
    constraint(key, 1, "ScheduleAnyway", more)
}

fn spread(spec: &Value, constraints: &[Value]) -> Arc<PodInfo> {
    let mut spec = spec.clone();
    spec["topologySpreadConstraints"] = json!(constraints);
    pod("p", "foo=", spec)
}

/// A pod of the ReplicaSet `own`, in the namespace `d`.
fn owned(labels: &str, constraints: &[Value]) -> Arc<PodInfo> {
    let spec = json!({"topologySpreadConstraints": constraints});
    let mut own = (**pod("p", labels, spec).pod()).clone();
    let owner = json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "own", "uid": "r",
        "controller": true}]);
    own.metadata.owner_references = serde_json::from_value(owner).unwrap();
    Arc::new(PodInfo::new(Arc::new(own)))
}

/// The nodes, with a ReplicaSet of this name that has pods labelled `foo`.
fn beside(name: &str, nodes: &[Arc<NodeInfo>]) -> Snapshot {
    let selector = json!({"matchExpressions": [{"key": "foo", "operator": "Exists"}]});
    let own = json!({"metadata": {"name": name, "namespace": "d"}, "spec": {"selector": selector}});
    let own: Arc<ReplicaSet> = Arc::new(serde_json::from_value(own).unwrap());
    let objects = ClusterObjects { replica_sets: Arc::new(vec![own]), ..ClusterObjects::default() };
    Snapshot::new(nodes.to_vec()).with_objects(Arc::new(objects))
}

/// `HOST` stands for the label by which a node says its name; one that ends with `!` is closed.
fn place((name, labels): &(&str, &str)) -> Arc<NodeInfo> {
    let host = format!("{}={name}", super::HOSTNAME);
    let mut own = (**node(name, &labels.replace("HOST", &host), &[]).node()).clone();
    if name.ends_with('!') {
        let spec = json!({"taints": [{"key": "k", "effect": "NoSchedule"}]});
        own.spec = serde_json::from_value(spec).unwrap();
    }
    Arc::new(NodeInfo::new(Arc::new(own)))
}

/// The key and skew of each constraint, the weights as bits, and the nodes that are not ranked; `None` where there is
/// nothing to be scored.
type Known = Option<(Vec<(String, i64)>, Vec<u64>, String)>;

fn known(plugin: &PodTopologySpread, own: &PodInfo, nodes: &Snapshot) -> Known {
    let mut state = CycleState::of(nodes.clone());
    match plugin.pre_score(&mut state, own, nodes.nodes()) {
        PreScoreVerdict::Skip => return None,
        verdict => assert_eq!(verdict, PreScoreVerdict::Continue),
    }
    let soft = state.value::<Soft>().unwrap();
    let ranked = |node: &&Arc<NodeInfo>| plugin.score(&state, own, node) != IGNORED;
    let left_out: Vec<_> =
        nodes.nodes().iter().filter(|node| !ranked(node)).map(|node| node.name()).collect();
    let constraints = soft.constraints.iter().map(|own| (own.key.clone(), own.max_skew));
    let weights = soft.weights.iter().map(|own| own.to_bits()).collect();
    Some((constraints.collect(), weights, left_out.join(" ")))
}

/// Constraints, and by how many domains each is weighed.
fn expected(constraints: &[(&str, i64, usize)], left_out: &str) -> Known {
    let all = constraints.iter().map(|(key, skew, _)| ((*key).to_owned(), *skew));
    let weights = constraints.iter().map(|(_, _, size)| weight(*size).to_bits());
    Some((all.collect(), weights.collect(), left_out.to_owned()))
}

#[test]
fn domains_of_candidates_weigh_whoever_counts_in_them() {
    let none = || json!({});
    let host = super::HOSTNAME;
    let selecting = || json!({"nodeSelector": {"foo": ""}});
    let expression = json!({"key": "foo", "operator": "In", "values": [""]});
    let terms = json!({"nodeSelectorTerms": [{"matchExpressions": [expression]}]});
    let rules = json!({"requiredDuringSchedulingIgnoredDuringExecution": terms});
    let requiring = || json!({"affinity": {"nodeAffinity": rules}});
    let ignoring = || soft("zone", json!({"nodeAffinityPolicy": "Ignore"}));
    let honoring = || soft("zone", json!({"nodeTaintsPolicy": "Honor"}));
    let both = || vec![soft("zone", none()), soft(host, none())];
    let zone = || vec![soft("zone", none())];
    let usual = [("a", "zone=1 HOST"), ("b", "zone=1 HOST"), ("x", "zone=2 HOST")];
    let lacking = [("a", "zone=1 HOST"), ("b", "zone=1 HOST"), ("x", "HOST")];
    let picked = [("a", "zone=1 foo= HOST"), ("b", "zone=1 foo= HOST"), ("x", "zone=2 HOST")];
    let closed = [("a", "zone=1 foo= HOST"), ("b", "zone=1 foo= HOST"), ("x!", "zone=2 HOST")];
    for (spec, constraints, places, sizes, left_out) in [
        (none(), both(), usual, &[2, 3][..], ""),
        (none(), vec![soft("zone", json!({"labelSelector": null}))], usual, &[2], ""),
        (none(), both(), lacking, &[1, 2], "x"),
        (selecting(), zone(), picked, &[2], ""),
        (selecting(), vec![ignoring()], picked, &[2], ""),
        (requiring(), zone(), picked, &[2], ""),
        (requiring(), vec![ignoring()], picked, &[2], ""),
        (none(), vec![honoring()], closed, &[2], ""),
        (none(), zone(), closed, &[2], ""),
    ] {
        let nodes = Snapshot::new(places.iter().map(place).collect());
        let own = spread(&spec, &constraints);
        let keys = ["zone", host].into_iter().zip(sizes);
        let all: Vec<_> = keys.map(|(key, size)| (key, 1, *size)).collect();
        let found = known(&PodTopologySpread::default(), &own, &nodes);
        assert_eq!(found, expected(&all, left_out), "{constraints:?} on {places:?}");
    }
}

fn defaults(constraints: &[(&str, i32, &str)]) -> PodTopologySpread {
    let of = |(key, max_skew, action): &(&str, i32, &str)| TopologySpreadConstraint {
        max_skew: *max_skew,
        topology_key: (*key).to_owned(),
        when_unsatisfiable: (*action).to_owned(),
        ..TopologySpreadConstraint::default()
    };
    PodTopologySpread::with_defaults(constraints.iter().map(of).collect())
}

#[test]
fn defaults_weigh_for_pods_of_a_replica_set_that_have_no_constraints() {
    let (must, may, host) = ("DoNotSchedule", "ScheduleAnyway", super::HOSTNAME);
    // Nodes without a zone are ranked by the system's defaults, as if they were one more zone.
    let mars = format!("{ZONE}=mars HOST");
    let nodes = [("a", &*mars), ("b", &*mars), ("c", "HOST"), ("d", "HOST")];
    let nodes: Vec<_> = nodes.iter().map(place).collect();
    let own = owned("foo=tar baz=sup", &[]);
    let found = known(&PodTopologySpread::default(), &own, &beside("own", &nodes));
    assert_eq!(found, expected(&[(host, 3, 4), (ZONE, 5, 2)], ""));

    let three = defaults(&[(host, 1, may), ("rack", 2, must), ("planet", 2, may)]);
    let nodes = [place(&("a", "rack=1 planet=mars HOST"))];
    let found = known(&three, &own, &beside("own", &nodes));
    assert_eq!(found, expected(&[(host, 1, 1), ("planet", 2, 1)], ""));

    let galaxy = defaults(&[("galaxy", 2, may)]);
    let sup = json!({"labelSelector": {"matchLabels": {"baz": "sup"}}});
    let constraints = [constraint("zone", 1, must, json!({})), constraint("planet", 2, may, sup)];
    let nodes = [place(&("a", "planet=mars galaxy=andromeda"))];
    let own = owned("foo=bar baz=sup", &constraints);
    let found = known(&galaxy, &own, &beside("own", &nodes));
    assert_eq!(found, expected(&[("planet", 2, 1)], ""));
}

#[test]
fn pods_without_soft_constraints_are_not_scored() {
    let nodes = [place(&("a", "HOST planet=mars")), place(&("b", "HOST"))];
    let plain = pod("p", "", json!({}));
    assert_eq!(known(&defaults(&[]), &plain, &beside("own", &nodes)), None);
    let planet = defaults(&[("planet", 2, "ScheduleAnyway")]);
    let own = owned("foo=bar baz=sup", &[]);
    assert_eq!(known(&planet, &own, &beside("other", &nodes)), None, "it is not its own");
    let must = [constraint("planet", 1, "DoNotSchedule", json!({}))];
    assert_eq!(known(&planet, &owned("foo=", &must), &beside("own", &nodes)), None);
}
