use crate::{ClusterEvent, EventObject, PodInfo, metrics::SchedulerMetrics};
use prometheus_client::metrics::gauge::Gauge;
use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
};

/// Pods being scheduled or bound, and the events since the oldest of them was taken: one list for all.
#[derive(Debug, Default)]
pub(super) struct InFlight {
    pods: HashMap<String, Flight>,
    events: VecDeque<(ClusterEvent, EventObject)>,
    /// The number of the first event kept.
    first: u64,
    /// How many pods were taken at each number.
    starts: BTreeMap<u64, usize>,
    shown: Shown,
}

/// How many they are, in metrics if there are some.
#[derive(Debug, Default)]
struct Shown {
    metrics: Option<SchedulerMetrics>,
    pods: Gauge,
    events: HashMap<ClusterEvent, Gauge>,
}

impl Shown {
    fn pods(&self, count: usize) {
        self.pods.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    fn event(&mut self, event: ClusterEvent) -> &Gauge {
        let metrics = self.metrics.as_ref();
        let new = || metrics.map_or_else(Gauge::default, |own| own.kept(event));
        self.events.entry(event).or_insert_with(new)
    }
}

#[derive(Debug)]
struct Flight {
    start: u64,
    /// The pod as it is meanwhile, if it changed.
    latest: Option<Arc<PodInfo>>,
    /// Whether it is to be tried again whatever happened.
    helped: bool,
}

impl InFlight {
    /// For a new queue: shows in these metrics how many they are.
    pub(super) fn measured(metrics: SchedulerMetrics) -> Self {
        let pods = metrics.under_way();
        let shown = Shown { metrics: Some(metrics), pods, events: HashMap::new() };
        Self { shown, ..Self::default() }
    }

    pub(super) fn contains(&self, uid: &str) -> bool {
        self.pods.contains_key(uid)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.pods.len()
    }

    pub(super) fn begin(&mut self, uid: String) {
        let start = self.first + self.events.len() as u64;
        *self.starts.entry(start).or_default() += 1;
        self.pods.insert(uid, Flight { start, latest: None, helped: false });
        self.shown.pods(self.pods.len());
    }

    pub(super) fn update(&mut self, info: Arc<PodInfo>) {
        if let Some(flight) = self.pods.get_mut(info.uid()) {
            flight.latest = Some(info);
        }
    }

    /// The pod is to be tried again when it comes back.
    pub(super) fn help(&mut self, uid: &str) {
        if let Some(flight) = self.pods.get_mut(uid) {
            flight.helped = true;
        }
    }

    /// The pod as it is meanwhile, if it changed.
    pub(super) fn latest(&self, uid: &str) -> Option<&Arc<PodInfo>> {
        self.pods.get(uid)?.latest.as_ref()
    }

    pub(super) fn record(&mut self, event: ClusterEvent, object: &EventObject) {
        if !self.pods.is_empty() {
            self.events.push_back((event, object.clone()));
            self.shown.event(event).inc();
        }
    }

    /// Ends a flight: the pod as it is now, if it changed, and whether it is to be tried again: `helps` says so of any event
    /// since, or it [was said](Self::help). `None` when there was no flight, as when the pod is gone.
    pub(super) fn end(
        &mut self,
        uid: &str,
        helps: impl Fn(ClusterEvent, &EventObject) -> bool,
    ) -> Option<(Option<Arc<PodInfo>>, bool)> {
        let flight = self.pods.remove(uid)?;
        self.shown.pods(self.pods.len());
        let since = usize::try_from(flight.start - self.first).unwrap_or_default();
        let mut events = self.events.iter().skip(since);
        let helped = flight.helped || events.any(|(event, object)| helps(*event, object));
        if let Some(count) = self.starts.get_mut(&flight.start) {
            *count -= 1;
            if *count == 0 {
                self.starts.remove(&flight.start);
            }
        }
        let end = self.first + self.events.len() as u64;
        let oldest = self.starts.keys().next().copied().unwrap_or(end);
        let unneeded = usize::try_from(oldest - self.first).unwrap_or_default();
        for (event, _) in self.events.drain(..unneeded) {
            self.shown.event(event).dec();
        }
        self.first = oldest;
        Some((flight.latest, helped))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ActionType, EventResource};
    use kubeplane_telemetry::Metrics;

    #[test]
    fn what_is_kept_is_shown() {
        let metrics = Metrics::new();
        let mut own = InFlight::measured(SchedulerMetrics::new(&metrics));
        let event = ClusterEvent::new(EventResource::Node, ActionType::ADD);
        let object = EventObject::Node { old: None, new: None };
        let shows = |pods: usize, events: usize| {
            let text = metrics.encode();
            for (event, count) in [("PodPopped", pods), ("NodeAdd", events)] {
                let line = format!("scheduler_inflight_events{{event=\"{event}\"}} {count}\n");
                assert!(text.contains(&line), "{line} in {text}");
            }
        };
        own.record(event, &object);
        own.begin("a".to_owned());
        own.record(event, &object);
        own.begin("b".to_owned());
        own.record(event, &object);
        shows(2, 2);
        own.end("a", |_, _| false);
        shows(1, 1);
        own.end("b", |_, _| false);
        shows(0, 0);
    }
}
