use crate::NodeInfo;
use parking_lot::Mutex;
use std::{
    any::{Any, TypeId},
    collections::HashMap,
    fmt,
    sync::{Arc, Weak},
};

/// How many tallies are kept; the one unused for longest makes room.
const KEPT: usize = 256;

type Key = (TypeId, String);

/// Sums over all nodes that stay from one snapshot to the next, so that only nodes that changed are looked at
/// again.
#[derive(Default)]
pub(crate) struct Tallies {
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    entries: HashMap<Key, (u64, Box<dyn Any + Send + Sync>)>,
    uses: u64,
}

impl fmt::Debug for Tallies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tallies").field("entries", &self.kept.lock().entries.len()).finish()
    }
}

/// One sum, and what each node adds to it. A node that did not change is the same allocation.
struct Tally<V, T> {
    parts: Vec<(Weak<NodeInfo>, V)>,
    total: Arc<T>,
}

impl Tallies {
    pub(crate) fn sum<V, T>(
        &self,
        nodes: &[Arc<NodeInfo>],
        key: &str,
        part: impl Fn(&NodeInfo) -> V,
        change: impl Fn(&mut T, &V, i64),
    ) -> Arc<T>
    where
        V: Send + Sync + 'static,
        T: Clone + Default + Send + Sync + 'static,
    {
        let key = (TypeId::of::<(V, T)>(), key.to_owned());
        // Taken out while it is brought up to date, so that plugins may use others meanwhile.
        let taken = self.kept.lock().entries.remove(&key);
        let mut tally = taken
            .and_then(|(_, entry)| entry.downcast::<Tally<V, T>>().ok())
            .unwrap_or_else(|| Box::new(Tally { parts: Vec::new(), total: Arc::default() }));
        tally.update(nodes, part, change);
        let total = tally.total.clone();
        self.keep(key, tally);
        total
    }

    fn keep(&self, key: Key, tally: Box<dyn Any + Send + Sync>) {
        let mut kept = self.kept.lock();
        kept.uses += 1;
        let uses = kept.uses;
        if kept.entries.len() >= KEPT {
            let oldest = kept.entries.iter().min_by_key(|(_, (used, _))| *used);
            if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
                kept.entries.remove(&oldest);
            }
        }
        kept.entries.insert(key, (uses, tally));
    }
}

impl<V, T: Clone> Tally<V, T> {
    fn update(
        &mut self,
        nodes: &[Arc<NodeInfo>],
        part: impl Fn(&NodeInfo) -> V,
        change: impl Fn(&mut T, &V, i64),
    ) {
        for (index, node) in nodes.iter().enumerate() {
            if let Some((known, _)) = self.parts.get(index)
                && std::ptr::eq(known.as_ptr(), Arc::as_ptr(node))
            {
                continue;
            }
            let new = part(node);
            let total = Arc::make_mut(&mut self.total);
            if let Some((known, old)) = self.parts.get_mut(index) {
                change(total, old, -1);
                change(total, &new, 1);
                (*known, *old) = (Arc::downgrade(node), new);
            } else {
                change(total, &new, 1);
                self.parts.push((Arc::downgrade(node), new));
            }
        }
        if self.parts.len() > nodes.len() {
            let total = Arc::make_mut(&mut self.total);
            for (_, old) in self.parts.drain(nodes.len()..) {
                change(total, &old, -1);
            }
        }
    }
}
