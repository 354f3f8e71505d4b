//! Which of the nodes of a class is best.

use super::{
    super::{Apart, Choice},
    Class, Kind, NOWHERE,
};
use crate::{CycleState, NodeInfo, PodInfo, Site, Snapshot, WeightedPlugin};
use kubeplane_clock::Seed;
use std::collections::HashMap;

/// How many nodes late plugins are asked for before all are looked at.
const MOST_ASKED: usize = 512;

/// For how many pods late plugins are not asked at most after they found no node.
const LONGEST_PAUSE: u32 = 8;

/// Asks the plugins of these numbers whether pods fit on a node; `None` when they cannot say.
pub(in crate::engine) type Ask<'a> = dyn FnMut(&[usize], usize) -> Option<bool> + 'a;

/// Nodes that are alike for a pod in all but what they score alone.
#[derive(Debug, Clone, Copy)]
struct Alike {
    group: usize,
    nodes: usize,
    /// How many pods count on each.
    pods: i64,
    /// The best that one of them scores alone, and how many score that.
    best: i64,
    ties: usize,
    /// Which node it is: a single one, with pods that count.
    node: Option<u32>,
}

impl Class {
    /// As [`choose`](Self::choose), without nodes that have no room beside pods for which room is being made there;
    /// `None` also when that takes more than looking at nodes alone.
    pub(in crate::engine) fn choose_yielding(
        &mut self,
        plugins: &[&WeightedPlugin],
        pod: &PodInfo,
        nodes: &Snapshot,
        seed: &Seed,
        ask: &mut Ask<'_>,
        apart: Option<&Apart>,
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
        let choice = match self.late.is_empty() {
            true => self.choose(plugins, pod, seed, apart),
            false => self.choose_late(plugins, pod, seed, ask),
        };
        full.iter().for_each(|index| self.reposition(*index, &nodes.nodes()[*index]));
        choice
    }

    /// One of the best nodes by chance; `None` when the pod fits nowhere.
    fn choose(
        &mut self,
        plugins: &[&WeightedPlugin],
        pod: &PodInfo,
        seed: &Seed,
        apart: Option<&Apart>,
    ) -> Option<Choice> {
        let groups = self.left();
        let left = match apart {
            Some(apart) => self.told_apart(&groups, apart),
            None => groups.iter().filter_map(|group| self.together(*group)).collect(),
        };
        let feasible = left.iter().map(|own| own.nodes).sum();
        let mut totals: Vec<i64> = left.iter().map(|own| own.best).collect();
        self.add_ranked(plugins, pod, &left, apart, &mut totals);
        let best = totals.iter().max().copied()?;
        let ties = || left.iter().zip(&totals).filter(|(_, total)| **total == best);
        let count: usize = ties().map(|(own, _)| own.ties).sum();
        let mut pick = usize::try_from(seed.below(count as u64)).unwrap_or_default();
        for (own, _) in ties() {
            if pick < own.ties {
                let node = self.tied(own, apart, pick)?;
                return Some(Choice { node: node as usize, feasible });
            }
            pick -= own.ties;
        }
        None
    }

    /// The nodes of a group.
    fn together(&self, group: usize) -> Option<Alike> {
        let own = &self.groups[group];
        let (best, list) = own.heap.last_key_value()?;
        let (nodes, ties) = (own.size, list.len());
        Some(Alike { group, nodes, pods: 0, best: *best, ties, node: None })
    }

    /// The nodes of groups: each with pods that count for itself, the others of a group together.
    fn told_apart(&self, groups: &[usize], apart: &Apart) -> Vec<Alike> {
        let mut fits = vec![false; self.groups.len()];
        groups.iter().for_each(|group| fits[*group] = true);
        let mut left = Vec::new();
        let (mut taken, mut taken_at) = (HashMap::new(), HashMap::new());
        for (node, pods) in apart.pods() {
            let Some(slot) = self.slots.get(node as usize) else { continue };
            if slot.group == NOWHERE || !fits[slot.group as usize] {
                continue;
            }
            let (group, best) = (slot.group as usize, slot.score);
            *taken.entry(group).or_insert(0) += 1;
            *taken_at.entry((group, best)).or_insert(0) += 1;
            left.push(Alike { group, nodes: 1, pods, best, ties: 1, node: Some(node) });
        }
        for group in groups {
            let own = &self.groups[*group];
            let nodes = own.size - taken.get(group).copied().unwrap_or_default();
            let mut others = own.heap.iter().rev().map(|(score, list)| {
                let taken = taken_at.get(&(*group, *score)).copied().unwrap_or_default();
                (*score, list.len() - taken)
            });
            if let Some((best, ties)) = others.find(|(_, ties)| *ties > 0) {
                left.push(Alike { group: *group, nodes, pods: 0, best, ties, node: None });
            }
        }
        left
    }

    /// One of the nodes that score best alone.
    fn tied(&self, own: &Alike, apart: Option<&Apart>, pick: usize) -> Option<u32> {
        if own.node.is_some() {
            return own.node;
        }
        let list = self.groups[own.group].heap.get(&own.best)?;
        match apart {
            Some(apart) => list.iter().filter(|node| !apart.has(**node)).nth(pick).copied(),
            None => list.get(pick).copied(),
        }
    }

