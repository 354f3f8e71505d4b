//! Plugins that look at what a node has left.

use super::{asking, offering, said, scored};
use crate::{
    NodeInfo, NodeResourcesBalancedAllocation, NodeResourcesFit, PodInfo, ScoringStrategy,
    ShapePoint, plugins::fixtures::pod,
};
use serde_json::{Value, json};
use std::sync::Arc;

pub(super) const A: &str = "example.com/aaa";
const B: &str = "example.com/bbb";
pub(super) const HUGE: &str = "hugepages-2Mi";
const OWN: &str = "kubernetes.io/something";

/// Ten thousandths of a CPU, twenty bytes and five of two other things; `used` of it by one pod.
pub(super) fn small(used: Value) -> Arc<NodeInfo> {
    let all = json!({"cpu": "10m", "memory": "20", "pods": "32", A: "5",
        "ephemeral-storage": "20", HUGE: "5"});
    offering(&all, &[asking("other", &[used])])
}

pub(super) fn cpu_memory(cpu: i64, memory: i64) -> Value {
    json!({"cpu": format!("{cpu}m"), "memory": memory.to_string()})
}

/// With init containers beside one container.
fn starting(own: Value, init: &[Value]) -> Arc<PodInfo> {
    let container = |own: &Value| json!({"name": "c", "resources": {"requests": own}});
    let init: Vec<_> = init.iter().map(container).collect();
    pod("p", "", json!({"containers": [container(&own)], "initContainers": init}))
}

pub(super) fn check(own: &PodInfo, node: &Arc<NodeInfo>, expected: &str) {
    let plugin = NodeResourcesFit::default();
    assert_eq!(said(&plugin, own, node), expected, "{:?} on {:?}", own.spec(), node.requested());
}

#[test]
fn cpu_and_memory_must_be_left() {
    let (cpu, memory) = ("full: Insufficient cpu", "full: Insufficient memory");
    for (wanted, used, expected) in [
        ((1, 1), (10, 20), "full: Insufficient cpu, Insufficient memory"),
        ((1, 1), (5, 5), "ok"),
        ((2, 1), (9, 5), cpu),
        ((1, 2), (5, 19), memory),
        ((5, 1), (5, 19), "ok"),
        ((0, 0), (20, 30), "ok"),
    ] {
        let own = asking("p", &[cpu_memory(wanted.0, wanted.1)]);
        check(&own, &small(cpu_memory(used.0, used.1)), expected);
    }
    check(&asking("p", &[]), &small(cpu_memory(10, 20)), "ok");
}

#[test]
fn init_containers_count_as_the_largest_not_the_sum() {
    let (cpu, memory) = ("full: Insufficient cpu", "full: Insufficient memory");
    for (init, used, expected) in [
        (&[(3, 1)][..], (8, 19), cpu),
        (&[(3, 1), (2, 1)], (8, 19), cpu),
        (&[(1, 3)], (9, 19), memory),
        (&[(1, 3), (1, 2)], (9, 19), memory),
        (&[(1, 1)], (9, 19), "ok"),
        (&[(1, 1), (1, 1)], (9, 19), "ok"),
    ] {
        let init: Vec<_> = init.iter().map(|(cpu, memory)| cpu_memory(*cpu, *memory)).collect();
        check(&starting(cpu_memory(1, 1), &init), &small(cpu_memory(used.0, used.1)), expected);
    }
    let own = starting(cpu_memory(4, 1), &[cpu_memory(5, 1)]);
    check(&own, &small(cpu_memory(5, 19)), "ok");
}

#[test]
fn sidecars_count_beside_containers_and_beside_what_starts_after_them() {
    let cpu = "full: Insufficient cpu";
    let container = |cpu: i64| json!({"name": "c", "resources": {"requests": cpu_memory(cpu, 0)}});
    // In the order in which they start, and whether each stays.
    for (init, used, expected) in [
        (&[(3, true)][..], 6, "ok"),
        (&[(3, true)], 7, cpu),
        (&[(2, true), (2, true)], 5, "ok"),
        (&[(2, true), (2, true)], 6, cpu),
        (&[(5, false), (3, true)], 5, "ok"),
        (&[(5, false), (3, true)], 6, cpu),
        (&[(3, true), (5, false)], 2, "ok"),
        (&[(3, true), (5, false)], 3, cpu),
    ] {
        let start = |(cpu, stays): &(i64, bool)| {
            let mut own = container(*cpu);
            if *stays {
                own["restartPolicy"] = json!("Always");
            }
            own
        };
        let init: Vec<_> = init.iter().map(start).collect();
        let own = pod("p", "", json!({"containers": [container(1)], "initContainers": init}));
        check(&own, &small(cpu_memory(used, 0)), expected);
    }
}

