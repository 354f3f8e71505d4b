//! Pods of one group are placed in one go: enough of them find a node, or none is bound.

mod outcome;
mod room;

use super::cycle::Loop;
use crate::{
    Diagnosis, Failure, Framework, GroupPlacement, Nomination, PodGroup, Snapshot,
    framework::Setback,
    groups::{GroupCycle, PodGroupObject},
    plugins::assumed,
    queue::QueuedPod,
};
use outcome::{Attempt, Fate, Verdict};
use std::sync::Arc;

/// What a group's proposals are called when nobody proposes.
const ALL: &str = "all nodes";
/// What is said when somebody could propose, and proposes nothing.
const NOWHERE: &str = "no feasible placements found";

impl Loop {
    /// All pods of the group of one that was just taken.
    fn gather(&mut self, first: QueuedPod, key: &str) -> Vec<QueuedPod> {
        let members = self.groups.members(key);
        let mut pods = vec![first];
        for uid in members.waiting.keys() {
            pods.extend(self.queue.take_one(uid));
        }
        pods.retain(|pod| {
            let stays = !self.cache.is_assumed(pod.info.uid());
            if !stays {
                self.queue.done(pod.info.uid());
            }
            stays
        });
        pods.sort_by(|a, b| {
            b.info.priority().cmp(&a.info.priority()).then(a.first_active.cmp(&b.first_active))
        });
        pods
    }

    fn group_object(&self, key: &str) -> Option<Arc<PodGroupObject>> {
        let (namespace, name) = key.split_once('/')?;
        let snapshot = self.cache.snapshot();
        snapshot.objects().pod_groups.find(namespace, name)
    }

    pub(super) async fn schedule_group(
        &mut self,
        framework: Arc<Framework>,
        first: QueuedPod,
        key: &str,
    ) {
        let pods = self.gather(first, key);
        if let Some(why) = mixed(&pods) {
            return self.fail_group(pods, key, &why);
        }
        if pods.is_empty() {
            return;
        }
        let started = self.clock.elapsed();
        let object = self.group_object(key);
        let topology = object.as_ref().and_then(|own| own.spec.scheduling_constraints.as_ref());
        let topology = topology.and_then(|own| own.topology.first());
        let group = PodGroup {
            key: key.to_owned(),
            pods: pods.iter().map(|pod| pod.info.clone()).collect(),
            placed: self.groups.members(key).placed.values().cloned().collect(),
            topology: topology.map(|own| own.key.clone()),
        };
        self.groups.set_placing(Some(key));
        let mut attempt = self.search(&framework, &pods, &group, false).await;
        let took = self.clock.elapsed().saturating_sub(started);
        self.metrics.groups.algorithm(took);
        if framework.preempts_for_groups() && matches!(attempt.verdict, Verdict::Refused(_)) {
            self.revert(&framework, &pods, &mut attempt);
            self.make_room(&framework, &pods, &group, object.as_deref(), &mut attempt).await;
        }
        self.groups.set_placing(None);
        let took = self.clock.elapsed().saturating_sub(started);
        self.metrics.groups.attempt(attempt.result(), framework.name(), took);
        self.settle(&framework, pods, attempt, object, started);
    }

    /// Looks for nodes for a group, wherever it may be; in thought nobody makes room for single pods.
    async fn search(
        &mut self,
        framework: &Framework,
        pods: &[QueuedPod],
        group: &PodGroup,
        in_thought: bool,
    ) -> Attempt {
        match self.placements(framework, group) {
            Ok(None) => self.attempt(framework, pods, None, in_thought).await,
            Ok(Some(none)) if none.is_empty() => Attempt::new(Verdict::Refused(NOWHERE.to_owned())),
            Ok(Some(all)) => self.best_of(framework, pods, group, &all, in_thought).await,
            Err(why) => Attempt::new(Verdict::Failed(why)),
        }
    }

    /// What plugins propose, one within the other; `None` when there are none that do.
    fn placements(
        &self,
        framework: &Framework,
        group: &PodGroup,
    ) -> Result<Option<Vec<GroupPlacement>>, String> {
        let snapshot = self.cache.snapshot();
        let nodes = snapshot.nodes().iter().map(|node| node.name().to_owned()).collect();
        framework.placements(group, GroupPlacement { name: ALL.to_owned(), nodes }, &snapshot)
    }

    /// Tries all proposals, and has the pods where the best is.
    async fn best_of(
        &mut self,
        framework: &Framework,
        pods: &[QueuedPod],
        group: &PodGroup,
        proposals: &[GroupPlacement],
        in_thought: bool,
    ) -> Attempt {
        let (mut first, mut found, mut preempting) = (None, Vec::new(), Vec::new());
        for proposal in proposals {
            let mut attempt = self.attempt(framework, pods, Some(proposal), in_thought).await;
            self.revert(framework, pods, &mut attempt);
            if matches!(attempt.verdict, Verdict::Failed(_)) {
                return attempt;
            }
            match attempt.verdict {
                Verdict::Placed => found.push((proposal, attempt.assigned(pods))),
                Verdict::Preempting(_) => {
                    found.push((proposal, attempt.assigned(pods)));
                    preempting.push((proposal, attempt));
                }
                Verdict::Refused(_) | Verdict::Failed(_) => {
                    first.get_or_insert(attempt);
                }
            }
        }
        let snapshot = self.cache.snapshot();
        let best = framework.best_placement(group, &found, &snapshot);
        drop(snapshot);
        let Some(best) = best else {
            let mut first = first.unwrap_or_else(|| Attempt::new(Verdict::Refused(String::new())));
            let (count, why) = (proposals.len(), first.message());
            first.verdict = Verdict::Refused(format!(
                "0/{count} placements are available, first placement status: {why}"
            ));
            return first;
        };
        // Room is made once.
        let kept = preempting.into_iter().find(|(proposal, _)| std::ptr::eq(*proposal, best));
        match kept {
            Some((_, attempt)) => attempt,
            None => self.attempt(framework, pods, Some(best), in_thought).await,
        }
    }

