use super::{Change, Choice, History, Moment};
use crate::{CycleState, NodeInfo, Places, PodInfo, Rate, Snapshot, Tracking, WeightedPlugin};
use kubeplane_clock::Seed;
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fmt,
};

/// A node that does not fit, whatever the places say.
const NOWHERE: u32 = u32::MAX;

/// What a plugin keeps for a class whose scores are brought into range over all nodes.
struct Ranking {
    /// Which of the plugins it is.
    plugin: usize,
    kind: Kind,
}

enum Kind {
    Rated(Rate),
    Placed(Box<dyn Places>),
}

/// Nodes that all rankings treat alike, by what they score alone.
#[derive(Debug, Default)]
struct Group {
    key: Box<[u64]>,
    heap: BTreeMap<i64, Vec<u32>>,
    size: usize,
}

/// Where a node is kept.
#[derive(Debug, Clone, Copy)]
struct Slot {
    group: u32,
    /// What it scores alone.
    score: i64,
    /// Where in the list of its group and score.
    position: u32,
}

/// All that is known for pods of one class.
pub(super) struct Class {
    moment: Moment,
    /// With the weights of their scores.
    alone: Vec<(Rate, i64)>,
    rankings: Vec<Ranking>,
    slots: Vec<Slot>,
    /// The places of each node, one for each ranking.
    places: Vec<u64>,
    groups: Vec<Group>,
    free: Vec<u32>,
    ids: HashMap<Box<[u64]>, u32>,
    dirty: Vec<usize>,
}

impl fmt::Debug for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Class")
            .field("nodes", &self.slots.len())
            .field("groups", &self.ids.len())
            .finish_non_exhaustive()
    }
}

impl Class {
    /// Looks at all nodes; `None` when a plugin cannot follow such pods.
    pub(super) fn new(
        plugins: &[&WeightedPlugin],
        pod: &PodInfo,
        nodes: &Snapshot,
    ) -> Option<Self> {
        let (mut alone, mut rankings) = (Vec::new(), Vec::new());
        for (plugin, own) in plugins.iter().enumerate() {
            match own.plugin.as_track()?.track(pod, nodes) {
                Tracking::Indifferent => {}
                Tracking::Alone(rate) => alone.push((rate, own.weight)),
                Tracking::Ranked(rate) => {
                    rankings.push(Ranking { plugin, kind: Kind::Rated(rate) });
                }
                Tracking::Placed(places) => {
                    rankings.push(Ranking { plugin, kind: Kind::Placed(places) });
                }
                Tracking::Opaque => return None,
            }
        }
        let count = nodes.nodes().len();
        let mut class = Self {
            moment: nodes.history()?.1,
            slots: vec![Slot { group: NOWHERE, score: 0, position: 0 }; count],
            places: vec![0; count * rankings.len()],
            alone,
            rankings,
            groups: Vec::new(),
            free: Vec::new(),
            ids: HashMap::new(),
            dirty: Vec::new(),
        };
        for (index, node) in nodes.nodes().iter().enumerate() {
            class.observe(index, node);
        }
        for (index, node) in nodes.nodes().iter().enumerate() {
            class.reposition(index, node);
        }
        Some(class)
    }

    pub(super) fn is_exact(&self, pod: &PodInfo, nodes: &Snapshot) -> bool {
        self.rankings.iter().all(|own| match &own.kind {
            Kind::Rated(_) => true,
            Kind::Placed(places) => places.is_exact(pod, nodes),
        })
    }

