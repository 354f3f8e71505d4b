use crate::NodeSet;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

/// Why a pod fits nowhere.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Diagnosis {
    /// How many nodes there are.
    pub nodes: usize,
    /// How many nodes were refused for each reason.
    pub reasons: BTreeMap<String, usize>,
    /// What PreFilter said, when it refused the pod for all nodes.
    pub pre_filter: Option<String>,
    /// What PostFilter added.
    pub post_filter: Option<String>,
    /// The plugins that refused: their events bring the pod back.
    pub plugins: BTreeSet<&'static str>,
    /// The PreFilter plugins that left some nodes only.
    pub narrowing: BTreeSet<&'static str>,
    /// Nodes that could fit if other pods left, of the snapshot the pod was looked at with.
    pub resolvable: NodeSet,
    /// What becomes of the pod's nomination.
    pub nomination: Nomination,
}

/// What becomes of the node where room was made for a pod.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Nomination {
    /// It stays as it is.
    #[default]
    Keep,
    /// There is none any more.
    Clear,
    /// This one.
    Node(String),
}

/// Why a pod does not fit on a node.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Refusal {
    /// The plugin that refused.
    pub plugin: &'static str,
    /// Why.
    pub reasons: Vec<String>,
    /// Whether other pods leaving could help.
    pub resolvable: bool,
}

impl Diagnosis {
    /// What is said when PreFilter plugins leave no node.
    pub(crate) fn narrowed_to_nothing(&self) -> String {
        let names: Vec<_> = self.narrowing.iter().copied().collect();
        match names.as_slice() {
            [one] => format!("node(s) didn't satisfy plugin {one}"),
            all => format!("node(s) didn't satisfy plugin(s) [{}] simultaneously", all.join(" ")),
        }
    }

    /// Takes in that so many nodes are none of those that PreFilter left, and says so.
    pub(crate) fn leave_out(&mut self, count: usize) -> String {
        let names: Vec<_> = self.narrowing.iter().copied().collect();
        let reason = format!("node(s) didn't satisfy plugin(s) [{}]", names.join(" "));
        if count > 0 {
            *self.reasons.entry(reason.clone()).or_default() += count;
        }
        reason
    }

    /// Takes in that a node was refused: the one of an index, or one that is not known.
    pub(crate) fn refuse(&mut self, node: Option<usize>, refusal: &Refusal) {
        if let Some(index) = node.filter(|_| refusal.resolvable) {
            self.resolvable.insert(index);
        }
        self.plugins.insert(refusal.plugin);
        self.count(&refusal.reasons, 1);
    }

    /// Takes in that so many nodes were refused for the same reasons.
    pub(crate) fn count(&mut self, reasons: &[String], nodes: usize) {
        for reason in reasons {
            match self.reasons.get_mut(reason) {
                Some(count) => *count += nodes,
                None => drop(self.reasons.insert(reason.clone(), nodes)),
            }
        }
    }

    /// Of a pod that was placed, but that a plugin will not have bound there.
    pub(crate) fn of_placed(plugin: &'static str, why: &str) -> Self {
        Self {
            nodes: 1,
            reasons: BTreeMap::from([(why.to_owned(), 1)]),
            plugins: BTreeSet::from([plugin]),
            nomination: Nomination::Clear,
            ..Self::default()
        }
    }
}

/// As in the pod's condition and the event `FailedScheduling`.
impl fmt::Display for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nodes == 0 {
            return f.write_str("no nodes available to schedule pods");
        }
        write!(f, "0/{} nodes are available:", self.nodes)?;
        if let Some(message) = &self.pre_filter {
            write!(f, " {message}.")?;
        } else if !self.reasons.is_empty() {
            let mut parts: Vec<_> =
                self.reasons.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
            parts.sort();
            write!(f, " {}.", parts.join(", "))?;
        }
        match &self.post_filter {
            Some(message) => write!(f, " {message}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_counted_and_sorted_as_the_original_prints_them() {
        let reasons = [("Insufficient cpu", 2), ("node(s) were unschedulable", 1)];
        let diagnosis = Diagnosis {
            nodes: 3,
            reasons: reasons.map(|(reason, count)| (reason.to_owned(), count)).into(),
            ..Diagnosis::default()
        };
        assert_eq!(
            diagnosis.to_string(),
            "0/3 nodes are available: 1 node(s) were unschedulable, 2 Insufficient cpu."
        );
    }
}
