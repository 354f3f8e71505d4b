//! What the scheduler makes of changes of pods and nodes.

use super::cycle::Loop;
use crate::{ActionType, ClusterEvent, EventObject, EventResource, PodInfo, event::pod_action};
use k8s_openapi::api::core::v1::{Node, NodeStatus, Pod, Taint};
use kubeplane_client::{Change, EventType};
use kubeplane_workload::is_terminal;
use std::{sync::Arc, time::Duration};

impl Loop {
    pub(super) fn on_node(&mut self, change: Change<Node>) {
        let (action, object) = match change {
            Change::Added(node) => {
                self.cache.set_node(node.clone());
                (ActionType::ADD, EventObject::Node { old: None, new: Some(node) })
            }
            Change::Updated { old, new } => {
                self.cache.set_node(new.clone());
                (node_action(&old, &new), EventObject::Node { old: Some(old), new: Some(new) })
            }
            Change::Deleted(node) => {
                self.cache.remove_node(node.metadata.name.as_deref().unwrap_or_default());
                (ActionType::DELETE, EventObject::Node { old: Some(node), new: None })
            }
        };
        self.announce(EventResource::Node, action, &object);
    }

    pub(super) fn on_pod(&mut self, change: Change<Pod>) {
        match change {
            Change::Added(pod) => self.see_pod(None, pod),
            Change::Updated { old, new } => self.see_pod(Some(old), new),
            Change::Deleted(pod) => self.lose_pod(pod),
        }
    }

    fn see_pod(&mut self, old: Option<Arc<Pod>>, pod: Arc<Pod>) {
        let node = node_of(&pod).map(str::to_owned);
        if is_terminal(&pod) {
            let known = old.as_ref().is_some_and(|old| !is_terminal(old));
            if known {
                self.lose_pod(pod);
            }
            return;
        }
        let info = Arc::new(PodInfo::counting(pod.clone(), self.counting));
        let Some(node) = node else {
            return self.see_waiting(old, &info);
        };
        self.groups.set(&info, Some(&node));
        self.queue.remove(info.uid());
        self.cache.set_pod(&node, info);
        // Among pods with nodes one that had none is new, also to those who are asked whether that helps.
        let old = old.filter(|old| node_of(old).is_some());
        let action = old.as_ref().map_or(ActionType::ADD, |old| pod_action(old, &pod));
        self.announce(
            EventResource::AssignedPod,
            action,
            &EventObject::Pod { old, new: Some(pod) },
        );
    }

    fn see_waiting(&mut self, old: Option<Arc<Pod>>, info: &Arc<PodInfo>) {
        let pod = info.pod().clone();
        if pod.metadata.deletion_timestamp.is_some() {
            self.tell_skipped(old.as_ref(), info);
            return self.lose_pod(pod);
        }
        if self.framework(&pod).is_none() {
            return;
        }
        if self.cache.is_assumed(info.uid()) {
            // Should it not be bound it is tried again as it is by then.
            if self.queue.is_in_flight(info.uid()) {
                self.queue.update(info.clone());
            }
            return;
        }
        self.groups.set(info, None);
        let had = old.as_ref().and_then(|old| nomination(old));
        match info.nominated_node() {
            Some(node) => self.cache.nominate(node, info.clone()),
            None if had.is_some() => self.cache.clear_nomination(info.uid()),
            // One that was just made may not have been written yet.
            None => self.cache.renominate(info),
        }
        self.tell_of_waiting(old.clone(), info);
        self.queue.add(info.clone());
        if let (Some(old), Some(had)) = (&old, had)
            && info.nominated_node() != Some(had)
        {
            self.announce_yielding(old, had);
        }
    }

    /// A pod that comes may help others, those of its group for one; how it changes is its own matter.
    fn tell_of_waiting(&mut self, old: Option<Arc<Pod>>, info: &PodInfo) {
        let resource = EventResource::UnscheduledPod;
        let action = old.as_ref().map(|old| pod_action(old, info.pod()));
        let object = EventObject::Pod { old, new: Some(info.pod().clone()) };
        let Some(action) = action else {
            return self.announce(resource, ActionType::ADD, &object);
        };
        for action in action.each() {
            let event = ClusterEvent::new(resource, action);
            self.queue.note(info.uid(), event, &object);
            self.metrics.handled(event.label(), Duration::ZERO);
        }
    }

    /// Tells a pod once that it gets no node any more.
    fn tell_skipped(&self, old: Option<&Arc<Pod>>, info: &PodInfo) {
        let told = old.is_some_and(|old| old.metadata.deletion_timestamp.is_some());
        let Some(framework) = self.framework(info.pod()) else { return };
        // One that was not to be tried is told nothing.
        let waits = self.queue.is_refused(info.uid())
            || old.is_none() && framework.pre_enqueue(info).is_some();
        if told || waits || self.cache.is_assumed(info.uid()) {
            return;
        }
        let profile = info.spec().scheduler_name.as_deref().unwrap_or("default-scheduler");
        let recorder = self.recorder.named(profile);
        let message = format!("skip schedule deleting pod: {}", info.key());
        let (reason, action) = ("FailedScheduling", "Scheduling");
        recorder.event_for(&**info.pod(), EventType::Warning, reason, action, message);
    }

    fn lose_pod(&mut self, pod: Arc<Pod>) {
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        if pod.spec.as_ref().is_some_and(|spec| spec.scheduling_group.is_some()) {
            self.groups.remove(&PodInfo::new(pod.clone()));
        }
        self.queue.remove(&uid);
        let held = self.cache.held_for(&uid).map(str::to_owned);
        let assumed = self.cache.is_assumed(&uid);
        self.cache.remove_pod(&uid);
        for framework in self.frameworks.values() {
            framework.reject(&uid, "the pod is gone");
            framework.abandon(&uid);
        }
        if node_of(&pod).is_some() {
            let object = EventObject::Pod { old: Some(pod), new: None };
            self.announce(EventResource::AssignedPod, ActionType::DELETE, &object);
        } else if let Some(node) = held {
            match assumed {
                true => self.announce_leaving(&pod, &node),
                false => self.announce_yielding(&pod, &node),
            }
        }
    }