#[test]
fn other_resources_are_counted_by_name() {
    let never = |name: &str| format!("never: Insufficient {name}");
    for (containers, init, used, expected) in [
        (vec![json!({A: "1"})], vec![], json!({}), "ok".to_owned()),
        (vec![], vec![json!({A: "1"})], json!({}), "ok".to_owned()),
        (vec![json!({A: "10"})], vec![], json!({}), never(A)),
        (vec![], vec![json!({A: "10"})], json!({}), never(A)),
        (vec![json!({A: "1"})], vec![], json!({A: "5"}), format!("full: Insufficient {A}")),
        (vec![], vec![json!({A: "1"})], json!({A: "5"}), format!("full: Insufficient {A}")),
        (vec![json!({A: "3"}), json!({A: "3"})], vec![], json!({A: "2"}), never(A)),
        (vec![], vec![json!({A: "3"}), json!({A: "3"})], json!({A: "2"}), "ok".to_owned()),
        (vec![], vec![json!({A: "6"}), json!({A: "3"})], json!({A: "2"}), never(A)),
        (vec![json!({A: "0"})], vec![], json!({A: "6"}), "ok".to_owned()),
        (vec![json!({B: "1"})], vec![], json!({}), never(B)),
        (vec![], vec![json!({B: "1"})], json!({}), never(B)),
        (vec![json!({OWN: "10"})], vec![], json!({}), never(OWN)),
        (vec![json!({HUGE: "10"})], vec![], json!({}), never(HUGE)),
        (vec![json!({HUGE: "3"}), json!({HUGE: "3"})], vec![], json!({HUGE: "2"}), never(HUGE)),
    ] {
        let container = |own: &Value| json!({"name": "c", "resources": {"requests": own}});
        let own: Vec<_> = containers.iter().map(container).collect();
        let init: Vec<_> = init.iter().map(container).collect();
        let own = pod("p", "", json!({"containers": own, "initContainers": init}));
        check(&own, &small(used), &expected);
    }
    let own = asking("p", &[json!({"cpu": "1m", "memory": "1", B: "1", OWN: "1"})]);
    let plugin = NodeResourcesFit::default().ignoring([], ["example.com".to_owned()]);
    assert_eq!(said(&plugin, &own, &small(json!({}))), format!("never: Insufficient {OWN}"));
}

#[test]
fn overhead_and_requests_of_the_whole_pod_count() {
    let memory = "full: Insufficient memory";
    let with = |more: Value| {
        let mut spec = json!({"containers": [
            {"name": "c", "resources": {"requests": cpu_memory(1, 1)}}]});
        for (key, value) in more.as_object().unwrap() {
            spec[key] = value.clone();
        }
        pod("p", "", spec)
    };
    check(&with(json!({"overhead": cpu_memory(3, 13)})), &small(cpu_memory(5, 5)), "ok");
    check(&with(json!({"overhead": cpu_memory(1, 15)})), &small(cpu_memory(5, 5)), memory);
    let whole = |cpu, memory| with(json!({"resources": {"requests": cpu_memory(cpu, memory)}}));
    check(&whole(1, 2), &small(cpu_memory(5, 5)), "ok");
    check(&whole(7, 2), &small(cpu_memory(5, 5)), "full: Insufficient cpu");
    check(&whole(3, 2), &small(cpu_memory(5, 19)), memory);
}

#[test]
fn a_node_takes_so_many_pods() {
    let full = |pods: &str| {
        offering(&json!({"cpu": "10m", "memory": "20", "pods": pods}), &[asking("other", &[])])
    };
    check(&asking("p", &[]), &full("1"), "full: Too many pods");
    check(&asking("p", &[]), &full("2"), "ok");
    let own = asking("p", &[cpu_memory(10, 20)]);
    check(&own, &full("1"), "full: Too many pods");
}

