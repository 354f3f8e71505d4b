//! How many pods are counted where, and that it is the same whether they were there or are added in thought.

use super::super::{Counts, Hard, InterPodAffinity, Own, Pairs, add, tally_pod};
use crate::{
    CycleState, PodInfo, PreFilter, PreFilterExtensions, Snapshot,
    plugins::fixtures::{node, pod},
};
use serde_json::{Value, json};
use std::sync::Arc;

const NONE: &[&str] = &[];

/// Each term wants one of some values of a label, or that one exists.
fn rules(terms: &[(&str, &str, &[&str])]) -> Value {
    let term = |(key, operator, values): &(&str, &str, &[&str])| {
        let (label, key) = key.split_once('@').unwrap();
        let expression = json!({"key": label, "operator": operator, "values": values});
        json!({"topologyKey": key, "labelSelector": {"matchExpressions": [expression]}})
    };
    let terms: Vec<_> = terms.iter().map(term).collect();
    json!({"requiredDuringSchedulingIgnoredDuringExecution": terms})
}

/// From `key=value:count`.
fn pairs(text: &str) -> Pairs {
    let mut pairs = Pairs::new();
    for own in text.split_whitespace() {
        let (place, count) = own.split_once(':').unwrap();
        let (key, value) = place.split_once('=').unwrap();
        add(&mut pairs, key, value, count.parse().unwrap());
    }
    pairs
}

fn with(name: &str, labels: &str, near: &Value, apart: &Value) -> Arc<PodInfo> {
    pod(name, labels, json!({"affinity": {"podAffinity": near, "podAntiAffinity": apart}}))
}

/// Two nodes of a region and one of another, each of a zone of its own.
fn cluster(pods: [Vec<Arc<PodInfo>>; 3]) -> Snapshot {
    let places = [("a", "region=1 zone=11"), ("b", "region=1 zone=12"), ("c", "region=2 zone=21")];
    let nodes = places.iter().zip(pods).map(|((name, labels), pods)| node(name, labels, &pods));
    Snapshot::new(nodes.collect())
}

fn counted(state: &CycleState) -> Counts {
    (*state.value::<Hard>().unwrap().counts).clone()
}

fn prepared(own: &PodInfo, nodes: &Snapshot) -> CycleState {
    let mut state = CycleState::of(nodes.clone());
    InterPodAffinity::default().pre_filter(&mut state, own, nodes);
    state
}

#[test]
fn pods_added_in_thought_count_like_others() {
    let bar = rules(&[("foo@region", "In", &["bar"])]);
    let both = rules(&[
        ("foo@region", "In", &["bar", "buzz"]),
        ("service@zone", "NotIn", &["bar", "security", "test"]),
    ]);
    let none = Value::Null;
    let foo = "foo=bar";
    // What the pod must be near and apart from, of whom another is apart, who comes and where; what is counted.
    for (near, apart, other, comes, place, affinity, anti, existing) in [
        (
            &none,
            &bar,
            with("o2", "", &none, &bar),
            with("x", foo, &none, &bar),
            1,
            "",
            "region=1:2",
            "region=1:1 region=2:1",
        ),
        (
            &none,
            &both,
            with("o2", "", &none, &bar),
            with("x", foo, &none, &both),
            0,
            "",
            "region=1:2 zone=11:2 zone=21:1",
            "region=1:1 zone=11:1 region=2:1",
        ),
        (
            &both,
            &none,
            with("o2", "", &both, &bar),
            with("x", foo, &none, &both),
            0,
            "region=1:2 zone=11:2",
            "",
            "region=1:1 zone=11:1 region=2:1",
        ),
    ] {
        let own = with("p", foo, near, apart);
        let there = || [vec![with("o1", foo, &none, &none)], vec![], vec![other.clone()]];
        let nodes = cluster(there());
        let mut later = there();
        later[place].push(comes.clone());
        let expected =
            Counts { existing_anti: pairs(existing), affinity: pairs(affinity), anti: pairs(anti) };
        assert_eq!(counted(&prepared(&own, &cluster(later))), expected);
        let mut state = prepared(&own, &nodes);
        let (before, node) = (counted(&state), &nodes.nodes()[place]);
        InterPodAffinity::default().add_pod(&mut state, &own, &comes, node);
        assert_eq!(counted(&state), expected);
        InterPodAffinity::default().remove_pod(&mut state, &own, &comes, node);
        assert_eq!(counted(&state), before);
    }
}

#[test]
fn a_pod_counts_once_for_each_term_and_near_only_if_all_mean_it() {
    let exists = |keys: &str| {
        let terms: Vec<_> = keys.split_whitespace().collect();
        rules(&terms.iter().map(|key| (*key, "Exists", NONE)).collect::<Vec<_>>())
    };
    let (a, ab, ac) = ("a@host", "a@host b@host", "a@host c@host");
    // The labels of who is there, what is wanted near and apart, and how many count.
    for (there, near, apart, affinity, anti) in [
        (None, "", "", "", ""),
        (Some("a="), "", "", "", ""),
        (Some("b="), a, a, "", ""),
        (Some("a="), a, a, "host=n:1", "host=n:1"),
        (Some("a= b="), ab, a, "host=n:2", "host=n:1"),
        (Some("a="), ab, ab, "", "host=n:1"),
        (Some("a= b="), ac, ac, "", "host=n:1"),
        (Some("b="), ab, ab, "", "host=n:1"),
    ] {
        let others: Vec<_> = there.iter().map(|labels| pod("o", labels, json!({}))).collect();
        let nodes = Snapshot::new(vec![node("n", "host=n", &others)]);
        let own = with("p", "", &exists(near), &exists(apart));
        let (resolved, mut counts) = (Own::new(&own, &nodes), Counts::default());
        for other in &others {
            tally_pod(&mut counts, &resolved, &own, other, &nodes.nodes()[0], 1);
        }
        let expected = Counts { affinity: pairs(affinity), anti: pairs(anti), ..Counts::default() };
        assert_eq!(counts, expected, "{near:?} and {apart:?} beside {there:?}");
    }
}
