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

impl SchedulerPlugin for NodeResourcesBalancedAllocation {
    fn name(&self) -> &'static str {
        "NodeResourcesBalancedAllocation"
    }

    fn requeue_on(&self) -> Vec<ClusterEvent> {
        Vec::new()
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
        if self.resources.iter().all(|name| pod.requests().amount(name) == 0) {
            return PreScoreVerdict::Skip;
        }
        PreScoreVerdict::Continue
    }
}

impl Score for NodeResourcesBalancedAllocation {
    fn score(&self, _: &CycleState, pod: &PodInfo, node: &NodeInfo) -> i64 {
        let with = self.balance(node, |name| pod.requests().amount(name));
        let without = self.balance(node, |_| 0);
        MAX_SCORE / 2 + (MAX_SCORE / 2 + with - without) / 2
    }
}

impl NodeResourcesBalancedAllocation {
    /// One minus the spread of the used fractions, in hundredths.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        reason = "a score is a rounded fraction"
    )]
    fn balance(&self, node: &NodeInfo, more: impl Fn(&str) -> i64) -> i64 {
        let fraction = |name: &String| {
            let capacity = node.allocatable().amount(name);
            let used = node.requested().amount(name) + more(name);
            (capacity > 0).then(|| (used as f64 / capacity as f64).min(1.0))
        };
        let fractions: Vec<_> = self.resources.iter().filter_map(fraction).collect();
        let spread = match fractions.as_slice() {
            [] | [_] => 0.0,
            [a, b] => ((a - b) / 2.0).abs(),
            many => {
                let mean = many.iter().sum::<f64>() / many.len() as f64;
                (many.iter().map(|own| (own - mean).powi(2)).sum::<f64>() / many.len() as f64)
                    .sqrt()
            }
        };
        ((1.0 - spread) * MAX_SCORE as f64) as i64
    }
}
