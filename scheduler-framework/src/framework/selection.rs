use super::{Failure, Framework, failed};
use crate::{CycleState, Diagnosis, FilterVerdict, NodeInfo, PodInfo, PreScoreVerdict, Snapshot};
use std::{
    collections::BTreeSet,
    sync::{Arc, atomic::Ordering},
};

/// With fewer nodes than this all are looked at.
const ALL_BELOW: usize = 100;

/// How many fitting nodes are enough: all of a small cluster, half of a middling one, a twentieth of a
/// large one, but never fewer than a hundred.
fn enough(nodes: usize) -> usize {
    if nodes < ALL_BELOW {
        return nodes;
    }
    let percentage = 50usize.saturating_sub(nodes / 125).max(5);
    (nodes * percentage / 100).max(ALL_BELOW)
}

impl Framework {
    pub(super) fn filter(
        &self,
        state: &CycleState,
        pod: &PodInfo,
        nodes: &Snapshot,
        candidates: Option<&BTreeSet<String>>,
        diagnosis: &mut Diagnosis,
    ) -> Result<Vec<Arc<NodeInfo>>, Failure> {
        let all = nodes.nodes();
        let start = self.next_node.load(Ordering::Relaxed) % all.len().max(1);
        let limit = enough(candidates.map_or(all.len(), BTreeSet::len));
        let mut feasible = Vec::with_capacity(limit.min(all.len()));
        let mut seen = 0;
        for node in all[start..].iter().chain(&all[..start]) {
            seen += 1;
            if candidates.is_some_and(|names| !names.contains(node.name())) {
                let reason = "node(s) didn't satisfy plugin(s) ";
                let names: Vec<_> = diagnosis.plugins.iter().copied().collect();
                *diagnosis.reasons.entry(format!("{reason}[{}]", names.join(" "))).or_default() +=
                    1;
                continue;
            }
            if self.fits(state, pod, node, diagnosis)? {
                feasible.push(node.clone());
                if feasible.len() >= limit {
                    break;
                }
            }
        }
        self.next_node.store((start + seen) % all.len().max(1), Ordering::Relaxed);
        Ok(feasible)
    }

    fn fits(
        &self,
        state: &CycleState,
        pod: &PodInfo,
        node: &NodeInfo,
        diagnosis: &mut Diagnosis,
    ) -> Result<bool, Failure> {
        for plugin in self.plugins() {
            let Some(point) = plugin.as_filter() else { continue };
            if state.skip_filter.contains(plugin.name()) {
                continue;
            }
            let (reasons, resolvable) = match point.filter(state, pod, node) {
                FilterVerdict::Fits => continue,
                FilterVerdict::Unschedulable(reasons) => (reasons, true),
                FilterVerdict::Unresolvable(reasons) => (reasons, false),
                FilterVerdict::Error(why) => return Err(failed("Filter", plugin.name(), &why)),
            };
            diagnosis.plugins.insert(plugin.name());
            if resolvable {
                diagnosis.resolvable.insert(node.name().to_owned());
            }
            for reason in reasons {
                *diagnosis.reasons.entry(reason).or_default() += 1;
            }
            return Ok(false);
        }
        Ok(true)
    }

    /// The best of the nodes; one of the best by chance when several are.
    pub(super) fn select(
        &self,
        state: &mut CycleState,
        pod: &PodInfo,
        nodes: &[Arc<NodeInfo>],
    ) -> Result<String, Failure> {
        if let [only] = nodes {
            return Ok(only.name().to_owned());
        }
        let totals = self.scores(state, pod, nodes)?;
        let best = totals.iter().max().copied().unwrap_or_default();
        let ties: Vec<_> = totals
            .iter()
            .zip(nodes)
            .filter(|(score, _)| **score == best)
            .map(|(_, node)| node)
            .collect();
        let pick = self.seed.below(ties.len() as u64);
        let chosen = ties.get(usize::try_from(pick).unwrap_or_default());
        Ok(chosen.map(|node| node.name().to_owned()).unwrap_or_default())
    }

    /// The weighted sum of all plugins' scores, for each node.
    ///
    /// # Errors
    /// When a plugin fails or scores out of range.
    pub(super) fn scores(
        &self,
        state: &mut CycleState,
        pod: &PodInfo,
        nodes: &[Arc<NodeInfo>],
    ) -> Result<Vec<i64>, Failure> {
        for plugin in self.plugins() {
            match plugin.as_pre_score().map(|point| point.pre_score(state, pod, nodes)) {
                None | Some(PreScoreVerdict::Continue) => {}
                Some(PreScoreVerdict::Skip) => drop(state.skip_score.insert(plugin.name())),
                Some(PreScoreVerdict::Error(why)) => {
                    return Err(failed("PreScore", plugin.name(), &why));
                }
            }
        }
        let mut totals = vec![0; nodes.len()];
        for own in &self.plugins {
            let Some(point) = own.plugin.as_score() else { continue };
            if state.skip_score.contains(own.plugin.name()) {
                continue;
            }
            let mut scores: Vec<_> =
                nodes.iter().map(|node| point.score(state, pod, node)).collect();
            point.normalize(state, pod, &mut scores);
            if let Some(wild) = scores.iter().find(|score| !(0..=crate::MAX_SCORE).contains(*score))
            {
                let why = format!(
                    "invalid score {wild}, it should be in the range of [0, {}]",
                    crate::MAX_SCORE
                );
                return Err(failed("Score", own.plugin.name(), &why));
            }
            for (total, score) in totals.iter_mut().zip(scores) {
                *total += score * own.weight;
            }
        }
        Ok(totals)
    }
}

#[cfg(test)]
mod tests {
    use super::enough;

    #[test]
    fn large_clusters_are_searched_in_part() {
        assert_eq!(
            [enough(50), enough(100), enough(1000), enough(5000), enough(10_000)],
            [50, 100, 420, 500, 500]
        );
    }
}
