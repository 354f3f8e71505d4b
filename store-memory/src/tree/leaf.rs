use crate::state::Record;
use kubeplane_store_trait::{Keys, Revision};
use std::sync::{Arc, OnceLock};

/// The records at the end of a path, in order.
#[derive(Debug, Default)]
pub(crate) struct Leaf {
    records: Vec<Arc<Record>>,
    /// Their keys and revisions side by side. Records lie anywhere in memory, and looking at each of them costs more
    /// than all else that a list of keys does; so it is done once for each leaf as it is, and only for who asks.
    keys: OnceLock<Box<Keys>>,
}

impl Leaf {
    pub(crate) fn of(records: Vec<Arc<Record>>) -> Self {
        Self { records, keys: OnceLock::new() }
    }

    pub(crate) fn records(&self) -> &[Arc<Record>] {
        &self.records
    }

    /// To be changed.
    pub(crate) fn change(&mut self) -> &mut Vec<Arc<Record>> {
        self.keys.take();
        &mut self.records
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
    pub(crate) fn search(&self, key: &[u8]) -> Result<usize, usize> {
        self.records.binary_search_by(|record| record.key.as_bytes().as_ref().cmp(key))
    }
}

impl Clone for Leaf {
    /// A copy is made to be changed, so that it has its keys made anew when they are wanted.
    fn clone(&self) -> Self {
        Self::of(self.records.clone())
    }
}
