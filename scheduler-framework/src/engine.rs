//! Decisions for pods alike, kept from one pod to the next.
//!
//! ```text
//!   class of pods ─┬─ Alone plugins:  one number for each node ──> score heap of its group
//!                  ├─ Ranked plugins: raw score ──┐
//!                  ├─ Placed plugins: place ──────┴──> group: nodes that normalized scores and counters treat alike
//!                  └─ Late plugins:   asked for the best node of each group, and the next, until one fits
//!   decision = over the groups (few): fits? normalized score + best number of the heap
//!   change of a node or pod ──History──> the classes that are used next move that node, and nothing else
//!   Counted plugins: one class for all pods of a kind, and for each class of them the few nodes with pods that count
//! ```

mod apart;
mod census;
mod class;
mod distinct;
mod history;
mod offers;
mod remembered;

use crate::{PodInfo, Snapshot, WeightedPlugin};
use apart::Apart;
use census::Census;
use class::{Ask, Class};
pub(crate) use distinct::{Counts, Distinct};
pub(crate) use history::{Change, History, Moment};
use kubeplane_clock::Seed;
pub(crate) use offers::Offers;
use parking_lot::Mutex;
pub(crate) use remembered::{Findings, Kind, Remembered};
use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Weak},
};

/// How many classes are kept; the one unused for longest makes room.
const CLASSES: usize = 64;
/// Of how many classes is kept what sets them apart from others of their kind; the one unused for longest makes room.
const APART: usize = 4096;
/// How many classes are remembered that were seen once, and how many that cannot be followed.
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
    followed: Followed,
    apart: HashMap<u128, (u64, Apart)>,
    census: Census,
}

#[derive(Debug, Default)]
struct Followed {
    kept: HashMap<u128, Kept>,
    /// When pods came last whose classes are not kept: the second is worth the effort.
    seen: HashMap<u128, u64>,
    /// Classes of which pods cannot be followed.
    refused: HashSet<u128>,
    uses: u64,
}

#[derive(Debug)]
struct Kept {
    used: u64,
    /// `None`: such pods cannot be followed any more.
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
        let marks = marks(plugins, pod, nodes);
        let key = marked(pod.class(), &marks);
        let mut classes = self.classes.lock();
        classes.belong_to(history);
        classes.followed.uses += 1;
        let kind = marked(pod.kind(), &marks);
        if let Some(choice) = classes.decide_by_kind(kind, key, plugins, pod, nodes, seed) {
            return Some(choice);
        }
        let make = || Class::new(plugins, pod, nodes);
        let class = classes.followed.follow(key, history, pod, nodes, make)?;
        class.choose_yielding(plugins, pod, nodes, seed, ask, None)
    }
}

impl Classes {
    /// Another cache, other indices.
    fn belong_to(&mut self, history: &Arc<History>) {
        if !std::ptr::eq(self.of.as_ptr(), Arc::as_ptr(history)) {
            *self = Self { of: Arc::downgrade(history), ..Self::default() };
        }
    }

    /// Decides by what is kept for all pods of a kind, and what sets the class apart; `None` when they are not followed so.
    fn decide_by_kind(
        &mut self,
        kind: u128,
        key: u128,
        plugins: &[&WeightedPlugin],
        pod: &PodInfo,
        nodes: &Snapshot,
        seed: &Seed,
    ) -> Option<Choice> {
        let (history, _) = nodes.history()?;
        // Taken out while the class is looked at, and brought back.
        let known = self.apart.remove(&key).map(|(_, own)| own);
        let make = || Class::of_kind(plugins, pod, nodes);
        let class = self.followed.follow(kind, history, pod, nodes, make)?;
        let counted = class.counted().filter(|_| class.is_of_kind())?;
        let known = known.and_then(|own| own.caught_up(pod, history, nodes));
        let apart = known
            .unwrap_or_else(|| Apart::new(counted.counting(pod, nodes), &mut self.census, nodes));
        let choice = match apart.is_small() {
            true => {
                class.choose_yielding(plugins, pod, nodes, seed, &mut |_, _| None, Some(&apart))
            }
            false => None,
        };
        self.set_apart(key, apart);
        choice
    }

