use super::super::cycle::Loop;
use super::outcome::{Attempt, Verdict};
use crate::{
    Framework, GroupMisfit, GroupPostFilterVerdict, GroupWhatIf, PodGroup, Snapshot, cache::Lifted,
    groups::PodGroupObject, queue::QueuedPod,
};
use async_trait::async_trait;

const NOBODY: &str =
    "default preemption plugin is not registered, workload aware preemption is disabled";
const CONSTRAINED: &str =
    "workload aware preemption is not supported for pod groups with scheduling constraints";

impl Loop {
    /// Has a plugin make room for a group that found none: an attempt that holds nothing any more says then what came of
    /// that.
    pub(super) async fn make_room(
        &mut self,
        framework: &Framework,
        pods: &[QueuedPod],
        group: &PodGroup,
        object: Option<&PodGroupObject>,
        attempt: &mut Attempt,
    ) {
        let said = attempt.message();
        let verdict = match (framework.group_post_filter(), object) {
            (None, _) => GroupPostFilterVerdict::Unschedulable(NOBODY.to_owned()),
            (Some(_), None) => {
                let name = group.key.split_once('/').map_or("", |(_, name)| name);
                GroupPostFilterVerdict::Error(format!(
                    "failed to get pod group object: podgroup.scheduling.k8s.io {name:?} not found"
                ))
            }
            (Some(_), Some(_)) if group.topology.is_some() => {
                GroupPostFilterVerdict::Unschedulable(CONSTRAINED.to_owned())
            }
            (Some(point), Some(object)) => {
                let mut trial =
                    GroupTrial { main: self, framework, pods, group, lifted: Vec::new() };
                point.make_room(object, &group.pods, &mut trial).await
            }
        };
        attempt.verdict = match verdict {
            GroupPostFilterVerdict::Preempting => Verdict::Preempting(said),
            GroupPostFilterVerdict::Unschedulable(why) => {
                Verdict::Refused(format!("{said}, {why}"))
            }
            GroupPostFilterVerdict::Error(why) => Verdict::Failed(why),
        };
    }
}

/// The loop while pods leave in thought: nothing else is looked at until they are back.
struct GroupTrial<'a> {
    main: &'a mut Loop,
    framework: &'a Framework,
    pods: &'a [QueuedPod],
    group: &'a PodGroup,
    lifted: Vec<Lifted>,
}

#[async_trait]
impl GroupWhatIf for GroupTrial<'_> {
    fn nodes(&self) -> Snapshot {
        self.main.cache.snapshot()
    }

    fn remove_pod(&mut self, uid: &str) {
        self.lifted.extend(self.main.cache.lift(uid));
    }

    fn restore_pod(&mut self, uid: &str) {
        let Some(index) = self.lifted.iter().position(|own| own.pod.uid() == uid) else { return };
        let lifted = self.lifted.swap_remove(index);
        self.main.cache.put_back(lifted);
    }

    async fn fits(&mut self) -> Result<(), GroupMisfit> {
        let (framework, pods) = (self.framework, self.pods);
        let mut attempt = self.main.search(framework, pods, self.group, true).await;
        self.main.revert(framework, pods, &mut attempt);
        match attempt.verdict {
            Verdict::Placed => Ok(()),
            Verdict::Preempting(_) | Verdict::Refused(_) => {
                Err(GroupMisfit::Unschedulable(attempt.message()))
            }
            Verdict::Failed(why) => Err(GroupMisfit::Error(why)),
        }
    }
}

impl Drop for GroupTrial<'_> {
    fn drop(&mut self) {
        for lifted in self.lifted.drain(..) {
            self.main.cache.put_back(lifted);
        }
    }
}
