//! Thousands of decisions in random clusters, each held against the reference.

use crate::{
    reference::{Scores, World},
    replay::{Picture, completed, framework, info, world},
    scenario::{Mix, Scenario},
};
use kubeplane_scheduler_framework::{Framework, PodInfo, Snapshot};
use serde_json::Value;

/// What the framework's trace says, in the form of the reference.
fn traced(framework: &Framework, pod: &PodInfo, nodes: &Snapshot) -> Vec<Option<Scores>> {
    let trace = framework.trace(pod, nodes).unwrap();
    let scores = |node: &kubeplane_scheduler_framework::NodeTrace| {
        let weighted = node.scores.iter().map(|(plugin, own)| (*plugin, own.score * own.weight));
        node.fits.then(|| weighted.collect())
    };
    if trace.nodes.is_empty() {
        return vec![None; nodes.nodes().len()];
    }
    trace.nodes.iter().map(scores).collect()
}

/// Plugins that have no opinion are left out by the scheduler, and all score alike in the reference.
fn agree(ours: &[Option<Scores>], theirs: &[Option<Scores>]) -> bool {
    let fits = |all: &[Option<Scores>]| all.iter().map(Option::is_some).collect::<Vec<_>>();
    if fits(ours) != fits(theirs) {
        return false;
    }
    let both = || ours.iter().flatten().zip(theirs.iter().flatten());
    let asked: Vec<_> = both().flat_map(|(_, own)| own.keys().copied()).collect();
    asked.iter().all(|plugin| {
        let unasked = both().all(|(own, _)| !own.contains_key(plugin));
        let mut pairs = both().map(|(ours, theirs)| (ours.get(plugin), theirs.get(plugin)));
        if unasked {
            let mut values = both().map(|(_, own)| own.get(plugin));
            let first = values.next();
            return values.all(|value| Some(value) == first);
        }
        pairs.all(|(ours, theirs)| ours == theirs)
    })
}

fn step(framework: &Framework, picture: &Picture, world: &World, pod: &Value) -> Option<usize> {
    let own = info(pod);
    let (ours, theirs) = (traced(framework, &own, &picture.snapshot()), world.scores(pod));
    assert!(agree(&ours, &theirs), "{pod:#}\nours: {ours:?}\nreference: {theirs:?}");
    let total = |own: &Scores| own.values().sum::<i64>();
    let totals: Vec<_> = theirs.iter().map(|own| own.as_ref().map(total)).collect();
    let best = totals.iter().max().copied().flatten()?;
    totals.iter().position(|own| *own == Some(best))
}

fn play(seed: u64, nodes: usize, pods: usize, mix: Mix) -> usize {
    let scenario = Scenario::new(seed, nodes, pods, mix);
    let framework = framework(seed);
    let (mut picture, mut world) = (Picture::new(&scenario), world(&scenario));
    for pod in &scenario.pods {
        let pod = completed(pod);
        if let Some(node) = step(&framework, &picture, &world, &pod) {
            picture.place(node, info(&pod));
            world.placed.push((node, pod));
        }
    }
    world.placed.len()
}

#[test]
fn every_verdict_and_score_is_that_of_the_reference() {
    let placed: usize = (1..=6).map(|seed| play(seed, 14, 70, Mix::default())).sum();
    assert!(placed > 200, "{placed} of 420 pods fit");
}

#[test]
fn simple_pods_fill_a_cluster_as_in_the_reference() {
    let mix = Mix { node_affinity: 0, pod_affinity: 0, spread: 0, ports: 0, ..Mix::default() };
    assert!(play(11, 10, 120, mix) > 60);
}

/// Prints a scenario for the original to place: `cargo nextest run --run-ignored only -E 'test(prints_a)'`
/// with `SCENARIO=seed,nodes,pods,volumes,file`.
#[test]
#[ignore = "a tool to record the answers of the original"]
fn prints_a_scenario() {
    let wish = std::env::var("SCENARIO").unwrap();
    let [seed, nodes, pods, volumes, file] = wish.split(',').collect::<Vec<_>>()[..] else {
        panic!("{wish}")
    };
    let number = |text: &str| text.parse::<usize>().unwrap();
    let scenario = Scenario::new(
        number(seed) as u64,
        number(nodes),
        number(pods),
        Mix { volumes: number(volumes) as u64, ..Mix::default() },
    );
    let own = scenario.volumes;
    let objects = [own.classes, own.drivers, own.csi_nodes, own.volumes, own.claims].concat();
    let value = serde_json::json!({"namespaces": scenario.namespaces, "nodes": scenario.nodes,
        "pods": scenario.pods, "objects": objects});
    std::fs::write(file, value.to_string()).unwrap();
}
