use super::{
    budgets::Budgets,
    candidates::{self, Candidate, Rank},
    hooks::Hooks,
};
use crate::{
    Diagnosis, NodeInfo, NodeSet, PodInfo, Snapshot, WhatIf,
    engine::{Counts, Distinct, Findings, Kind, Remembered},
};
use std::sync::Arc;

/// How many more reasons than nodes are kept at most.
const SPARE: usize = 64;

/// Who would have to leave a node.
struct Room {
    /// By their positions among its pods.
    victims: Box<[usize]>,
    rank: Rank,
}

/// What came of nodes: who would have to leave, or the number of the reasons why no pod's leaving helps.
#[derive(Default)]
pub(super) struct Known {
    nodes: Findings<Result<Room, usize>>,
    why: Distinct<Vec<String>>,
}

/// What is found out of nodes for one pod, and what is known of them from pods alike that came before: only nodes that
/// changed since are looked at. It is kept for the next of them when it is let go.
pub(super) struct Memory<'a> {
    home: &'a Remembered<Known>,
    hooks: &'a Hooks,
    kind: Option<Kind>,
    known: Known,
    nodes: usize,
    crowded: NodeSet,
    refused: Counts,
}

impl<'a> Memory<'a> {
    /// For the pod in question; budgets in another state make it another question. By what hooks go nobody knows, so that
    /// nothing is kept where there are some.
    pub(super) fn new(
        home: &'a Remembered<Known>,
        hooks: &'a Hooks,
        what_if: &WhatIf<'_>,
        budgets: &Budgets,
    ) -> Self {
        let class = what_if.kind().filter(|_| hooks.is_empty()).zip(budgets.state());
        let kind =
            class.map(|(class, state)| (class ^ state.rotate_left(31), what_if.pod().priority()));
        let known = kind.and_then(|kind| home.take(kind));
        let nodes = what_if.nodes();
        Self {
            home,
            hooks,
            kind: kind.filter(|_| known.is_some()),
            known: known.unwrap_or_default(),
            nodes: nodes.nodes().len(),
            crowded: nodes.crowded(what_if.pod()),
            refused: Counts::default(),
        }
    }

    /// How bad it is for whom [`candidates::on_node`] would have leave a node, which is asked only if the node is not
    /// known as it is; `None`, and that is counted, where no pod's leaving helps.
    pub(super) fn on_node(
        &mut self,
        what_if: &mut WhatIf<'_>,
        index: usize,
        budgets: &Budgets,
    ) -> Result<Option<Rank>, String> {
        let (nodes, pod) = (what_if.nodes(), what_if.pod());
        let Some(node) = nodes.nodes().get(index) else { return Ok(None) };
        let others = nodes.others_at(&self.crowded, index, pod);
        let known = self.known.nodes.of(index, node, others).map(ranked);
        let outcome = match known {
            Some(known) => known,
            None => {
                let outcome = candidates::on_node(what_if, node, budgets, self.hooks)?;
                self.note(nodes, index, pod, outcome)
            }
        };
        match outcome {
            Ok(rank) => Ok(Some(rank)),
            Err(number) => {
                self.refused.add(number);
                Ok(None)
            }
        }
    }

    fn note(
        &mut self,
        nodes: &Snapshot,
        index: usize,
        pod: &PodInfo,
        outcome: Result<Candidate, Vec<String>>,
    ) -> Result<Rank, usize> {
        let node = &nodes.nodes()[index];
        let found = match outcome {
            Ok(candidate) => Ok(Room {
                victims: positions(&candidate, node),
                rank: Rank::of(&candidate.victims, candidate.violations),
            }),
            Err(reasons) => Err(self.known.why.number(reasons)),
        };
        let outcome = ranked(&found);
        let others = nodes.others_at(&self.crowded, index, pod);
        self.known.nodes.note(index, node, others, found);
        outcome
    }

    /// A node that was looked at, with those who would have to leave it.
    pub(super) fn candidate(&self, what_if: &WhatIf<'_>, index: usize) -> Option<Candidate> {
        let (nodes, pod) = (what_if.nodes(), what_if.pod());
        let node = nodes.nodes().get(index)?;
        let others = nodes.others_at(&self.crowded, index, pod);
        let room = self.known.nodes.of(index, node, others)?.as_ref().ok()?;
        let victims = room.victims.iter().filter_map(|place| node.pods().get(*place).cloned());
        Some(Candidate {
            node: node.name().to_owned(),
            victims: victims.collect(),
            violations: room.rank.violations,
        })
    }

    /// Says why no pod's leaving helped, and on how many nodes.
    pub(super) fn tell(&self, diagnosis: &mut Diagnosis) {
        for (reasons, nodes) in self.refused.of(&self.known.why) {
            diagnosis.count(reasons, nodes);
        }
    }
}

impl Drop for Memory<'_> {
    fn drop(&mut self) {
        // With more reasons than nodes can give most are of the past.
        let stale = self.known.why.values().len() > self.nodes + SPARE;
        if let Some(kind) = self.kind.filter(|_| !stale) {
            self.home.keep(kind, std::mem::take(&mut self.known));
        }
    }
}

fn ranked(found: &Result<Room, usize>) -> Result<Rank, usize> {
    found.as_ref().map(|room| room.rank).map_err(|number| *number)
}

fn positions(candidate: &Candidate, node: &NodeInfo) -> Box<[usize]> {
    let position =
        |victim: &Arc<PodInfo>| node.pods().iter().position(|own| Arc::ptr_eq(own, victim));
    candidate.victims.iter().filter_map(position).collect()
}
