//! Which nodes InterPodAffinity leaves a pod that must be near others or apart from them, and what it says of the rest.

use super::told;
use crate::{
    InterPodAffinity, PodInfo, Snapshot,
    plugins::fixtures::{filter, namespaces, node, pod, scores},
};
use serde_json::{Value, json};
use std::sync::Arc;

const OK: &str = "ok";
const ALONE: &str = "never: node(s) didn't match pod affinity rules";
const APART: &str = "full: node(s) didn't match pod anti-affinity rules";
const SHUNNED: &str = "full: node(s) didn't satisfy existing pods anti-affinity rules";

/// `a=x|y`, `a!=x|y`, `a` or `!a`.
fn requirement(text: &str) -> Value {
    let of = |key: &str, operator: &str, values: &str| {
        let values: Vec<_> = values.split('|').filter(|own| !own.is_empty()).collect();
        json!({"key": key, "operator": operator, "values": values})
    };
    if let Some((key, values)) = text.split_once("!=") {
        return of(key, "NotIn", values);
    }
    match (text.split_once('='), text.strip_prefix('!')) {
        (Some((key, values)), _) => of(key, "In", values),
        (None, Some(key)) => of(key, "DoesNotExist", ""),
        (None, None) => of(text, "Exists", ""),
    }
}

/// Requirements of pods and where they are: `a=x&!b@zone`.
fn term(text: &str) -> Value {
    let (wants, key) = text.split_once('@').unwrap();
    let all: Vec<_> = wants.split('&').map(requirement).collect();
    json!({"topologyKey": key, "labelSelector": {"matchExpressions": all}})
}

/// What a pod must be near, and what it must be apart from.
pub(super) fn wishes(near: &str, apart: &str) -> Value {
    let rules = |text: &str| {
        let terms: Vec<_> = text.split_whitespace().map(term).collect();
        json!({"requiredDuringSchedulingIgnoredDuringExecution": terms})
    };
    json!({"affinity": {"podAffinity": rules(near), "podAntiAffinity": rules(apart)}})
}

/// A pod's labels, what it must be near, and what apart from.
type Wanting<'a> = (&'a str, &'a str, &'a str);
/// A node's labels, and the pods on it.
type Place<'a> = (&'a str, &'a [Wanting<'a>]);

fn said(own: &PodInfo, nodes: Snapshot) -> Vec<String> {
    let verdicts = filter(&InterPodAffinity::default(), own, &nodes);
    verdicts.into_iter().map(told).collect()
}

/// Labels may begin with a namespace: `x/a=b`.
fn asker(name: &str, (labels, near, apart): &Wanting<'_>) -> Arc<PodInfo> {
    let (namespace, labels) = labels.split_once('/').unwrap_or(("d", *labels));
    pod(&format!("{namespace}/{name}"), labels, wishes(near, apart))
}

