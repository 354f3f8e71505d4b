use super::{InterPodAffinity, Own, Pairs, add, merge};
use crate::{
    AffinityTerm, CycleState, MAX_SCORE, NodeInfo, PodInfo, PreScore, PreScoreVerdict, Score,
};
use std::{collections::BTreeMap, sync::Arc};

/// What the terms of all pods add to the nodes of each place.
struct Soft(Arc<Sums>);

#[derive(Debug, Clone, Default)]
struct Sums {
    /// How many pods had a say, even if their says add up to nothing.
    voices: i64,
    pairs: Pairs,
}

/// What one node's pods say.
#[derive(Debug, Default)]
struct Part {
    voices: i64,
    pairs: Pairs,
}

impl Part {
    fn hear(
        &mut self,
        terms: &[AffinityTerm],
        meant: &PodInfo,
        namespace_labels: Option<&BTreeMap<String, String>>,
        node: &NodeInfo,
        factor: impl Fn(&AffinityTerm) -> i64,
    ) {
        for term in terms {
            if let Some(value) = node.label(&term.topology_key)
                && term.matches(meant, namespace_labels)
            {
                self.voices += 1;
                add(&mut self.pairs, &term.topology_key, value, factor(term));
            }
        }
    }
}

impl InterPodAffinity {
    fn part(&self, node: &NodeInfo, pod: &PodInfo, own: &Own) -> Part {
        let mut part = Part::default();
        let (like, dislike) =
            (|term: &AffinityTerm| term.weight, |term: &AffinityTerm| -term.weight);
        let asks = !own.preferred.is_empty() || !own.preferred_anti.is_empty();
        for other in if asks { node.pods() } else { node.pods_with_affinity() } {
            part.hear(&own.preferred, other, None, node, like);
            part.hear(&own.preferred_anti, other, None, node, dislike);
            let (terms, labels) = (other.affinity(), own.namespace_labels.as_ref());
            if self.hard_weight > 0 {
                part.hear(&terms.required, pod, labels, node, |_| self.hard_weight);
            }
            part.hear(&terms.preferred, pod, labels, node, like);
            part.hear(&terms.preferred_anti, pod, labels, node, dislike);
        }
        part
    }
}

impl PreScore for InterPodAffinity {
    fn pre_score(
        &self,
        state: &mut CycleState,
        pod: &PodInfo,
        _: &[Arc<NodeInfo>],
    ) -> PreScoreVerdict {
        let terms = pod.affinity();
        let prefers = !terms.preferred.is_empty() || !terms.preferred_anti.is_empty();
        if self.ignore_preferred_of_others && !prefers {
            return PreScoreVerdict::Skip;
        }
        let snapshot = state.snapshot().clone();
        if !prefers && super::voices(&snapshot).any == 0 {
            return PreScoreVerdict::Skip;
        }
        let own = Own::new(pod, &snapshot);
        let key = format!("{}\n{}", self.hard_weight, own.key(pod));
        let change = |total: &mut Sums, part: &Part, sign| {
            total.voices += sign * part.voices;
            merge(&mut total.pairs, &part.pairs, sign);
        };
        let sums = snapshot.tally(&key, |node| self.part(node, pod, &own), change);
        if sums.voices == 0 {
            return PreScoreVerdict::Skip;
        }
        state.insert_until_placed(Soft(sums));
        PreScoreVerdict::Continue
    }
}

impl Score for InterPodAffinity {
    fn score(&self, state: &CycleState, _: &PodInfo, node: &NodeInfo) -> i64 {
        let Some(Soft(sums)) = state.value::<Soft>() else { return 0 };
        let value = |key: &str| super::number(&sums.pairs, node, key);
        sums.pairs.keys().map(|key| value(key)).sum()
    }

    fn normalize(&self, _: &CycleState, _: &PodInfo, scores: &mut [i64]) {
        let least = scores.iter().copied().min().unwrap_or_default();
        let range = scores.iter().copied().max().unwrap_or_default() - least;
        for score in scores {
            *score = if range > 0 { scaled(*score - least, range) } else { 0 };
        }
    }
}

/// In floating point, as the original does, for the same rounding.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "sums of weights are small"
)]
fn scaled(score: i64, range: i64) -> i64 {
    (MAX_SCORE as f64 * (score as f64 / range as f64)) as i64
}
