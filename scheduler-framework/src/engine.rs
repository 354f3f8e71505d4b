//! Decisions for pods alike, kept from one pod to the next.
//!
//! ```text
//!   class of pods ─┬─ Alone plugins:  one number for each node ──> score heap of its group
//!                  ├─ Ranked plugins: raw score ──┐
//!                  ├─ Placed plugins: place ──────┴──> group: nodes that normalized scores and counters treat alike
//!                  └─ Late plugins:   asked for the best node of each group, and the next, until one fits
//!   decision = over the groups (few): fits? normalized score + best number of the heap
//!   change of a node or pod ──History──> the classes that are used next move that node, and nothing else
//! ```

mod class;
mod distinct;
mod history;
mod remembered;

use crate::{PodInfo, Snapshot, WeightedPlugin};
use class::{Ask, Class};
pub(crate) use distinct::{Counts, Distinct};
pub(crate) use history::{Change, History, Moment};
use kubeplane_clock::Seed;
use parking_lot::Mutex;
pub(crate) use remembered::{Findings, Kind, Remembered};
use std::{
    collections::HashMap,
    sync::{Arc, Weak},
};

/// How many classes are kept; the one unused for longest makes room.
const CLASSES: usize = 64;
/// How many classes that were seen once are remembered.
const SEEN: usize = 4096;

/// What the engine chose.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Choice {
    pub(crate) node: usize,
    /// On how many nodes the pod fits, as far as that is known.
    pub(crate) feasible: usize,
}

/// The classes of one profile.
#[derive(Debug, Default)]
pub(crate) struct Engine {
    classes: Mutex<Classes>,
}

#[derive(Debug, Default)]
struct Classes {
    of: Weak<History>,
    kept: HashMap<u128, Kept>,
    /// Classes of which one pod has come: the second is worth the effort.
    seen: HashMap<u128, u64>,
    uses: u64,
}

#[derive(Debug)]
struct Kept {
    used: u64,
    /// `None`: such pods cannot be followed.
    class: Option<Class>,
}

impl Engine {
    /// The node for a pod; `None` when it must be found otherwise, or fits nowhere.
    pub(crate) fn decide(
        &self,
        plugins: &[&WeightedPlugin],
        pod: &PodInfo,
        nodes: &Snapshot,
        seed: &Seed,
        ask: &mut Ask<'_>,
    ) -> Option<Choice> {
        let (history, moment) = nodes.history()?;
        if moment != history.now() || nodes.nodes().is_empty() {
            // An older picture than the one that is followed.
            return None;
        }
        let key = key(plugins, pod);
        let mut classes = self.classes.lock();
        classes.belong_to(history);
        classes.uses += 1;
        let uses = classes.uses;
        if !classes.kept.contains_key(&key) && !classes.admit(key) {
            return None;
        }
        let kept = classes
            .kept
            .entry(key)
            .or_insert_with(|| Kept { used: uses, class: Class::new(plugins, pod, nodes) });
        kept.used = uses;
        let class = kept.class.as_mut()?;
        let is_true = class.catch_up(history, nodes) && class.is_exact(pod, nodes);
        if !is_true {
            let anew = Class::new(plugins, pod, nodes);
            kept.class = anew.filter(|own| own.is_exact(pod, nodes));
        }
        kept.class.as_mut()?.choose_yielding(plugins, pod, nodes, seed, ask)
    }
}

impl Classes {
    /// Another cache, other indices.
    fn belong_to(&mut self, history: &Arc<History>) {
        if !std::ptr::eq(self.of.as_ptr(), Arc::as_ptr(history)) {
            *self = Self { of: Arc::downgrade(history), ..Self::default() };
        }
    }

    /// Whether a class is worth following; makes room for it.
    fn admit(&mut self, key: u128) -> bool {
        if self.seen.remove(&key).is_none() {
            if self.seen.len() >= SEEN {
                self.seen.clear();
            }
            self.seen.insert(key, self.uses);
            return false;
        }
        if self.kept.len() >= CLASSES {
            let oldest = self.kept.iter().min_by_key(|(_, kept)| kept.used).map(|(key, _)| *key);
            oldest.and_then(|key| self.kept.remove(&key));
        }
        true
    }
}

/// The class of a pod, for the plugins that tell more of pods apart than all pods' classes do.
pub(crate) fn key(plugins: &[&WeightedPlugin], pod: &PodInfo) -> u128 {
    let mut key = pod.class();
    for own in plugins {
        let Some(sign) = own.plugin.as_sign() else { continue };
        let bytes = sign.sign(pod).unwrap_or_else(|| pod.uid().as_bytes().to_vec());
        if bytes.is_empty() {
            continue;
        }
        key = key.rotate_left(17) ^ crate::info::digest(&bytes);
    }
    key
}
