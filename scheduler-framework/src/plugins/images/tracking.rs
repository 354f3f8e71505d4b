use super::{ImageLocality, normalized, rated, share, wanted};
use crate::{NodeInfo, Places, PodInfo, Snapshot, Track, Tracking};
use std::collections::HashMap;

impl Track for ImageLocality {
    fn track(&self, pod: &PodInfo, nodes: &Snapshot) -> Tracking {
        let wanted: Vec<_> = wanted(pod).map(normalized).collect();
        if wanted.is_empty() {
            return Tracking::Indifferent;
        }
        let spec = pod.spec();
        let containers = spec.containers.len() + spec.init_containers.as_ref().map_or(0, Vec::len);
        Tracking::Placed(Box::new(Images {
            having: vec![0; wanted.len()],
            wanted,
            containers: i64::try_from(containers).unwrap_or(i64::MAX),
            nodes: nodes.nodes().len(),
            of: Vec::new(),
            sizes: Vec::new(),
            ids: HashMap::new(),
        }))
    }

    fn track_kind(&self, pod: &PodInfo, nodes: &Snapshot) -> Option<Tracking> {
        Some(self.track(pod, nodes))
    }
}

/// Places are which of the wanted images a node has, and how large they are there.
struct Images {
    wanted: Vec<String>,
    /// How many nodes have each.
    having: Vec<i64>,
    containers: i64,
    nodes: usize,
    of: Vec<Option<u64>>,
    sizes: Vec<Vec<Option<i64>>>,
    ids: HashMap<Vec<Option<i64>>, u64>,
}

impl Images {
    fn count(&mut self, place: u64, sign: i64) {
        let sizes = self.sizes.get(usize::try_from(place).unwrap_or(usize::MAX));
        for (having, size) in self.having.iter_mut().zip(sizes.into_iter().flatten()) {
            *having += sign * i64::from(size.is_some());
        }
    }
}

impl Places for Images {
    fn observe(&mut self, index: usize, node: &NodeInfo) {
        let there = super::sizes(node);
        let sizes: Vec<_> =
            self.wanted.iter().map(|name| there.get(name.as_str()).copied()).collect();
        let place = match self.ids.get(&sizes) {
            Some(place) => *place,
            None => {
                let place = self.sizes.len() as u64;
                self.ids.insert(sizes.clone(), place);
                self.sizes.push(sizes);
                place
            }
        };
        if self.of.len() <= index {
            self.of.resize(index + 1, None);
        }
        if let Some(old) = self.of[index].replace(place) {
            self.count(old, -1);
        }
        self.count(place, 1);
    }

    fn pod_changed(&mut self, _: usize, _: &NodeInfo, _: &PodInfo, _: i64) {}

    fn place(&mut self, index: usize, _: &NodeInfo) -> u64 {
        self.of.get(index).copied().flatten().unwrap_or_default()
    }

    fn fits(&self, _: u64) -> bool {
        true
    }

    fn is_relative(&self) -> bool {
        false
    }

    fn score(&self, place: u64) -> i64 {
        let sizes = self.sizes.get(usize::try_from(place).unwrap_or(usize::MAX));
        let sizes = sizes.into_iter().flatten().zip(&self.having);
        let sum = sizes.filter_map(|(size, having)| Some(share((*size)?, *having, self.nodes)));
        rated(sum.sum(), self.containers)
    }
}
