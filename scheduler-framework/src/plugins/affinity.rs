use super::normalize::normalize;
use crate::{
    ActionType, ClusterEvent, CycleState, EventResource, Filter, FilterVerdict, NodeInfo, PodInfo,
    PreScore, PreScoreVerdict, SchedulerPlugin, Score,
};
use k8s_openapi::api::core::v1::PreferredSchedulingTerm;
use kubeplane_workload::{node_affinity_matches, node_affinity_score};
use std::sync::Arc;

/// Only nodes that match a pod's node selector and required node affinity; prefers those it prefers.
#[derive(Debug, Clone, Copy, Default)]
pub struct NodeAffinity;

impl SchedulerPlugin for NodeAffinity {
    fn name(&self) -> &'static str {
        "NodeAffinity"
    }

    fn requeue_on(&self) -> Vec<ClusterEvent> {
        vec![ClusterEvent::new(EventResource::Node, ActionType::ADD.or(ActionType::UPDATE_LABELS))]
    }

    fn as_filter(&self) -> Option<&dyn Filter> {
        Some(self)
    }

    fn as_pre_score(&self) -> Option<&dyn PreScore> {
        Some(self)
    }

    fn as_score(&self) -> Option<&dyn Score> {
        Some(self)
    }
}

fn preferred(pod: &PodInfo) -> &[PreferredSchedulingTerm] {
    let affinity =
        pod.spec().affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref());
    let terms = affinity
        .and_then(|own| own.preferred_during_scheduling_ignored_during_execution.as_deref());
    terms.unwrap_or_default()
}

impl Filter for NodeAffinity {
    fn filter(&self, _: &CycleState, pod: &PodInfo, node: &NodeInfo) -> FilterVerdict {
        if node_affinity_matches(pod.spec(), node.node()) {
            return FilterVerdict::Fits;
        }
        FilterVerdict::Unresolvable(vec![
            "node(s) didn't match Pod's node affinity/selector".into(),
        ])
    }
}

impl PreScore for NodeAffinity {
    fn pre_score(&self, _: &mut CycleState, pod: &PodInfo, _: &[Arc<NodeInfo>]) -> PreScoreVerdict {
        if preferred(pod).is_empty() { PreScoreVerdict::Skip } else { PreScoreVerdict::Continue }
    }
}

impl Score for NodeAffinity {
    fn score(&self, _: &CycleState, pod: &PodInfo, node: &NodeInfo) -> i64 {
        node_affinity_score(preferred(pod), node.node())
    }

    fn normalize(&self, _: &CycleState, _: &PodInfo, scores: &mut [i64]) {
        normalize(scores, false);
    }
}
