//! Pods that wait to be scheduled.

mod events;
mod heap;
mod in_flight;
mod waiting;

use crate::{
    ActionType, ClusterEvent, EventResource, Framework, PodInfo, Point, SchedulerPlugin,
    metrics::SchedulerMetrics,
};
use heap::Heap;
use in_flight::InFlight;
use kubeplane_clock::SharedClock;
use kubeplane_telemetry::Metrics;
use std::{
    cmp::Ordering,
    collections::{BTreeSet, HashMap, HashSet},
    sync::{Arc, atomic::AtomicUsize},
    time::Duration,
};
pub(crate) use waiting::{Backoff, QueuedPod};
use waiting::{Entry, FLUSH_AFTER, Place, Waiting, Window, cause};

/// The waiting pods: active ones in the profile's order, those that back off, those that wait for an event,
/// and gated ones. Owned by the scheduling loop alone.
#[derive(Debug)]
pub(crate) struct Queue {
    clock: SharedClock,
    frameworks: HashMap<String, Arc<Framework>>,
    pods: HashMap<String, Waiting>,
    in_flight: InFlight,
    active: Heap<Entry>,
    tickets: u64,
    /// Pods that back off, by when that is over: refused ones, which are taken early if there is nothing else to
    /// do, and those for which something failed.
    backing_off: BTreeSet<(Duration, String)>,
    failing: BTreeSet<(Duration, String)>,
    /// Of those that back off the ones that are taken early next, in the profile's order.
    soon: Window,
    /// Pods that wait for events, gated ones among them, by when they are tried without.
    left_over: BTreeSet<(Duration, String)>,
    /// The same and gated ones, by the plugins that hold them, pods alike together.
    held_by: HashMap<&'static str, HashMap<u128, HashSet<String>>>,
    /// How many pods are in each place.
    sizes: [usize; 5],
    backoff: Backoff,
    /// Whether refused pods are taken before their time if there is nothing else to do.
    early: bool,
    metrics: SchedulerMetrics,
    /// How often plugins were asked whether an event helps.
    asked: AtomicUsize,
}

impl Queue {
    pub(crate) fn new(clock: SharedClock, frameworks: HashMap<String, Arc<Framework>>) -> Self {
        Self {
            clock,
            frameworks,
            pods: HashMap::new(),
            in_flight: InFlight::default(),
            active: Heap::new(),
            tickets: 0,
            backing_off: BTreeSet::new(),
            failing: BTreeSet::new(),
            soon: Window::of(None),
            left_over: BTreeSet::new(),
            held_by: HashMap::new(),
            sizes: [0; 5],
            backoff: Backoff::default(),
            early: true,
            metrics: SchedulerMetrics::new(&Metrics::new()),
            asked: AtomicUsize::new(0),
        }
    }

    /// Waits as long between tries.
    pub(crate) fn backing_off(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
        self
    }

    /// Takes refused pods before their time, if there is nothing else to do, or never.
    pub(crate) fn taking_early(mut self, early: bool) -> Self {
        self.early = early;
        self
    }

    /// Counts there.
    pub(crate) fn measured(mut self, metrics: SchedulerMetrics) -> Self {
        self.in_flight = InFlight::measured(metrics.clone());
        self.metrics = metrics;
        self
    }

    fn framework(&self, pod: &PodInfo) -> Option<&Arc<Framework>> {
        self.frameworks.get(pod.spec().scheduler_name.as_deref().unwrap_or("default-scheduler"))
    }

    /// A pod that was not known, or changed.
    pub(crate) fn add(&mut self, info: Arc<PodInfo>) {
        if self.in_flight.contains(info.uid()) || self.pods.contains_key(info.uid()) {
            return self.update(info);
        }
        let now = self.clock.elapsed();
        let pod = QueuedPod {
            info,
            attempts: 0,
            refusals: 0,
            failures: 0,
            since: now,
            first_active: None,
            flushed: false,
            plugins: BTreeSet::new(),
            gate: None,
        };
        let event = ClusterEvent::new(EventResource::UnscheduledPod, ActionType::ADD);
        self.enqueue(pod, &event.label());
    }

