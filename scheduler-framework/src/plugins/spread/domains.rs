use crate::NodeInfo;
use kubeplane_core::selector::LabelSelector;
use std::collections::{BTreeMap, HashMap};

/// How many pods a constraint counts in each domain, with the least of them at hand.
#[derive(Debug, Clone, Default)]
pub(super) struct Domains {
    domains: HashMap<String, Domain>,
    /// How many domains have a number of pods.
    sizes: BTreeMap<i64, usize>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Domain {
    nodes: i64,
    pods: i64,
}

impl Domains {
    /// More (or fewer) nodes and pods in a domain; one without nodes is none.
    pub(super) fn change(&mut self, value: &str, nodes: i64, pods: i64) {
        if !self.domains.contains_key(value) {
            self.domains.insert(value.to_owned(), Domain::default());
        }
        let Some(domain) = self.domains.get_mut(value) else { return };
        let before = *domain;
        domain.nodes += nodes;
        domain.pods += pods;
        let after = *domain;
        if after.nodes == 0 && after.pods == 0 {
            self.domains.remove(value);
        }
        if before.nodes > 0
            && let Some(size) = self.sizes.get_mut(&before.pods)
        {
            *size -= 1;
            if *size == 0 {
                self.sizes.remove(&before.pods);
            }
        }
        if after.nodes > 0 {
            *self.sizes.entry(after.pods).or_default() += 1;
        }
    }

    pub(super) fn pods(&self, value: &str) -> i64 {
        self.domains.get(value).map_or(0, |domain| domain.pods)
    }

    /// The pods in the domain with the fewest; none while there are fewer domains than asked for.
    pub(super) fn least(&self, min_domains: usize) -> i64 {
        if self.domains.len() < min_domains {
            return 0;
        }
        self.sizes.keys().next().copied().unwrap_or_default()
    }

    /// The pods of each domain.
    #[cfg(test)]
    pub(super) fn all(&self) -> BTreeMap<&str, i64> {
        let here = self.domains.iter().filter(|(_, own)| own.nodes > 0);
        here.map(|(value, own)| (value.as_str(), own.pods)).collect()
    }
}

/// How many pods of a node a selector picks in a namespace; one that picks everything counts none, and pods
/// that are being deleted count no more.
pub(super) fn count(node: &NodeInfo, selector: &LabelSelector, namespace: &str) -> i64 {
    if selector.is_everything() {
        return 0;
    }
    let counted = node.pods().iter().filter(|pod| {
        !pod.is_terminating()
            && pod.namespace() == namespace
            && selector.matches_labels(pod.labels())
    });
    i64::try_from(counted.count()).unwrap_or(i64::MAX)
}