    /// As [`choose`](Self::choose), where some plugins are asked for the best node of each group, then for the next, until
    /// one fits: groups without such a node are none. `None` also when that takes too long, or what others score hangs on
    /// the nodes that fit.
    fn choose_late(
        &mut self,
        plugins: &[&WeightedPlugin],
        pod: &PodInfo,
        seed: &Seed,
        ask: &mut Ask<'_>,
    ) -> Option<Choice> {
        if self.pause > 0 {
            self.pause -= 1;
            return None;
        }
        let choice = self.find_late(plugins, pod, seed, ask);
        self.misses = if choice.is_some() { 0 } else { (self.misses + 1).min(LONGEST_PAUSE) };
        self.pause = self.misses;
        choice
    }

    fn find_late(
        &mut self,
        plugins: &[&WeightedPlugin],
        pod: &PodInfo,
        seed: &Seed,
        ask: &mut Ask<'_>,
    ) -> Option<Choice> {
        let left = self.left();
        if self.is_relative(&left) {
            return None;
        }
        let (mut kept, mut nodes, mut totals) = (Vec::new(), Vec::new(), Vec::new());
        let mut asked = 0;
        for group in left {
            if let Some((node, score)) = self.first_that_fits(group, seed, &mut asked, ask)? {
                kept.extend(self.together(group));
                nodes.push(node);
                totals.push(score);
            }
        }
        self.add_ranked(plugins, pod, &kept, None, &mut totals);
        let best = totals.iter().max().copied()?;
        let ties: Vec<_> = (0..kept.len()).filter(|index| totals[*index] == best).collect();
        let pick = usize::try_from(seed.below(ties.len() as u64)).unwrap_or_default();
        Some(Choice { node: nodes[*ties.get(pick)?], feasible: kept.len() })
    }

    /// The first node of a group that late plugins say fits, the best first, with what it scores alone: `Some(None)` when
    /// none does, `None` when too many were asked.
    fn first_that_fits(
        &self,
        group: usize,
        seed: &Seed,
        asked: &mut usize,
        ask: &mut Ask<'_>,
    ) -> Option<Option<(usize, i64)>> {
        for (score, list) in self.groups[group].heap.iter().rev() {
            let start = usize::try_from(seed.below(list.len() as u64)).unwrap_or_default();
            for node in list[start..].iter().chain(&list[..start]) {
                if *asked == MOST_ASKED {
                    return None;
                }
                *asked += 1;
                let node = *node as usize;
                if ask(&self.late, node)? {
                    return Some(Some((node, *score)));
                }
            }
        }
        Some(None)
    }

    /// Whether what a plugin scores may change when some nodes of these groups are none.
    fn is_relative(&self, left: &[usize]) -> bool {
        self.rankings.iter().enumerate().any(|(column, own)| {
            let relative = matches!(&own.kind, Kind::Placed(places) if places.is_relative());
            let mut places = left.iter().map(|index| self.groups[*index].key[column]);
            let first = places.next();
            relative && places.any(|place| Some(place) != first)
        })
    }

    /// The groups whose nodes fit.
    fn left(&self) -> Vec<usize> {
        let all = 0..self.groups.len();
        all.filter(|index| self.groups[*index].size > 0 && self.fits(*index)).collect()
    }

    /// Adds what rankings score, brought into range over these nodes.
    fn add_ranked(
        &mut self,
        plugins: &[&WeightedPlugin],
        pod: &PodInfo,
        left: &[Alike],
        apart: Option<&Apart>,
        totals: &mut [i64],
    ) {
        let state = CycleState::new();
        let mut raw = Vec::with_capacity(left.len());
        let columns = self.rankings.len();
        for (column, own) in self.rankings.iter_mut().enumerate() {
            let weighted = plugins[own.plugin];
            let Some(point) = weighted.plugin.as_score() else { continue };
            let place = |own: &Alike| self.groups[own.group].key[column];
            raw.clear();
            match &mut own.kind {
                Kind::Rated(_) => raw.extend(left.iter().map(|own| place(own).cast_signed())),
                Kind::Placed(places) => {
                    let sizes: Vec<_> = left.iter().map(|own| (place(own), own.nodes)).collect();
                    places.prepare(&sizes);
                    raw.extend(left.iter().map(|own| places.score(place(own))));
                }
                Kind::Counted(counted) => {
                    let Some(apart) = apart.filter(|own| own.is_scoring()) else { continue };
                    let site =
                        |own: &Alike| Site { place: place(own), nodes: own.nodes, pods: own.pods };
                    let left: Vec<_> = left.iter().map(site).collect();
                    let all = apart.pods().filter_map(|(node, pods)| {
                        let place = *self.places.get(node as usize * columns + column)?;
                        Some(Site { place, nodes: 1, pods })
                    });
                    raw.extend(counted.scores(&left, &all.collect::<Vec<_>>()));
                }
            }
            point.normalize(&state, pod, &mut raw);
            for (total, score) in totals.iter_mut().zip(&raw) {
                *total += score * weighted.weight;
            }
        }
    }

    fn fits(&self, group: usize) -> bool {
        let key = &self.groups[group].key;
        self.rankings.iter().zip(key).all(|(own, place)| match &own.kind {
            Kind::Rated(_) | Kind::Counted(_) => true,
            Kind::Placed(places) => places.fits(*place),
        })
    }
}

/// Whether other pods on a node do not decide if a pod fits there, but for what they take.
fn is_unconcerned(pod: &PodInfo) -> bool {
    let spread = pod.spec().topology_spread_constraints.iter().flatten();
    pod.affinity().required.is_empty()
        && pod.affinity().required_anti.is_empty()
        && spread.into_iter().all(|own| own.when_unsatisfiable == "ScheduleAnyway")
}
