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
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct PodGroup {
    /// `namespace/name`.
    pub key: String,
    /// The pods that wait.
    pub pods: Vec<Arc<PodInfo>>,
    /// Those that have a node already, with its name.
    pub placed: Vec<(Arc<PodInfo>, String)>,
    /// The label of which all their nodes must have one value.
    pub topology: Option<String>,
}

/// A set of nodes on which a group could be placed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupPlacement {
    /// What it is called in messages.
    pub name: String,
    /// The nodes.
    pub nodes: BTreeSet<String>,
}

/// Proposes sets of nodes on which a group of pods could be placed together (KEP-5732).
pub trait PlacementGenerate: Send + Sync {
    /// The proposals within one that was made before, or all nodes.
    ///
    /// # Errors
    /// No pod of the group is placed this time.
    fn generate(
        &self,
        group: &PodGroup,
        within: &GroupPlacement,
        nodes: &Snapshot,
    ) -> Result<Vec<GroupPlacement>, String>;
}

/// Scores such proposals.
pub trait PlacementScore: Send + Sync {
    /// The score of one proposal, where these of the group's pods found a node.
    fn score(
        &self,
        group: &PodGroup,
        placement: &GroupPlacement,
        assigned: &[(Arc<PodInfo>, String)],
        nodes: &Snapshot,
    ) -> i64;

    /// Brings the scores of all proposals into the range from zero to [`MAX_SCORE`](crate::MAX_SCORE); the default
    /// leaves them as they are.
    fn normalize(&self, _group: &PodGroup, _scores: &mut [i64]) {}
}
