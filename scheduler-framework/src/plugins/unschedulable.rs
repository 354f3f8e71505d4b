use crate::{
    ActionType, ClusterEvent, CycleState, EnqueueExtensions, EventObject, EventResource, Filter,
    FilterVerdict, Hint, NodeInfo, PodInfo, SchedulerPlugin,
};
use k8s_openapi::api::core::v1::{Node, PodSpec, Taint};
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

    fn as_enqueue_extensions(&self) -> Option<&dyn EnqueueExtensions> {
        Some(self)
    }

    fn as_filter(&self) -> Option<&dyn Filter> {
        Some(self)
    }
}

fn is_cordoned(node: &Node) -> bool {
    node.spec.as_ref().and_then(|spec| spec.unschedulable).unwrap_or_default()
}

fn is_tolerated(pod: &PodSpec) -> bool {
    let taint = Taint { key: TAINT.into(), effect: "NoSchedule".into(), ..Taint::default() };
    tolerates(pod.tolerations.as_deref().unwrap_or_default(), &taint)
}

impl Filter for NodeUnschedulable {
    fn filter(&self, _: &CycleState, pod: &PodInfo, node: &NodeInfo) -> FilterVerdict {
        if !is_cordoned(node.node()) || is_tolerated(pod.spec()) {
            return FilterVerdict::Fits;
        }
        FilterVerdict::Unresolvable(vec!["node(s) were unschedulable".into()])
    }
}

impl EnqueueExtensions for NodeUnschedulable {
    /// A node that is open, and was not, helps; so does that the pod itself tolerates closed ones.
    fn hint(&self, pod: &PodInfo, _: ClusterEvent, object: &EventObject) -> Hint {
        let helps = match object {
            EventObject::Node { old, new: Some(new) } => {
                old.as_ref().is_none_or(|old| is_cordoned(old)) && !is_cordoned(new)
            }
            EventObject::Pod { new: Some(new), .. } => {
                new.metadata.uid.as_deref() == Some(pod.uid())
                    && new.spec.as_ref().is_some_and(is_tolerated)
            }
            _ => true,
        };
        if helps { Hint::Queue } else { Hint::Skip }
    }

    fn is_same_for_pods_alike(&self) -> bool {
        true
    }
}
