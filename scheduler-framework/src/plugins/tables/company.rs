//! How InterPodAffinity scores nodes: by whom a pod wants near, and who wants it.

use crate::{
    InterPodAffinity, PodInfo, Snapshot,
    plugins::fixtures::{namespaces, node, pod, scores},
};
use serde_json::{Value, json};

/// A node's labels, and its pods: labels and what they want.
type Place<'a> = (&'a str, Vec<(&'a str, &'a Value)>);

/// A pod's name begins with its namespace where it is another.
fn scored(plugin: &InterPodAffinity, own: &PodInfo, places: &[Place<'_>]) -> Option<Vec<i64>> {
    let objects =
        namespaces(&[("n11", "team=1"), ("n21", "team=1"), ("n12", "team=2"), ("n22", "team=2")]);
    let nodes: Vec<_> = places
        .iter()
        .enumerate()
        .map(|(number, (labels, pods))| {
            let one = |(index, (labels, wants)): (usize, &(&str, &Value))| {
                let (namespace, labels) = labels.split_once('/').unwrap_or(("d", *labels));
                pod(&format!("{namespace}/{number}-{index}"), labels, json!({"affinity": wants}))
            };
            let pods: Vec<_> = pods.iter().enumerate().map(one).collect();
            node(&format!("n{number}"), labels, &pods)
        })
        .collect();
    scores(plugin, own, &Snapshot::new(nodes.clone()).with_objects(objects), &nodes)
}

fn security(value: &str, key: &str) -> Value {
    let expression = json!({"key": "security", "operator": "In", "values": [value]});
    json!({"topologyKey": key, "labelSelector": {"matchExpressions": [expression]}})
}

fn preferred(terms: &[(i32, Value)]) -> Value {
    let term = |(weight, own): &(i32, Value)| json!({"weight": weight, "podAffinityTerm": own});
    let terms: Vec<_> = terms.iter().map(term).collect();
    json!({"preferredDuringSchedulingIgnoredDuringExecution": terms})
}

fn near(weight: i32, value: &str) -> Value {
    json!({"podAffinity": preferred(&[(weight, security(value, "region"))])})
}

fn away(value: &str) -> Value {
    json!({"podAntiAffinity": preferred(&[(5, security(value, "az"))])})
}

/// Near S1 in its region, away from S2 in its zone.
fn both() -> Value {
    let (near, away) = (near(8, "S1"), away("S2"));
    json!({"podAffinity": near["podAffinity"], "podAntiAffinity": away["podAntiAffinity"]})
}

const S1: &str = "security=S1";
const S2: &str = "security=S2";
const CHINA: &str = "region=China";
const INDIA: &str = "region=India";
const AZ1: &str = "az=az1";
const AZ2: &str = "az=az2";
const CHINA_AZ1: &str = "region=China az=az1";

#[test]
fn whom_a_pod_wants_near_or_away_is_weighed() {
    let several = {
        let expressions = |all: Value| json!({"topologyKey": "region", "labelSelector": {"matchExpressions": all}});
        let first = expressions(json!([
            {"key": "security", "operator": "NotIn", "values": ["S1"]},
            {"key": "security", "operator": "In", "values": ["S2"]}]));
        let second = expressions(json!([
            {"key": "security", "operator": "Exists"},
            {"key": "wrongkey", "operator": "DoesNotExist"}]));
        json!({"podAffinity": preferred(&[(8, first), (2, second)])})
    };
    let none = Value::Null;
    let (s1, s2) = ((S1, &none), (S2, &none));
    for (labels, wants, places, expected) in [
        (S1, none.clone(), vec![(CHINA, vec![]), (INDIA, vec![]), (AZ1, vec![])], None),
        (
            S1,
            near(5, "S1"),
            vec![(CHINA, vec![s1]), (INDIA, vec![s2]), (AZ1, vec![s1])],
            Some(vec![100, 0, 0]),
        ),
        (
            "",
            near(5, "S1"),
            vec![(CHINA, vec![s1]), (CHINA_AZ1, vec![]), (INDIA, vec![])],
            Some(vec![100, 100, 0]),
        ),
        (
            S1,
            near(6, "S2"),
            vec![
                (CHINA, vec![s2, s2]),
                (INDIA, vec![s2]),
                (CHINA, vec![s2]),
                (CHINA, vec![s2]),
                (INDIA, vec![s2]),
            ],
            Some(vec![100, 0, 100, 100, 0]),
        ),
        (
            S1,
            several,
            vec![(CHINA, vec![s1]), (INDIA, vec![s2]), (AZ1, vec![s1])],
            Some(vec![20, 100, 0]),
        ),
        (S1, away("S1"), vec![(AZ1, vec![s1]), (CHINA, vec![s2])], Some(vec![0, 100])),
        (S1, away("S1"), vec![(AZ1, vec![s1]), (CHINA, vec![s1])], Some(vec![0, 100])),
        (S1, away("S1"), vec![(AZ1, vec![s1, s1]), (INDIA, vec![s2])], Some(vec![0, 100])),
        (S1, both(), vec![(CHINA, vec![s1]), (AZ1, vec![s1])], Some(vec![100, 0])),
        (
            S1,
            both(),
            vec![
                (CHINA_AZ1, vec![s1, s1]),
                (INDIA, vec![s1]),
                (CHINA, vec![s1, s1]),
                (CHINA, vec![s1]),
                (INDIA, vec![s1]),
            ],
            Some(vec![100, 0, 100, 100, 0]),
        ),
    ] {
        let own = pod("p", labels, json!({"affinity": wants}));
        let found = scored(&InterPodAffinity::default(), &own, &places);
        assert_eq!(found, expected, "{wants} on {places:?}");
    }
}

#[test]
fn who_wants_a_pod_near_or_away_is_weighed() {
    let hard = {
        let exists = json!({"topologyKey": "region", "labelSelector": {"matchExpressions": [
            {"key": "security", "operator": "Exists"},
            {"key": "wrongkey", "operator": "DoesNotExist"}]}});
        let terms = [security("S1", "region"), exists];
        json!({"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}})
    };
    let none = Value::Null;
    let (s1, s2, all) = (near(5, "S1"), near(6, "S2"), both());
    let (not_s1, not_s2) = (away("S1"), away("S2"));
    let plain = InterPodAffinity::default;
    let needing = || vec![(CHINA, vec![(S1, &hard)]), (INDIA, vec![(S2, &hard)]), (AZ1, vec![])];
    let wanting = || vec![(CHINA, vec![(S1, &all)]), (INDIA, vec![(S2, &s2)])];
    for (plugin, labels, wants, places, expected) in [
        (
            plain(),
            S2,
            &none,
            vec![(CHINA, vec![(S1, &s1)]), (INDIA, vec![(S2, &s2)]), (AZ1, vec![])],
            Some(vec![0, 100, 0]),
        ),
        (plain(), S1, &none, needing(), Some(vec![100, 100, 0])),
        (InterPodAffinity::new(0, false), S1, &none, needing(), None),
        (
            plain(),
            S2,
            &none,
            vec![(AZ1, vec![(S1, &not_s2)]), (AZ2, vec![(S2, &not_s1)])],
            Some(vec![0, 100]),
        ),
        (
            plain(),
            S1,
            &all,
            vec![
                (CHINA, vec![(S1, &none)]),
                (AZ1, vec![(S2, &none)]),
                (INDIA, vec![("", &all)]),
                (AZ2, vec![("", &not_s1)]),
            ],
            Some(vec![100, 0, 100, 0]),
        ),
        (
            plain(),
            S1,
            &none,
            vec![(CHINA, vec![(S1, &none)]), (CHINA, vec![("", &all)])],
            Some(vec![0, 0]),
        ),
        (plain(), S2, &none, wanting(), Some(vec![0, 100])),
        (InterPodAffinity::new(1, true), S2, &none, wanting(), None),
        (plain(), S2, &none, vec![], None),
    ] {
        let own = pod("p", labels, json!({"affinity": wants}));
        assert_eq!(scored(&plugin, &own, &places), expected, "{plugin:?} {wants} on {places:?}");
    }
}

#[test]
fn namespaces_that_are_named_or_selected_both_count() {
    let of = |kind: &str| {
        let mut term = security("S1", "region");
        term["namespaces"] = json!(["n22"]);
        term["namespaceSelector"] =
            json!({"matchExpressions": [{"key": "team", "operator": "In", "values": ["1"]}]});
        json!({kind: preferred(&[(5, term)])})
    };
    let (near_them, away_from_them) = (of("podAffinity"), of("podAntiAffinity"));
    let (none, s2) = (Value::Null, near(6, "S2"));
    let theirs = |other: &'static str| {
        let own = "n11/security=S1";
        let india = vec![("n21/security=S1", &none)];
        vec![(CHINA, vec![(own, &none), (own, &none), (other, &none)]), (INDIA, india)]
    };
    let (selected, named) = ("n12/security=S1", "n22/security=S1");
    let wanted = |wants| vec![(CHINA, vec![(S1, wants)]), (INDIA, vec![(S2, &s2)]), (AZ1, vec![])];
    for (wants, places, expected) in [
        (&none, wanted(&near_them), vec![100, 0, 0]),
        (&none, wanted(&away_from_them), vec![0, 100, 100]),
        (&near_them, theirs(selected), vec![100, 0]),
        (&near_them, theirs(named), vec![100, 0]),
        (&away_from_them, theirs(selected), vec![0, 100]),
        (&away_from_them, theirs(named), vec![0, 100]),
    ] {
        let own = pod("n11/p", S1, json!({"affinity": wants}));
        let found = scored(&InterPodAffinity::default(), &own, &places);
        assert_eq!(found, Some(expected), "{wants} on {places:?}");
    }
}
