use super::{INNER, index::Index};
use kubeplane_store_trait::Key;

/// What stands between the children of an inner node: above every key of the left one, not above any of the right one.
#[derive(Debug, Clone, Default)]
pub(super) struct Bounds {
    keys: Vec<Key>,
    /// There are few, and they are far apart: more of each tells more of them from each other.
    index: Index<16, INNER>,
}

impl Bounds {
    pub(super) fn of(keys: Vec<Key>) -> Self {
        Self { index: Index::of(keys.len(), key(&keys)), keys }
    }

    pub(super) fn keys(&self) -> &[Key] {
        &self.keys
    }

    /// The child in which a key is, if it is anywhere.
    pub(super) fn child(&self, wanted: &[u8]) -> usize {
        self.index.search(wanted, key(&self.keys)).map_or_else(|at| at, |at| at + 1)
    }

    pub(super) fn insert(&mut self, at: usize, bound: Key) {
        self.keys.insert(at, bound);
        self.index.insert(at, key(&self.keys));
    }

    pub(super) fn remove(&mut self, at: usize) -> Key {
        self.index.remove(at);
        self.keys.remove(at)
    }

    /// Keeps those before a place; returns the one there, and those behind it.
    pub(super) fn split_at(&mut self, at: usize) -> (Key, Self) {
        let right = Self::of(self.keys.split_off(at + 1));
        let bound = self.keys.remove(at);
        self.index = Index::of(at, key(&self.keys));
        (bound, right)
    }

    /// Takes in the next one, and those behind it.
    pub(super) fn append(&mut self, bound: Key, right: &Self) {
        self.keys.push(bound);
        self.keys.extend_from_slice(&right.keys);
        self.index = Index::of(self.keys.len(), key(&self.keys));
    }
}

fn key<'a>(keys: &'a [Key]) -> impl Fn(usize) -> &'a [u8] {
    |at| keys[at].as_bytes()
}
