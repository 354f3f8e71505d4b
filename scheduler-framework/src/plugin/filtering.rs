use crate::{CycleState, Diagnosis, NodeInfo, PodInfo, Snapshot, WhatIf};
use async_trait::async_trait;
use std::collections::BTreeSet;

/// What PreFilter found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PreFilterVerdict {
    /// Go on with all nodes.
    Continue,
    /// Go on with these nodes only.
    Nodes(BTreeSet<String>),
    /// This plugin has nothing to check for this pod: its Filter is not asked.
    Skip,
    /// The pod fits nowhere; other pods leaving may help.
    Unschedulable(String),
    /// The pod fits nowhere, and no pod's leaving helps.
    Unresolvable(String),
    /// The plugin failed; the pod is tried again after a while.
    Error(String),
}

/// Runs once a cycle, before any node is looked at.
pub trait PreFilter: Send + Sync {
    /// Decides, and keeps for [`Filter`] what it computed.
    fn pre_filter(
        &self,
        state: &mut CycleState,
        pod: &PodInfo,
        nodes: &Snapshot,
    ) -> PreFilterVerdict;

    /// Keeps what was computed true while pods are added and removed in thought.
    fn extensions(&self) -> Option<&dyn PreFilterExtensions> {
        None
    }
}

/// Keeps the PreFilter state true in what-if questions, as preemption asks them.
pub trait PreFilterExtensions: Send + Sync {
    /// `added` is now on `node`.
    fn add_pod(&self, state: &mut CycleState, pod: &PodInfo, added: &PodInfo, node: &NodeInfo);

    /// `removed` has left `node`.
    fn remove_pod(&self, state: &mut CycleState, pod: &PodInfo, removed: &PodInfo, node: &NodeInfo);
}

/// Whether a pod fits on a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FilterVerdict {
    /// It does.
    Fits,
    /// It does not, for these reasons; other pods leaving may help.
    Unschedulable(Vec<String>),
    /// It does not, and no pod's leaving helps.
    Unresolvable(Vec<String>),
    /// The plugin failed; the cycle ends and the pod is tried again after a while.
    Error(String),
}

/// Refuses nodes. Pure, and run for many nodes at once.
pub trait Filter: Send + Sync {
    /// Decides.
    fn filter(&self, state: &CycleState, pod: &PodInfo, node: &NodeInfo) -> FilterVerdict;

    /// Resources each of which a node must offer (above zero of its allocatable amounts, and not one that every node has, as
    /// CPU): where one lacks, the pod is refused whatever else is there, and the node may not be asked.
    fn needs<'a>(&self, _state: &CycleState, _pod: &'a PodInfo) -> Vec<&'a str> {
        Vec::new()
    }
}

/// What PostFilter achieved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PostFilterVerdict {
    /// The pod will fit on this node once victims have left; it is nominated there.
    Nominated(String),
    /// Nothing can be done, and no room is made any more; the message is added to the pod's.
    Unschedulable(String),
    /// Nothing was done now, and a nomination stays; the message is added to the pod's.
    Unchanged(String),
    /// Something was done that has to show first: no other plugin is asked, and this is all that is said.
    Unresolvable(String),
    /// The plugin failed.
    Error(String),
}

/// Runs when no node is left: the place to make room.
#[async_trait]
pub trait PostFilter: Send + Sync {
    /// Tries.
    ///
    /// # Cancellation
    /// May be dropped when the scheduler stops.
    async fn post_filter(
        &self,
        what_if: &mut WhatIf<'_>,
        diagnosis: &Diagnosis,
    ) -> PostFilterVerdict;
}
