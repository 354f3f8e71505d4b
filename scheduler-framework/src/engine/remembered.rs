use crate::NodeInfo;
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

/// What was found out of single nodes for pods of a kind, kept until the node changes.
pub(crate) struct Remembered<V> {
    inner: Mutex<Inner<V>>,
}

struct Inner<V> {
    kept: HashMap<Kind, (u64, Findings<V>)>,
    /// Kinds of which one pod has come: the second is worth the effort.
    seen: HashSet<Kind>,
    uses: u64,
}

/// By the index of the node. It holds as long as the node is the same allocation: whoever changes one that is looked
/// at from here moves it elsewhere.
pub(crate) struct Findings<V>(Vec<Option<(Weak<NodeInfo>, V)>>);

impl<V> Findings<V> {
    /// What is known of a node as it is.
    pub(crate) fn of(&self, index: usize, node: &Arc<NodeInfo>) -> Option<&V> {
        let (known, found) = self.0.get(index)?.as_ref()?;
        std::ptr::eq(known.as_ptr(), Arc::as_ptr(node)).then_some(found)
    }

    /// Keeps what was found.
    pub(crate) fn note(&mut self, index: usize, node: &Arc<NodeInfo>, found: V) {
        if self.0.len() <= index {
            self.0.resize_with(index + 1, || None);
        }
        self.0[index] = Some((Arc::downgrade(node), found));
    }
}

impl<V> Default for Remembered<V> {
    fn default() -> Self {
        let inner = Inner { kept: HashMap::new(), seen: HashSet::new(), uses: 0 };
        Self { inner: Mutex::new(inner) }
    }
}

impl<V> fmt::Debug for Remembered<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remembered").field("kinds", &self.inner.lock().kept.len()).finish()
    }
}

impl<V> Remembered<V> {
    /// What is known for pods of a kind, to be brought back by [`keep`](Self::keep); `None` for the first of them.
    pub(crate) fn take(&self, kind: Kind) -> Option<Findings<V>> {
        let mut inner = self.inner.lock();
        if let Some((_, findings)) = inner.kept.remove(&kind) {
            return Some(findings);
        }
        if inner.seen.remove(&kind) {
            return Some(Findings(Vec::new()));
        }
        if inner.seen.len() >= SEEN {
            inner.seen.clear();
        }
        inner.seen.insert(kind);
        None
    }

    /// Keeps it for the next pod.
    pub(crate) fn keep(&self, kind: Kind, findings: Findings<V>) {
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
        let known = Remembered::default();
        assert!(known.take((1, 0)).is_none(), "the first of a kind is not worth it");
        let mut findings = known.take((1, 0)).unwrap();
        findings.note(3, &node, "full");
        known.keep((1, 0), findings);
        let findings = known.take((1, 0)).unwrap();
        assert_eq!(findings.of(3, &node), Some(&"full"));
        assert!(findings.of(2, &node).is_none());
        Arc::make_mut(&mut node).set_node(of(json!({"metadata": {"name": "a"}})));
        assert!(findings.of(3, &node).is_none());
    }
}
