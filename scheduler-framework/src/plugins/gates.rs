use crate::{
    ActionType, ClusterEvent, EnqueueExtensions, EventObject, EventResource, Hint, PodInfo,
    PreEnqueue, PreEnqueueVerdict, SchedulerPlugin,
};

/// Holds pods with scheduling gates (KEP-3521).
#[derive(Debug, Clone, Copy, Default)]
pub struct SchedulingGates;

impl SchedulerPlugin for SchedulingGates {
    fn name(&self) -> &'static str {
        "SchedulingGates"
    }

    fn requeue_on(&self) -> Vec<ClusterEvent> {
        vec![ClusterEvent::new(EventResource::UnscheduledPod, ActionType::UPDATE_GATES_ELIMINATED)]
    }

    fn as_pre_enqueue(&self) -> Option<&dyn PreEnqueue> {
        Some(self)
    }

    fn as_enqueue_extensions(&self) -> Option<&dyn EnqueueExtensions> {
        Some(self)
    }
}

impl PreEnqueue for SchedulingGates {
    fn pre_enqueue(&self, pod: &PodInfo) -> PreEnqueueVerdict {
        let gates: Vec<_> =
            pod.spec().scheduling_gates.iter().flatten().map(|gate| gate.name.as_str()).collect();
        if gates.is_empty() {
            return PreEnqueueVerdict::Admit;
        }
        PreEnqueueVerdict::Hold(format!("waiting for scheduling gates: [{}]", gates.join(" ")))
    }
}

impl EnqueueExtensions for SchedulingGates {
    fn hint(&self, pod: &PodInfo, _: ClusterEvent, object: &EventObject) -> Hint {
        match object {
            EventObject::Pod { new: Some(new), .. }
                if new.metadata.uid.as_deref() == Some(pod.uid()) =>
            {
                Hint::Queue
            }
            _ => Hint::Skip,
        }
    }
}