    /// Takes in what changed since the last time; `false` when that is not known any more.
    pub(super) fn catch_up(&mut self, history: &History, nodes: &Snapshot) -> bool {
        let moment = self.moment;
        let mut dirty = std::mem::take(&mut self.dirty);
        let mut anew = HashSet::new();
        let known = history.since(moment, |index, change| {
            if matches!(change, Change::Node) {
                anew.insert(index);
            }
        });
        let known = known
            && history.since(moment, |index, change| {
                let Some(node) = nodes.nodes().get(index) else { return };
                dirty.push(index);
                match change {
                    // A node that is another one is taken in with the pods it has now, once.
                    _ if anew.contains(&index) => {}
                    Change::Pod(pod, sign) => self.pod_changed(index, node, pod, *sign),
                    Change::Node => {}
                }
            });
        for index in anew {
            if let Some(node) = nodes.nodes().get(index) {
                self.observe(index, node);
            }
        }
        dirty.sort_unstable();
        dirty.dedup();
        for index in dirty.drain(..) {
            self.reposition(index, &nodes.nodes()[index]);
        }
        self.dirty = dirty;
        self.moment = nodes.history().map_or(moment, |(_, now)| now);
        known
    }

    fn observe(&mut self, index: usize, node: &NodeInfo) {
        for own in &mut self.rankings {
            if let Kind::Placed(places) = &mut own.kind {
                places.observe(index, node);
            }
        }
    }

    fn pod_changed(&mut self, index: usize, node: &NodeInfo, pod: &PodInfo, sign: i64) {
        for own in &mut self.rankings {
            if let Kind::Placed(places) = &mut own.kind {
                places.pod_changed(index, node, pod, sign);
            }
        }
    }

    /// Puts a node where it belongs now.
    fn reposition(&mut self, index: usize, node: &NodeInfo) {
        self.take_out(index);
        let mut score = 0;
        for (rate, weight) in &self.alone {
            match rate(node) {
                Some(own) => score += own * weight,
                None => return,
            }
        }
        let at = index * self.rankings.len();
        for (own, place) in self.rankings.iter_mut().zip(&mut self.places[at..]) {
            *place = match &mut own.kind {
                Kind::Rated(rate) => match rate(node) {
                    Some(raw) => raw.cast_unsigned(),
                    None => return,
                },
                Kind::Placed(places) => places.place(index, node),
            };
        }
        let group = self.group(at);
        let own = &mut self.groups[group as usize];
        let list = own.heap.entry(score).or_default();
        let position = u32::try_from(list.len()).unwrap_or_default();
        list.push(u32::try_from(index).unwrap_or_default());
        own.size += 1;
        self.slots[index] = Slot { group, score, position };
    }

    fn take_out(&mut self, index: usize) {
        let slot = self.slots[index];
        if slot.group == NOWHERE {
            return;
        }
        self.slots[index].group = NOWHERE;
        let group = &mut self.groups[slot.group as usize];
        group.size -= 1;
        if let Some(list) = group.heap.get_mut(&slot.score) {
            list.swap_remove(slot.position as usize);
            if let Some(moved) = list.get(slot.position as usize) {
                self.slots[*moved as usize].position = slot.position;
            }
            if list.is_empty() {
                group.heap.remove(&slot.score);
            }
        }
        if group.size == 0 {
            self.ids.remove(&std::mem::take(&mut group.key));
            self.free.push(slot.group);
        }
    }

    /// The group of a node's places, made if there is none.
    fn group(&mut self, at: usize) -> u32 {
        let key = &self.places[at..at + self.rankings.len()];
        if let Some(id) = self.ids.get(key) {
            return *id;
        }
        let key: Box<[u64]> = key.into();
        let id = self.free.pop().unwrap_or_else(|| {
            self.groups.push(Group::default());
            u32::try_from(self.groups.len() - 1).unwrap_or_default()
        });
        self.groups[id as usize].key = key.clone();
        self.ids.insert(key, id);
        id
    }

