use std::fmt;

const BITS: usize = 64;

/// Some of the nodes of a [`Snapshot`](crate::Snapshot), by their indices among
/// [`Snapshot::nodes`](crate::Snapshot::nodes): one bit for each node up to the last that is in.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct NodeSet {
    /// The last is never zero.
    words: Vec<u64>,
}

impl NodeSet {
    /// The first `nodes` nodes.
    #[must_use]
    pub fn all(nodes: usize) -> Self {
        let mut words = vec![u64::MAX; nodes / BITS];
        let rest = nodes % BITS;
        if rest > 0 {
            words.push((1u64 << rest) - 1);
        }
        Self { words }
    }

    /// Takes a node in. What that takes of memory goes with the largest index.
    pub fn insert(&mut self, index: usize) {
        let word = index / BITS;
        if self.words.len() <= word {
            self.words.resize(word + 1, 0);
        }
        self.words[word] |= 1u64 << (index % BITS);
    }

    /// Takes a node out.
    pub fn remove(&mut self, index: usize) {
        if let Some(word) = self.words.get_mut(index / BITS) {
            *word &= !(1u64 << (index % BITS));
        }
        while self.words.last() == Some(&0) {
            self.words.pop();
        }
    }

    /// Whether a node is in.
    #[must_use]
    pub fn contains(&self, index: usize) -> bool {
        self.words.get(index / BITS).is_some_and(|word| (word >> (index % BITS)) & 1 == 1)
    }

    /// How many nodes are in.
    #[must_use]
    pub fn len(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// The indices, the lowest first.
    pub fn iter(&self) -> impl Iterator<Item = usize> {
        self.words.iter().enumerate().flat_map(|(at, word)| {
            let mut left = *word;
            std::iter::from_fn(move || {
                if left == 0 {
                    return None;
                }
                let bit = left.trailing_zeros() as usize;
                left &= left - 1;
                Some(at * BITS + bit)
            })
        })
    }
}

impl FromIterator<usize> for NodeSet {
    fn from_iter<I: IntoIterator<Item = usize>>(indices: I) -> Self {
        let mut set = Self::default();
        indices.into_iter().for_each(|index| set.insert(index));
        set
    }
}

impl fmt::Debug for NodeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_taken_in_is_in_and_nothing_else() {
        let some = NodeSet::from_iter([130, 0, 63, 64, 0]);
        assert_eq!(some.iter().collect::<Vec<_>>(), [0, 63, 64, 130]);
        assert_eq!((some.len(), some.is_empty()), (4, false));
        assert_eq!(
            [0, 1, 64, 130, 131, 1000].map(|index| some.contains(index)),
            [true, false, true, true, false, false]
        );
        assert_eq!(format!("{some:?}"), "{0, 63, 64, 130}");
        let mut fewer = some.clone();
        [130, 64, 7, 1000].into_iter().for_each(|index| fewer.remove(index));
        assert_eq!(fewer, NodeSet::from_iter([0, 63]), "as if they had never been in");
        assert!(NodeSet::default().is_empty());
        for count in [0, 1, 63, 64, 65, 200] {
            assert_eq!(NodeSet::all(count), (0..count).collect::<NodeSet>(), "{count}");
            assert_eq!(NodeSet::all(count).len(), count);
        }
    }
}
