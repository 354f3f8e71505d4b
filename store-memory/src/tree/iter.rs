use super::{Leaf, Node};
use crate::state::Record;
use kubeplane_store_trait::Keys;
use std::{iter, ops::Range, slice, sync::Arc};

/// Records in order; knows how many are left.
#[derive(Debug, Clone)]
pub(crate) struct Iter<'a> {
    above: Vec<slice::Iter<'a, Arc<Node>>>,
    leaf: Option<&'a Leaf>,
    /// Those of the leaf that are left.
    records: slice::Iter<'a, Arc<Record>>,
    len: usize,
}

impl<'a> Iter<'a> {
    /// The first `len` records at or behind `start` below `root`.
    pub(super) fn seek(root: &'a Node, start: &[u8], len: usize) -> Self {
        let mut iter = Iter { above: Vec::new(), leaf: None, records: [].iter(), len };
        let mut node = root;
        loop {
            match node {
                Node::Leaf(leaf) => {
                    let at = leaf.search(start).unwrap_or_else(|at| at);
                    iter.enter(leaf, at);
                    return iter;
                }
                Node::Inner(inner) => {
                    let child = inner.child(start);
                    iter.above.push(inner.children[child + 1..].iter());
                    node = &inner.children[child];
                }
            }
        }
    }

    /// The keys of the next `most` records.
    pub(crate) fn keys(&mut self, most: usize) -> Keys {
        let mut left = most;
        let parts = iter::from_fn(|| {
            let (leaf, range) = self.part(left)?;
            left -= range.len();
            Some((leaf.keys(), range))
        });
        let parts: Vec<_> = parts.collect();
        let len = parts.iter().map(|(_, range)| range.len()).sum();
        let size = parts.iter().map(|(keys, range)| keys.size(range.clone())).sum();
        let mut all = Keys::with_capacity(len, size);
        for (keys, range) in parts {
            all.append(keys, range);
        }
        all
    }

    /// The next records, at most `most`, of one leaf: it, and which of its.
    fn part(&mut self, most: usize) -> Option<(&'a Leaf, Range<usize>)> {
        let most = most.min(self.len);
        if most == 0 {
            return None;
        }
        while self.records.as_slice().is_empty() {
            self.turn()?;
        }
        let leaf = self.leaf?;
        let start = leaf.records().len() - self.records.len();
        let end = leaf.records().len().min(start + most);
        self.enter(leaf, end);
        self.len -= end - start;
        Some((leaf, start..end))
    }

    /// Goes to the next leaf.
    fn turn(&mut self) -> Option<()> {
        loop {
            let node = match self.above.last_mut()?.next() {
                Some(node) => node,
                None => {
                    self.above.pop();
                    continue;
                }
            };
            match &**node {
                Node::Leaf(leaf) => {
                    self.enter(leaf, 0);
                    return Some(());
                }
                Node::Inner(inner) => self.above.push(inner.children.iter()),
            }
        }
    }

    fn enter(&mut self, leaf: &'a Leaf, at: usize) {
        self.leaf = Some(leaf);
        self.records = leaf.records()[at..].iter();
    }
}

impl<'a> Iterator for Iter<'a> {
    type Item = &'a Arc<Record>;

    fn next(&mut self) -> Option<Self::Item> {
        self.len = self.len.checked_sub(1)?;
        loop {
            if let Some(record) = self.records.next() {
                return Some(record);
            }
            self.turn()?;
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.len, Some(self.len))
    }
}

impl ExactSizeIterator for Iter<'_> {}
