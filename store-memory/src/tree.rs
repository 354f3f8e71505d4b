use crate::state::Record;
use bounds::Bounds;
use kubeplane_store_trait::{Key, KeyRange};
use std::sync::Arc;

mod bounds;
mod index;
mod iter;
mod leaf;

pub(crate) use iter::Iter;
use leaf::Leaf;

/// The most records of a leaf, and the most children of an inner node.
const LEAF: usize = 16;
const INNER: usize = 16;

/// A persistent B+ tree of records by key. A clone shares everything; a change copies one path of nodes, or nothing
/// when no clone holds them. Inner nodes count what is below them, so the size of a range is found without a walk.
#[derive(Debug, Clone)]
pub(crate) struct Tree {
    root: Arc<Node>,
}

#[derive(Debug, Clone)]
enum Node {
    Leaf(Leaf),
    Inner(Inner),
}

#[derive(Debug, Clone)]
struct Inner {
    children: Vec<Arc<Node>>,
    /// How many records each child holds. Shared, because a record that is only replaced leaves it as it is.
    lens: Arc<[usize]>,
    /// Between each two children. Shared, because most changes leave it as it is.
    bounds: Arc<Bounds>,
}

/// A node that was split off to the right, and the bound between the two.
type Split = Option<(Key, Arc<Node>)>;

impl Tree {
    pub(crate) fn new() -> Self {
        Self { root: Arc::new(Node::Leaf(Leaf::default())) }
    }

    /// A tree of records in strictly ascending order of their keys; its nodes are full.
    pub(crate) fn from_sorted(records: Vec<Arc<Record>>) -> Self {
        let mut level = Vec::with_capacity(records.len() / LEAF + 1);
        let mut records = records.into_iter().peekable();
        while let Some(first) = records.peek() {
            let least = first.key.clone();
            let leaf: Vec<_> = records.by_ref().take(LEAF).collect();
            level.push((least, leaf.len(), Arc::new(Node::Leaf(Leaf::of(leaf)))));
        }
        while level.len() > 1 {
            level = stack(level);
        }
        level.pop().map_or_else(Self::new, |(_, _, root)| Self { root })
    }

    pub(crate) fn len(&self) -> usize {
        self.root.len()
    }

    pub(crate) fn get(&self, key: &[u8]) -> Option<&Arc<Record>> {
        let mut node = &self.root;
        loop {
            match &**node {
                Node::Leaf(leaf) => return leaf.records().get(leaf.search(key).ok()?),
                Node::Inner(inner) => node = &inner.children[inner.child(key)],
            }
        }
    }

    /// Puts a record in, in place of the one with its key.
    pub(crate) fn insert(&mut self, record: Arc<Record>) -> Option<Arc<Record>> {
        let (old, split) = insert(&mut self.root, record);
        if let Some((bound, right)) = split {
            let lens = [self.root.len(), right.len()].into();
            let children = vec![self.root.clone(), right];
            let bounds = Arc::new(Bounds::of(vec![bound]));
            self.root = Arc::new(Node::Inner(Inner { children, lens, bounds }));
        }
        old
    }

    pub(crate) fn remove(&mut self, key: &[u8]) -> Option<Arc<Record>> {
        // Nothing is copied for a key that is not there.
        self.get(key)?;
        let old = remove(&mut self.root, key);
        while let Node::Inner(inner) = &*self.root
            && inner.children.len() == 1
        {
            self.root = inner.children[0].clone();
        }
        old
    }

    /// How many keys order before `key`.
    fn rank(&self, key: &[u8]) -> usize {
        let (mut node, mut rank) = (&self.root, 0);
        loop {
            match &**node {
                Node::Leaf(leaf) => return rank + leaf.search(key).unwrap_or_else(|at| at),
                Node::Inner(inner) => {
                    let child = inner.child(key);
                    rank += inner.lens[..child].iter().sum::<usize>();
                    node = &inner.children[child];
                }
            }
        }
    }

    pub(crate) fn iter(&self) -> Iter<'_> {
        self.seek(&[], self.len())
    }

    /// The records of a range, in order.
    pub(crate) fn range(&self, range: &KeyRange) -> Iter<'_> {
        let start = self.rank(range.start());
        let end = range.end().map_or(self.len(), |end| self.rank(end));
        self.seek(range.start(), end.saturating_sub(start))
    }

    fn seek(&self, start: &[u8], len: usize) -> Iter<'_> {
        Iter::seek(&self.root, start, len)
    }
}

impl Node {
    fn len(&self) -> usize {
        match self {
            Self::Leaf(leaf) => leaf.records().len(),
            Self::Inner(inner) => inner.lens.iter().sum(),
        }
    }

    /// Records of a leaf, children of an inner node.
    fn width(&self) -> usize {
        match self {
            Self::Leaf(leaf) => leaf.records().len(),
            Self::Inner(inner) => inner.children.len(),
        }
    }
}