    fn set_apart(&mut self, key: u128, apart: Apart) {
        if self.apart.len() >= APART {
            let oldest = self.apart.iter().min_by_key(|(_, (used, _))| *used);
            oldest.map(|(key, _)| *key).and_then(|key| self.apart.remove(&key));
        }
        self.apart.insert(key, (self.followed.uses, apart));
    }
}

impl Followed {
    /// A class as things are now; `None` when it is not worth following, or cannot be.
    fn follow(
        &mut self,
        key: u128,
        history: &History,
        pod: &PodInfo,
        nodes: &Snapshot,
        make: impl Fn() -> Option<Class>,
    ) -> Option<&mut Class> {
        let uses = self.uses;
        if !self.kept.contains_key(&key) && !self.admit(key, &make) {
            return None;
        }
        let kept = self.kept.get_mut(&key)?;
        kept.used = uses;
        let class = kept.class.as_mut()?;
        let is_true = class.catch_up(history, nodes) && class.is_exact(pod, nodes);
        if !is_true {
            kept.class = make().filter(|own| own.is_exact(pod, nodes));
        }
        kept.class.as_mut()
    }

    /// Begins to follow a class, if that is worth it: it was seen before, and there is room or one that was not used since,
    /// which makes room. Where more classes come in turn than are kept, those that are kept stay: each would else make way
    /// before its next pod comes, and to begin to follow one costs more than to ask all plugins once.
    fn admit(&mut self, key: u128, make: &dyn Fn() -> Option<Class>) -> bool {
        if self.refused.contains(&key) {
            return false;
        }
        let Some(before) = self.seen.remove(&key) else {
            if self.seen.len() >= SEEN {
                self.seen.clear();
            }
            self.seen.insert(key, self.uses);
            return false;
        };
        let is_full = self.kept.len() >= CLASSES;
        let oldest = self.kept.iter().min_by_key(|(_, kept)| kept.used).filter(|_| is_full);
        let oldest = oldest.filter(|(_, kept)| kept.used < before).map(|(key, _)| *key);
        if is_full && oldest.is_none() {
            self.seen.insert(key, self.uses);
            return false;
        }
        let Some(class) = make() else {
            if self.refused.len() >= SEEN {
                self.refused.clear();
            }
            self.refused.insert(key);
            return false;
        };
        if let Some(oldest) = oldest {
            self.kept.remove(&oldest);
        }
        self.kept.insert(key, Kept { used: self.uses, class: Some(class) });
        true
    }
}

/// The class of a pod as things are, for the plugins that tell more of pods apart than all pods' classes do.
pub(crate) fn key(plugins: &[&WeightedPlugin], pod: &PodInfo, nodes: &Snapshot) -> u128 {
    marked(pod.class(), &marks(plugins, pod, nodes))
}

fn marked(key: u128, marks: &[u128]) -> u128 {
    marks.iter().fold(key, |key, mark| key.rotate_left(17) ^ mark)
}

/// What plugins tell pods apart by; mostly nothing.
fn marks(plugins: &[&WeightedPlugin], pod: &PodInfo, nodes: &Snapshot) -> Vec<u128> {
    let mut marks = Vec::new();
    for own in plugins {
        let around = own.plugin.as_track().map_or(0, |track| track.circumstance(pod, nodes));
        marks.extend((around != 0).then_some(around));
        let Some(sign) = own.plugin.as_sign() else { continue };
        let bytes = sign.sign(pod).unwrap_or_else(|| pod.uid().as_bytes().to_vec());
        if !bytes.is_empty() {
            marks.push(crate::info::digest(&bytes));
        }
    }
    marks
}
