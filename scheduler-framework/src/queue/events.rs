//! What brings waiting pods back: events, changes of their own, and time.

use super::{
    Queue,
    waiting::{Entry, Place, QueuedPod, Window, cause},
};
use crate::{ClusterEvent, EventObject, EventResource, Framework, PodInfo};
use std::{
    collections::BTreeSet,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

/// One question of this many is timed: there may be many for one event.
const TIMED: usize = 10;

impl Queue {
    /// A known pod that changed. One that waits for an event is brought back if its change is one that helps.
    pub(crate) fn update(&mut self, info: Arc<PodInfo>) {
        let uid = info.uid().to_owned();
        if self.in_flight.contains(&uid) {
            return self.in_flight.update(info);
        }
        let Some(waiting) = self.pods.get_mut(&uid) else { return };
        let old = std::mem::replace(&mut waiting.pod.info, info.clone());
        let place = waiting.place;
        if place == Place::Active && (old.priority() != info.priority()) {
            // It has another place among the active ones.
            let Some(waiting) = self.lift(&uid) else { return };
            return self.put(waiting.pod, Place::Active, Duration::ZERO, cause::WOKEN);
        }
        if place == Place::Backoff {
            // It may have another place among those that are taken early.
            self.tickets += 1;
            waiting.ticket = self.tickets;
            let (until, entry) = (waiting.until, Entry::of(waiting));
            return self.line_up(until, entry);
        }
        if !place.is_refused() {
            return;
        }
        if old.class() != info.class() {
            // It is like other pods now.
            let pod = waiting.pod.clone();
            self.release(&pod, old.class());
            self.hold(&pod, info.class());
        }
        let action = crate::event::pod_action(old.pod(), info.pod());
        let object =
            EventObject::Pod { old: Some(old.pod().clone()), new: Some(info.pod().clone()) };
        let event = ClusterEvent::new(EventResource::UnscheduledPod, action);
        let Some(waiting) = self.pods.get(&uid) else { return };
        if !action.is_empty() && self.helps(&waiting.pod, event, &object) {
            self.bring_back(&uid, &event.label());
        }
    }

    /// Tries a waiting pod at once; if `always`, also one that waits for an event, else only one that was held.
    pub(crate) fn wake(&mut self, uid: &str, always: bool) {
        let Some(waiting) = self.pods.get(uid) else { return };
        let due = match waiting.place {
            Place::Gated => true,
            Place::Unschedulable | Place::Backoff | Place::Failing => always,
            Place::Active => false,
        };
        if due && let Some(waiting) = self.lift(uid) {
            self.enqueue(waiting.pod, cause::WOKEN);
        }
    }

    /// Brings back every pod that an event may help.
    pub(crate) fn on_event(&mut self, event: ClusterEvent, object: &EventObject) {
        self.on_event_for_others(event, object, "");
    }

    /// Brings back every pod but one: whose own going is the event.
    pub(crate) fn on_event_for_others(
        &mut self,
        event: ClusterEvent,
        object: &EventObject,
        uid: &str,
    ) {
        self.in_flight.record(event, object);
        let mut helped = self.helped(event, object);
        helped.remove(uid);
        let label = if helped.is_empty() { String::new() } else { event.label() };
        for uid in helped {
            self.bring_back(&uid, &label);
        }
    }

    /// The pods that an event may help; only those that interested plugins hold are looked at, and of pods alike only
    /// one where that is enough.
    fn helped(&self, event: ClusterEvent, object: &EventObject) -> BTreeSet<String> {
        let mut helped = BTreeSet::new();
        for (plugin, classes) in self.held_by.iter().filter(|(_, classes)| !classes.is_empty()) {
            let interested = self.frameworks.values().any(|own| own.waits_for(plugin, event));
            if !interested {
                continue;
            }
            for held in classes.values() {
                let mut pods = held.iter().filter_map(|uid| Some(&self.pods.get(uid)?.pod.info));
                let Some(first) = pods.next() else { continue };
                // All of a class are of one profile.
                let Some(framework) = self.framework(first) else { continue };
                let hint = |pod: &PodInfo| self.hint(framework, plugin, pod, event, object);
                if let Some(only) = framework.only_for(plugin, first, object) {
                    let own = self.pods.get(&only).filter(|_| held.contains(&only));
                    if own.is_some_and(|own| hint(&own.pod.info)) {
                        helped.insert(only);
                    }
                    continue;
                }
                let helps_first = hint(first);
                if framework.hints_alike(plugin, event) {
                    if helps_first {
                        helped.extend(held.iter().cloned());
                    }
                    continue;
                }
                if helps_first {
                    helped.insert(first.uid().to_owned());
                }
                helped.extend(pods.filter(|pod| hint(pod)).map(|pod| pod.uid().to_owned()));
            }
        }
        helped
    }

    /// Out of the places where a pod waits for an event.
    fn bring_back(&mut self, uid: &str, label: &str) {
        let Some(waiting) = self.lift(uid) else { return };
        if waiting.place == Place::Gated {
            return self.enqueue(waiting.pod, label);
        }
        // What is left of the back-off counts from when the pod was refused.
        let until = waiting.pod.since + self.backoff.after(waiting.pod.refusals);
        if until <= self.clock.elapsed() {
            self.enqueue(waiting.pod, label);
        } else {
            self.put(waiting.pod, Place::Backoff, until, label);
        }
    }

    pub(super) fn helps(&self, pod: &QueuedPod, event: ClusterEvent, object: &EventObject) -> bool {
        let Some(framework) = self.framework(&pod.info) else { return false };
        pod.plugins.iter().any(|plugin| self.hint(framework, plugin, &pod.info, event, object))
    }

    /// Whether a plugin says so.
    fn hint(
        &self,
        framework: &Framework,
        plugin: &'static str,
        pod: &PodInfo,
        event: ClusterEvent,
        object: &EventObject,
    ) -> bool {
        if !self.asked.fetch_add(1, Ordering::Relaxed).is_multiple_of(TIMED) {
            return framework.hints(plugin, pod, event, object);
        }
        let began = self.clock.elapsed();
        let helps = framework.hints(plugin, pod, event, object);
        let took = self.clock.elapsed().saturating_sub(began);
        self.metrics.hinted(plugin, event, helps, took);
        helps
    }

    /// Moves pods whose back-off is over, or that have waited long without an event.
    pub(crate) fn flush(&mut self) {
        let now = self.clock.elapsed();
        for (set, why) in [
            (&self.backing_off, cause::BACKOFF),
            (&self.failing, cause::BACKOFF),
            (&self.left_over, cause::TIMEOUT),
        ]
        .map(|(set, why)| {
            let due: Vec<_> = set
                .iter()
                .take_while(|(until, _)| *until <= now)
                .map(|(_, uid)| uid.clone())
                .collect();
            (due, why)
        }) {
            for uid in set {
                if let Some(mut waiting) = self.lift(&uid) {
                    waiting.pod.flushed |= why == cause::TIMEOUT;
                    self.enqueue(waiting.pod, why);
                }
            }
        }
        if self.backing_off.is_empty() {
            self.soon = Window::of(None);
        }
    }

    /// How long until [`flush`](Self::flush) has something to do.
    pub(crate) fn next_flush(&self) -> Option<Duration> {
        let sets = [&self.backing_off, &self.failing, &self.left_over];
        let next = sets.into_iter().filter_map(|set| set.first()).map(|(until, _)| *until).min();
        next.map(|until| until.saturating_sub(self.clock.elapsed()))
    }
}
