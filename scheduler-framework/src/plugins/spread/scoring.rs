use super::{
    Constraint, PodTopologySpread,
    constraint::{Action, has_all_keys, key},
    domains::count,
};
use crate::{CycleState, MAX_SCORE, NodeInfo, PodInfo, PreScore, PreScoreVerdict, Score, Snapshot};
use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

pub(super) const HOSTNAME: &str = "kubernetes.io/hostname";
/// The raw score of a node that lacks a label and so is not ranked.
pub(super) const IGNORED: i64 = -1;

/// The pods counted: in each domain, or on each node (by name) for the hostname.
type Counts = HashMap<String, i64>;

struct Soft {
    constraints: Vec<Constraint>,
    /// Whether nodes that lack a label are left out.
    all_keys: bool,
    counts: Arc<Vec<Counts>>,
    weights: Vec<f64>,
}

/// What a node adds to each constraint: the domain and its pods there, if it has any.
type Part = Vec<Option<(String, i64)>>;

fn part(node: &NodeInfo, pod: &PodInfo, constraints: &[Constraint], all_keys: bool) -> Part {
    if node.pods().is_empty() {
        return Part::new();
    }
    let left_out = all_keys && !has_all_keys(node.labels(), constraints);
    let own = |constraint: &Constraint| {
        let pods = count(node, &constraint.selector, pod.namespace());
        if pods == 0 {
            return None;
        }
        if constraint.key == HOSTNAME {
            // Each node counts for itself, whether it takes part or not.
            return Some((node.name().to_owned(), pods));
        }
        if left_out || !constraint.includes(pod, node) {
            return None;
        }
        Some((node.label(&constraint.key).unwrap_or_default().to_owned(), pods))
    };
    constraints.iter().map(own).collect()
}

fn change(total: &mut Vec<Counts>, part: &Part, sign: i64) {
    if total.len() < part.len() {
        total.resize_with(part.len(), Counts::default);
    }
    for (counts, own) in total.iter_mut().zip(part) {
        let Some((value, pods)) = own else { continue };
        match counts.get_mut(value) {
            Some(count) => {
                *count += sign * pods;
                if *count == 0 {
                    counts.remove(value);
                }
            }
            None => drop(counts.insert(value.clone(), sign * pods)),
        }
    }
}

/// The weight of each constraint: topologies with few values are not watered down by those with many.
fn weights(constraints: &[Constraint], nodes: &[Arc<NodeInfo>], all_keys: bool) -> Vec<f64> {
    let ranked: Vec<_> =
        nodes.iter().filter(|node| !all_keys || has_all_keys(node.labels(), constraints)).collect();
    let size = |own: &Constraint| {
        if own.key == HOSTNAME {
            return ranked.len();
        }
        let values: HashSet<_> = ranked.iter().map(|node| node.label(&own.key)).collect();
        // A missing label and an empty one are the same domain.
        let twice = values.contains(&None) && values.contains(&Some(""));
        values.len() - usize::from(twice)
    };
    constraints.iter().map(|own| weight(size(own))).collect()
}

#[expect(clippy::cast_precision_loss, reason = "no cluster has that many domains")]
pub(super) fn weight(size: usize) -> f64 {
    ((size + 2) as f64).ln()
}

impl PreScore for PodTopologySpread {
    fn pre_score(
        &self,
        state: &mut CycleState,
        pod: &PodInfo,
        nodes: &[Arc<NodeInfo>],
    ) -> PreScoreVerdict {
        let snapshot: Snapshot = state.snapshot().clone();
        if snapshot.nodes().is_empty() {
            return PreScoreVerdict::Skip;
        }
        let constraints = match self.constraints(pod, &snapshot, Action::ScheduleAnyway) {
            Ok(constraints) if constraints.is_empty() => return PreScoreVerdict::Skip,
            Ok(constraints) => constraints,
            Err(why) => return PreScoreVerdict::Error(why),
        };
        let own =
            pod.spec().topology_spread_constraints.as_ref().is_some_and(|own| !own.is_empty());
        let all_keys = own || !self.system;
        let name = format!("{all_keys}{}", key(pod, &constraints));
        let counts = snapshot.tally(&name, |node| part(node, pod, &constraints, all_keys), change);
        let weights = weights(&constraints, nodes, all_keys);
        state.insert_until_placed(Soft { constraints, all_keys, counts, weights });
        PreScoreVerdict::Continue
    }
}

impl Score for PodTopologySpread {
    /// How many pods alike are where the node is; the fewer the better.
    fn score(&self, state: &CycleState, _: &PodInfo, node: &NodeInfo) -> i64 {
        let Some(soft) = state.value::<Soft>() else { return 0 };
        if soft.all_keys && !has_all_keys(node.labels(), &soft.constraints) {
            return IGNORED;
        }
        let mut score = 0.0;
        for (index, own) in soft.constraints.iter().enumerate() {
            let Some(value) = node.label(&own.key) else { continue };
            let domain = if own.key == HOSTNAME { node.name() } else { value };
            let pods = soft.counts.get(index).and_then(|counts| counts.get(domain)).copied();
            score += share(pods.unwrap_or_default(), own.max_skew, soft.weights[index]);
        }
        rounded(score)
    }

    fn normalize(&self, _: &CycleState, _: &PodInfo, scores: &mut [i64]) {
        let ranked = || scores.iter().copied().filter(|score| *score != IGNORED);
        let (least, most) =
            (ranked().min().unwrap_or_default(), ranked().max().unwrap_or_default());
        for score in scores {
            *score = match *score {
                IGNORED => 0,
                _ if most == 0 => MAX_SCORE,
                raw => MAX_SCORE * (most + least - raw) / most,
            };
        }
    }
}

/// What the pods of one domain count for; a larger skew waters differences down.
#[expect(clippy::cast_precision_loss, reason = "no cluster has that many pods")]
pub(super) fn share(pods: i64, max_skew: i64, weight: f64) -> f64 {
    pods as f64 * weight + (max_skew - 1) as f64
}

#[expect(clippy::cast_possible_truncation, reason = "no cluster has that many pods")]
pub(super) fn rounded(score: f64) -> i64 {
    score.round() as i64
}

#[cfg(test)]
mod tests;