fn cluster(places: &[Place<'_>]) -> Snapshot {
    let place = |(index, (labels, pods)): (usize, &Place<'_>)| {
        let pods = pods.iter().enumerate();
        let pods: Vec<_> = pods.map(|(n, own)| asker(&format!("o{index}-{n}"), own)).collect();
        node(&format!("n{index}"), labels, &pods)
    };
    Snapshot::new(places.iter().enumerate().map(place).collect())
}

const SCAN: &str = "service=scan";
const S1: &str = "security=S1";
const HERE: &str = "region=r1 zone=z11";

#[test]
fn one_node_is_asked_in_both_directions() {
    let scan: &[Wanting<'_>] = &[(SCAN, "", "")];
    let near = "service=scan|v@region";
    for (own, there, expected) in [
        (("", "", ""), &[][..], OK),
        ((S1, near, ""), scan, OK),
        ((S1, "service!=scan3|v3@region", ""), scan, OK),
        ((SCAN, "service=virus|v@region", ""), scan, ALONE),
        ((S1, "service&!wrong@region service=scan&service!=wrong@region", ""), scan, OK),
        ((S1, "service&!wrong@region service=scan2&service!=wrong@region", ""), scan, ALONE),
        ((S1, near, "service=virus|v@node"), scan, OK),
        ((S1, near, "service=virus|v@node"), &[(SCAN, "", "service=virus|v@node")], OK),
        ((S1, near, "service=scan|v@zone"), scan, APART),
        ((SCAN, near, "service=virus|v@node"), &[(SCAN, "", "service=scan|v@zone")], SHUNNED),
        ((SCAN, "service!=scan|v@region", ""), &[], ALONE),
        ((SCAN, "", ""), &[(SCAN, "", "service=scan|v@zone")], SHUNNED),
        ((SCAN, "", ""), &[(SCAN, "", "service!=scan|v@zone")], OK),
        // Its own terms are asked first.
        ((SCAN, "", "service@region security@region"), &[(S1, "", "security@zone")], APART),
        ((SCAN, "", "service@zone security@zone"), &[(S1, "", "security@zone")], APART),
        ((S1, "", "security@zone"), &[(SCAN, "", "service@zone security@zone")], SHUNNED),
        (("a= x=", "", "a@zone d@zone"), &[("d= x=", "", "a@zone d@zone")], APART),
        (("d= x=", "", "a@zone d@zone"), &[("a= x=", "", "a@zone d@zone")], APART),
    ] {
        let found = said(&asker("p", &own), cluster(&[(HERE, there)]));
        assert_eq!(found, [expected], "{own:?} beside {there:?}");
    }
}

#[test]
fn namespaces_are_named_or_picked_by_their_labels() {
    let known =
        namespaces(&[("s1", "team=1"), ("s2", "team=1"), ("s3", "team=2"), ("s4", "team=2")]);
    let picking = json!({"matchExpressions": [{"key": "team", "operator": "In", "values": ["1"]}]});
    let none = Value::Null;
    let (near, apart) = ("podAffinity", "podAntiAffinity");
    for (own, kind, named, picked, other, expected) in [
        ("d", near, json!(["elsewhere"]), &none, "s1", ALONE),
        ("d", near, json!(["s1"]), &none, "s1", OK),
        ("d", near, none.clone(), &picking, "s1", OK),
        ("d", near, none.clone(), &picking, "s3", ALONE),
        ("s1", apart, none.clone(), &picking, "s2", APART),
        ("s1", apart, none.clone(), &json!({}), "s2", APART),
        ("s1", apart, none.clone(), &picking, "s3", OK),
        ("s1", apart, none.clone(), &none, "s2", OK),
    ] {
        let mut wanted = term("service=scan|v@zone");
        (wanted["namespaces"], wanted["namespaceSelector"]) = (named, picked.clone());
        let rules = json!({"requiredDuringSchedulingIgnoredDuringExecution": [wanted]});
        let own = pod(&format!("{own}/p"), S1, json!({"affinity": {kind: rules}}));
        let there = format!("{other}/{SCAN}");
        let nodes = cluster(&[(HERE, &[(there.as_str(), "", "")])]).with_objects(known.clone());
        assert_eq!(said(&own, nodes), [expected], "{:?} beside {other}", own.affinity());
    }
}

/// Three regions and zones, of which two are one.
const CHINA: &str = "region=China";
const CHINA_AZ: &str = "region=China az=az1";
const INDIA: &str = "region=India";
const Z1: &str = "region=r1 zone=z1";
const Z2: &str = "region=r1 zone=z2";
const Z3: &str = "region=r1 zone=z3";

#[test]
fn places_are_all_nodes_with_one_value_of_a_label() {
    let bar: &[Wanting<'_>] = &[("foo=bar", "", "")];
    let both: &[Wanting<'_>] = &[("foo=x bar=x", "", "")];
    let (foo, two) = (&[("foo=x", "", "")][..], &[("bar=x", "", "")][..]);
    let collection = ("foo=bar service=scan", "foo=bar@zone service=scan@zone", "");
    let shy = |apart: &'static str| ("", "", apart);
    let plain = ("foo=x bar=x", "", "");
    for (own, places, expected) in [
        (
            ("", "foo=bar@region", ""),
            &[(CHINA, bar), (CHINA_AZ, &[]), (INDIA, &[])][..],
            &[OK, OK, ALONE][..],
        ),
        // The first of a collection may begin anywhere where there is such a label; who is there is meant by one term only.
        (collection, &[(Z1, bar), (Z2, &[])], &[OK, OK]),
        (collection, &[(CHINA, bar), (INDIA, &[])], &[ALONE, ALONE]),
        (shy("foo=bar@region"), &[(Z1, bar), (Z2, &[])], &[APART, APART]),
        (shy("foo=x@region bar=x@zone"), &[(Z1, both), (Z2, &[])], &[APART, APART]),
        (
            shy("foo=bar@region"),
            &[(CHINA, bar), (CHINA_AZ, &[]), (INDIA, &[])],
            &[APART, APART, OK],
        ),
        // The last has a pod that would shun it, were it of the same namespace.
        (
            ("NS1/foo=123", "", "foo=bar@region"),
            &[
                (CHINA, &[("NS1/foo=bar", "", "")]),
                (CHINA_AZ, &[]),
                (INDIA, &[("NS2/", "", "foo=123@region")]),
            ],
            &[APART, APART, OK],
        ),
        (plain, &[(Z1, &[("", "", "foo@none")]), (Z1, &[])], &[OK, OK]),
        (shy("foo@none"), &[(Z1, foo), (Z1, &[])], &[OK, OK]),
        (
            plain,
            &[(Z1, &[("", "", "foo@zone"), ("", "", "bar@region")]), (Z2, &[])],
            &[SHUNNED, SHUNNED],
        ),
        (shy("foo@zone bar@region"), &[(Z1, foo), (Z2, two)], &[APART, APART]),
        (plain, &[(Z1, &[("", "", "foo@none bar@zone")]), (Z2, &[])], &[SHUNNED, OK]),
        (shy("foo@none bar@zone"), &[(Z1, both), (Z2, &[])], &[APART, OK]),
        (plain, &[(Z1, &[("", "", "foo@region bar@zone")]), (Z2, &[])], &[SHUNNED, SHUNNED]),
        (shy("foo@region bar@zone"), &[(Z1, both), (Z2, &[])], &[APART, APART]),
        (
            plain,
            &[
                (Z1, &[("", "", "foo@zone a@zone")]),
                (Z2, &[("", "", "bar@zone b@zone")]),
                (Z3, &[]),
            ],
            &[SHUNNED, SHUNNED, OK],
        ),
        // All terms must mean one and the same pod.
        (("", "foo@region bar@zone", ""), &[(Z1, both), (Z1, &[])], &[OK, OK]),
        (("", "foo@region bar@zone", ""), &[(Z1, foo), (Z2, two)], &[ALONE, ALONE]),
    ] {
        assert_eq!(said(&asker("p", &own), cluster(places)), expected, "{own:?} on {places:?}");
    }
}

#[test]
fn who_needs_a_pod_near_counts_where_its_namespace_is_meant() {
    let known = namespaces(&[("s1", "team=1"), ("s3", "team=2"), ("s4", "team=2")]);
    let mut wanted = term("service=S1@region");
    wanted["namespaces"] = json!(["d", "s4"]);
    wanted["namespaceSelector"] = json!({"matchLabels": {"team": "1"}});
    let rules = json!({"requiredDuringSchedulingIgnoredDuringExecution": [wanted]});
    let needing = |name: &str| pod(name, "", json!({"affinity": {"podAffinity": rules.clone()}}));
    let nodes = Snapshot::new(vec![
        node("a", CHINA, &[needing("o1")]),
        node("b", INDIA, &[needing("o2")]),
        node("c", "az=az1", &[]),
    ])
    .with_objects(known);
    for (namespace, weight, expected) in [
        ("d", 1, Some(vec![100, 100, 0])),
        ("d", 0, None),
        ("s3", 1, None),
        ("s1", 1, Some(vec![100, 100, 0])),
        ("s4", 1, Some(vec![100, 100, 0])),
    ] {
        let own = pod(&format!("{namespace}/p"), "service=S1", json!({}));
        let plugin = InterPodAffinity::new(weight, false);
        let found = scores(&plugin, &own, &nodes, nodes.nodes());
        assert_eq!(found, expected, "{namespace}, {weight}");
    }
}
