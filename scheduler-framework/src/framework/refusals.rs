use crate::{
    Diagnosis, NodeInfo, NodeSet, PodInfo, Refusal, Snapshot,
    engine::{Counts, Distinct, Findings, History, Moment},
};
use std::sync::{Arc, Weak};

/// How many more verdicts than nodes are kept at most.
const SPARE: usize = 64;

/// Why nodes refuse pods of a kind: few verdicts, and which of them each node gives.
#[derive(Default)]
pub(super) struct Refusals {
    verdicts: Distinct<Refusal>,
    findings: Findings<usize>,
    whole: Option<Whole>,
}

/// What the nodes of a cache said when the last pod of the kind was refused by all of them.
struct Whole {
    of: Weak<History>,
    moment: Moment,
    /// Where room was being made for others.
    crowded: NodeSet,
    counts: Counts,
    resolvable: NodeSet,
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
    whole: Option<Whole>,
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
            // Numbers of nodes may be others after this search.
            whole: known.whole.take(),
            known,
            keeps,
            counts: Counts::default(),
            resolvable: NodeSet::default(),
            left_out: 0,
        }
    }

    /// Begins with what all nodes said to the last pod of the kind, if all of them refused it: which of them may say
    /// something else by now. `None` when it was not so, or what changed since is not known.
    pub(super) fn resume(&mut self) -> Option<NodeSet> {
        let whole = self.whole.take()?;
        let (history, now) = self.nodes.history()?;
        let is_next = std::ptr::eq(whole.of.as_ptr(), Arc::as_ptr(history)) && now == history.now();
        let mut doubtful: NodeSet = whole.crowded.iter().chain(self.crowded.iter()).collect();
        if !is_next || !history.since(whole.moment, |index, _| doubtful.insert(index)) {
            return None;
        }
        (self.counts, self.resolvable) = (whole.counts, whole.resolvable);
        Some(doubtful)
    }

    /// Forgets what it began with.
    pub(super) fn start_over(&mut self) {
        (self.counts, self.resolvable) = (Counts::default(), NodeSet::default());
    }

    /// A node refuses the pod in another way than it was begun with.
    pub(super) fn amend(&mut self, index: usize, node: &Arc<NodeInfo>, refusal: Refusal) {
        if let Some(number) = self.known.findings.last(index) {
            self.counts.take(*number);
            self.resolvable.remove(index);
        }
        self.refuse(index, node, refusal);
    }

    /// Whether a node is known to refuse such pods as it is now.
    pub(super) fn knows(&self, index: usize, node: &Arc<NodeInfo>) -> bool {
        self.known_number(index, node).is_some()
    }

    fn known_number(&self, index: usize, node: &Arc<NodeInfo>) -> Option<usize> {
        let others = self.nodes.others_at(&self.crowded, index, self.pod);
        self.known.findings.of(index, node, others).copied()
    }

    /// One that PreFilter plugins did not leave.
    pub(super) fn leave_out(&mut self) {
        self.left_out += 1;
    }

    /// As [`knows`](Self::knows); if so it is counted.
    pub(super) fn recalls(&mut self, index: usize, node: &Arc<NodeInfo>) -> bool {
        let number = self.known_number(index, node);
        if let Some(number) = number {
            self.add(index, number);
        }
        number.is_some()
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

    /// Says what was counted; `all` if no node is left, so that the next pod of the kind begins with that.
    pub(super) fn tell(self, diagnosis: &mut Diagnosis, all: bool) {
        let Self { nodes, crowded, known, keeps, counts, resolvable, left_out, .. } = self;
        if left_out > 0 {
            diagnosis.leave_out(left_out);
        }
        for (refusal, count) in counts.of(&known.verdicts) {
            diagnosis.plugins.insert(refusal.plugin);
            diagnosis.count(&refusal.reasons, count);
        }
        diagnosis.resolvable = resolvable.clone();
        let now = nodes.history().filter(|(history, moment)| *moment == history.now());
        if let Some((history, moment)) = now.filter(|_| all && keeps && left_out == 0) {
            let of = Arc::downgrade(history);
            known.whole = Some(Whole { of, moment, crowded, counts, resolvable });
        }
    }
}
