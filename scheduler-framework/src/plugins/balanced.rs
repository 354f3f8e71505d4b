use crate::{
    ClusterEvent, CycleState, MAX_SCORE, NodeInfo, PodInfo, PreScore, PreScoreVerdict,
    SchedulerPlugin, Score,
};
use std::sync::Arc;

/// Prefers nodes whose resources would be used evenly.
#[derive(Debug, Clone)]
pub struct NodeResourcesBalancedAllocation {
    resources: Vec<String>,
}

impl Default for NodeResourcesBalancedAllocation {
    fn default() -> Self {
        Self { resources: vec!["cpu".into(), "memory".into()] }
    }
}

impl NodeResourcesBalancedAllocation {
    /// Balances these resources.
    #[must_use]
    pub fn of(resources: impl IntoIterator<Item = String>) -> Self {
        Self { resources: resources.into_iter().collect() }
    }

    /// The score of a node; it depends on nothing but the node and what the pod requests.
    pub(crate) fn rate(&self, pod: &PodInfo, node: &NodeInfo) -> i64 {
        let (with, without) = (self.balance(node, pod, 1), self.balance(node, pod, 0));
        MAX_SCORE / 2 + (MAX_SCORE / 2 + with - without) / 2
    }

    /// Whether there is nothing to balance for a pod.
    pub(crate) fn is_indifferent(&self, pod: &PodInfo) -> bool {
        self.resources.iter().all(|name| pod.requests().amount(name) == 0)
    }
}

impl SchedulerPlugin for NodeResourcesBalancedAllocation {
    fn name(&self) -> &'static str {
        "NodeResourcesBalancedAllocation"
    }

    fn requeue_on(&self) -> Vec<ClusterEvent> {
        Vec::new()
    }

    fn as_track(&self) -> Option<&dyn crate::Track> {
        Some(self)
    }

    fn as_pre_score(&self) -> Option<&dyn PreScore> {
        Some(self)
    }

    fn as_score(&self) -> Option<&dyn Score> {
        Some(self)
    }
}

impl PreScore for NodeResourcesBalancedAllocation {
    /// A pod that requests nothing of these resources balances nothing.
    fn pre_score(&self, _: &mut CycleState, pod: &PodInfo, _: &[Arc<NodeInfo>]) -> PreScoreVerdict {
        if self.is_indifferent(pod) {
            return PreScoreVerdict::Skip;
        }
        PreScoreVerdict::Continue
    }
}

impl Score for NodeResourcesBalancedAllocation {
    fn score(&self, _: &CycleState, pod: &PodInfo, node: &NodeInfo) -> i64 {
        self.rate(pod, node)
    }
}

impl NodeResourcesBalancedAllocation {
    /// One minus the spread of the fractions used with `times` the pod, in hundredths.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        reason = "a score is a rounded fraction"
    )]
    fn balance(&self, node: &NodeInfo, pod: &PodInfo, times: i64) -> i64 {
        let fraction = |name: &String| {
            let wanted = pod.requests().amount(name);
            // Others than these count for pods that want them only.
            if wanted == 0 && !matches!(&**name, "cpu" | "memory" | "ephemeral-storage") {
                return None;
            }
            let capacity = node.allocatable().amount(name);
            let used = node.requested().amount(name) + times * wanted;
            (capacity > 0).then(|| (used as f64 / capacity as f64).min(1.0))
        };
        let two = |a: f64, b: f64| ((a - b) / 2.0).abs();
        if let [a, b] = &*self.resources {
            // The common case, without a list.
            let spread = fraction(a).zip(fraction(b)).map_or(0.0, |(a, b)| two(a, b));
            return ((1.0 - spread) * MAX_SCORE as f64) as i64;
        }
        let fractions: Vec<_> = self.resources.iter().filter_map(fraction).collect();
        let spread = match *fractions.as_slice() {
            [] | [_] => 0.0,
            [a, b] => two(a, b),
            ref many => {
                let mean = many.iter().sum::<f64>() / many.len() as f64;
                (many.iter().map(|own| (own - mean).powi(2)).sum::<f64>() / many.len() as f64)
                    .sqrt()
            }
        };
        ((1.0 - spread) * MAX_SCORE as f64) as i64
    }
}
