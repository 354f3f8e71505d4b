use crate::{PodGroupObject, PodInfo, Snapshot};
use async_trait::async_trait;
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

/// Asks whether there would be room for a group of pods if others left: what [`GroupPostFilter`] works with. Whoever left in
/// thought is back when it is let go.
#[async_trait]
pub trait GroupWhatIf: Send {
    /// The nodes as they would be now, and the objects beside them. To keep it makes the next change dear.
    fn nodes(&self) -> Snapshot;

    /// The placed pod of a uid leaves; nothing changes when there is none.
    fn remove_pod(&mut self, uid: &str);

    /// One that left is back.
    fn restore_pod(&mut self, uid: &str);

    /// Whether enough pods of the group would find a node now.
    ///
    /// # Errors
    /// They would not, or it cannot be said.
    ///
    /// # Cancellation
    /// Whoever asks must not go on.
    async fn fits(&mut self) -> Result<(), GroupMisfit>;
}

/// Why there is no room for a group of pods.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GroupMisfit {
    /// Not enough of its pods find a node, for this reason.
    Unschedulable(String),
    /// Something failed.
    Error(String),
}

/// What came of making room for a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GroupPostFilterVerdict {
    /// There will be enough once others have left: the pods of the group wait for that.
    Preempting,
    /// Nothing was done; the message is added to the group's.
    Unschedulable(String),
    /// The plugin failed; the pods of the group are tried again after a while.
    Error(String),
}

/// Runs when there is no room for a group of pods: the place to make it for all of them at once (KEP-5710). The first plugin
/// that offers it is asked, whatever a profile enables, and only behind the gate `WorkloadAwarePreemption`.
#[async_trait]
pub trait GroupPostFilter: Send + Sync {
    /// Tries, for these pods of the group that wait.
    ///
    /// # Cancellation
    /// May be dropped when the scheduler stops.
    async fn make_room(
        &self,
        group: &PodGroupObject,
        pods: &[Arc<PodInfo>],
        what_if: &mut dyn GroupWhatIf,
    ) -> GroupPostFilterVerdict;
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
