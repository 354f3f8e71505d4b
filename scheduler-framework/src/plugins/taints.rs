use super::normalize::normalize;
use crate::{
    ActionType, ClusterEvent, CycleState, EnqueueExtensions, EventObject, EventResource, Filter,
    FilterVerdict, Hint, NodeInfo, PodInfo, SchedulerPlugin, Score,
};
use k8s_openapi::api::core::v1::{Node, Taint, Toleration};
use kubeplane_workload::tolerates_comparing;

/// Leaves out nodes with taints that a pod does not tolerate; avoids those it is asked to avoid.
#[derive(Debug, Clone, Copy, Default)]
pub struct TaintToleration {
    comparing: bool,
}

impl TaintToleration {
    /// Has tolerations with the operators `Lt` and `Gt` compare numbers: what the gate `TaintTolerationComparisonOperators` is
    /// for (KEP-5471). They cover nothing otherwise.
    #[must_use]
    pub fn with_comparison(self, comparing: bool) -> Self {
        Self { comparing }
    }

    /// Whether a pod may be on a node.
    fn is_tolerated(self, pod: &PodInfo, node: &Node) -> bool {
        are_tolerated(taints(node), tolerations(pod), self.comparing)
    }
}

impl SchedulerPlugin for TaintToleration {
    fn name(&self) -> &'static str {
        "TaintToleration"
    }

    fn requeue_on(&self) -> Vec<ClusterEvent> {
        vec![
            ClusterEvent::new(EventResource::Node, ActionType::ADD.or(ActionType::UPDATE_TAINTS)),
            ClusterEvent::new(EventResource::UnscheduledPod, ActionType::UPDATE_TOLERATIONS),
        ]
    }

    fn as_track(&self) -> Option<&dyn crate::Track> {
        Some(self)
    }

    fn as_enqueue_extensions(&self) -> Option<&dyn EnqueueExtensions> {
        Some(self)
    }

    fn as_filter(&self) -> Option<&dyn Filter> {
        Some(self)
    }

    fn as_score(&self) -> Option<&dyn Score> {
        Some(self)
    }
}

fn taints(node: &Node) -> &[Taint] {
    node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or_default()
}

/// Whether tolerations cover all taints that keep pods out.
pub(super) fn are_tolerated(taints: &[Taint], tolerations: &[Toleration], comparing: bool) -> bool {
    let mut hard =
        taints.iter().filter(|own| own.effect == "NoSchedule" || own.effect == "NoExecute");
    hard.all(|taint| tolerates_comparing(tolerations, taint, comparing))
}

fn tolerations(pod: &PodInfo) -> &[Toleration] {
    pod.spec().tolerations.as_deref().unwrap_or_default()
}

impl Filter for TaintToleration {
    fn filter(&self, _: &CycleState, pod: &PodInfo, node: &NodeInfo) -> FilterVerdict {
        match self.is_tolerated(pod, node.node()) {
            true => FilterVerdict::Fits,
            false => FilterVerdict::Unresolvable(vec!["node(s) had untolerated taint(s)".into()]),
        }
    }
}

impl Score for TaintToleration {
    /// How many taints that ask to be avoided the pod does not tolerate.
    fn score(&self, _: &CycleState, pod: &PodInfo, node: &NodeInfo) -> i64 {
        let soft = |toleration: &&Toleration| {
            matches!(toleration.effect.as_deref(), None | Some("" | "PreferNoSchedule"))
        };
        let tolerations: Vec<_> = tolerations(pod).iter().filter(soft).cloned().collect();
        let avoided = taints(node.node()).iter().filter(|taint| taint.effect == "PreferNoSchedule");
        let tolerated = |taint: &&Taint| tolerates_comparing(&tolerations, taint, self.comparing);
        i64::try_from(avoided.filter(|taint| !tolerated(taint)).count()).unwrap_or(i64::MAX)
    }

    fn normalize(&self, _: &CycleState, _: &PodInfo, scores: &mut [i64]) {
        normalize(scores, true);
    }
}

impl EnqueueExtensions for TaintToleration {
    /// A node helps whose taints are tolerated, and were not; so does another toleration of the pod itself.
    fn hint(&self, pod: &PodInfo, _: ClusterEvent, object: &EventObject) -> Hint {
        let helps = match object {
            EventObject::Node { old, new: Some(new) } => {
                old.as_ref().is_none_or(|old| !self.is_tolerated(pod, old))
                    && self.is_tolerated(pod, new)
            }
            EventObject::Pod { new: Some(new), .. } => {
                new.metadata.uid.as_deref() == Some(pod.uid())
            }
            _ => true,
        };
        if helps { Hint::Queue } else { Hint::Skip }
    }

    fn is_same_for_pods_alike(&self) -> bool {
        true
    }
}
