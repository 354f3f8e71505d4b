use super::WhatIf;
use crate::{NodeInfo, PodInfo, Refusal};
use std::sync::Arc;

/// A node on which pods come and go in thought. When it is let go everything is as before: the snapshot, which never
/// changes, and what plugins keep for the pod in question.
///
/// # Example
/// Whether a pod would fit if another left:
/// ```
/// # use kubeplane_scheduler_framework::{CycleState, Framework, PodInfo, Snapshot};
/// # use std::sync::Arc;
/// fn would_fit(
///     framework: &Framework,
///     nodes: &Snapshot,
///     pod: &PodInfo,
///     node: &str,
///     other: &Arc<PodInfo>,
/// ) -> Result<bool, String> {
///     let Some(node) = nodes.node(node) else { return Ok(false) };
///     let mut state = CycleState::of(nodes.clone());
///     framework.what_if(&mut state, pod, nodes, |what_if| {
///         let mut trial = what_if.on(node);
///         trial.remove(other);
///         Ok(trial.fits()?.is_none())
///     })
/// }
/// ```
#[derive(Debug)]
pub struct Trial<'t, 'a> {
    what_if: &'t mut WhatIf<'a>,
    node: NodeInfo,
    /// Who came (`true`) or left since, the latest last.
    changes: Vec<(Arc<PodInfo>, bool)>,
}

impl<'a> WhatIf<'a> {
    /// Begins to change a node in thought, as it is given.
    pub fn on(&mut self, node: &NodeInfo) -> Trial<'_, 'a> {
        Trial { what_if: self, node: node.clone(), changes: Vec::new() }
    }
}

impl Trial<'_, '_> {
    /// The node as it would be now.
    #[must_use]
    pub fn node(&self) -> &NodeInfo {
        &self.node
    }

    /// A pod comes.
    pub fn add(&mut self, pod: &Arc<PodInfo>) {
        self.what_if.add_pod(pod, &mut self.node);
        self.note(pod, true);
    }

    /// A pod leaves; `false`, and nothing changes, when it is not there.
    pub fn remove(&mut self, pod: &Arc<PodInfo>) -> bool {
        let is_there = self.node.pods().iter().any(|own| own.uid() == pod.uid());
        if is_there {
            self.what_if.remove_pod(pod, &mut self.node);
            self.note(pod, false);
        }
        is_there
    }

    /// `None` when the pod in question fits on the node as it would be now.
    ///
    /// # Errors
    /// When a plugin fails.
    pub fn fits(&mut self) -> Result<Option<Refusal>, String> {
        self.what_if.fits(&self.node)
    }

    /// Who comes back, or leaves again, has changed nothing.
    fn note(&mut self, pod: &Arc<PodInfo>, came: bool) {
        let back = |(own, before): &(Arc<PodInfo>, bool)| *before != came && Arc::ptr_eq(own, pod);
        match self.changes.iter().position(back) {
            Some(index) => drop(self.changes.remove(index)),
            None => self.changes.push((pod.clone(), came)),
        }
    }
}

impl Drop for Trial<'_, '_> {
    fn drop(&mut self) {
        while let Some((pod, came)) = self.changes.pop() {
            if came {
                self.what_if.remove_pod(&pod, &mut self.node);
            } else {
                self.what_if.add_pod(&pod, &mut self.node);
            }
        }
    }
}
