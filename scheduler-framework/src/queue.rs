//! Pods that wait to be scheduled.

mod heap;
mod in_flight;

use crate::{
    ActionType, ClusterEvent, EventObject, EventResource, Framework, PodInfo, Point,
    SchedulerPlugin, metrics::SchedulerMetrics,
};
use heap::Heap;
use in_flight::InFlight;
use kubeplane_clock::SharedClock;
use kubeplane_telemetry::Metrics;
use std::{
    cmp::Ordering,
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

/// How long pods wait before another try.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Backoff {
    pub(crate) initial: Duration,
    pub(crate) most: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { initial: Duration::from_secs(1), most: Duration::from_secs(10) }
    }
}

impl Backoff {
    /// After so many refusals in a row: none, one, two, four times the first and so on.
    fn after(self, refusals: u32) -> Duration {
        match refusals.checked_sub(1) {
            None => Duration::ZERO,
            Some(shift) => self.initial.saturating_mul(1 << shift.min(20)).min(self.most),
        }
    }
}

/// Pods left over are tried again after this long without an event.
const FLUSH_AFTER: Duration = Duration::from_secs(300);

/// Why pods come into a queue where no event of the cluster brings them, as the original calls it.
mod cause {
    pub(super) const FAILURE: &str = "ScheduleAttemptFailure";
    pub(super) const BACKOFF: &str = "BackoffComplete";
    pub(super) const WOKEN: &str = "ForceActivate";
    pub(super) const TIMEOUT: &str = "UnschedulableTimeout";
}

/// A pod in the queue.
#[derive(Debug, Clone)]
pub(crate) struct QueuedPod {
    pub(crate) info: Arc<PodInfo>,
    pub(crate) attempts: u32,
    /// How often it was refused since it was last placed or changed.
    pub(crate) refusals: u32,
    /// How often in a row something failed that was not its fault.
    pub(crate) failures: u32,
    /// When it entered the queue this time.
    pub(crate) since: Duration,
    /// When it was first seen.
    pub(crate) first_seen: Duration,
    /// The plugins that refused or hold it.
    pub(crate) plugins: BTreeSet<&'static str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Active,
    Backoff,
    /// Backs off because something failed.
    Failing,
    Unschedulable,
    Gated,
}

impl Place {
    /// The queue the original keeps such pods in.
    fn queue(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Backoff | Self::Failing => "backoff",
            Self::Unschedulable | Self::Gated => "unschedulable",
        }
    }

    /// Whether the pod waits until something changes for the plugins that refused it.
    fn is_refused(self) -> bool {
        matches!(self, Self::Unschedulable | Self::Gated)
    }
}

#[derive(Debug)]
struct Waiting {
    pod: QueuedPod,
    place: Place,
    /// When it leaves its back-off, or is tried again without an event.
    until: Duration,
    /// Tells its entry in the heap of active pods from older ones of the same pod.
    ticket: u64,
}