#[test]
fn even_use_of_resources_scores_most() {
    let node = |cpu: i64, memory: i64, gpus: i64, used: &[Value]| {
        let mut all = cpu_memory(cpu, memory);
        if gpus > 0 {
            all["nvidia.com/gpu"] = json!(gpus.to_string());
        }
        offering(&all, &[asking("other", used)])
    };
    let half = [json!({"cpu": "1", "memory": "2000"}), json!({"cpu": "2", "memory": "3000"})];
    let busy = [json!({"cpu": "1"}), json!({"cpu": "2"})];
    let memory = [json!({"memory": "2000"}), json!({"memory": "3000"})];
    let plain = NodeResourcesBalancedAllocation::default();
    for (wanted, nodes, expected) in [
        (&half, [node(4000, 10_000, 0, &[]), node(6000, 10_000, 0, &[])], [68, 75]),
        (&half, [node(10_000, 20_000, 0, &busy), node(10_000, 20_000, 0, &half)], [73, 74]),
        (&half, [node(10_000, 20_000, 0, &busy), node(10_000, 50_000, 0, &half)], [73, 70]),
        (&memory, [node(3000, 5000, 0, &busy), node(3000, 5000, 0, &[])], [100, 50]),
        (&busy, [node(6000, 10_000, 0, &busy), node(6000, 10_000, 0, &half)], [62, 62]),
    ] {
        let own = scored(&plain, &asking("p", wanted), &nodes);
        assert_eq!(own, Some(expected.to_vec()), "{wanted:?}");
    }
    assert_eq!(scored(&plain, &asking("p", &[]), &[node(4000, 10_000, 0, &[])]), None);

    let gpu = "nvidia.com/gpu";
    let names = ["cpu", "memory", gpu].map(str::to_owned);
    let all = NodeResourcesBalancedAllocation::of(names);
    let one = asking("p", &[json!({"cpu": "0", "memory": "0", gpu: "1"})]);
    let used = [half[0].clone(), json!({"cpu": "2", "memory": "3000", gpu: "3"})];
    let nodes = [node(3500, 40_000, 8, &used), node(3500, 40_000, 8, &half)];
    assert_eq!(scored(&all, &one, &nodes), Some(vec![75, 76]));
    let nodes = [node(3500, 40_000, 8, &[]), node(3500, 40_000, 0, &[])];
    assert_eq!(scored(&all, &asking("p", &half), &nodes), Some(vec![56, 56]));
}

/// What a node has, what pods on it and the pod ask for (CPUs and bytes), and the score.
pub(super) type Case<'a> = ((i64, i64), &'a [(i64, i64)], &'a [(i64, i64)], i64);

pub(super) fn amounts((cpu, memory): (i64, i64)) -> Value {
    json!({"cpu": cpu.to_string(), "memory": memory.to_string()})
}

