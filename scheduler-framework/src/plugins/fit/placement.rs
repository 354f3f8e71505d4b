use super::{NodeResourcesFit, ScoringStrategy};
use crate::{GroupPlacement, PlacementScore, PodGroup, PodInfo, Snapshot};
use std::sync::Arc;

/// Whether a resource is one that every node has.
fn is_common(name: &str) -> bool {
    matches!(name, "cpu" | "memory" | "ephemeral-storage")
}

/// Prefers places that the group fills, whatever strategy nodes are scored by.
impl PlacementScore for NodeResourcesFit {
    fn score(
        &self,
        _: &PodGroup,
        placement: &GroupPlacement,
        assigned: &[(Arc<PodInfo>, String)],
        nodes: &Snapshot,
    ) -> i64 {
        let own = self.weights.iter().map(|(name, weight)| (name.as_str(), *weight));
        let resources: Vec<_> = match self.weights.is_empty() {
            true => vec![("cpu", 1), ("memory", 1)],
            false => own.collect(),
        };
        let each = resources.into_iter().map(|(name, weight)| {
            let estimated = matches!(name, "cpu" | "memory");
            let wanted = assigned.iter().map(|(pod, _)| match estimated {
                true => pod.arriving_requests().amount(name),
                false => pod.requests().amount(name),
            });
            let (mut used, mut has) = (wanted.sum::<i64>(), 0);
            for node in placement.nodes.iter().filter_map(|own| nodes.node(own)) {
                let there = node.allocatable().amount(name);
                if there == 0 || used == 0 && !is_common(name) {
                    continue;
                }
                has += there;
                used += match estimated {
                    true => node.scored_requests().amount(name),
                    false => node.requested().amount(name),
                };
            }
            (used, has, weight)
        });
        ScoringStrategy::MostAllocated.score(each)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        NodeInfo,
        plugins::fixtures::{node, pod},
    };
    use serde_json::json;

    #[test]
    fn places_that_the_group_fills_score_most() {
        let asking = |name: &str, cpu: &str, memory: &str| {
            let requests = json!({"cpu": cpu, "memory": memory});
            let containers = json!([{"name": "c", "resources": {"requests": requests}}]);
            pod(name, "", json!({"containers": containers}))
        };
        // Each node has 4 CPUs and 8 GiB.
        let there = asking("there", "1", "2Gi");
        let nodes = [node("a", "", &[]), node("b", "", &[there]), node("c", "", &[])];
        let nodes = Snapshot::new(nodes.to_vec());
        let assigned =
            [asking("p", "2", "2Gi"), asking("q", "1", "2Gi")].map(|pod| (pod, String::new()));
        let score = |names: &[&str]| {
            let nodes_of = names.iter().map(|name| (*name).to_owned()).collect();
            let place = GroupPlacement { name: String::new(), nodes: nodes_of };
            PlacementScore::score(
                &NodeResourcesFit::default(),
                &PodGroup::default(),
                &place,
                &assigned,
                &nodes,
            )
        };
        // CPU 3 of 4 and memory 4 of 8; then 4 of 8 and 6 of 16; then all three nodes.
        assert_eq!(score(&["a"]), (75 + 50) / 2);
        assert_eq!(score(&["a", "b"]), (50 + 37) / 2);
        assert_eq!(score(&["a", "b", "c"]), (33 + 25) / 2);
    }

    const GPU: &str = "example.com/gpu";

    /// A node with five CPUs, 5000 bytes and five GPUs.
    fn five(name: &str, pods: &[Arc<PodInfo>]) -> Arc<NodeInfo> {
        let value = json!({"metadata": {"name": name}, "status": {"allocatable":
            {"cpu": "5", "memory": "5000", GPU: "5", "pods": "9"}}});
        let mut info = NodeInfo::new(Arc::new(serde_json::from_value(value).unwrap()));
        pods.iter().for_each(|own| info.add_pod(own.clone()));
        Arc::new(info)
    }

    #[test]
    fn what_a_group_asks_for_counts_wherever_in_the_place_it_goes() {
        let asking = |name: &str, (cpu, memory, gpus): (i64, i64, i64)| {
            let requests = json!({"cpu": cpu.to_string(), "memory": memory.to_string(),
                GPU: gpus.to_string()});
            let containers = json!([{"name": "c", "resources": {"requests": requests}}]);
            pod(name, "", json!({"containers": containers}))
        };
        let (even, heavy) = (&[("cpu", 1), ("memory", 1)][..], &[("cpu", 4), ("memory", 1)][..]);
        let all = &[("cpu", 1), ("memory", 1), (GPU, 1)][..];
        let (big, small) = ((2, 2000, 0), (1, 0, 0));
        // The weights, what the group asks for, on which nodes, who is there, and the score.
        for (weights, wanted, on, there, expected) in [
            (even, [small, big], ["a", "b"], None, 25),
            (heavy, [small, big], ["a", "b"], None, 28),
            (heavy, [small, big], ["a", "a"], None, 28),
            (even, [small, big], ["a", "b"], Some(small), 30),
            (all, [small, (1, 2000, 1)], ["a", "b"], Some(small), 20),
            // What nobody of the group asks for has no say, whoever has some.
            (all, [small, (1, 2000, 0)], ["a", "b"], Some((1, 0, 1)), 25),
        ] {
            let there: Vec<_> = there.map(|own| asking("there", own)).into_iter().collect();
            let nodes = vec![five("a", &there), five("b", &[]), five("c", &[])];
            let assigned: Vec<_> = wanted
                .iter()
                .zip(on)
                .map(|(own, node)| (asking("p", *own), node.to_owned()))
                .collect();
            let named = weights.iter().map(|(name, weight)| ((*name).to_owned(), *weight));
            let place = GroupPlacement {
                name: String::new(),
                nodes: ["a", "b"].map(str::to_owned).into_iter().collect(),
            };
            let score = PlacementScore::score(
                &NodeResourcesFit::scoring(named),
                &PodGroup::default(),
                &place,
                &assigned,
                &Snapshot::new(nodes),
            );
            assert_eq!(score, expected, "{weights:?} {wanted:?} on {on:?}");
        }
    }
}
