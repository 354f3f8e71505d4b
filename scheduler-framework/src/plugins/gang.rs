//! Gangs: pods of which enough are placed at once, or none (KEP-4671).

use crate::{
    ActionType, ClusterEvent, CycleState, EnqueueExtensions, EventObject, EventResource, Handle,
    Hint, Permit, PermitVerdict, PodInfo, PreEnqueue, PreEnqueueVerdict, SchedulerPlugin,
    groups::PodGroupObject,
};
use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

/// How long placed pods wait for the rest of their gang.
const PATIENCE: Duration = Duration::from_secs(300);

/// Holds the pods of a gang back until there are enough of them, and binds none before enough have a node. A profile
/// with it places pods of one PodGroup together.
#[derive(Debug, Default)]
pub struct GangScheduling {
    handle: OnceLock<Handle>,
}

impl SchedulerPlugin for GangScheduling {
    fn name(&self) -> &'static str {
        "GangScheduling"
    }

    fn requeue_on(&self) -> Vec<ClusterEvent> {
        vec![
            ClusterEvent::new(EventResource::AssignedPod, ActionType::ADD),
            ClusterEvent::new(EventResource::UnscheduledPod, ActionType::ADD),
            ClusterEvent::new(EventResource::PodGroup, ActionType::ADD),
        ]
    }

    fn start(&self, handle: &Handle) {
        // Only one scheduler runs it.
        let _ = self.handle.set(handle.clone());
    }

    fn as_pre_enqueue(&self) -> Option<&dyn PreEnqueue> {
        Some(self)
    }

    fn as_enqueue_extensions(&self) -> Option<&dyn EnqueueExtensions> {
        Some(self)
    }

    fn as_permit(&self) -> Option<&dyn Permit> {
        Some(self)
    }
}

/// The PodGroup of a pod that has one, if it is there.
fn group_of(handle: &Handle, pod: &PodInfo) -> Option<Result<Arc<PodGroupObject>, String>> {
    let key = pod.group()?;
    let name = key.split_once('/').map_or("", |(_, name)| name);
    let found = handle.objects.pod_groups.find(pod.namespace(), name);
    Some(found.ok_or_else(|| name.to_owned()))
}

/// How many pods of a group must be placed at once; `None` where it does not matter.
fn wanted(group: &PodGroupObject) -> Option<usize> {
    let gang = group.spec.scheduling_policy.gang.as_ref()?;
    Some(usize::try_from(gang.min_count).unwrap_or_default())
}

impl PreEnqueue for GangScheduling {
    fn pre_enqueue(&self, pod: &PodInfo) -> PreEnqueueVerdict {
        let Some(handle) = self.handle.get() else { return PreEnqueueVerdict::Admit };
        let Some(group) = group_of(handle, pod) else { return PreEnqueueVerdict::Admit };
        let wanted = match &group {
            Ok(group) => wanted(group),
            Err(name) => {
                return PreEnqueueVerdict::Hold(format!(
                    "waiting for pods's pod group {name:?} to appear in scheduling queue"
                ));
            }
        };
        let Some(wanted) = wanted else { return PreEnqueueVerdict::Admit };
        let group = pod.group().unwrap_or_default();
        let members = handle.group_members(&group);
        if members.waiting().len() + members.placed().len() >= wanted {
            return PreEnqueueVerdict::Admit;
        }
        let why = "waiting for minCount pods from a gang to appear in scheduling queue";
        PreEnqueueVerdict::Hold(why.to_owned())
    }
}

impl Permit for GangScheduling {
    fn permit(&self, _: &mut CycleState, pod: &PodInfo, _: &str) -> PermitVerdict {
        let Some(handle) = self.handle.get() else { return PermitVerdict::Allow };
        let wanted = match group_of(handle, pod) {
            None => return PermitVerdict::Allow,
            Some(Ok(group)) => wanted(&group),
            Some(Err(name)) => {
                let namespace = pod.namespace();
                return PermitVerdict::Error(format!(
                    "failed to get podGroup {namespace}/{name}: podgroup.scheduling.k8s.io {name:?} not found"
                ));
            }
        };
        let Some(wanted) = wanted else { return PermitVerdict::Allow };
        let group = pod.group().unwrap_or_default();
        let members = handle.group_members(&group);
        if members.placed().len() < wanted {
            // The others may have waited for this one. Those that are tried with it are not woken: were they, a gang without
            // room for all would be tried again at once, for ever.
            if !handle.groups.is_placing(&group) {
                for uid in members.waiting() {
                    let _ = handle.activate(uid);
                }
            }
            return PermitVerdict::Wait(PATIENCE);
        }
        for uid in members.placed() {
            handle.allow(uid, self.name());
        }
        PermitVerdict::Allow
    }
}

impl EnqueueExtensions for GangScheduling {
    fn hint(&self, pod: &PodInfo, _: ClusterEvent, object: &EventObject) -> Hint {
        let own = pod.group();
        let helps = match object {
            EventObject::Pod { new: Some(new), .. } => {
                own.is_some() && own == PodInfo::new(new.clone()).group()
            }
            EventObject::PodGroup { new: Some(new), .. } => {
                own == Some(super::volumes::key(&new.metadata))
            }
            _ => true,
        };
        if helps { Hint::Queue } else { Hint::Skip }
    }
}
