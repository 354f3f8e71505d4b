//! Pods that wait to be scheduled.

use crate::{
    ActionType, ClusterEvent, EventObject, EventResource, Framework, Hint, PodInfo,
    SchedulerPlugin, metrics::SchedulerMetrics,
};
use kubeplane_clock::SharedClock;
use kubeplane_telemetry::Metrics;
use std::{
    cmp::Ordering,
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

const INITIAL_BACKOFF: Duration = Duration::from_secs(1);
const LONGEST_BACKOFF: Duration = Duration::from_secs(10);
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
    Unschedulable,
    Gated,
}

impl Place {
    /// The queue the original keeps such pods in.
    fn queue(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Backoff => "backoff",
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
    /// When it leaves its back-off.
    until: Duration,
}

/// The waiting pods: active ones in the profile's order, those that back off, those that wait for an event,
/// and gated ones. Owned by the scheduling loop alone.
#[derive(Debug)]
pub(crate) struct Queue {
    clock: SharedClock,
    frameworks: HashMap<String, Arc<Framework>>,
    pods: HashMap<String, Waiting>,
    /// Pods being scheduled or bound, with the events since.
    in_flight: HashMap<String, Vec<(ClusterEvent, EventObject)>>,
    /// Active uids, best last; sorted when something was added.
    active: Vec<String>,
    sorted: bool,
    /// How many pods are in each place.
    sizes: [usize; 4],
    metrics: SchedulerMetrics,
}

impl Queue {
    pub(crate) fn new(clock: SharedClock, frameworks: HashMap<String, Arc<Framework>>) -> Self {
        Self {
            clock,
            frameworks,
            pods: HashMap::new(),
            in_flight: HashMap::new(),
            active: Vec::new(),
            sorted: true,
            sizes: [0; 4],
            metrics: SchedulerMetrics::new(&Metrics::new()),
        }
    }

    /// Counts there.
    pub(crate) fn measured(mut self, metrics: SchedulerMetrics) -> Self {
        self.metrics = metrics;
        self
    }

    fn framework(&self, pod: &PodInfo) -> Option<&Arc<Framework>> {
        self.frameworks.get(pod.spec().scheduler_name.as_deref().unwrap_or("default-scheduler"))
    }

    /// A pod that was not known.
    pub(crate) fn add(&mut self, info: Arc<PodInfo>) {
        if self.in_flight.contains_key(info.uid()) || self.pods.contains_key(info.uid()) {
            return self.update(info);
        }
        let now = self.clock.elapsed();
        let pod =
            QueuedPod { info, attempts: 0, since: now, first_seen: now, plugins: BTreeSet::new() };
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
        }
        if place == Place::Active {
            self.active.push(uid.clone());
            self.sorted = false;
        }
        self.pods.insert(uid, Waiting { pod, place, until });
    }

    /// Takes a pod out of wherever it waits.
    fn lift(&mut self, uid: &str) -> Option<Waiting> {
        let waiting = self.pods.remove(uid)?;
        self.sizes[waiting.place as usize] -= 1;
        if waiting.place.is_refused() {
            self.count_refusals(&waiting.pod, -1);
        }
        Some(waiting)
    }

    fn count_refusals(&self, pod: &QueuedPod, change: i64) {
        let profile = pod.info.spec().scheduler_name.as_deref().unwrap_or("default-scheduler");
        for plugin in &pod.plugins {
            self.metrics.refused(plugin, profile, change);
        }
    }

    /// A known pod that changed.
    pub(crate) fn update(&mut self, info: Arc<PodInfo>) {
        let uid = info.uid().to_owned();
        let Some(waiting) = self.pods.get_mut(&uid) else { return };
        let spec_changed = waiting.pod.info.spec() != info.spec()
            || waiting.pod.info.pod().metadata.labels != info.pod().metadata.labels;
        waiting.pod.info = info;
        let retry = spec_changed && matches!(waiting.place, Place::Gated | Place::Unschedulable);
        if retry && let Some(waiting) = self.lift(&uid) {
            let mut pod = waiting.pod;
            pod.plugins.clear();
            pod.since = self.clock.elapsed();
            let event = ClusterEvent::new(EventResource::UnscheduledPod, ActionType::UPDATE_OTHER);
            self.enqueue(pod, &event.label());
        }
    }

    /// Tries a waiting pod at once; if `always`, also one that waits for an event, else only one that was held.
    pub(crate) fn wake(&mut self, uid: &str, always: bool) {
        let Some(waiting) = self.pods.get(uid) else { return };
        let due = match waiting.place {
            Place::Gated => true,
            Place::Unschedulable => always,
            Place::Active | Place::Backoff => false,
        };
        if due && let Some(waiting) = self.lift(uid) {
            self.enqueue(waiting.pod, cause::WOKEN);
        }
    }

    /// A pod that needs no scheduling any more.
    pub(crate) fn remove(&mut self, uid: &str) {
        self.in_flight.remove(uid);
        if self.lift(uid).is_some_and(|waiting| waiting.place == Place::Active) {
            self.active.retain(|own| own != uid);
        }
    }

    pub(crate) fn has_active(&self) -> bool {
        !self.active.is_empty()
    }