    /// Whether a plugin keeps the pod from being tried; it notes which.
    fn is_held(&self, pod: &mut QueuedPod) -> bool {
        let held = self.framework(&pod.info).and_then(|framework| framework.pre_enqueue(&pod.info));
        pod.gate = held.map(|(plugin, _)| plugin);
        pod.plugins.extend(pod.gate);
        pod.gate.is_some()
    }

    /// Into the active queue, or among the gated ones.
    fn enqueue(&mut self, mut pod: QueuedPod, event: &str) {
        let place = if self.is_held(&mut pod) { Place::Gated } else { Place::Active };
        self.put(pod, place, Duration::ZERO, event);
    }

    /// To where it is tried again when its back-off is over, at once if it is. Where pods are taken early, plugins are asked
    /// about it now, and not again when it is taken.
    fn back_off(&mut self, mut pod: QueuedPod, place: Place, event: &str) {
        let until = pod.since + self.backoff.after(pod.tries());
        if until <= self.clock.elapsed() {
            return self.enqueue(pod, event);
        }
        let held = self.early && self.is_held(&mut pod);
        self.put(pod, if held { Place::Gated } else { place }, until, event);
    }

    fn put(&mut self, pod: QueuedPod, place: Place, until: Duration, event: &str) {
        self.metrics.incoming(place.queue(), event);
        self.lay(pod, place, until);
    }

    fn lay(&mut self, mut pod: QueuedPod, place: Place, until: Duration) {
        let uid = pod.info.uid().to_owned();
        self.sizes[place as usize] += 1;
        self.count_refusals(&pod, 1);
        if place.is_refused() {
            self.hold(&pod, pod.info.class());
        }
        if place == Place::Active {
            pod.first_active.get_or_insert_with(|| self.clock.elapsed());
        }
        self.tickets += 1;
        let ticket = self.tickets;
        let until = match place {
            // Whoever holds it may have let go without anybody hearing of it.
            Place::Gated => self.clock.elapsed() + FLUSH_AFTER,
            _ => until,
        };
        match place {
            Place::Active => {
                let entry = Entry { info: pod.info.clone(), since: pod.since, ticket };
                if let Some(sort) = sorter(&self.frameworks) {
                    self.active.push(entry, |a, b| is_before(sort, a, b));
                }
            }
            Place::Backoff => {
                self.backing_off.insert((until, uid.clone()));
                let entry = Entry { info: pod.info.clone(), since: pod.since, ticket };
                self.line_up(until, entry);
            }
            Place::Failing => drop(self.failing.insert((until, uid.clone()))),
            Place::Unschedulable | Place::Gated => {
                self.left_over.insert((until, uid.clone()));
            }
        }
        self.pods.insert(uid, Waiting { pod, place, until, ticket });
    }

    /// Has a pod that backs off until then stand among those that are taken early next, if it is one of them.
    fn line_up(&mut self, until: Duration, entry: Entry) {
        if self.soon.second != Some(until.as_secs()) {
            return;
        }
        if let Some(sort) = sorter(&self.frameworks) {
            self.soon.pods.push(entry, |a, b| is_before(sort, a, b));
        }
    }

    /// Takes a pod out of wherever it waits.
    fn lift(&mut self, uid: &str) -> Option<Waiting> {
        let waiting = self.pods.remove(uid)?;
        self.sizes[waiting.place as usize] -= 1;
        let timed = (waiting.until, uid.to_owned());
        match waiting.place {
            // Its entry in the heap is passed over when it comes up.
            Place::Active => {}
            Place::Backoff => drop(self.backing_off.remove(&timed)),
            Place::Failing => drop(self.failing.remove(&timed)),
            Place::Unschedulable | Place::Gated => {
                self.left_over.remove(&timed);
            }
        }
        self.count_refusals(&waiting.pod, -1);
        if waiting.place.is_refused() {
            self.release(&waiting.pod, waiting.pod.info.class());
        }
        Some(waiting)
    }

