mod choosing;

use super::{Change, History, Moment};
use crate::{Counted, NodeInfo, Places, PodInfo, Rate, Snapshot, Tracking, WeightedPlugin};
pub(super) use choosing::Ask;
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
    Counted(Box<dyn Counted>),
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
    /// The plugins that are asked for one node after the other.
    late: Vec<usize>,
    /// How often in a row that found nothing, and for how many pods it is not tried: each try is beside a full pass.
    misses: u32,
    pause: u32,
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
        let class = Self::of(plugins, nodes, |own| Some(own.plugin.as_track()?.track(pod, nodes)))?;
        class.counted().is_none().then_some(class)
    }

    /// The same for all pods that differ from this one in nothing but namespace, labels and controller, where one plugin
    /// tells them apart by the pods that count.
    pub(super) fn of_kind(
        plugins: &[&WeightedPlugin],
        pod: &PodInfo,
        nodes: &Snapshot,
    ) -> Option<Self> {
        let class = Self::of(plugins, nodes, |own| own.plugin.as_track()?.track_kind(pod, nodes))?;
        let counted =
            class.rankings.iter().filter(|own| matches!(own.kind, Kind::Counted(_))).count();
        (counted == 1 && class.late.is_empty()).then_some(class)
    }

    fn of(
        plugins: &[&WeightedPlugin],
        nodes: &Snapshot,
        track: impl Fn(&WeightedPlugin) -> Option<Tracking>,
    ) -> Option<Self> {
        let (mut alone, mut rankings, mut late) = (Vec::new(), Vec::new(), Vec::new());
        for (plugin, own) in plugins.iter().enumerate() {
            match track(own)? {
                Tracking::Indifferent => {}
                Tracking::Alone(rate) => alone.push((rate, own.weight)),
                Tracking::Ranked(rate) => {
                    rankings.push(Ranking { plugin, kind: Kind::Rated(rate) });
                }
                Tracking::Placed(places) => {
                    rankings.push(Ranking { plugin, kind: Kind::Placed(places) });
                }
                Tracking::Counted(counted) => {
                    rankings.push(Ranking { plugin, kind: Kind::Counted(counted) });
                }
                Tracking::Late => late.push(plugin),
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
            late,
            misses: 0,
            pause: 0,
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
            Kind::Rated(_) | Kind::Counted(_) => true,
            Kind::Placed(places) => places.is_exact(pod, nodes),
        })
    }

    /// Whether it is followed for all pods of its kind as things are now.
    pub(super) fn is_of_kind(&self) -> bool {
        self.rankings.iter().all(|own| match &own.kind {
            Kind::Rated(_) | Kind::Counted(_) => true,
            Kind::Placed(places) => places.is_of_kind(),
        })
    }

    /// What tells classes of its kind apart.
    pub(super) fn counted(&self) -> Option<&dyn Counted> {
        self.rankings.iter().find_map(|own| match &own.kind {
            Kind::Counted(counted) => Some(&**counted),
            _ => None,
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
        let at = index * self.rankings.len();
        for (own, place) in self.rankings.iter_mut().zip(&mut self.places[at..]) {
            // Where pods count that are on nodes where the pod does not fit is asked too.
            if let Kind::Counted(counted) = &mut own.kind {
                *place = counted.place(index, node);
            }
        }
        let mut score = 0;
        for (rate, weight) in &self.alone {
            match rate(node) {
                Some(own) => score += own * weight,
                None => return,
            }
        }
        for (own, place) in self.rankings.iter_mut().zip(&mut self.places[at..]) {
            *place = match &mut own.kind {
                Kind::Rated(rate) => match rate(node) {
                    Some(raw) => raw.cast_unsigned(),
                    None => return,
                },
                Kind::Placed(places) => places.place(index, node),
                Kind::Counted(_) => continue,
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
}
