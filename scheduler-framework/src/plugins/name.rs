use crate::{
    ActionType, ClusterEvent, CycleState, EventResource, Filter, FilterVerdict, NodeInfo, PodInfo,
    SchedulerPlugin,
};

/// Only the node a pod names itself.
#[derive(Debug, Clone, Copy, Default)]
pub struct NodeName;

impl SchedulerPlugin for NodeName {
    fn name(&self) -> &'static str {
        "NodeName"
    }

    fn requeue_on(&self) -> Vec<ClusterEvent> {
        vec![ClusterEvent::new(EventResource::Node, ActionType::ADD)]
    }

    fn as_track(&self) -> Option<&dyn crate::Track> {
        Some(self)
    }

    fn as_filter(&self) -> Option<&dyn Filter> {
        Some(self)
    }
}

impl Filter for NodeName {
    fn filter(&self, _: &CycleState, pod: &PodInfo, node: &NodeInfo) -> FilterVerdict {
        match pod.spec().node_name.as_deref() {
            None | Some("") => FilterVerdict::Fits,
            Some(name) if name == node.name() => FilterVerdict::Fits,
            Some(_) => FilterVerdict::Unresolvable(vec![
                "node(s) didn't match the requested node name".into(),
            ]),
        }
    }
}