impl Inner {
    fn child(&self, key: &[u8]) -> usize {
        self.bounds.child(key)
    }

    /// Takes in what a child split off; splits itself when that is too much.
    fn adopt(&mut self, child: usize, bound: Key, right: Arc<Node>) -> Split {
        let len = right.len();
        let mut lens = self.lens.to_vec();
        lens[child] -= len;
        lens.insert(child + 1, len);
        self.children.insert(child + 1, right);
        let bounds = Arc::make_mut(&mut self.bounds);
        bounds.insert(child, bound);
        if self.children.len() <= INNER {
            self.lens = lens.into();
            return None;
        }
        // Keys that come in order leave full nodes behind.
        let last = child + 2 == self.children.len();
        let at = if last { INNER } else { INNER / 2 };
        let (bound, right_bounds) = bounds.split_at(at - 1);
        let children = self.children.split_off(at);
        let right_lens = lens.split_off(at);
        self.lens = lens.into();
        let right = Inner { children, lens: right_lens.into(), bounds: Arc::new(right_bounds) };
        Some((bound, Arc::new(Node::Inner(right))))
    }

    /// Joins the child, which has lost a record, with a neighbour when both are small.
    fn tidy(&mut self, child: usize) {
        let width = self.children[child].width();
        if width == 0 {
            self.children.remove(child);
            let kept = self.lens.iter().enumerate().filter(|(at, _)| *at != child);
            self.lens = kept.map(|(_, len)| *len).collect();
            if !self.bounds.keys().is_empty() {
                Arc::make_mut(&mut self.bounds).remove(child.saturating_sub(1));
            }
        } else if width <= LEAF.min(INNER) / 4 {
            let left = child.saturating_sub(1);
            if let Some(right) = self.children.get(left + 1)
                && self.children[left].width() + right.width() <= LEAF.min(INNER) / 2
            {
                self.join(left);
            }
        }
    }

    fn join(&mut self, left: usize) {
        let right = self.children.remove(left + 1);
        let mut lens = self.lens.to_vec();
        lens[left] += lens.remove(left + 1);
        self.lens = lens.into();
        let bound = Arc::make_mut(&mut self.bounds).remove(left);
        match (Arc::make_mut(&mut self.children[left]), &*right) {
            (Node::Leaf(leaf), Node::Leaf(more)) => {
                leaf.append(more);
            }
            (Node::Inner(inner), Node::Inner(more)) => {
                inner.children.extend_from_slice(&more.children);
                inner.lens = inner.lens.iter().chain(&*more.lens).copied().collect();
                Arc::make_mut(&mut inner.bounds).append(bound, &more.bounds);
            }
            _ => unreachable!("all leaves are equally deep"),
        }
    }
}

/// One level of inner nodes above `level`, which holds the least key and the size of each node.
fn stack(level: Vec<(Key, usize, Arc<Node>)>) -> Vec<(Key, usize, Arc<Node>)> {
    let mut above = Vec::with_capacity(level.len() / INNER + 1);
    for part in level.chunks(INNER) {
        let bounds = Bounds::of(part[1..].iter().map(|(least, ..)| least.clone()).collect());
        let lens: Arc<[_]> = part.iter().map(|(_, len, _)| *len).collect();
        let children = part.iter().map(|(.., node)| node.clone()).collect();
        let len = lens.iter().sum();
        let inner = Inner { children, lens, bounds: Arc::new(bounds) };
        above.push((part[0].0.clone(), len, Arc::new(Node::Inner(inner))));
    }
    above
}

fn insert(node: &mut Arc<Node>, record: Arc<Record>) -> (Option<Arc<Record>>, Split) {
    match Arc::make_mut(node) {
        Node::Leaf(leaf) => match leaf.search(record.key.as_bytes()) {
            Ok(at) => (Some(leaf.replace(at, record)), None),
            Err(at) => {
                let right = leaf.insert(at, record);
                let split =
                    |right: Leaf| (right.records()[0].key.clone(), Arc::new(Node::Leaf(right)));
                (None, right.map(split))
            }
        },
        Node::Inner(inner) => {
            let child = inner.child(record.key.as_bytes());
            let (old, split) = insert(&mut inner.children[child], record);
            if old.is_none() {
                Arc::make_mut(&mut inner.lens)[child] += 1;
            }
            let split = split.and_then(|(bound, right)| inner.adopt(child, bound, right));
            (old, split)
        }
    }
}

fn remove(node: &mut Arc<Node>, key: &[u8]) -> Option<Arc<Record>> {
    match Arc::make_mut(node) {
        Node::Leaf(leaf) => {
            let at = leaf.search(key).ok()?;
            Some(leaf.remove(at))
        }
        Node::Inner(inner) => {
            let child = inner.child(key);
            let old = remove(&mut inner.children[child], key)?;
            Arc::make_mut(&mut inner.lens)[child] -= 1;
            inner.tidy(child);
            Some(old)
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed test says where")]
mod tests;
