//! What brings waiting pods back: events, changes of their own, and time.

use super::{
    Queue, sorter,
    waiting::{Entry, Place, QueuedPod, Waiting, Window, cause},
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
        let (place, since) = (waiting.place, waiting.pod.since);
        if place == Place::Active {
            let sort = sorter(&self.frameworks).and_then(|own| own.as_queue_sort());
            // It may have another place among the active ones.
            if sort.is_some_and(|own| own.compare((&old, since), (&info, since)).is_ne())
                && let Some(waiting) = self.lift(&uid)
            {
                self.lay(waiting.pod, Place::Active, Duration::ZERO);
            }
            return;
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
        let Some(waiting) = self.pods.get(&uid) else { return };
        let mut events =
            action.each().map(|own| ClusterEvent::new(EventResource::UnscheduledPod, own));
        if let Some(event) = events.find(|own| self.helps(&waiting.pod, *own, &object)) {
            self.bring_back(&uid, &event.label());
        }
    }

    /// Tries a waiting pod at once; if `always`, also one that waits for an event, else only one that was held. One that is
    /// in flight is tried again after its back-off then, whatever it waits for.
    pub(crate) fn wake(&mut self, uid: &str, always: bool) {
        let Some(waiting) = self.pods.get(uid) else {
            if always {
                self.in_flight.help(uid);
            }
            return;
        };
        let due = match waiting.place {
            Place::Gated => true,
            Place::Unschedulable | Place::Backoff | Place::Failing => always,
            Place::Active => false,
        };
        if !due {
            return;
        }
        let Some(mut waiting) = self.lift(uid) else { return };
        let held = waiting.place == Place::Gated && self.is_held(&mut waiting.pod);
        match waiting.place {
            _ if held => self.lay(waiting.pod, Place::Gated, Duration::ZERO),
            // To be let go is no reason to try what failed before its time.
            Place::Gated if !always && waiting.pod.failures > 0 => {
                self.back_off(waiting.pod, Place::Failing, cause::WOKEN);
            }
            Place::Gated => self.put(waiting.pod, Place::Active, Duration::ZERO, cause::WOKEN),
            _ => self.leave_back_off(waiting, cause::WOKEN),
        }
    }

    /// Among the active ones; who backed off where pods are taken early was asked about before.
    fn leave_back_off(&mut self, waiting: Waiting, event: &str) {
        match waiting.place {
            Place::Backoff | Place::Failing if self.early => {
                self.put(waiting.pod, Place::Active, Duration::ZERO, event);
            }
            _ => self.enqueue(waiting.pod, event),
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
        self.on_event_among(event, object, |pod| pod.uid() != uid);
    }

    /// Brings back those of some pods that an event may help, and for others that are in flight keeps it.
    pub(crate) fn on_event_among(
        &mut self,
        event: ClusterEvent,
        object: &EventObject,
        is_meant: impl Fn(&PodInfo) -> bool,
    ) {
        self.in_flight.record(event, object);
        let mut helped = self.helped(event, object);
        helped.retain(|uid| {
            let pod = self.pods.get(uid).map(|own| &own.pod);
            pod.is_some_and(|pod| is_meant(&pod.info) && self.may_open(pod, event))
        });
        let label = if helped.is_empty() { String::new() } else { event.label() };
        for uid in helped {
            self.bring_back(&uid, &label);
        }
    }

    /// Keeps an event of a pod's own for when it comes back, if it is in flight.
    pub(crate) fn note(&mut self, uid: &str, event: ClusterEvent, object: &EventObject) {
        if self.in_flight.contains(uid) {
            self.in_flight.record(event, object);
        }
    }

    /// Whether the plugin that holds a pod, if one does, waits for the event: else it would only be held again.
    fn may_open(&self, pod: &QueuedPod, event: ClusterEvent) -> bool {
        let Some(gate) = pod.gate else { return true };
        self.framework(&pod.info).is_some_and(|own| own.waits_for(gate, event))
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
        // What is left of the back-off counts from when the pod was refused.
        self.back_off(waiting.pod, Place::Backoff, label);
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
        let sets = [&self.backing_off, &self.failing, &self.left_over];
        let [refused, failed, left_over] = sets.map(|set| {
            let due = set.iter().take_while(|(until, _)| *until <= now);
            due.map(|(_, uid)| uid.clone()).collect::<Vec<_>>()
        });
        for uid in refused.into_iter().chain(failed) {
            if let Some(waiting) = self.lift(&uid) {
                self.leave_back_off(waiting, cause::BACKOFF);
            }
        }
        for uid in left_over {
            if let Some(waiting) = self.lift(&uid) {
                self.try_anyway(waiting);
            }
        }
        if self.backing_off.is_empty() {
            self.soon = Window::of(None);
        }
    }

    /// A pod has waited long without an event; one that is held still goes on waiting.
    fn try_anyway(&mut self, mut waiting: Waiting) {
        waiting.pod.flushed = true;
        if waiting.place == Place::Gated && self.is_held(&mut waiting.pod) {
            self.lay(waiting.pod, Place::Gated, Duration::ZERO);
        } else {
            self.back_off(waiting.pod, Place::Backoff, cause::TIMEOUT);
        }
    }

    /// How long until [`flush`](Self::flush) has something to do.
    pub(crate) fn next_flush(&self) -> Option<Duration> {
        let sets = [&self.backing_off, &self.failing, &self.left_over];
        let next = sets.into_iter().filter_map(|set| set.first()).map(|(until, _)| *until).min();
        next.map(|until| until.saturating_sub(self.clock.elapsed()))
    }
}