    /// As [`choose`](Self::choose), without nodes that have no room beside pods for which room is being made there;
    /// `None` also when that takes more than looking at nodes alone.
    pub(super) fn choose_yielding(
        &mut self,
        plugins: &[&WeightedPlugin],
        pod: &PodInfo,
        nodes: &Snapshot,
        seed: &Seed,
    ) -> Option<Choice> {
        let mut full = Vec::new();
        for (index, others) in nodes.yielding(pod) {
            if self.slots[index].group == NOWHERE {
                // Where there is no room without them there is none beside them.
                continue;
            }
            let others: Vec<_> = others.collect();
            if others.is_empty() {
                continue;
            }
            let alone = |own: &PodInfo| own.affinity().is_empty();
            if !is_unconcerned(pod) || !others.iter().all(|own| alone(own)) {
                return None;
            }
            let mut crowded = NodeInfo::clone(&nodes.nodes()[index]);
            others.into_iter().for_each(|own| crowded.add_pod(own.clone()));
            if !self.alone.iter().all(|(rate, _)| rate(&crowded).is_some()) {
                full.push(index);
            }
        }
        // Not in the order of a map: which of several equals is chosen later hangs on it.
        full.sort_unstable();
        full.iter().for_each(|index| self.take_out(*index));
        let choice = self.choose(plugins, pod, seed);
        full.iter().for_each(|index| self.reposition(*index, &nodes.nodes()[*index]));
        choice
    }

    /// One of the best nodes by chance; `None` when the pod fits nowhere.
    fn choose(
        &mut self,
        plugins: &[&WeightedPlugin],
        pod: &PodInfo,
        seed: &Seed,
    ) -> Option<Choice> {
        let left: Vec<usize> = (0..self.groups.len())
            .filter(|index| self.groups[*index].size > 0 && self.fits(*index))
            .collect();
        let feasible = left.iter().map(|index| self.groups[*index].size).sum();
        let mut totals: Vec<i64> = left.iter().map(|index| self.best_alone(*index)).collect();
        let state = CycleState::new();
        let mut raw = Vec::with_capacity(left.len());
        for (column, own) in self.rankings.iter_mut().enumerate() {
            let weighted = plugins[own.plugin];
            let Some(point) = weighted.plugin.as_score() else { continue };
            let place = |index: &usize| self.groups[*index].key[column];
            raw.clear();
            match &mut own.kind {
                Kind::Rated(_) => raw.extend(left.iter().map(|own| place(own).cast_signed())),
                Kind::Placed(places) => {
                    let sizes: Vec<_> =
                        left.iter().map(|own| (place(own), self.groups[*own].size)).collect();
                    places.prepare(&sizes);
                    raw.extend(left.iter().map(|own| places.score(place(own))));
                }
            }
            point.normalize(&state, pod, &mut raw);
            for (total, score) in totals.iter_mut().zip(&raw) {
                *total += score * weighted.weight;
            }
        }
        let best = totals.iter().max().copied()?;
        let ties = || {
            let all = left.iter().zip(&totals).filter(|(_, total)| **total == best);
            all.filter_map(|(index, _)| self.groups[*index].heap.last_key_value())
        };
        let count: usize = ties().map(|(_, list)| list.len()).sum();
        let pick = usize::try_from(seed.below(count as u64)).unwrap_or_default();
        let node = ties().flat_map(|(_, list)| list).nth(pick)?;
        Some(Choice { node: *node as usize, feasible })
    }

    fn fits(&self, group: usize) -> bool {
        let key = &self.groups[group].key;
        self.rankings.iter().zip(key).all(|(own, place)| match &own.kind {
            Kind::Rated(_) => true,
            Kind::Placed(places) => places.fits(*place),
        })
    }

    fn best_alone(&self, group: usize) -> i64 {
        self.groups[group].heap.last_key_value().map_or(0, |(score, _)| *score)
    }
}

/// Whether other pods on a node do not decide if a pod fits there, but for what they take.
fn is_unconcerned(pod: &PodInfo) -> bool {
    let spread = pod.spec().topology_spread_constraints.iter().flatten();
    pod.affinity().required.is_empty()
        && pod.affinity().required_anti.is_empty()
        && spread.into_iter().all(|own| own.when_unsatisfiable == "ScheduleAnyway")
}
