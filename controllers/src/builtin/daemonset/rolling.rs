//! The next steps of a rolling update.

use super::sync::Sync;
use crate::builtin::deployment::steps::resolve;
use k8s_openapi::api::core::v1::Pod;
use kubeplane_workload::phase::is_deleting;
use std::{collections::BTreeMap, sync::Arc};

/// The new and the old pod of a node; nothing when there are several of either.
type Pair = Option<(Option<Arc<Pod>>, Option<Arc<Pod>>)>;

impl Sync<'_> {
    /// The nodes that get a new pod beside the old one, and the old pods that go.
    pub(super) fn roll(&self) -> (Vec<String>, Vec<Arc<Pod>>) {
        let mut pairs: BTreeMap<&str, Pair> =
            self.on_node.iter().map(|(node, pods)| (node.as_str(), self.pair(pods))).collect();
        let fit = self.nodes.iter().filter(|node| self.fitness(node).should_run);
        let fit: Vec<&str> = fit.filter_map(|node| node.metadata.name.as_deref()).collect();
        for node in &fit {
            pairs.entry(node).or_insert(Some((None, None)));
        }
        let total = i32::try_from(fit.len()).unwrap_or(i32::MAX);
        match self.surge(total) {
            0 => (Vec::new(), self.replace(&pairs, self.most_unavailable(total))),
            surge => self.grow(&pairs, &fit, surge),
        }
    }

    fn most_unavailable(&self, total: i32) -> i32 {
        let strategy = self.spec.update_strategy.as_ref();
        let rolling = strategy.and_then(|strategy| strategy.rolling_update.as_ref());
        let most =
            resolve(rolling.and_then(|rolling| rolling.max_unavailable.as_ref()), total, true);
        // With neither surge nor unavailable pods nothing could ever move; what goes from unfit nodes does not come back.
        most.max(total.min(1))
    }

    fn pair(&self, pods: &[Arc<Pod>]) -> Pair {
        let (mut new, mut old) = (None, None);
        for pod in pods.iter().filter(|pod| !is_deleting(pod)) {
            let place = if self.is_updated(pod) { &mut new } else { &mut old };
            if place.replace(pod.clone()).is_some() {
                return None;
            }
        }
        Some((new, old))
    }

    /// The old pods that go before their nodes get new ones.
    fn replace(&self, pairs: &BTreeMap<&str, Pair>, most: i32) -> Vec<Arc<Pod>> {
        let mut unavailable = 0;
        let (mut doomed, mut candidates) = (Vec::new(), Vec::new());
        for pair in pairs.values() {
            match pair {
                Some((None, Some(old))) if self.is_available(old) => candidates.push(old.clone()),
                Some((None, Some(old))) => {
                    unavailable += 1;
                    doomed.push(old.clone());
                }
                Some((Some(new), None)) if self.is_available(new) => {}
                _ => unavailable += 1,
            }
        }
        let left = usize::try_from(most - unavailable).unwrap_or_default();
        doomed.extend(candidates.into_iter().take(left));
        doomed
    }

    /// The nodes that get a second pod, and the old pods whose successors are available.
    fn grow(
        &self,
        pairs: &BTreeMap<&str, Pair>,
        fit: &[&str],
        surge: i32,
    ) -> (Vec<String>, Vec<Arc<Pod>>) {
        let (mut growing, mut available) = (0, 0);
        let (mut doomed, mut misplaced) = (Vec::new(), Vec::new());
        let (mut at_once, mut candidates) = (Vec::new(), Vec::new());
        for (node, pair) in pairs {
            let Some((new, old)) = pair else {
                growing += 1;
                continue;
            };
            let first = old.as_ref().or(new.as_ref());
            available += usize::from(first.is_some_and(|pod| self.is_available(pod)));
            let Some(old) = old else { continue };
            match new {
                Some(new) if self.is_available(new) => doomed.push(old.clone()),
                Some(_) => growing += 1,
                None => match (fit.contains(node), self.is_available(old)) {
                    (false, false) => doomed.push(old.clone()),
                    (false, true) => misplaced.push(old.clone()),
                    (true, false) => at_once.push((*node).to_owned()),
                    (true, true) => candidates.push((*node).to_owned()),
                },
            }
        }
        doomed.extend(misplaced.into_iter().take(available.saturating_sub(fit.len())));
        let left = usize::try_from(surge - growing).unwrap_or_default();
        at_once.extend(candidates.into_iter().take(left));
        (at_once, doomed)
    }
}
