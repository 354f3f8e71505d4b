use crate::{ClusterEvent, EventObject, PodInfo};
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
}

#[derive(Debug)]
struct Flight {
    start: u64,
    /// The pod as it is meanwhile, if it changed.
    latest: Option<Arc<PodInfo>>,
}

impl InFlight {
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
        self.pods.insert(uid, Flight { start, latest: None });
    }

    pub(super) fn update(&mut self, info: Arc<PodInfo>) {
        if let Some(flight) = self.pods.get_mut(info.uid()) {
            flight.latest = Some(info);
        }
    }

    /// The pod as it is meanwhile, if it changed.
    pub(super) fn latest(&self, uid: &str) -> Option<&Arc<PodInfo>> {
        self.pods.get(uid)?.latest.as_ref()
    }

    pub(super) fn record(&mut self, event: ClusterEvent, object: &EventObject) {
        if !self.pods.is_empty() {
            self.events.push_back((event, object.clone()));
        }
    }

    /// Ends a flight: the pod as it is now, if it changed, and whether `helps` says so of any event since. `None`
    /// when there was no flight, as when the pod is gone.
    pub(super) fn end(
        &mut self,
        uid: &str,
        helps: impl Fn(ClusterEvent, &EventObject) -> bool,
    ) -> Option<(Option<Arc<PodInfo>>, bool)> {
        let flight = self.pods.remove(uid)?;
        let since = usize::try_from(flight.start - self.first).unwrap_or_default();
        let helped = self.events.iter().skip(since).any(|(event, object)| helps(*event, object));
        if let Some(count) = self.starts.get_mut(&flight.start) {
            *count -= 1;
            if *count == 0 {
                self.starts.remove(&flight.start);
            }
        }
        let end = self.first + self.events.len() as u64;
        let oldest = self.starts.keys().next().copied().unwrap_or(end);
        let unneeded = usize::try_from(oldest - self.first).unwrap_or_default();
        self.events.drain(..unneeded);
        self.first = oldest;
        Some((flight.latest, helped))
    }
}