    /// Has a pod of this class wait for the plugins that refused it.
    fn hold(&mut self, pod: &QueuedPod, class: u128) {
        for plugin in &pod.plugins {
            let held = self.held_by.entry(plugin).or_default().entry(class).or_default();
            held.insert(pod.info.uid().to_owned());
        }
    }

    fn release(&mut self, pod: &QueuedPod, class: u128) {
        for plugin in &pod.plugins {
            let Some(classes) = self.held_by.get_mut(plugin) else { continue };
            let Some(held) = classes.get_mut(&class) else { continue };
            held.remove(pod.info.uid());
            if held.is_empty() {
                classes.remove(&class);
            }
        }
    }

    /// Until it is taken a pod counts as one that these plugins refused.
    fn count_refusals(&self, pod: &QueuedPod, change: i64) {
        let profile = pod.info.spec().scheduler_name.as_deref().unwrap_or("default-scheduler");
        for plugin in &pod.plugins {
            self.metrics.refused(plugin, profile, change);
        }
    }

    /// A pod that needs no scheduling any more.
    pub(crate) fn remove(&mut self, uid: &str) {
        self.in_flight.end(uid, |_, _| false);
        self.lift(uid);
    }

    /// Whether [`take`](Self::take) has something to give.
    pub(crate) fn has_active(&self) -> bool {
        self.sizes[Place::Active as usize] > 0 || self.early && !self.backing_off.is_empty()
    }

    /// The next pod; it is in flight until [`done`](Self::done), [`retry`](Self::retry) or
    /// [`set_unschedulable`](Self::set_unschedulable). While no pod is active, one that backs off is taken early, unless
    /// [none is to be](Self::taking_early).
    pub(crate) fn take(&mut self) -> Option<QueuedPod> {
        let uid = self.next_active().or_else(|| self.next_backing_off())?;
        let waiting = self.lift(&uid)?;
        if waiting.place == Place::Backoff {
            self.metrics.incoming(Place::Active.queue(), cause::EARLY);
        }
        Some(self.begin(waiting.pod))
    }

    /// It is being tried.
    fn begin(&mut self, mut pod: QueuedPod) -> QueuedPod {
        pod.attempts += 1;
        pod.plugins.clear();
        pod.gate = None;
        self.in_flight.begin(pod.info.uid().to_owned());
        pod
    }

    /// Of the pods whose back-off is over within the same second as the first one's the one that comes before others.
    fn next_backing_off(&mut self) -> Option<String> {
        if !self.early {
            return None;
        }
        let sort = sorter(&self.frameworks)?;
        let second = self.backing_off.first()?.0.as_secs();
        if self.soon.second != Some(second) {
            self.soon = Window::of(Some(second));
            let same = self.backing_off.iter().take_while(|(until, _)| until.as_secs() == second);
            for waiting in same.filter_map(|(_, uid)| self.pods.get(uid)) {
                self.soon.pods.push(Entry::of(waiting), |a, b| is_before(sort, a, b));
            }
        }
        while let Some(entry) = self.soon.pods.pop(|a, b| is_before(sort, a, b)) {
            let uid = entry.info.uid();
            if self.pods.get(uid).is_some_and(|own| own.ticket == entry.ticket) {
                return Some(uid.to_owned());
            }
        }
        self.soon.second = None;
        self.backing_off.first().map(|(_, uid)| uid.clone())
    }

    /// A certain pod, unless it is held back; it is in flight as one that [`take`](Self::take) gives.
    pub(crate) fn take_one(&mut self, uid: &str) -> Option<QueuedPod> {
        self.pods.get(uid)?;
        self.wake(uid, true);
        self.pods.get(uid).filter(|waiting| waiting.place == Place::Active)?;
        let pod = self.lift(uid)?.pod;
        Some(self.begin(pod))
    }

