//! Pods of one group are placed in one go: enough of them find a node, or none is bound.

mod outcome;

use super::cycle::Loop;
use crate::{
    Failure, Framework, GroupPlacement, Nomination, PodGroup, Snapshot,
    groups::{GroupCycle, PodGroupObject},
    queue::QueuedPod,
};
use outcome::{Attempt, Fate, Verdict};
use std::sync::Arc;

/// What a group's proposals are called when nobody proposes.
const ALL: &str = "all nodes";

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
            b.info.priority().cmp(&a.info.priority()).then(a.first_seen.cmp(&b.first_seen))
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
        let profile = first.info.spec().scheduler_name.clone();
        let pods = self.gather(first, key);
        if pods.iter().any(|pod| pod.info.spec().scheduler_name != profile) {
            let other = pods.iter().find(|pod| pod.info.spec().scheduler_name != profile);
            let other = other.and_then(|pod| pod.info.spec().scheduler_name.clone());
            let (first, other) = (profile.unwrap_or_default(), other.unwrap_or_default());
            let why = format!(
                "all pods in a single pod group should have the same .spec.schedulerName set, got: {first:?} and {other:?}"
            );
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
        let attempt = match self.placements(&framework, &group) {
            Ok(None) => self.attempt(&framework, &pods, None).await,
            Ok(Some(proposals)) => self.best_of(&framework, &pods, &group, &proposals).await,
            Err(why) => return self.fail_group(pods, key, &why),
        };
        let took = self.clock.elapsed().saturating_sub(started);
        self.metrics.groups.algorithm(took);
        self.metrics.groups.attempt(attempt.result(), framework.name(), took);
        self.settle(&framework, pods, attempt, object, started);
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
    ) -> Attempt {
        let (mut first, mut found) = (None, Vec::new());
        for proposal in proposals {
            let mut attempt = self.attempt(framework, pods, Some(proposal)).await;
            self.revert(framework, pods, &mut attempt);
            if matches!(attempt.verdict, Verdict::Failed(_)) {
                return attempt;
            }
            if matches!(attempt.verdict, Verdict::Placed | Verdict::Preempting) {
                found.push((proposal, attempt.assigned(pods)));
            }
            first.get_or_insert(attempt);
        }
        let snapshot = self.cache.snapshot();
        let best = framework.best_placement(group, &found, &snapshot);
        drop(snapshot);
        match (best, first) {
            (Some(best), _) => self.attempt(framework, pods, Some(best)).await,
            (None, Some(mut first)) => {
                let (count, why) = (proposals.len(), first.message());
                first.verdict = Verdict::Refused(format!(
                    "0/{count} placements are available, first placement status: {why}"
                ));
                first
            }
            (None, None) => Attempt::refused("0/0 placements are available".to_owned()),
        }
    }

    /// Places one pod after the other, as if it were so; what was placed stays assumed and reserved.
    async fn attempt(
        &mut self,
        framework: &Framework,
        pods: &[QueuedPod],
        within: Option<&GroupPlacement>,
    ) -> Attempt {
        let mut attempt = Attempt::refused(String::new());
        let mut preempting = false;
        let group = pods.first().and_then(|pod| pod.info.group()).unwrap_or_default();
        let has_placed = !self.groups.members(&group).placed.is_empty();
        let group = Arc::new(GroupCycle { has_placed, ..GroupCycle::default() });
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
                    attempt.fates.push(Fate::Failed(why.clone()));
                    attempt.verdict = Verdict::Failed(why);
                    return attempt;
                }
            };
            match self.hold(framework, pod, &node, &mut state) {
                Ok(ready) => {
                    attempt.fates.push(Fate::Held { node, state: Box::new(state), diagnosis });
                    if ready && preempting {
                        attempt.verdict = Verdict::Preempting;
                    } else if ready {
                        attempt.verdict = Verdict::Placed;
                    }
                }
                Err(why) => attempt.fates.push(Fate::Failed(why)),
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
    ) -> Result<bool, String> {
        self.cache.assume(node, pod.info.clone());
        self.groups.set(&pod.info, Some(node));
        let reserved = framework.reserve(state, &pod.info, node);
        let permitted = reserved.and_then(|()| framework.would_permit(state, &pod.info, node));
        let permitted = permitted.map_err(|setback| setback.why().to_owned());
        if permitted.is_err() {
            framework.unreserve(state, &pod.info, node);
            self.release(pod);
        }
        permitted
    }

    fn release(&mut self, pod: &QueuedPod) {
        self.cache.forget(pod.info.uid());
        self.groups.set(&pod.info, None);
    }

    /// Takes back what an attempt holds, the last first.
    fn revert(&mut self, framework: &Framework, pods: &[QueuedPod], attempt: &mut Attempt) {
        for (pod, fate) in pods.iter().zip(&mut attempt.fates).rev() {
            if let Fate::Held { node, state, .. } = fate {
                framework.unreserve(state, &pod.info, node);
                self.release(pod);
            }
        }
    }
}

/// The nodes of a proposal alone.
fn only(snapshot: &Snapshot, within: &GroupPlacement) -> Snapshot {
    let nodes = snapshot.nodes().iter().filter(|node| within.nodes.contains(node.name()));
    snapshot.narrowed(nodes.cloned().collect())
}
