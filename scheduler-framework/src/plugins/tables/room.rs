//! More of what NodeResourcesFit says of nodes and how it scores them: storage, pods as a whole, sidecars.

use super::{
    amounts::{A, Case, HUGE, WANTED, amounts, check, cpu_memory, score_all, small, weighing},
    asking, offering, scored,
};
use crate::{NodeResourcesFit, PodInfo, ScoringStrategy, ShapePoint, plugins::fixtures::pod};
use serde_json::{Value, json};
use std::sync::Arc;

const ELSEWHERE: &str = "subdomain.kubernetes.io/something";

/// With these containers, those that only start it among them, and requests of the pod as a whole.
fn whole(requests: Value, containers: &[Value], init: &[Value]) -> Arc<PodInfo> {
    let container = |own: &Value| json!({"name": "c", "resources": {"requests": own}});
    let containers: Vec<_> = containers.iter().map(container).collect();
    let init: Vec<_> = init.iter().map(container).collect();
    pod(
        "p",
        "",
        json!({"resources": {"requests": requests}, "containers": containers,
            "initContainers": init}),
    )
}

#[test]
fn what_only_starts_a_pod_needs_resources_that_there_are() {
    for name in [ELSEWHERE, HUGE] {
        let own = whole(Value::Null, &[json!({})], &[json!({"cpu": "1m", name: "10"})]);
        check(&own, &small(json!({})), &format!("never: Insufficient {name}"));
    }
    // What it does not ask for may be used up.
    let full = small(json!({"cpu": "20m", "memory": "30", A: "1"}));
    check(&asking("p", &[json!({"cpu": "0", "memory": "0", A: "1"})]), &full, "ok");
}

#[test]
fn large_pages_are_asked_for_as_a_whole_too() {
    let pages = |amount: &str| json!({"cpu": "3m", "memory": "2", HUGE: amount});
    let mut part = cpu_memory(1, 1);
    part[HUGE] = json!("3");
    let never = format!("never: Insufficient {HUGE}");
    check(&whole(pages("5"), &[], &[]), &small(json!({})), "ok");
    check(&whole(pages("5"), &[part.clone()], &[]), &small(json!({})), "ok");
    check(&whole(pages("10"), &[], &[]), &small(json!({})), &never);
    check(
        &whole(pages("5"), &[part], &[]),
        &small(json!({HUGE: "1"})),
        &format!("full: Insufficient {HUGE}"),
    );
    // Each container alone would fit.
    let own = whole(cpu_memory(3, 2), &[cpu_memory(1, 1)], &[cpu_memory(1, 1)]);
    check(&own, &small(cpu_memory(5, 19)), "full: Insufficient memory");
}

#[test]
fn a_node_without_a_place_left_takes_nobody_who_would_just_fit() {
    let all = json!({"cpu": "10m", "memory": "20", "pods": "1"});
    let there = offering(&all, &[asking("other", &[cpu_memory(5, 19)])]);
    check(&asking("p", &[cpu_memory(5, 1)]), &there, "full: Too many pods");
    let own = whole(Value::Null, &[cpu_memory(5, 1)], &[cpu_memory(5, 1)]);
    check(&own, &there, "full: Too many pods");
    check(&asking("p", &[cpu_memory(6, 1)]), &there, "full: Too many pods, Insufficient cpu");
}

#[test]
fn storage_of_a_node_is_counted() {
    let storage = |amount: &str| json!({"ephemeral-storage": amount});
    let lacking = "Insufficient ephemeral-storage";
    for (wanted, used, expected) in [
        (cpu_memory(1, 1), cpu_memory(2, 10), "ok".to_owned()),
        (storage("25"), cpu_memory(2, 2), format!("never: {lacking}")),
        (storage("5"), storage("10"), "ok".to_owned()),
        (storage("10"), cpu_memory(2, 2), "ok".to_owned()),
        (storage("11"), storage("10"), format!("full: {lacking}")),
    ] {
        check(&asking("p", &[wanted]), &small(used), &expected);
    }
}