    /// The next pod; it is in flight until [`done`](Self::done), [`retry`](Self::retry) or
    /// [`set_unschedulable`](Self::set_unschedulable).
    pub(crate) fn take(&mut self) -> Option<QueuedPod> {
        if !self.sorted {
            let (pods, frameworks) = (&self.pods, &self.frameworks);
            let sort = frameworks
                .values()
                .next()?
                .plugins()
                .find(|plugin| plugin.as_queue_sort().is_some())?;
            self.active.sort_by(|a, b| match (pods.get(a), pods.get(b)) {
                (Some(a), Some(b)) => compare(sort, &b.pod, &a.pod),
                _ => Ordering::Equal,
            });
            self.sorted = true;
        }
        let uid = self.active.pop()?;
        let mut pod = self.lift(&uid)?.pod;
        pod.attempts += 1;
        pod.plugins.clear();
        self.in_flight.insert(uid, Vec::new());
        Some(pod)
    }

    /// The pod is bound, or gone.
    pub(crate) fn done(&mut self, uid: &str) {
        self.in_flight.remove(uid);
    }

    /// Something failed that is not the pod's fault: again after its back-off.
    pub(crate) fn retry(&mut self, pod: QueuedPod) {
        if self.in_flight.remove(pod.info.uid()).is_some() {
            self.back_off(pod);
        }
    }

    /// The pod fits nowhere: it waits for an event of the plugins that refused it, unless there was one
    /// while it was looked at.
    pub(crate) fn set_unschedulable(
        &mut self,
        mut pod: QueuedPod,
        plugins: BTreeSet<&'static str>,
    ) {
        let Some(missed) = self.in_flight.remove(pod.info.uid()) else { return };
        pod.plugins = plugins;
        let helps = missed.iter().any(|(event, object)| self.helps(&pod, *event, object));
        if helps || pod.plugins.is_empty() {
            self.back_off(pod);
        } else {
            pod.since = self.clock.elapsed();
            let until = pod.since + FLUSH_AFTER;
            self.put(pod, Place::Unschedulable, until, cause::FAILURE);
        }
    }

    fn back_off(&mut self, mut pod: QueuedPod) {
        let factor = 1u32 << pod.attempts.saturating_sub(1).min(8);
        pod.since = self.clock.elapsed();
        let until = pod.since + (INITIAL_BACKOFF * factor).min(LONGEST_BACKOFF);
        self.put(pod, Place::Backoff, until, cause::FAILURE);
    }

    /// Brings back every pod that an event may help.
    pub(crate) fn on_event(&mut self, event: ClusterEvent, object: &EventObject) {
        for events in self.in_flight.values_mut() {
            events.push((event, object.clone()));
        }
        let helped: Vec<_> = self
            .pods
            .iter()
            .filter(|(_, waiting)| matches!(waiting.place, Place::Unschedulable | Place::Gated))
            .filter(|(_, waiting)| self.helps(&waiting.pod, event, object))
            .map(|(uid, _)| uid.clone())
            .collect();
        let label = event.label();
        for uid in helped {
            let Some(waiting) = self.lift(&uid) else { continue };
            if waiting.place == Place::Gated {
                self.enqueue(waiting.pod, &label);
            } else {
                // What is left of the back-off counts from when the pod was refused.
                let factor = 1u32 << waiting.pod.attempts.saturating_sub(1).min(8);
                let until = waiting.pod.since + (INITIAL_BACKOFF * factor).min(LONGEST_BACKOFF);
                if until <= self.clock.elapsed() {
                    self.enqueue(waiting.pod, &label);
                } else {
                    self.put(waiting.pod, Place::Backoff, until, &label);
                }
            }
        }
    }

    fn helps(&self, pod: &QueuedPod, event: ClusterEvent, object: &EventObject) -> bool {
        let Some(framework) = self.framework(&pod.info) else { return false };
        framework.plugins().filter(|plugin| pod.plugins.contains(plugin.name())).any(|plugin| {
            plugin.requeue_on().iter().any(|own| own.matches(event))
                && plugin
                    .as_enqueue_extensions()
                    .is_none_or(|point| point.hint(&pod.info, event, object) == Hint::Queue)
        })
    }

    /// Moves pods whose back-off is over, or that have waited long without an event.
    pub(crate) fn flush(&mut self) {
        let now = self.clock.elapsed();
        let due: Vec<_> = self
            .pods
            .iter()
            .filter(|(_, waiting)| {
                matches!(waiting.place, Place::Backoff | Place::Unschedulable)
                    && waiting.until <= now
            })
            .map(|(uid, _)| uid.clone())
            .collect();
        for uid in due {
            if let Some(waiting) = self.lift(&uid) {
                let backed_off = waiting.place == Place::Backoff;
                let cause = if backed_off { cause::BACKOFF } else { cause::TIMEOUT };
                self.enqueue(waiting.pod, cause);
            }
        }
    }

    /// How long until [`flush`](Self::flush) has something to do.
    pub(crate) fn next_flush(&self) -> Option<Duration> {
        let timed = self
            .pods
            .values()
            .filter(|waiting| matches!(waiting.place, Place::Backoff | Place::Unschedulable));
        timed
            .map(|waiting| waiting.until)
            .min()
            .map(|until| until.saturating_sub(self.clock.elapsed()))
    }

    /// How many pods are active, backing off, unschedulable and gated.
    pub(crate) fn counts(&self) -> [(&'static str, usize); 4] {
        let [active, backoff, unschedulable, gated] = self.sizes;
        [
            ("active", active),
            ("backoff", backoff),
            ("unschedulable", unschedulable),
            ("gated", gated),
        ]
    }
}

fn compare(sort: &Arc<dyn SchedulerPlugin>, a: &QueuedPod, b: &QueuedPod) -> Ordering {
    sort.as_queue_sort()
        .map_or(Ordering::Equal, |point| point.compare((&a.info, a.since), (&b.info, b.since)))
}

#[cfg(test)]
mod tests;