    fn next_active(&mut self) -> Option<String> {
        let sort = sorter(&self.frameworks)?;
        while self.active.first().is_some() {
            let entry = self.active.pop(|a, b| is_before(sort, a, b))?;
            let uid = entry.info.uid();
            if self.pods.get(uid).is_some_and(|own| own.ticket == entry.ticket) {
                return Some(uid.to_owned());
            }
        }
        None
    }

    /// Whether a pod waits for an event, or is held.
    pub(crate) fn is_refused(&self, uid: &str) -> bool {
        self.pods.get(uid).is_some_and(|own| own.place.is_refused())
    }

    /// Whether a pod was taken and nothing came of it yet; one that is gone, or has a node, is not.
    pub(crate) fn is_in_flight(&self, uid: &str) -> bool {
        self.in_flight.contains(uid)
    }

    /// A pod that is in flight as it is now, if it changed since it was taken.
    pub(crate) fn latest(&self, uid: &str) -> Option<Arc<PodInfo>> {
        self.in_flight.latest(uid).cloned()
    }

    /// The pod is bound, or gone.
    pub(crate) fn done(&mut self, uid: &str) {
        self.in_flight.end(uid, |_, _| false);
    }

    /// Something failed that is not the pod's fault: again after its back-off.
    pub(crate) fn retry(&mut self, mut pod: QueuedPod) {
        let Some((latest, _)) = self.in_flight.end(pod.info.uid(), |_, _| false) else { return };
        pod.info = latest.unwrap_or(pod.info);
        pod.failures += 1;
        pod.flushed = false;
        pod.since = self.clock.elapsed();
        self.back_off(pod, Place::Failing, cause::FAILURE);
    }

    /// The pod fits nowhere: it waits for an event of the plugins that refused it, unless there was one
    /// while it was looked at; or a while, if no plugin refused it.
    pub(crate) fn set_unschedulable(
        &mut self,
        mut pod: QueuedPod,
        plugins: BTreeSet<&'static str>,
    ) {
        pod.plugins = plugins;
        pod.flushed = false;
        let mut in_flight = std::mem::take(&mut self.in_flight);
        let ended = in_flight.end(pod.info.uid(), |event, object| self.helps(&pod, event, object));
        self.in_flight = in_flight;
        let Some((latest, helped)) = ended else { return };
        pod.info = latest.unwrap_or(pod.info);
        pod.since = self.clock.elapsed();
        if pod.plugins.is_empty() {
            // Nobody says what would help: as after a failure it is not taken before its time.
            pod.failures += 1;
            return self.back_off(pod, Place::Failing, cause::FAILURE);
        }
        pod.refusals += 1;
        pod.failures = 0;
        if helped {
            self.back_off(pod, Place::Backoff, cause::FAILURE);
        } else {
            let until = pod.since + FLUSH_AFTER;
            self.put(pod, Place::Unschedulable, until, cause::FAILURE);
        }
    }

    /// How many pods are active, backing off, unschedulable and gated.
    pub(crate) fn counts(&self) -> [(&'static str, usize); 4] {
        let [active, backoff, failing, unschedulable, gated] = self.sizes;
        [
            ("active", active),
            ("backoff", backoff + failing),
            ("unschedulable", unschedulable),
            ("gated", gated),
        ]
    }

    /// How many pods are known: waiting, or in flight.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.pods.len() + self.in_flight.len()
    }
}

fn sorter(frameworks: &HashMap<String, Arc<Framework>>) -> Option<&dyn SchedulerPlugin> {
    frameworks.values().next()?.at(Point::QueueSort).next().map(|own| &**own)
}

fn is_before(sort: &dyn SchedulerPlugin, a: &Entry, b: &Entry) -> bool {
    let order = sort
        .as_queue_sort()
        .map_or(Ordering::Equal, |point| point.compare((&a.info, a.since), (&b.info, b.since)));
    // Of equals the one that came first.
    order.then(a.ticket.cmp(&b.ticket)) == Ordering::Less
}

#[cfg(test)]
mod tests;
