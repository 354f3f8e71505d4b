//! Which of the nodes of a class is best.

use super::{super::Choice, Class, Kind, NOWHERE};
use crate::{CycleState, NodeInfo, PodInfo, Snapshot, WeightedPlugin};
use kubeplane_clock::Seed;

/// How many nodes late plugins are asked for before all are looked at.
const MOST_ASKED: usize = 512;

/// For how many pods late plugins are not asked at most after they found no node.
const LONGEST_PAUSE: u32 = 8;

/// Asks the plugins of these numbers whether pods fit on a node; `None` when they cannot say.
pub(in crate::engine) type Ask<'a> = dyn FnMut(&[usize], usize) -> Option<bool> + 'a;

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
            true => self.choose(plugins, pod, seed),
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
    ) -> Option<Choice> {
        let left = self.left();
        let feasible = left.iter().map(|index| self.groups[*index].size).sum();
        let mut totals: Vec<i64> = left.iter().map(|index| self.best_alone(*index)).collect();
        self.add_ranked(plugins, pod, &left, &mut totals);
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
                kept.push(group);
                nodes.push(node);
                totals.push(score);
            }
        }
        self.add_ranked(plugins, pod, &kept, &mut totals);
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

    /// Adds what rankings score, brought into range over these groups.
    fn add_ranked(
        &mut self,
        plugins: &[&WeightedPlugin],
        pod: &PodInfo,
        left: &[usize],
        totals: &mut [i64],
    ) {
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