pub(super) fn score_all(plugin: &NodeResourcesFit, cases: &[Case<'_>]) {
    for (has, used, wanted, expected) in cases {
        let ask = |name: &str, all: &[(i64, i64)]| {
            let all: Vec<_> = all.iter().copied().map(amounts).collect();
            asking(name, &all)
        };
        let there = offering(&amounts(*has), &[ask("other", used)]);
        let own = scored(plugin, &ask("p", wanted), &[there]);
        assert_eq!(own, Some(vec![*expected]), "{plugin:?}: {has:?} {used:?} {wanted:?}");
    }
}

/// Of several resources by weight.
pub(super) fn weighing(weights: &[(&str, i64)]) -> NodeResourcesFit {
    NodeResourcesFit::scoring(weights.iter().map(|(name, weight)| ((*name).to_owned(), *weight)))
}

pub(super) const WANTED: &[(i64, i64)] = &[(1000, 2000), (2000, 3000)];

#[test]
fn the_emptiest_node_scores_most() {
    score_all(
        &NodeResourcesFit::default(),
        &[
            ((4000, 10_000), &[], &[], 100),
            ((4000, 10_000), &[], WANTED, 37),
            ((6000, 10_000), &[], WANTED, 50),
            ((10_000, 20_000), &[(3000, 0), (3000, 0)], &[], 70),
            ((10_000, 20_000), &[(3000, 0), (3000, 5000)], &[], 57),
            ((10_000, 20_000), &[(3000, 0)], WANTED, 57),
            ((10_000, 20_000), &[(3000, 5000)], WANTED, 45),
            ((10_000, 50_000), &[(3000, 5000)], WANTED, 60),
            ((4000, 10_000), &[(3000, 0)], &[(3000, 0)], 50),
            ((4000, 10_000), &[(3000, 5000)], &[(3000, 0)], 25),
            ((0, 0), &[(3000, 5000)], &[], 0),
        ],
    );
    let uneven = weighing(&[("memory", 2), ("cpu", 1)]);
    score_all(&uneven, &[((4000, 10_000), &[], WANTED, 41), ((6000, 10_000), &[], WANTED, 50)]);
}

#[test]
fn other_resources_are_scored_where_they_are_wanted() {
    let with = |amounts: Value, more: Option<&str>| {
        let mut amounts = amounts;
        if let Some(more) = more {
            amounts["abc.com/xyz"] = json!(more);
        }
        amounts
    };
    let node = |more: Option<&str>| offering(&with(amounts((6000, 10_000)), more), &[]);
    let all = weighing(&[("cpu", 1), ("memory", 1), ("abc.com/xyz", 1)]);
    let none = asking("p", &[amounts((3000, 5000))]);
    assert_eq!(scored(&all, &none, &[node(None), node(Some("4"))]), Some(vec![50, 50]));
    let two = asking("p", &[with(amounts((3000, 5000)), Some("2"))]);
    assert_eq!(scored(&all, &two, &[node(Some("4")), node(Some("10"))]), Some(vec![50, 60]));
    let heavy = weighing(&[("abc.com/xyz", 2), ("cpu", 1), ("memory", 1)]);
    let none = asking("p", &[amounts((3000, 4000))]);
    assert_eq!(scored(&heavy, &none, &[node(None), node(Some("4"))]), Some(vec![55, 55]));
}

#[test]
fn the_fullest_node_scores_most_where_that_is_asked_for() {
    let most = |own: NodeResourcesFit| own.strategy(ScoringStrategy::MostAllocated);
    score_all(
        &most(NodeResourcesFit::default()),
        &[
            ((4000, 10_000), &[], &[], 0),
            ((4000, 10_000), &[], WANTED, 62),
            ((6000, 10_000), &[], WANTED, 50),
            ((10_000, 20_000), &[(3000, 0), (3000, 0)], &[], 30),
            ((10_000, 20_000), &[(3000, 0), (3000, 5000)], &[], 42),
            ((10_000, 20_000), &[(3000, 0)], WANTED, 42),
            ((10_000, 20_000), &[(3000, 5000)], WANTED, 55),
            ((5000, 10_000), &[], &[(2000, 4000), (3000, 5000)], 95),
            ((10_000, 9000), &[], &[(2000, 4000), (3000, 5000)], 75),
        ],
    );
    let uneven = most(weighing(&[("memory", 2), ("cpu", 1)]));
    score_all(&uneven, &[((4000, 10_000), &[], WANTED, 58), ((6000, 10_000), &[], WANTED, 50)]);
    // Containers that say nothing count as a tenth of a CPU and 200 MiB each; more than all is all.
    let silent = |name: &str| asking(name, &[json!({})]);
    let there =
        offering(&json!({"cpu": "250m", "memory": "1000Mi"}), &[silent("one"), silent("other")]);
    let own = scored(&most(NodeResourcesFit::default()), &silent("p"), &[there]);
    assert_eq!(own, Some(vec![i64::midpoint(100, 60)]));
}

#[test]
fn a_broken_line_scores_as_it_is_drawn() {
    let line = |points: &[(i64, i64)]| {
        let point = |(utilization, score): &(i64, i64)| ShapePoint {
            utilization: *utilization,
            score: *score,
        };
        ScoringStrategy::RequestedToCapacityRatio(points.iter().map(point).collect())
    };
    score_all(
        &NodeResourcesFit::default().strategy(line(&[(0, 10), (100, 0)])),
        &[
            ((4000, 10_000), &[], &[], 100),
            ((4000, 10_000), &[], WANTED, 38),
            ((6000, 10_000), &[], WANTED, 50),
            ((4000, 10_000), &[(3000, 5000)], &[], 38),
            ((6000, 10_000), &[(3000, 5000)], &[], 50),
        ],
    );
    let packing = weighing(&[("intel.com/foo", 1)]).strategy(line(&[(0, 0), (100, 1)]));
    let foo = |amount: &str| json!({"intel.com/foo": amount});
    for (wanted, has, used, expected) in [
        (None, "8", None, 0),
        (Some("2"), "8", None, 2),
        (Some("2"), "4", None, 5),
        (Some("2"), "4", Some("2"), 10),
        (Some("4"), "8", None, 5),
        (Some("4"), "4", None, 10),
    ] {
        let ask = |name: &str, amount: Option<&str>| {
            asking(name, &[amount.map_or_else(|| json!({}), foo)])
        };
        let mut all = amounts((4000, 10_000));
        all["intel.com/foo"] = json!(has);
        let own = scored(&packing, &ask("p", wanted), &[offering(&all, &[ask("other", used)])]);
        assert_eq!(own, Some(vec![expected]), "{wanted:?} of {has}, {used:?} used");
    }
    let packing =
        weighing(&[("intel.com/foo", 3), ("intel.com/bar", 5)]).strategy(line(&[(0, 0), (100, 1)]));
    let both = |(foo, bar): (&str, &str)| json!({"intel.com/foo": foo, "intel.com/bar": bar});
    let ask = |name: &str, amounts: Option<(&str, &str)>| {
        asking(name, &[amounts.map_or_else(|| json!({}), both)])
    };
    for (wanted, used, expected) in [
        (None, None, [0, 0]),
        (Some(("2", "2")), None, [4, 3]),
        (Some(("2", "2")), Some(("4", "2")), [4, 7]),
        (Some(("4", "2")), None, [5, 5]),
    ] {
        let there = [
            offering(&both(("8", "4")), &[ask("other", None)]),
            offering(&both(("4", "8")), &[ask("other", used)]),
        ];
        let own = scored(&packing, &ask("p", wanted), &there);
        assert_eq!(own, Some(expected.to_vec()), "{wanted:?}, {used:?} used");
    }
}