    /// Room on a node that a pod had taken is free: for other pods it is as if the pod had been there and left.
    pub(super) fn announce_leaving(&mut self, pod: &Pod, node: &str) {
        let (event, object) = leaving(pod, node);
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        self.queue.on_event_for_others(event, &object, uid);
    }

    /// Room on a node that was held for a pod is free: only pods that are worth no more had kept off it. The pod itself may
    /// look elsewhere.
    pub(super) fn announce_yielding(&mut self, pod: &Pod, node: &str) {
        let (event, object) = leaving(pod, node);
        let priority = pod.spec.as_ref().and_then(|spec| spec.priority).unwrap_or_default();
        self.queue.on_event_among(event, &object, |other| other.priority() <= priority);
    }

    /// Has the queue look which pods an event helps.
    pub(super) fn tell(&mut self, event: ClusterEvent, object: &EventObject) {
        let began = self.clock.elapsed();
        self.queue.on_event(event, object);
        self.metrics.handled(event.label(), self.clock.elapsed().saturating_sub(began));
    }

    pub(super) fn announce(
        &mut self,
        resource: EventResource,
        action: ActionType,
        object: &EventObject,
    ) {
        for action in action.each() {
            self.tell(ClusterEvent::new(resource, action), object);
        }
    }
}

/// The event that a pod is gone from a node where room was held for it.
fn leaving(pod: &Pod, node: &str) -> (ClusterEvent, EventObject) {
    let mut gone = pod.clone();
    gone.spec.get_or_insert_default().node_name = Some(node.to_owned());
    let object = EventObject::Pod { old: Some(Arc::new(gone)), new: None };
    (ClusterEvent::new(EventResource::AssignedPod, ActionType::DELETE), object)
}

fn nomination(pod: &Pod) -> Option<&str> {
    let status = pod.status.as_ref()?;
    status.nominated_node_name.as_deref().filter(|name| !name.is_empty())
}

fn node_of(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.node_name.as_deref().filter(|name| !name.is_empty())
}

fn node_action(old: &Node, new: &Node) -> ActionType {
    let mut action = ActionType::default();
    let mut when = |changed: bool, what: ActionType| {
        if changed {
            action = action.or(what);
        }
    };
    let none = NodeStatus::default();
    let (before, after) =
        (old.status.as_ref().unwrap_or(&none), new.status.as_ref().unwrap_or(&none));
    fn conditions(status: &NodeStatus) -> impl Iterator<Item = (&str, &str)> {
        let all = status.conditions.iter().flatten();
        all.map(|own| (own.type_.as_str(), own.status.as_str()))
    }
    fn taints(node: &Node) -> Option<&Vec<Taint>> {
        node.spec.as_ref().and_then(|spec| spec.taints.as_ref())
    }
    let is_closed =
        |node: &Node| node.spec.as_ref().and_then(|spec| spec.unschedulable) == Some(true);
    when(before.allocatable != after.allocatable, ActionType::UPDATE_ALLOCATABLE);
    when(old.metadata.labels != new.metadata.labels, ActionType::UPDATE_LABELS);
    // That a node is closed helps nobody.
    let opened = is_closed(old) && !is_closed(new);
    when(opened || taints(old) != taints(new), ActionType::UPDATE_TAINTS);
    when(old.metadata.annotations != new.metadata.annotations, ActionType::UPDATE_ANNOTATIONS);
    let same = conditions(before).eq(conditions(after));
    when(!same, ActionType::UPDATE_CONDITIONS);
    let same = before.declared_features == after.declared_features;
    when(!same, ActionType::UPDATE_DECLARED_FEATURES);
    action
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn changes_of_a_node_are_told_by_what_they_mean_to_scheduling() {
        let node = |value: &Value| -> Node { serde_json::from_value(value.clone()).unwrap() };
        let condition = |at: &str| {
            json!({"status": {"conditions":
                [{"type": "Ready", "status": "True", "lastHeartbeatTime": at}]}})
        };
        let (beat, again) = (condition("2026-01-01T00:00:00Z"), condition("2026-01-01T00:00:10Z"));
        let (plain, closed) = (json!({}), json!({"spec": {"unschedulable": true}}));
        let tainted = json!({"spec": {"taints": [{"key": "k", "effect": "NoSchedule"}]}});
        let labelled = json!({"metadata": {"labels": {"a": "b"}}});
        let noted = json!({"metadata": {"annotations": {"a": "b"}}});
        let large = json!({"status": {"allocatable": {"cpu": "4"}}});
        let both = ActionType::UPDATE_TAINTS.or(ActionType::UPDATE_LABELS);
        for (old, new, expected) in [
            (&plain, &plain, ActionType::default()),
            (&beat, &again, ActionType::default()),
            (&plain, &beat, ActionType::UPDATE_CONDITIONS),
            (&plain, &closed, ActionType::default()),
            (&closed, &plain, ActionType::UPDATE_TAINTS),
            (&plain, &tainted, ActionType::UPDATE_TAINTS),
            (&tainted, &labelled, both),
            (&plain, &labelled, ActionType::UPDATE_LABELS),
            (&plain, &noted, ActionType::UPDATE_ANNOTATIONS),
            (&plain, &large, ActionType::UPDATE_ALLOCATABLE),
        ] {
            assert_eq!(node_action(&node(old), &node(new)), expected, "{old} to {new}");
        }
    }
}
