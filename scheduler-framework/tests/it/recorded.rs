//! Scenarios that the original kube-scheduler 1.36 has placed, one pod at a time with all nodes scored, its scores
//! read from its log. A recording has a line of parameters and one for each pod: where it went (`node`), the final
//! scores of the nodes where it fit (`totals`, absent when there was no choice), what its condition said
//! (`message`), and who had to leave for it (`victims`). Made by `against_reference::prints_a_scenario`. Those that are too
//! large to be kept are named by `KUBEPLANE_RECORDINGS` (separated by `:`).

use crate::{
    replay::{Picture, completed, framework, info},
    scenario::{Mix, Scenario},
};
use kubeplane_scheduler_framework::{Failure, Framework, Nomination, PodInfo, Trace};
use serde::Deserialize;
use std::collections::BTreeMap;

#[derive(Debug, Deserialize)]
struct Parameters {
    seed: u64,
    nodes: usize,
    pods: usize,
    /// How many of a hundred pods have volumes.
    #[serde(default)]
    volumes: u64,
}

#[derive(Debug, Deserialize)]
struct Answer {
    pod: String,
    node: Option<usize>,
    totals: Option<BTreeMap<usize, i64>>,
    message: Option<String>,
    #[serde(default)]
    victims: Vec<String>,
    /// Which claims got which volumes before the next pod came.
    #[serde(default)]
    bound: BTreeMap<String, String>,
}

fn totals(trace: &Trace) -> BTreeMap<usize, i64> {
    let all = trace.nodes.iter().enumerate();
    all.filter_map(|(index, node)| Some((index, node.total?))).collect()
}

/// What is wrong with our decision, if anything.
fn difference(trace: &Trace, answer: &Answer) -> Option<String> {
    let ours = totals(trace);
    if let Some(message) = &answer.message {
        let told = trace.message.as_deref().unwrap_or("it fits");
        // What preemption adds comes after.
        return (!message.starts_with(told)).then(|| format!("{message}\n  ours: {told}"));
    }
    let theirs = match (&answer.totals, answer.node) {
        (Some(theirs), _) => theirs.clone(),
        (None, Some(node)) => {
            let only = ours.len() == 1 && ours.contains_key(&node);
            return (!only).then(|| format!("only {node} fits\n  ours: {ours:?}"));
        }
        (None, None) => BTreeMap::new(),
    };
    if ours == theirs {
        return None;
    }
    let scores = trace.nodes.iter().filter(|node| node.fits).map(|node| (&node.node, &node.scores));
    Some(format!("{theirs:?}\n  ours: {ours:?}\n  {:?}", scores.collect::<Vec<_>>()))
}

/// What is wrong with where we would make room; the victims leave.
async fn preempts(
    framework: &Framework,
    pod: &PodInfo,
    picture: &mut Picture,
    answer: &Answer,
) -> Option<String> {
    let node = answer.node.map(|node| format!("n{node:03}"));
    let ours = match framework.schedule(pod, &picture.snapshot()).await {
        Ok(placement) => return Some(format!("it fits on {}", placement.node)),
        Err(Failure::Unschedulable(diagnosis)) => diagnosis.nomination,
        Err(other) => return Some(other.to_string()),
    };
    for victim in &answer.victims {
        picture.remove(victim);
    }
    let trace = framework.trace(pod, &picture.snapshot()).unwrap();
    if !answer.node.is_some_and(|node| trace.nodes[node].fits) {
        return Some(format!("no room made on {node:?}"));
    }
    let wanted = node.map(Nomination::Node);
    (Some(&ours) != wanted.as_ref()).then(|| format!("{wanted:?}\n  ours: {ours:?}"))
}

async fn replay(recording: &str) {
    let mut lines = recording.lines();
    let given: Parameters = serde_json::from_str(lines.next().unwrap()).unwrap();
    let scenario = Scenario::new(
        given.seed,
        given.nodes,
        given.pods,
        Mix { volumes: given.volumes, ..Mix::default() },
    );
    let framework = framework(given.seed);
    let mut picture = Picture::new(&scenario);
    let mut wrong = Vec::new();
    for (pod, line) in scenario.pods.iter().zip(lines) {
        let answer: Answer = serde_json::from_str(line).unwrap();
        let own = info(&completed(pod));
        assert_eq!(own.name(), answer.pod);
        let why = if answer.victims.is_empty() {
            let trace = framework.trace(&own, &picture.snapshot()).unwrap();
            difference(&trace, &answer)
        } else {
            preempts(&framework, &own, &mut picture, &answer).await
        };
        wrong.extend(why.map(|why| format!("{}: {why}", answer.pod)));
        if let Some(node) = answer.node {
            picture.place(node, own);
        }
        for (claim, volume) in &answer.bound {
            picture.bind(claim, volume);
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[tokio::test]
async fn the_original_would_decide_the_same() {
    replay(include_str!("recorded/first.jsonl")).await;
    replay(include_str!("recorded/third.jsonl")).await;
    let further = std::env::var_os("KUBEPLANE_RECORDINGS").unwrap_or_default();
    for file in std::env::split_paths(&further).filter(|file| !file.as_os_str().is_empty()) {
        replay(&std::fs::read_to_string(file).unwrap()).await;
    }
}

#[tokio::test]
async fn the_original_would_decide_the_same_of_pods_with_volumes() {
    replay(include_str!("recorded/volumes.jsonl")).await;
}
