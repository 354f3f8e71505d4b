use crate::{
    ActionType, ClusterEvent, CycleState, EventResource, Filter, FilterVerdict, MAX_SCORE,
    NodeInfo, PodInfo, SchedulerPlugin, Score,
};

/// Only nodes with room for what a pod requests; prefers those with the most left (LeastAllocated).
#[derive(Debug, Clone)]
pub struct NodeResourcesFit {
    /// The resources scored, and their weights.
    weights: Vec<(String, i64)>,
}

impl Default for NodeResourcesFit {
    fn default() -> Self {
        Self { weights: vec![("cpu".into(), 1), ("memory".into(), 1)] }
    }
}

impl NodeResourcesFit {
    /// Scores other resources, or with other weights (from 1 to 100).
    #[must_use]
    pub fn scoring(weights: impl IntoIterator<Item = (String, i64)>) -> Self {
        Self { weights: weights.into_iter().collect() }
    }
}

impl SchedulerPlugin for NodeResourcesFit {
    fn name(&self) -> &'static str {
        "NodeResourcesFit"
    }

    fn requeue_on(&self) -> Vec<ClusterEvent> {
        vec![
            ClusterEvent::new(
                EventResource::AssignedPod,
                ActionType::DELETE.or(ActionType::UPDATE_SCALE_DOWN),
            ),
            ClusterEvent::new(
                EventResource::Node,
                ActionType::ADD.or(ActionType::UPDATE_ALLOCATABLE),
            ),
        ]
    }

    fn as_filter(&self) -> Option<&dyn Filter> {
        Some(self)
    }

    fn as_score(&self) -> Option<&dyn Score> {
        Some(self)
    }
}

impl Filter for NodeResourcesFit {
    fn filter(&self, _: &CycleState, pod: &PodInfo, node: &NodeInfo) -> FilterVerdict {
        let (has, used, wants) = (node.allocatable(), node.requested(), pod.requests());
        let mut reasons = Vec::new();
        let mut resolvable = true;
        if i64::try_from(node.pods().len()).unwrap_or(i64::MAX) >= has.pods {
            reasons.push("Too many pods".to_owned());
        }
        let named = [
            ("cpu", wants.milli_cpu),
            ("memory", wants.memory),
            ("ephemeral-storage", wants.ephemeral_storage),
        ];
        let all = named
            .into_iter()
            .chain(wants.scalars.iter().map(|(name, amount)| (name.as_str(), *amount)));
        for (name, wanted) in all.filter(|(_, wanted)| *wanted > 0) {
            if wanted > has.amount(name) - used.amount(name) {
                reasons.push(format!("Insufficient {name}"));
                resolvable &= wanted <= has.amount(name);
            }
        }
        match (reasons.is_empty(), resolvable) {
            (true, _) => FilterVerdict::Fits,
            (false, true) => FilterVerdict::Unschedulable(reasons),
            (false, false) => FilterVerdict::Unresolvable(reasons),
        }
    }
}

impl Score for NodeResourcesFit {
    fn score(&self, _: &CycleState, pod: &PodInfo, node: &NodeInfo) -> i64 {
        let (mut total, mut weights) = (0, 0);
        for (name, weight) in &self.weights {
            let capacity = node.allocatable().amount(name);
            if capacity == 0 || (is_extended(name) && pod.requests().amount(name) == 0) {
                continue;
            }
            let used = node.scored_requests().amount(name) + pod.scored_requests().amount(name);
            let left = if used > capacity { 0 } else { (capacity - used) * MAX_SCORE / capacity };
            total += left * weight;
            weights += weight;
        }
        if weights == 0 { 0 } else { total / weights }
    }
}

fn is_extended(name: &str) -> bool {
    !matches!(name, "cpu" | "memory" | "ephemeral-storage")
}
