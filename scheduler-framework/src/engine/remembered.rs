use crate::{NodeInfo, PodInfo};
use parking_lot::Mutex;
use std::{
    collections::{HashMap, HashSet},
    fmt,
    sync::{Arc, Weak},
};

/// How many kinds of pods are kept; the one unused for longest makes room.
const KINDS: usize = 16;
/// How many kinds that were seen once are remembered.
const SEEN: usize = 4096;

/// Pods that the same is true of: their class, and what else it depends on.
pub(crate) type Kind = (u128, i32);

/// What was found out for pods of a kind, such as [`Findings`] of single nodes.
pub(crate) struct Remembered<F> {
    inner: Mutex<Inner<F>>,
}

struct Inner<F> {
    kept: HashMap<Kind, (u64, F)>,
    /// Kinds of which one pod has come: the second is worth the effort.
    seen: HashSet<Kind>,
    uses: u64,
}

/// What was found out of nodes, by their index. It holds as long as the node is the same allocation: whoever changes one
/// that is looked at from here moves it elsewhere. And it holds beside the same pods only for which room is being made
/// there, to which the pods of the kind must yield.
pub(crate) struct Findings<V>(Vec<Option<Finding<V>>>);

struct Finding<V> {
    node: Weak<NodeInfo>,
    beside: Box<[Weak<PodInfo>]>,
    found: V,
}

fn is_same<T>(known: &Weak<T>, now: &Arc<T>) -> bool {
    std::ptr::eq(known.as_ptr(), Arc::as_ptr(now))
}

impl<V> Findings<V> {
    /// What is known of a node as it is, beside these pods.
    pub(crate) fn of<'a>(
        &self,
        index: usize,
        node: &Arc<NodeInfo>,
        mut beside: impl Iterator<Item = &'a Arc<PodInfo>>,
    ) -> Option<&V> {
        let known = self.0.get(index)?.as_ref()?;
        let same = is_same(&known.node, node)
            && known.beside.iter().all(|own| beside.next().is_some_and(|now| is_same(own, now)))
            && beside.next().is_none();
        same.then_some(&known.found)
    }

    /// What was noted last of a node, however it is now.
    pub(crate) fn last(&self, index: usize) -> Option<&V> {
        self.0.get(index)?.as_ref().map(|own| &own.found)
    }

    /// Keeps what was found.
    pub(crate) fn note<'a>(
        &mut self,
        index: usize,
        node: &Arc<NodeInfo>,
        beside: impl Iterator<Item = &'a Arc<PodInfo>>,
        found: V,
    ) {
        if self.0.len() <= index {
            self.0.resize_with(index + 1, || None);
        }
        let (node, beside) = (Arc::downgrade(node), beside.map(Arc::downgrade).collect());
        self.0[index] = Some(Finding { node, beside, found });
    }
}

impl<V> Default for Findings<V> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<F> Default for Remembered<F> {
    fn default() -> Self {
        let inner = Inner { kept: HashMap::new(), seen: HashSet::new(), uses: 0 };
        Self { inner: Mutex::new(inner) }
    }
}

impl<F> fmt::Debug for Remembered<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remembered").field("kinds", &self.inner.lock().kept.len()).finish()
    }
}

impl<F: Default> Remembered<F> {
    /// What is known for pods of a kind, to be brought back by [`keep`](Self::keep); `None` for the first of them.
    pub(crate) fn take(&self, kind: Kind) -> Option<F> {
        let mut inner = self.inner.lock();
        if let Some((_, findings)) = inner.kept.remove(&kind) {
            return Some(findings);
        }
        if inner.seen.remove(&kind) {
            return Some(F::default());
        }
        if inner.seen.len() >= SEEN {
            inner.seen.clear();
        }
        inner.seen.insert(kind);
        None
    }

    /// Keeps it for the next pod.
    pub(crate) fn keep(&self, kind: Kind, findings: F) {
        let mut inner = self.inner.lock();
        inner.uses += 1;
        let uses = inner.uses;
        if inner.kept.len() >= KINDS {
            let oldest = inner.kept.iter().min_by_key(|(_, (used, _))| *used);
            if let Some(oldest) = oldest.map(|(kind, _)| *kind) {
                inner.kept.remove(&oldest);
            }
        }
        inner.kept.insert(kind, (uses, findings));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_was_found_holds_until_the_node_changes() {
        let of = |value| Arc::new(serde_json::from_value(value).unwrap());
        let mut node = Arc::new(NodeInfo::new(of(json!({"metadata": {"name": "a"}}))));
        let known = Remembered::<Findings<&str>>::default();
        assert!(known.take((1, 0)).is_none(), "the first of a kind is not worth it");
        let mut findings = known.take((1, 0)).unwrap();
        findings.note(3, &node, [].iter(), "full");
        known.keep((1, 0), findings);
        let mut findings = known.take((1, 0)).unwrap();
        assert_eq!(findings.of(3, &node, [].iter()), Some(&"full"));
        assert!(findings.of(2, &node, [].iter()).is_none());
        Arc::make_mut(&mut node).set_node(of(json!({"metadata": {"name": "a"}})));
        assert!(findings.of(3, &node, [].iter()).is_none());

        let pod = |uid: &str| {
            let pod = json!({"metadata": {"uid": uid}, "spec": {"containers": []}});
            Arc::new(PodInfo::new(Arc::new(serde_json::from_value(pod).unwrap())))
        };
        let (one, other) = (pod("1"), pod("2"));
        findings.note(3, &node, [&one].into_iter(), "crowded");
        let of = |beside: &[&Arc<PodInfo>]| findings.of(3, &node, beside.iter().copied()).copied();
        assert_eq!(of(&[&one]), Some("crowded"));
        for others in [&[][..], &[&other], &[&one, &other], &[&pod("1")]] {
            assert_eq!(of(others), None, "beside other pods it may be otherwise");
        }
    }
}
