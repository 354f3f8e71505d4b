//! Nodes by how much of the storage would be in use (KEP-4049).

use super::{VolumeBinding, Volumes, matching::Found};
use crate::{
    CycleState, NodeInfo, PodInfo, PreScore, PreScoreVerdict, Score,
    plugins::fit::{on_line, rounded},
};
use kubeplane_workload::storage::{capacity, requested};
use std::{collections::BTreeMap, sync::Arc};

impl VolumeBinding {
    /// Whether nodes may score differently for the pod.
    pub(in crate::plugins) fn weighs(&self, state: &CycleState) -> bool {
        let waits = |own: &Volumes| !own.claims.delayed.is_empty();
        self.shape.is_some() && state.value::<Volumes>().is_some_and(waits)
    }
}

impl PreScore for VolumeBinding {
    fn pre_score(
        &self,
        state: &mut CycleState,
        _: &PodInfo,
        _: &[Arc<NodeInfo>],
    ) -> PreScoreVerdict {
        if self.weighs(state) { PreScoreVerdict::Continue } else { PreScoreVerdict::Skip }
    }
}

impl Score for VolumeBinding {
    fn score(&self, state: &CycleState, _: &PodInfo, node: &NodeInfo) -> i64 {
        let (Some(shape), Some(volumes)) = (&self.shape, state.value::<Volumes>()) else {
            return 0;
        };
        let found = volumes.found.lock();
        let classes = found.get(node.name()).map(classes).unwrap_or_default();
        if classes.is_empty() {
            return 0;
        }
        let sum = classes.values().map(|own| on_line(shape, in_use(*own))).sum();
        rounded(sum, i64::try_from(classes.len()).unwrap_or(i64::MAX))
    }
}

/// The bytes wanted of each class and those there are: of volumes that are there, or else where some would be made.
fn classes(found: &Found) -> BTreeMap<&str, (i64, i64)> {
    let mut classes: BTreeMap<&str, (i64, i64)> = BTreeMap::new();
    for (volume, claim) in &found.bindings {
        let class = volume.spec.as_ref().and_then(|own| own.storage_class_name.as_deref());
        let own = classes.entry(class.unwrap_or_default()).or_default();
        own.0 += requested(claim).map_or(0, |own| own.value());
        own.1 += capacity(volume).value();
    }
    if !found.bindings.is_empty() {
        return classes;
    }
    for room in &found.rooms {
        let own = classes.entry(room.class.as_str()).or_default();
        own.0 += room.wanted;
        // Volumes of a class share it.
        own.1 = room.capacity;
    }
    classes
}

/// In percent.
fn in_use((wanted, has): (i64, i64)) -> i64 {
    if has == 0 || wanted > has { 100 } else { wanted * 100 / has }
}