#[test]
fn sidecars_that_no_node_has_room_for_never_fit() {
    let there = offering(&json!({"cpu": "2m", "memory": "0", "pods": "1"}), &[]);
    let with = |own: Value, sidecar: Option<Value>| {
        let container = |own: Value| json!({"name": "c", "resources": {"requests": own}});
        let stay = |own: Value| {
            let mut own = container(own);
            own["restartPolicy"] = json!("Always");
            own
        };
        let init: Vec<_> = sidecar.map(stay).into_iter().collect();
        pod("p", "", json!({"containers": [container(own)], "initContainers": init}))
    };
    let cpu = |amount: &str| json!({"cpu": amount});
    check(&with(json!({}), None), &there, "ok");
    check(&with(json!({}), Some(json!({}))), &there, "ok");
    check(&with(cpu("1m"), Some(cpu("1m"))), &there, "ok");
    check(&with(cpu("1m"), Some(cpu("2m"))), &there, "never: Insufficient cpu");
}

/// Two nodes of different size, both in use by another pod, and the score of each for a pod.
fn two_nodes(plugin: NodeResourcesFit, wanted: &[(i64, i64)], scores: [i64; 2]) {
    let cases: [Case<'_>; 2] = [
        ((4000, 10_000), &[(2000, 4000)], wanted, scores[0]),
        ((6000, 10_000), &[(1000, 2000)], wanted, scores[1]),
    ];
    score_all(&plugin, &cases);
}

#[test]
fn every_strategy_counts_who_is_there() {
    let line = |points: [(i64, i64); 2]| {
        let point = |(utilization, score)| ShapePoint { utilization, score };
        ScoringStrategy::RequestedToCapacityRatio(points.map(point).to_vec())
    };
    let by = |strategy| NodeResourcesFit::default().strategy(strategy);
    // Where it scores nothing a resource has no say: only memory, of which nine tenths would be used, on the first.
    two_nodes(by(line([(0, 10), (100, 0)])), &[(3000, 5000)], [10, 32]);
    two_nodes(by(line([(0, 0), (100, 10)])), &[(3000, 5000)], [95, 68]);
    two_nodes(by(ScoringStrategy::MostAllocated), &[(1000, 2000)], [67, 36]);
    two_nodes(by(ScoringStrategy::LeastAllocated), &[(1000, 2000)], [32, 63]);
}

#[test]
fn sidecars_of_those_who_are_there_are_scored() {
    let container = || json!({"name": "c", "resources": {"requests": amounts((1000, 2000))}});
    let mut sidecar = container();
    sidecar["restartPolicy"] = json!("Always");
    let spec = json!({"containers": [container()], "initContainers": [sidecar]});
    let nodes = [pod("o", "", spec), asking("o", &[amounts((1000, 2000))])]
        .map(|other| offering(&amounts((4000, 10_000)), &[other]));
    let own = asking("p", &[amounts((1000, 2000))]);
    let by = |strategy| NodeResourcesFit::default().strategy(strategy);
    let most = scored(&by(ScoringStrategy::MostAllocated), &own, &nodes);
    assert_eq!(most, Some(vec![67, 45]));
    let least = scored(&by(ScoringStrategy::LeastAllocated), &own, &nodes);
    assert_eq!(least, Some(vec![32, 55]));
}

#[test]
fn the_fullest_of_other_resources_scores_most_where_they_are_wanted() {
    let with = |own: (i64, i64), more: Option<&str>| {
        let mut own = amounts(own);
        if let Some(more) = more {
            own["abc.com/xyz"] = json!(more);
        }
        own
    };
    let node = |more: Option<&str>| offering(&with((6000, 10_000), more), &[]);
    let most = |weights: &[(&str, i64)]| weighing(weights).strategy(ScoringStrategy::MostAllocated);
    let all = most(&[("cpu", 1), ("memory", 1), ("abc.com/xyz", 1)]);
    let none = asking("p", &WANTED.iter().copied().map(amounts).collect::<Vec<_>>());
    assert_eq!(scored(&all, &none, &[node(None), node(Some("4"))]), Some(vec![50, 50]));
    let two = asking("p", &[with((3000, 5000), Some("2"))]);
    assert_eq!(scored(&all, &two, &[node(Some("4")), node(Some("10"))]), Some(vec![50, 40]));
    let heavy = most(&[("abc.com/xyz", 2), ("cpu", 1), ("memory", 1)]);
    let none = asking("p", &[amounts((3000, 4000))]);
    assert_eq!(scored(&heavy, &none, &[node(None), node(Some("4"))]), Some(vec![45, 45]));
}
