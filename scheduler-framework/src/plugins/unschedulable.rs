use crate::{
    ActionType, ClusterEvent, CycleState, EventResource, Filter, FilterVerdict, NodeInfo, PodInfo,
    SchedulerPlugin,
};
use k8s_openapi::api::core::v1::Taint;
use kubeplane_workload::tolerates;

const TAINT: &str = "node.kubernetes.io/unschedulable";

/// Leaves out cordoned nodes, unless the pod tolerates that.
#[derive(Debug, Clone, Copy, Default)]
pub struct NodeUnschedulable;

impl SchedulerPlugin for NodeUnschedulable {
    fn name(&self) -> &'static str {
        "NodeUnschedulable"
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

    fn as_filter(&self) -> Option<&dyn Filter> {
        Some(self)
    }
}

impl Filter for NodeUnschedulable {
    fn filter(&self, _: &CycleState, pod: &PodInfo, node: &NodeInfo) -> FilterVerdict {
        let cordoned =
            node.node().spec.as_ref().and_then(|spec| spec.unschedulable).unwrap_or_default();
        if !cordoned {
            return FilterVerdict::Fits;
        }
        let taint = Taint { key: TAINT.into(), effect: "NoSchedule".into(), ..Taint::default() };
        if tolerates(pod.spec().tolerations.as_deref().unwrap_or_default(), &taint) {
            return FilterVerdict::Fits;
        }
        FilterVerdict::Unresolvable(vec!["node(s) were unschedulable".into()])
    }
}
