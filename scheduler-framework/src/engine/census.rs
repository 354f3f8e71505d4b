//! On which nodes there are pods with a label.

use super::{Change, Moment};
use crate::{PodInfo, Snapshot};
use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
};

/// The nodes of pods by namespace and label, each as a number: two that share one by chance are looked for together.
#[derive(Debug, Default)]
pub(super) struct Census {
    moment: Option<Moment>,
    /// By node: how many such pods.
    nodes: HashMap<u64, HashMap<u32, u32>>,
}

fn number(namespace: &str, key: &str, value: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    (namespace, key, value).hash(&mut hasher);
    hasher.finish()
}

impl Census {
    /// Takes in what changed since the last time, or everything.
    pub(super) fn catch_up(&mut self, nodes: &Snapshot) {
        let Some((history, now)) = nodes.history() else { return };
        let known = self.moment.is_some_and(|moment| {
            history.since(moment, |index, change| {
                if let Change::Pod(pod, sign) = change {
                    self.note(index, pod, *sign);
                }
            })
        });
        if !known {
            self.nodes.clear();
            for (index, node) in nodes.nodes().iter().enumerate() {
                node.pods().iter().for_each(|pod| self.note(index, pod, 1));
            }
        }
        self.moment = Some(now);
    }

    fn note(&mut self, index: usize, pod: &PodInfo, sign: i64) {
        let Ok(index) = u32::try_from(index) else { return };
        for (key, value) in pod.labels().into_iter().flatten() {
            let number = number(pod.namespace(), key, value);
            let pods = self.nodes.entry(number).or_default();
            if sign > 0 {
                *pods.entry(index).or_default() += 1;
                continue;
            }
            if let Some(count) = pods.get_mut(&index) {
                *count -= 1;
                if *count == 0 {
                    pods.remove(&index);
                }
            }
            if pods.is_empty() {
                self.nodes.remove(&number);
            }
        }
    }

    /// The nodes with pods of the rarest of these labels.
    pub(super) fn nodes_with(&self, namespace: &str, labels: &[(&str, &str)]) -> Vec<u32> {
        let sets = labels.iter().map(|(key, value)| self.nodes.get(&number(namespace, key, value)));
        let least = sets.min_by_key(|own| own.map_or(0, HashMap::len)).flatten();
        least.into_iter().flat_map(HashMap::keys).copied().collect()
    }
}
