//! Which nodes offer a resource.

use super::{Change, History, Moment};
use crate::Snapshot;
use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Weak},
};

/// The nodes that offer a resource beside those that every node has, by its name.
#[derive(Debug, Default)]
pub(crate) struct Offers {
    of: Weak<History>,
    moment: Option<Moment>,
    nodes: HashMap<String, BTreeSet<usize>>,
    /// What each node offers.
    named: Vec<Vec<String>>,
}

impl Offers {
    /// Of the resources the one that fewest nodes offer: their indices in order, if there are fewer than `most`. `None` also
    /// where no resources are asked for, or what nodes offer is not followed.
    pub(crate) fn fewest(
        &mut self,
        nodes: &Snapshot,
        resources: &[&str],
        most: usize,
    ) -> Option<Vec<usize>> {
        if resources.is_empty() || !self.catch_up(nodes) {
            return None;
        }
        let each = resources.iter().map(|name| self.nodes.get(*name));
        let fewest = each.min_by_key(|own| own.map_or(0, BTreeSet::len))?;
        let few = fewest.is_none_or(|own| own.len() < most);
        few.then(|| fewest.into_iter().flatten().copied().collect())
    }

    /// Takes in what changed since the last time, or everything; `false` when these are not the nodes as they are now.
    fn catch_up(&mut self, nodes: &Snapshot) -> bool {
        let Some((history, now)) = nodes.history() else { return false };
        if now != history.now() {
            return false;
        }
        if !std::ptr::eq(self.of.as_ptr(), Arc::as_ptr(history)) {
            *self = Self { of: Arc::downgrade(history), ..Self::default() };
        }
        let mut changed = Vec::new();
        let known = self.moment.is_some_and(|moment| {
            history.since(moment, |index, change| {
                if matches!(change, Change::Node) {
                    changed.push(index);
                }
            })
        });
        if !known {
            let count = nodes.nodes().len();
            self.nodes.clear();
            self.named = vec![Vec::new(); count];
            changed = (0..count).collect();
        }
        changed.into_iter().for_each(|index| self.observe(index, nodes));
        self.moment = Some(now);
        true
    }

    fn observe(&mut self, index: usize, nodes: &Snapshot) {
        let Some(node) = nodes.nodes().get(index) else { return };
        let Some(named) = self.named.get_mut(index) else { return };
        for name in std::mem::take(named) {
            let Some(all) = self.nodes.get_mut(&name) else { continue };
            all.remove(&index);
            if all.is_empty() {
                self.nodes.remove(&name);
            }
        }
        let offered = node.allocatable().scalars.iter().filter(|(_, amount)| **amount > 0);
        *named = offered.map(|(name, _)| name.clone()).collect();
        for name in named.iter() {
            self.nodes.entry(name.clone()).or_default().insert(index);
        }
    }
}
