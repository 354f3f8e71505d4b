use crate::{
    ActionType, ClusterEvent, CycleState, EnqueueExtensions, EventObject, EventResource, Filter,
    FilterVerdict, Hint, NodeInfo, PodInfo, PreFilter, PreFilterVerdict, SchedulerPlugin, Snapshot,
};
use k8s_openapi::api::core::v1::Pod;
use kubeplane_workload::host_ports;

/// Only nodes where the host ports of a pod are free.
#[derive(Debug, Clone, Copy, Default)]
pub struct NodePorts;

impl SchedulerPlugin for NodePorts {
    fn name(&self) -> &'static str {
        "NodePorts"
    }

    fn requeue_on(&self) -> Vec<ClusterEvent> {
        vec![
            ClusterEvent::new(EventResource::AssignedPod, ActionType::DELETE),
            ClusterEvent::new(EventResource::Node, ActionType::ADD),
        ]
    }

    fn as_track(&self) -> Option<&dyn crate::Track> {
        Some(self)
    }

    fn as_enqueue_extensions(&self) -> Option<&dyn EnqueueExtensions> {
        Some(self)
    }

    fn as_pre_filter(&self) -> Option<&dyn PreFilter> {
        Some(self)
    }

    fn as_filter(&self) -> Option<&dyn Filter> {
        Some(self)
    }
}

impl PreFilter for NodePorts {
    fn pre_filter(&self, _: &mut CycleState, pod: &PodInfo, _: &Snapshot) -> PreFilterVerdict {
        if pod.ports().is_empty() { PreFilterVerdict::Skip } else { PreFilterVerdict::Continue }
    }
}

impl Filter for NodePorts {
    fn filter(&self, _: &CycleState, pod: &PodInfo, node: &NodeInfo) -> FilterVerdict {
        let used = || node.pods().iter().flat_map(|other| other.ports());
        if pod.ports().iter().any(|port| used().any(|other| other.conflicts(port))) {
            let reason = "node(s) didn't have free ports for the requested pod ports";
            return FilterVerdict::Unschedulable(vec![reason.into()]);
        }
        FilterVerdict::Fits
    }
}

fn had_place(pod: &Pod) -> bool {
    let set = |name: Option<&String>| name.is_some_and(|name| !name.is_empty());
    set(pod.spec.as_ref().and_then(|own| own.node_name.as_ref()))
        || set(pod.status.as_ref().and_then(|own| own.nominated_node_name.as_ref()))
}

impl EnqueueExtensions for NodePorts {
    /// A pod that left a node, or one where room was made for it, helps if it had a port that is wanted.
    fn hint(&self, pod: &PodInfo, _: ClusterEvent, object: &EventObject) -> Hint {
        let EventObject::Pod { old: Some(old), new: None } = object else { return Hint::Queue };
        if !had_place(old) {
            return Hint::Skip;
        }
        let had = old.spec.as_ref().map(host_ports).unwrap_or_default();
        let wanted = |port| pod.ports().iter().any(|own| own.conflicts(port));
        if had.iter().any(wanted) { Hint::Queue } else { Hint::Skip }
    }

    fn is_same_for_pods_alike(&self) -> bool {
        true
    }
}
