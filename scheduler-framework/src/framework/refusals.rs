use crate::{
    Diagnosis, NodeInfo, NodeSet, PodInfo, Refusal, Snapshot,
    engine::{Counts, Distinct, Findings},
};
use std::sync::Arc;

/// How many more verdicts than nodes are kept at most.
const SPARE: usize = 64;

/// Why nodes refuse pods of a kind: few verdicts, and which of them each node gives.
#[derive(Default)]
pub(super) struct Refusals {
    verdicts: Distinct<Refusal>,
    findings: Findings<usize>,
}

impl Refusals {
    /// Whether it has more verdicts than so many nodes can give: most are of the past.
    pub(super) fn is_stale(&self, nodes: usize) -> bool {
        self.verdicts.values().len() > nodes + SPARE
    }
}

/// Counts the nodes that refuse one pod. What it costs to know that one refuses as before goes neither with the length
/// of its name nor with what it says.
pub(super) struct Tally<'a> {
    pod: &'a PodInfo,
    nodes: &'a Snapshot,
    crowded: NodeSet,
    known: &'a mut Refusals,
    /// Whether what is found is of use to the next pod.
    keeps: bool,
    counts: Counts,
    resolvable: NodeSet,
    left_out: usize,
}

impl<'a> Tally<'a> {
    pub(super) fn new(
        pod: &'a PodInfo,
        nodes: &'a Snapshot,
        known: &'a mut Refusals,
        keeps: bool,
    ) -> Self {
        Self {
            pod,
            nodes,
            crowded: nodes.crowded(pod),
            known,
            keeps,
            counts: Counts::default(),
            resolvable: NodeSet::default(),
            left_out: 0,
        }
    }

    /// One that PreFilter plugins did not leave.
    pub(super) fn leave_out(&mut self) {
        self.left_out += 1;
    }

    /// Whether a node is known to refuse such pods as it is now; if so it is counted.
    pub(super) fn recalls(&mut self, index: usize, node: &Arc<NodeInfo>) -> bool {
        let others = self.nodes.others_at(&self.crowded, index, self.pod);
        let Some(number) = self.known.findings.of(index, node, others).copied() else {
            return false;
        };
        self.add(index, number);
        true
    }

    /// A node refuses the pod, as was found out now.
    pub(super) fn refuse(&mut self, index: usize, node: &Arc<NodeInfo>, refusal: Refusal) {
        let number = self.known.verdicts.number(refusal);
        if self.keeps {
            let others = self.nodes.others_at(&self.crowded, index, self.pod);
            self.known.findings.note(index, node, others, number);
        }
        self.add(index, number);
    }

    fn add(&mut self, index: usize, number: usize) {
        self.counts.add(number);
        if self.known.verdicts.values()[number].resolvable {
            self.resolvable.insert(index);
        }
    }

    /// Says what was counted.
    pub(super) fn tell(self, diagnosis: &mut Diagnosis) {
        if self.left_out > 0 {
            diagnosis.leave_out(self.left_out);
        }
        for (refusal, nodes) in self.counts.of(&self.known.verdicts) {
            diagnosis.plugins.insert(refusal.plugin);
            diagnosis.count(&refusal.reasons, nodes);
        }
        diagnosis.resolvable = self.resolvable;
    }
}
