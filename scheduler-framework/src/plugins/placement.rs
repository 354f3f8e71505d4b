//! Where groups of pods could be placed.

use crate::{
    GroupPlacement, MAX_SCORE, PlacementGenerate, PlacementScore, PodGroup, PodInfo,
    SchedulerPlugin, Snapshot,
};
use std::{collections::BTreeMap, sync::Arc};

/// Proposes the nodes of one topology domain each, for groups that want to be in one.
#[derive(Debug, Clone, Copy, Default)]
pub struct TopologyPlacementGenerator;

impl SchedulerPlugin for TopologyPlacementGenerator {
    fn name(&self) -> &'static str {
        "TopologyPlacementGenerator"
    }

    fn as_placement_generate(&self) -> Option<&dyn PlacementGenerate> {
        Some(self)
    }
}

/// The domain where pods of the group are already.
fn domain_of<'a>(
    group: &PodGroup,
    key: &str,
    nodes: &'a Snapshot,
) -> Result<Option<&'a str>, String> {
    let mut domain = None;
    for (pod, node) in &group.placed {
        let node = nodes.node(node).ok_or_else(|| format!("getting node for pod {}", pod.key()))?;
        let own = node
            .label(key)
            .ok_or_else(|| format!("no topology domain found for pod {}", pod.key()))?;
        if let Some(other) = domain.filter(|other| *other != own) {
            return Err(format!("more than 1 domain found for pod group: {other}, {own}"));
        }
        domain = Some(own);
    }
    Ok(domain)
}

impl PlacementGenerate for TopologyPlacementGenerator {
    fn generate(
        &self,
        group: &PodGroup,
        within: &GroupPlacement,
        nodes: &Snapshot,
    ) -> Result<Vec<GroupPlacement>, String> {
        let Some(key) = &group.topology else { return Ok(vec![within.clone()]) };
        let only = domain_of(group, key, nodes)
            .map_err(|why| format!("cannot determine domain for already scheduled pods: {why}"))?;
        let mut domains: BTreeMap<&str, GroupPlacement> = BTreeMap::new();
        for name in &within.nodes {
            let label = nodes.node(name).and_then(|node| node.label(key));
            let Some(domain) = label.filter(|own| only.is_none_or(|only| only == *own)) else {
                continue;
            };
            let own = domains.entry(domain).or_insert_with(|| GroupPlacement {
                name: domain.to_owned(),
                nodes: std::collections::BTreeSet::new(),
            });
            own.nodes.insert(name.clone());
        }
        Ok(domains.into_values().collect())
    }
}

/// Prefers places where more pods of the group are.
#[derive(Debug, Clone, Copy, Default)]
pub struct PodGroupPodsCount;

impl SchedulerPlugin for PodGroupPodsCount {
    fn name(&self) -> &'static str {
        "PodGroupPodsCount"
    }

    fn as_placement_score(&self) -> Option<&dyn PlacementScore> {
        Some(self)
    }
}

impl PlacementScore for PodGroupPodsCount {
    fn score(
        &self,
        group: &PodGroup,
        _: &GroupPlacement,
        assigned: &[(Arc<PodInfo>, String)],
        _: &Snapshot,
    ) -> i64 {
        i64::try_from(group.placed.len() + assigned.len()).unwrap_or(i64::MAX)
    }

    fn normalize(&self, _: &PodGroup, scores: &mut [i64]) {
        let most = scores.iter().copied().max().unwrap_or_default().max(1);
        scores.iter_mut().for_each(|score| *score = *score * MAX_SCORE / most);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugins::fixtures::{node, pod};
    use serde_json::json;

    fn generated(group: &PodGroup) -> Result<Vec<String>, String> {
        let nodes = [("a", "z=1"), ("b", "z=1"), ("c", "z=2"), ("d", "")];
        let nodes = nodes.map(|(name, labels)| node(name, labels, &[]));
        let all = nodes.iter().map(|own| own.name().to_owned()).collect();
        let within = GroupPlacement { name: "all".to_owned(), nodes: all };
        let nodes = Snapshot::new(nodes.to_vec());
        let proposals = TopologyPlacementGenerator.generate(group, &within, &nodes)?;
        let told = |own: &GroupPlacement| {
            format!("{}: {}", own.name, own.nodes.iter().cloned().collect::<Vec<_>>().join(" "))
        };
        Ok(proposals.iter().map(told).collect())
    }

    #[test]
    fn groups_are_proposed_the_domains_they_may_be_in() {
        let mut group = PodGroup::default();
        assert_eq!(generated(&group).unwrap(), ["all: a b c d"]);
        group.topology = Some("z".to_owned());
        assert_eq!(generated(&group).unwrap(), ["1: a b", "2: c"]);
        let own = |name: &str| pod(name, "", json!({}));
        group.placed = vec![(own("p"), "c".to_owned())];
        assert_eq!(generated(&group).unwrap(), ["2: c"]);
        group.placed.push((own("q"), "a".to_owned()));
        assert_eq!(
            generated(&group).unwrap_err(),
            "cannot determine domain for already scheduled pods: more than 1 domain found for pod group: 2, 1"
        );
        group.placed = vec![(own("p"), "d".to_owned())];
        assert!(generated(&group).unwrap_err().contains("no topology domain found for pod d/p"));
    }

    #[test]
    fn the_place_with_most_pods_scores_most() {
        let mut scores = [1, 4, 2];
        PodGroupPodsCount.normalize(&PodGroup::default(), &mut scores);
        assert_eq!(scores, [25, 100, 50]);
    }
}
