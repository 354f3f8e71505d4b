//! What sets a class of pods apart from others of their kind: on which few nodes there are pods that count for it.

use super::{Census, Change, History, Moment};
use crate::{Counting, NodeInfo, PodInfo, Snapshot};
use std::{collections::BTreeMap, fmt};

/// On how many nodes there may be such pods: with more the class is better followed for itself.
const MOST: usize = 512;

pub(super) struct Apart {
    moment: Moment,
    counting: Box<dyn Counting>,
    /// By node: how many pods count.
    pods: BTreeMap<u32, i64>,
}

impl fmt::Debug for Apart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Apart").field("nodes", &self.pods.len()).finish_non_exhaustive()
    }
}

fn number(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}

impl Apart {
    /// Looks at all nodes where such pods may be.
    pub(super) fn new(counting: Box<dyn Counting>, census: &mut Census, nodes: &Snapshot) -> Self {
        let moment = nodes.history().map(|(_, now)| now).unwrap_or_default();
        let mut apart = Self { moment, counting, pods: BTreeMap::new() };
        if !apart.is_scoring() {
            return apart;
        }
        let some = apart.counting.labels().map(|(namespace, labels)| {
            census.catch_up(nodes);
            census.nodes_with(namespace, &labels)
        });
        let all = nodes.nodes();
        match some {
            Some(some) => some.into_iter().for_each(|index| {
                if let Some(node) = all.get(index as usize) {
                    apart.count(index as usize, node);
                }
            }),
            None => all.iter().enumerate().for_each(|(index, node)| apart.count(index, node)),
        }
        apart
    }

    /// With what changed since the last time; `None` when that is not known any more, or other pods count now.
    pub(super) fn caught_up(
        mut self,
        pod: &PodInfo,
        history: &History,
        nodes: &Snapshot,
    ) -> Option<Self> {
        if !self.counting.is_exact(pod, nodes) {
            return None;
        }
        let (moment, scoring) = (self.moment, self.is_scoring());
        let mut anew = Vec::new();
        let known = history.since(moment, |index, change| match change {
            Change::Pod(other, sign) if scoring && self.counting.counts(other) => {
                let pods = self.pods.entry(number(index)).or_default();
                *pods += sign;
                if *pods == 0 {
                    self.pods.remove(&number(index));
                }
            }
            Change::Pod(..) => {}
            Change::Node => anew.push(index),
        });
        if !known {
            return None;
        }
        for index in anew.into_iter().filter(|_| scoring) {
            // It is taken in with the pods it has now.
            self.pods.remove(&number(index));
            if let Some(node) = nodes.nodes().get(index) {
                self.count(index, node);
            }
        }
        self.moment = nodes.history().map_or(moment, |(_, now)| now);
        Some(self)
    }

    fn count(&mut self, index: usize, node: &NodeInfo) {
        let pods = node.pods().iter().filter(|own| self.counting.counts(own)).count();
        if pods > 0 {
            self.pods.insert(number(index), i64::try_from(pods).unwrap_or(i64::MAX));
        }
    }

    /// Whether the plugin scores such pods.
    pub(super) fn is_scoring(&self) -> bool {
        self.counting.is_scoring()
    }

    pub(super) fn is_small(&self) -> bool {
        self.pods.len() <= MOST
    }

    /// The nodes with pods that count, in the order of their indices.
    pub(super) fn pods(&self) -> impl Iterator<Item = (u32, i64)> {
        self.pods.iter().map(|(index, pods)| (*index, *pods))
    }

    pub(super) fn has(&self, index: u32) -> bool {
        self.pods.contains_key(&index)
    }
}