/// A pod in the heap of active ones; it counts only as long as the ticket is the pod's.
#[derive(Debug)]
struct Entry {
    info: Arc<PodInfo>,
    since: Duration,
    ticket: u64,
}

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
    /// Pods that wait for events, by when they are tried without.
    left_over: BTreeSet<(Duration, String)>,
    /// The same and gated ones, by the plugins that hold them.
    held_by: HashMap<&'static str, HashSet<String>>,
    /// How many pods are in each place.
    sizes: [usize; 5],
    backoff: Backoff,
    metrics: SchedulerMetrics,
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
            left_over: BTreeSet::new(),
            held_by: HashMap::new(),
            sizes: [0; 5],
            backoff: Backoff::default(),
            metrics: SchedulerMetrics::new(&Metrics::new()),
        }
    }

    /// Waits as long between tries.
    pub(crate) fn backing_off(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
        self
    }

    /// Counts there.
    pub(crate) fn measured(mut self, metrics: SchedulerMetrics) -> Self {
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
            first_seen: now,
            plugins: BTreeSet::new(),
        };
        let event = ClusterEvent::new(EventResource::UnscheduledPod, ActionType::ADD);
        self.enqueue(pod, &event.label());
    }

    /// Into the active queue, or among the gated ones.
    fn enqueue(&mut self, mut pod: QueuedPod, event: &str) {
        let held = self.framework(&pod.info).and_then(|framework| framework.pre_enqueue(&pod.info));
        let place = match held {
            Some((plugin, _)) => {
                pod.plugins.insert(plugin);
                Place::Gated
            }
            None => Place::Active,
        };
        self.put(pod, place, Duration::ZERO, event);
    }

    fn put(&mut self, pod: QueuedPod, place: Place, until: Duration, event: &str) {
        let uid = pod.info.uid().to_owned();
        self.metrics.incoming(place.queue(), event);
        self.sizes[place as usize] += 1;
        if place.is_refused() {
            self.count_refusals(&pod, 1);
            for plugin in &pod.plugins {
                self.held_by.entry(plugin).or_default().insert(uid.clone());
            }
        }
        self.tickets += 1;
        let ticket = self.tickets;
        match place {
            Place::Active => {
                let entry = Entry { info: pod.info.clone(), since: pod.since, ticket };
                if let Some(sort) = sorter(&self.frameworks) {
                    self.active.push(entry, |a, b| is_before(sort, a, b));
                }
            }
            Place::Backoff => drop(self.backing_off.insert((until, uid.clone()))),
            Place::Failing => drop(self.failing.insert((until, uid.clone()))),
            Place::Unschedulable => drop(self.left_over.insert((until, uid.clone()))),
            Place::Gated => {}
        }
        self.pods.insert(uid, Waiting { pod, place, until, ticket });
    }

    /// Takes a pod out of wherever it waits.
    fn lift(&mut self, uid: &str) -> Option<Waiting> {
        let waiting = self.pods.remove(uid)?;
        self.sizes[waiting.place as usize] -= 1;
        let timed = (waiting.until, uid.to_owned());
        match waiting.place {
            // Its entry in the heap is passed over when it comes up.
            Place::Active | Place::Gated => {}
            Place::Backoff => drop(self.backing_off.remove(&timed)),
            Place::Failing => drop(self.failing.remove(&timed)),
            Place::Unschedulable => drop(self.left_over.remove(&timed)),
        }
        if waiting.place.is_refused() {
            self.count_refusals(&waiting.pod, -1);
            for plugin in &waiting.pod.plugins {
                if let Some(held) = self.held_by.get_mut(plugin) {
                    held.remove(uid);
                }
            }
        }
        Some(waiting)
    }

    fn count_refusals(&self, pod: &QueuedPod, change: i64) {
        let profile = pod.info.spec().scheduler_name.as_deref().unwrap_or("default-scheduler");
        for plugin in &pod.plugins {
            self.metrics.refused(plugin, profile, change);
        }
    }

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
        if !place.is_refused() {
            return;
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

    /// A pod that needs no scheduling any more.
    pub(crate) fn remove(&mut self, uid: &str) {
        self.in_flight.end(uid, |_, _| false);
        self.lift(uid);
    }

    /// Whether [`take`](Self::take) has something to give.
    pub(crate) fn has_active(&self) -> bool {
        self.sizes[Place::Active as usize] > 0 || !self.backing_off.is_empty()
    }

    /// The next pod; it is in flight until [`done`](Self::done), [`retry`](Self::retry) or
    /// [`set_unschedulable`](Self::set_unschedulable). While no pod is active, one that backs off is taken early.
    pub(crate) fn take(&mut self) -> Option<QueuedPod> {
        let uid = self.next_active().or_else(|| {
            let (_, uid) = self.backing_off.first()?;
            Some(uid.clone())
        })?;
        let waiting = self.lift(&uid)?;
        let mut pod = waiting.pod;
        if waiting.place == Place::Backoff
            && let Some((plugin, _)) =
                self.framework(&pod.info).and_then(|framework| framework.pre_enqueue(&pod.info))
        {
            pod.plugins = BTreeSet::from([plugin]);
            self.put(pod, Place::Gated, Duration::ZERO, cause::BACKOFF);
            return self.take();
        }
        pod.attempts += 1;
        pod.plugins.clear();
        self.in_flight.begin(uid);
        Some(pod)
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

    /// The pod is bound, or gone.
    pub(crate) fn done(&mut self, uid: &str) {
        self.in_flight.end(uid, |_, _| false);
    }

    /// Something failed that is not the pod's fault: again after its back-off.
    pub(crate) fn retry(&mut self, mut pod: QueuedPod) {
        let Some((latest, _)) = self.in_flight.end(pod.info.uid(), |_, _| false) else { return };
        pod.info = latest.unwrap_or(pod.info);
        pod.failures += 1;
        pod.since = self.clock.elapsed();
        let until = pod.since + self.backoff.after(pod.failures);
        self.put(pod, Place::Failing, until, cause::FAILURE);
    }

    /// The pod fits nowhere: it waits for an event of the plugins that refused it, unless there was one
    /// while it was looked at.
    pub(crate) fn set_unschedulable(
        &mut self,
        mut pod: QueuedPod,
        plugins: BTreeSet<&'static str>,
    ) {
        pod.plugins = plugins;
        let mut in_flight = std::mem::take(&mut self.in_flight);
        let ended = in_flight.end(pod.info.uid(), |event, object| self.helps(&pod, event, object));
        self.in_flight = in_flight;
        let Some((latest, helped)) = ended else { return };
        pod.info = latest.unwrap_or(pod.info);
        pod.refusals += 1;
        pod.failures = 0;
        pod.since = self.clock.elapsed();
        if helped || pod.plugins.is_empty() {
            let until = pod.since + self.backoff.after(pod.refusals);
            self.put(pod, Place::Backoff, until, cause::FAILURE);
        } else {
            let until = pod.since + FLUSH_AFTER;
            self.put(pod, Place::Unschedulable, until, cause::FAILURE);
        }
    }

    /// Brings back every pod that an event may help.
    pub(crate) fn on_event(&mut self, event: ClusterEvent, object: &EventObject) {
        self.in_flight.record(event, object);
        let helped = self.helped(event, object);
        let label = if helped.is_empty() { String::new() } else { event.label() };
        for uid in helped {
            self.bring_back(&uid, &label);
        }
    }

    /// The pods that an event may help; only those that interested plugins hold are looked at.
    fn helped(&self, event: ClusterEvent, object: &EventObject) -> BTreeSet<String> {
        let mut helped = BTreeSet::new();
        for (plugin, held) in self.held_by.iter().filter(|(_, held)| !held.is_empty()) {
            let interested = self.frameworks.values().any(|own| own.waits_for(plugin, event));
            if !interested {
                continue;
            }
            let all = held.iter().filter(|uid| !helped.contains(*uid));
            let waiting = all.filter_map(|uid| Some((uid, &self.pods.get(uid)?.pod)));
            let found: Vec<_> = waiting
                .filter(|(_, pod)| self.helps(pod, event, object))
                .map(|(uid, _)| uid.clone())
                .collect();
            helped.extend(found);
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

    fn helps(&self, pod: &QueuedPod, event: ClusterEvent, object: &EventObject) -> bool {
        let Some(framework) = self.framework(&pod.info) else { return false };
        pod.plugins.iter().any(|plugin| framework.hints(plugin, &pod.info, event, object))
    }

    /// Moves pods whose back-off is over, or that have waited long without an event.
    pub(crate) fn flush(&mut self) {
        let now = self.clock.elapsed();
        for (set, cause) in [
            (&self.backing_off, cause::BACKOFF),
            (&self.failing, cause::BACKOFF),
            (&self.left_over, cause::TIMEOUT),
        ]
        .map(|(set, cause)| {
            let due: Vec<_> = set
                .iter()
                .take_while(|(until, _)| *until <= now)
                .map(|(_, uid)| uid.clone())
                .collect();
            (due, cause)
        }) {
            for uid in set {
                if let Some(waiting) = self.lift(&uid) {
                    self.enqueue(waiting.pod, cause);
                }
            }
        }
    }

    /// How long until [`flush`](Self::flush) has something to do.
    pub(crate) fn next_flush(&self) -> Option<Duration> {
        let sets = [&self.backing_off, &self.failing, &self.left_over];
        let next = sets.into_iter().filter_map(|set| set.first()).map(|(until, _)| *until).min();
        next.map(|until| until.saturating_sub(self.clock.elapsed()))
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
