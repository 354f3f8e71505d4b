use super::{LEAF, index::Index};
use crate::state::Record;
use kubeplane_store_trait::{Keys, Revision};
use std::sync::{Arc, OnceLock};

/// The records at the end of a path, in order.
#[derive(Debug, Default)]
pub(crate) struct Leaf {
    records: Vec<Arc<Record>>,
    /// There are many, and what lies side by side is alike: little of each tells them from each other.
    index: Index<4, LEAF>,
    /// Their keys and revisions side by side. Records lie anywhere in memory, and looking at each of them costs more
    /// than all else that a list of keys does; so it is done once for each leaf as it is, and only for who asks.
    keys: OnceLock<Box<Keys>>,
}

impl Leaf {
    pub(crate) fn of(records: Vec<Arc<Record>>) -> Self {
        let index = Index::of(records.len(), key(&records));
        Self { records, index, keys: OnceLock::new() }
    }

    pub(crate) fn records(&self) -> &[Arc<Record>] {
        &self.records
    }

    /// Puts a record in the place of the one with its key.
    pub(crate) fn replace(&mut self, at: usize, record: Arc<Record>) -> Arc<Record> {
        self.keys.take();
        std::mem::replace(&mut self.records[at], record)
    }

    /// Puts a record in front of the one at this place; returns what is split off to the right.
    pub(crate) fn insert(&mut self, at: usize, record: Arc<Record>) -> Option<Self> {
        self.keys.take();
        let len = self.records.len();
        if len < LEAF {
            self.records.insert(at, record);
            self.index.insert(at, key(&self.records));
            return None;
        }
        if at == len {
            // Keys that come in order leave full leaves behind.
            return Some(Self::of(vec![record]));
        }
        let half = LEAF / 2;
        let mut right = Self { index: self.index.split_off(half), ..Self::default() };
        right.records.reserve_exact(LEAF);
        right.records.extend(self.records.drain(half..));
        if at <= half {
            self.insert(at, record);
        } else {
            right.insert(at - half, record);
        }
        for part in [&mut *self, &mut right] {
            part.index.tighten(key(&part.records));
        }
        Some(right)
    }

    pub(crate) fn remove(&mut self, at: usize) -> Arc<Record> {
        self.keys.take();
        self.index.remove(at);
        self.records.remove(at)
    }

    /// Takes in what comes behind its records.
    pub(crate) fn append(&mut self, right: &Self) {
        self.keys.take();
        self.records.extend_from_slice(&right.records);
        self.index = Index::of(self.records.len(), key(&self.records));
    }

    pub(crate) fn keys(&self) -> &Keys {
        self.keys.get_or_init(|| {
            let size = self.records.iter().map(|record| record.key.as_bytes().len()).sum();
            let mut keys = Keys::with_capacity(self.records.len(), size);
            for record in &self.records {
                keys.push(&record.key, Revision(record.revision), Revision(record.created));
            }
            Box::new(keys)
        })
    }

    /// Where the key is, or where it would be.
    pub(crate) fn search(&self, wanted: &[u8]) -> Result<usize, usize> {
        self.index.search(wanted, key(&self.records))
    }
}

impl Clone for Leaf {
    /// A copy is made to be changed, so that it has its keys made anew when they are wanted.
    fn clone(&self) -> Self {
        let mut records = Vec::with_capacity(LEAF);
        records.extend_from_slice(&self.records);
        Self { records, index: self.index, keys: OnceLock::new() }
    }
}

fn key<'a>(records: &'a [Arc<Record>]) -> impl Fn(usize) -> &'a [u8] {
    |at| records[at].key.as_bytes()
}
