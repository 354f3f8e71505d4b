use crate::{PodInfo, Snapshot};
use std::{collections::BTreeSet, sync::Arc};

/// Says which pods are alike for this plugin.
///
/// Pods of one profile for which every plugin gives the same signature see the same nodes with the same
/// scores, so that the result of one may serve the next.
pub trait Sign: Send + Sync {
    /// Bytes that are the same for pods alike; `None` for a pod like no other.
    fn sign(&self, pod: &PodInfo) -> Option<Vec<u8>>;
}

/// Pods that are to be placed together.
#[derive(Debug, Clone)]
pub struct PodGroup {
    /// `namespace/name`.
    pub key: String,
    /// The pods.
    pub pods: Vec<Arc<PodInfo>>,
}

/// Proposes sets of nodes on which a group of pods could be placed together.
pub trait PlacementGenerate: Send + Sync {
    /// The proposals, each a set of node names.
    fn generate(&self, group: &PodGroup, nodes: &Snapshot) -> Vec<BTreeSet<String>>;
}

/// Scores proposals for a group of pods.
pub trait PlacementScore: Send + Sync {
    /// The score of one proposal, from zero to [`MAX_SCORE`](crate::MAX_SCORE).
    fn score(&self, group: &PodGroup, placement: &BTreeSet<String>, nodes: &Snapshot) -> i64;
}
