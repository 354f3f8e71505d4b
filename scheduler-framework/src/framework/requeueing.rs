//! Which events may help pods that were refused.

use super::{EXTENDER, Framework, NO_NODES};
use crate::{ActionType, ClusterEvent, EventObject, EventResource, Hint, PodInfo};

impl Framework {
    /// Whether a plugin of that name waits for such an event.
    pub(crate) fn waits_for(&self, plugin: &str, event: ClusterEvent) -> bool {
        let own = self.plugins().find(|own| own.name() == plugin);
        own.map_or_else(
            || helps_nobody_in_particular(plugin, event),
            |own| own.requeue_on().iter().any(|own| own.matches(event)),
        )
    }

    /// Whether an event may help a pod that a plugin refused.
    pub(crate) fn hints(
        &self,
        plugin: &str,
        pod: &PodInfo,
        event: ClusterEvent,
        object: &EventObject,
    ) -> bool {
        let Some(own) = self.plugins().find(|own| own.name() == plugin) else {
            return helps_nobody_in_particular(plugin, event);
        };
        own.requeue_on().iter().any(|own| own.matches(event))
            && own
                .as_enqueue_extensions()
                .is_none_or(|point| point.hint(pod, event, object) == Hint::Queue)
    }

    /// Whether, of several pods alike, one tells for all if an event helps them against a plugin's refusal.
    pub(crate) fn hints_alike(&self, plugin: &str, event: ClusterEvent) -> bool {
        let of_others = matches!(event.resource, EventResource::AssignedPod | EventResource::Node);
        let own = self.plugins().find(|own| own.name() == plugin);
        let point = own.and_then(|own| own.as_enqueue_extensions());
        of_others && point.is_none_or(|point| point.is_same_for_pods_alike())
    }

    /// The only one of several pods alike that an event may help against a plugin's refusal, by uid; `None` when it may be
    /// any.
    pub(crate) fn only_for(
        &self,
        plugin: &str,
        pod: &PodInfo,
        object: &EventObject,
    ) -> Option<String> {
        let own = self.plugins().find(|own| own.name() == plugin)?;
        own.as_enqueue_extensions()?.only_for(pod, object)
    }
}

/// Whether an event helps pods that no plugin refused.
fn helps_nobody_in_particular(refused_by: &str, event: ClusterEvent) -> bool {
    let node = ClusterEvent::new(EventResource::Node, ActionType::ADD);
    refused_by == EXTENDER || refused_by == NO_NODES && node.matches(event)
}
