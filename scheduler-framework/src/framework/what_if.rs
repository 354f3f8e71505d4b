use super::{Failure, Framework};
use crate::{CycleState, NodeInfo, PodInfo, Point, Refusal, Snapshot, extender::Extender};
use std::sync::Arc;

/// Asks whether a pod would fit if other pods came or went: what PostFilter works with.
///
/// Nodes are changed as copies. What plugins computed in PreFilter is shared by all questions of a cycle, so
/// whoever is done with one node puts back the pods removed in thought, and removes those added:
/// [`on`](Self::on) sees to that.
#[derive(Debug)]
pub struct WhatIf<'a> {
    framework: &'a Framework,
    state: &'a mut CycleState,
    pod: &'a PodInfo,
    nodes: &'a Snapshot,
    asked: Vec<u64>,
}

impl<'a> WhatIf<'a> {
    pub(super) fn new(
        framework: &'a Framework,
        state: &'a mut CycleState,
        pod: &'a PodInfo,
        nodes: &'a Snapshot,
    ) -> Self {
        let asked = vec![0; framework.at(Point::Filter).count()];
        Self { framework, state, pod, nodes, asked }
    }

    /// The pod that is to be placed.
    #[must_use]
    pub fn pod(&self) -> &'a PodInfo {
        self.pod
    }

    /// The nodes of this cycle, and the objects beside them.
    #[must_use]
    pub fn nodes(&self) -> &'a Snapshot {
        self.nodes
    }

    /// What plugins keep for the pod.
    pub fn state(&mut self) -> &mut CycleState {
        self.state
    }

    /// The extenders that want to be asked about victims.
    pub(crate) fn extenders(&self) -> Vec<Arc<Extender>> {
        let asked = self.framework.extenders(self.pod).filter(|own| own.preempts());
        asked.cloned().collect()
    }

    /// What pods have in common that fit on the same nodes; `None` when that depends on more than single nodes as they
    /// are.
    pub(crate) fn kind(&self) -> Option<u128> {
        let anew = || self.framework.kind(self.state, self.pod, self.nodes);
        self.state.kind.unwrap_or_else(anew)
    }

    /// A number below `bound` by chance.
    #[must_use]
    pub fn chance(&self, bound: usize) -> usize {
        usize::try_from(self.framework.seed.below(bound.max(1) as u64)).unwrap_or_default()
    }

    /// `None` when the pod fits on the node as it is given, also beside pods for which room is being made there.
    ///
    /// # Errors
    /// When a plugin fails.
    pub fn fits(&mut self, node: &NodeInfo) -> Result<Option<Refusal>, String> {
        self.framework.fits(self.state, self.pod, node, &mut self.asked).map_err(|failure| {
            match failure {
                Failure::Error(why) => why,
                Failure::Unschedulable(diagnosis) => diagnosis.to_string(),
            }
        })
    }

    /// Puts a pod on the node, in thought.
    pub fn add_pod(&mut self, added: &Arc<PodInfo>, node: &mut NodeInfo) {
        self.framework.add_pod(self.state, self.pod, added, node);
    }

    /// Takes a pod off the node, in thought.
    pub fn remove_pod(&mut self, removed: &Arc<PodInfo>, node: &mut NodeInfo) {
        self.framework.remove_pod(self.state, self.pod, removed, node);
    }
}

impl Framework {
    /// Asks what if, outside of PostFilter: PreFilter runs on `state`, then `ask`.
    ///
    /// A pod that PreFilter refuses fits nowhere, whatever `ask` finds.
    pub fn what_if<R>(
        &self,
        state: &mut CycleState,
        pod: &PodInfo,
        nodes: &Snapshot,
        ask: impl FnOnce(&mut WhatIf<'_>) -> R,
    ) -> R {
        state.kind = None;
        for plugin in self.at(Point::PreFilter) {
            if let Some(point) = plugin.as_pre_filter()
                && point.pre_filter(state, pod, nodes) == crate::PreFilterVerdict::Skip
            {
                state.skip_filter.insert(plugin.name());
            }
        }
        ask(&mut WhatIf::new(self, state, pod, nodes))
    }
}
