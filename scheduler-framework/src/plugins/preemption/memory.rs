use super::{
    budgets::Budgets,
    candidates::{self, Candidate},
};
use crate::{
    NodeInfo, PodInfo, WhatIf,
    engine::{Findings, Kind, Remembered},
};
use std::sync::Arc;

/// What came of a node: the victims by their positions among its pods, and how many budgets that breaks; or why no
/// pod's leaving helps.
pub(super) type Found = Result<(Vec<usize>, usize), Vec<String>>;

/// What is known of nodes from pods alike that came before, so that only nodes that changed since are looked at.
pub(super) struct Memory<'a> {
    home: &'a Remembered<Found>,
    known: Option<(Kind, Findings<Found>)>,
}

impl<'a> Memory<'a> {
    /// For the pod in question; budgets in another state make it another question.
    pub(super) fn new(
        home: &'a Remembered<Found>,
        what_if: &WhatIf<'_>,
        budgets: &Budgets,
    ) -> Self {
        let class = what_if.kind().zip(budgets.state());
        let kind =
            class.map(|(class, state)| (class ^ state.rotate_left(31), what_if.pod().priority()));
        Self { home, known: kind.and_then(|kind| Some((kind, home.take(kind)?))) }
    }

    /// As [`candidates::on_node`], which is asked only if the node is not known as it is.
    pub(super) fn on_node(
        &mut self,
        what_if: &mut WhatIf<'_>,
        index: usize,
        node: &Arc<NodeInfo>,
        budgets: &Budgets,
    ) -> Result<Result<Candidate, Vec<String>>, String> {
        let Some((_, known)) = self.known.as_mut() else {
            return candidates::on_node(what_if, node, budgets);
        };
        let (nodes, pod) = (what_if.nodes(), what_if.pod());
        let others = || nodes.others(node.name(), pod);
        if let Some(found) = known.of(index, node, others()) {
            return Ok(recalled(found, node));
        }
        let outcome = candidates::on_node(what_if, node, budgets)?;
        known.note(index, node, others(), noted(&outcome, node));
        Ok(outcome)
    }

    /// Keeps it for the next pod.
    pub(super) fn keep(self) {
        if let Some((kind, known)) = self.known {
            self.home.keep(kind, known);
        }
    }
}

fn noted(outcome: &Result<Candidate, Vec<String>>, node: &NodeInfo) -> Found {
    let candidate = outcome.as_ref().map_err(Clone::clone)?;
    let place =
        |victim: &Arc<PodInfo>| node.pods().iter().position(|own| own.uid() == victim.uid());
    Ok((candidate.victims.iter().filter_map(place).collect(), candidate.violations))
}

fn recalled(found: &Found, node: &NodeInfo) -> Result<Candidate, Vec<String>> {
    let (places, violations) = found.as_ref().map_err(Clone::clone)?;
    let victims = places.iter().filter_map(|place| node.pods().get(*place).cloned()).collect();
    Ok(Candidate { node: node.name().to_owned(), victims, violations: *violations })
}
