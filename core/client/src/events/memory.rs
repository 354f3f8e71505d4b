use std::{collections::HashMap, hash::Hash};

/// A map that forgets its least recently used half when it is full.
#[derive(Debug)]
pub(super) struct Memory<K, V> {
    entries: HashMap<K, (u64, V)>,
    uses: u64,
    most: usize,
}

impl<K: Clone + Eq + Hash, V> Memory<K, V> {
    /// For `most` keys, at least one.
    pub(super) fn new(most: usize) -> Self {
        Self { entries: HashMap::new(), uses: 0, most: most.max(1) }
    }

    pub(super) fn touch(&mut self, key: &K) -> Option<&mut V> {
        self.uses += 1;
        let (used, value) = self.entries.get_mut(key)?;
        *used = self.uses;
        Some(value)
    }

    pub(super) fn insert(&mut self, key: K, value: V) {
        if self.entries.len() >= self.most {
            let mut uses: Vec<u64> = self.entries.values().map(|(used, _)| *used).collect();
            uses.sort_unstable();
            let middle = uses[uses.len() / 2];
            self.entries.retain(|_, (used, _)| *used > middle);
        }
        self.uses += 1;
        self.entries.insert(key, (self.uses, value));
    }

    pub(super) fn remove(&mut self, key: &K) -> Option<V> {
        self.entries.remove(key).map(|(_, value)| value)
    }

    /// The keys of what matches, those that were not used for longest first.
    pub(super) fn keys(&self, matches: impl Fn(&V) -> bool) -> Vec<K> {
        let found = self.entries.iter().filter(|(_, (_, value))| matches(value));
        let mut keys: Vec<_> = found.map(|(key, (used, _))| (*used, key.clone())).collect();
        keys.sort_unstable_by_key(|(used, _)| *used);
        keys.into_iter().map(|(_, key)| key).collect()
    }
}
