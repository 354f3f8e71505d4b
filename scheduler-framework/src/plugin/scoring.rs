use crate::{CycleState, NodeInfo, PodInfo};
use std::sync::Arc;

/// The best score of a node; the worst is zero.
pub const MAX_SCORE: i64 = 100;

/// What PreScore found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PreScoreVerdict {
    /// Go on.
    Continue,
    /// This plugin does not care for this pod: its Score is not asked.
    Skip,
    /// The plugin failed; the cycle ends.
    Error(String),
}

/// Runs once a cycle, with the nodes that are left.
pub trait PreScore: Send + Sync {
    /// Computes what all nodes' scores need.
    fn pre_score(
        &self,
        state: &mut CycleState,
        pod: &PodInfo,
        nodes: &[Arc<NodeInfo>],
    ) -> PreScoreVerdict;
}

/// Scores a node. Pure, and run for many nodes at once.
pub trait Score: Send + Sync {
    /// The score, from zero to [`MAX_SCORE`] (after [`normalize`](Self::normalize)).
    fn score(&self, state: &CycleState, pod: &PodInfo, node: &NodeInfo) -> i64;

    /// Brings the raw scores of all nodes into range; the default leaves them as they are.
    fn normalize(&self, _state: &CycleState, _pod: &PodInfo, _scores: &mut [i64]) {}

    /// For a plugin that may be unable to score: what is asked where nodes are scored one by one. The default never fails
    /// and gives [`score`](Self::score).
    ///
    /// # Errors
    /// Ends the cycle: the pod gets no node, is told this reason, and is tried again after a while.
    fn try_score(&self, state: &CycleState, pod: &PodInfo, node: &NodeInfo) -> Result<i64, String> {
        Ok(self.score(state, pod, node))
    }

    /// As [`try_score`](Self::try_score) is to `score`, for [`normalize`](Self::normalize).
    ///
    /// # Errors
    /// As of [`try_score`](Self::try_score).
    fn try_normalize(
        &self,
        state: &CycleState,
        pod: &PodInfo,
        scores: &mut [i64],
    ) -> Result<(), String> {
        self.normalize(state, pod, scores);
        Ok(())
    }
}