    /// Places one pod after the other, as if it were so; what was placed stays assumed and reserved.
    async fn attempt(
        &mut self,
        framework: &Framework,
        pods: &[QueuedPod],
        within: Option<&GroupPlacement>,
        in_thought: bool,
    ) -> Attempt {
        let mut attempt = Attempt::new(Verdict::Refused(String::new()));
        let mut preempting = false;
        let group = pods.first().and_then(|pod| pod.info.group()).unwrap_or_default();
        let has_placed = !self.groups.members(&group).placed.is_empty();
        let group = Arc::new(GroupCycle { has_placed, in_thought, ..GroupCycle::default() });
        for pod in pods {
            let started = self.clock.elapsed();
            let outcome = {
                let snapshot = self.cache.snapshot();
                let snapshot = within.map_or_else(|| snapshot.clone(), |own| only(&snapshot, own));
                framework.schedule(&pod.info, &snapshot.in_group(group.clone())).await
            };
            self.metrics.algorithm(self.clock.elapsed().saturating_sub(started));
            let (node, mut state, diagnosis) = match outcome {
                Ok(placement) => (placement.node, placement.state, None),
                Err(Failure::Unschedulable(diagnosis)) => match &diagnosis.nomination {
                    Nomination::Node(node) => {
                        preempting = true;
                        (node.clone(), crate::CycleState::new(), Some(diagnosis))
                    }
                    _ => {
                        attempt.fates.push(Fate::Unschedulable(diagnosis));
                        continue;
                    }
                },
                Err(Failure::Error(why)) => {
                    attempt.fail(why);
                    return attempt;
                }
            };
            match self.hold(framework, pod, &node, &mut state) {
                Ok(ready) => {
                    attempt.fates.push(Fate::Held { node, state: Box::new(state), diagnosis });
                    if ready {
                        attempt.suffice(preempting);
                    }
                }
                Err(Setback::Rejected { plugin, why }) => {
                    let diagnosis = Diagnosis::of_placed(plugin, &why);
                    attempt.fates.push(Fate::Unschedulable(Box::new(diagnosis)));
                }
                Err(Setback::Refused(why) | Setback::Failed(why)) => {
                    attempt.fail(why);
                    return attempt;
                }
            }
        }
        attempt
    }

    /// Assumes and reserves, and asks whether it could be bound now.
    fn hold(
        &mut self,
        framework: &Framework,
        pod: &QueuedPod,
        node: &str,
        state: &mut crate::CycleState,
    ) -> Result<bool, Setback> {
        self.cache.assume(node, assumed(state, &pod.info, node));
        self.groups.set(&pod.info, Some(node));
        let reserved = framework.reserve(state, &pod.info, node);
        let permitted = reserved.and_then(|()| framework.would_permit(state, &pod.info, node));
        if permitted.is_err() {
            framework.unreserve(state, &pod.info, node);
            self.release(pod);
        }
        permitted
    }

    fn release(&mut self, pod: &QueuedPod) {
        self.cache.forget(pod.info.uid());
        self.groups.set(&pod.info, None);
        if let Some(node) = pod.info.nominated_node() {
            // It had given up the room that is made for it.
            self.cache.nominate(node, pod.info.clone());
        }
    }

    /// Takes back what an attempt holds, the last first.
    fn revert(&mut self, framework: &Framework, pods: &[QueuedPod], attempt: &mut Attempt) {
        if std::mem::replace(&mut attempt.reverted, true) {
            return;
        }
        for (pod, fate) in pods.iter().zip(&mut attempt.fates).rev() {
            if let Fate::Held { node, state, .. } = fate {
                framework.unreserve(state, &pod.info, node);
                self.release(pod);
            }
        }
    }
}

/// Why pods are not placed together that different profiles place.
fn mixed(pods: &[QueuedPod]) -> Option<String> {
    let name = |pod: &QueuedPod| pod.info.spec().scheduler_name.clone().unwrap_or_default();
    let first = pods.first().map(name)?;
    let other = pods.iter().map(name).find(|own| *own != first)?;
    Some(format!(
        "all pods in a single pod group should have the same .spec.schedulerName set, got: {other:?} and {first:?}"
    ))
}

/// The nodes of a proposal alone.
fn only(snapshot: &Snapshot, within: &GroupPlacement) -> Snapshot {
    let nodes = snapshot.nodes().iter().filter(|node| within.nodes.contains(node.name()));
    snapshot.narrowed(nodes.cloned().collect())
}
