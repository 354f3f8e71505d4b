//! What was written to a cluster, and by whom.

use bytes::Bytes;
use jiff::Timestamp;
use parking_lot::Mutex;
use std::{collections::VecDeque, fmt, sync::Arc};

/// How many writes are remembered.
const KEPT: usize = 100_000;
/// How many are printed when a test fails.
const TOLD: usize = 200;

/// What a write did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum WriteKind {
    /// It made an object.
    Create,
    /// It changed one.
    Update,
    /// It removed one.
    Delete,
}

impl fmt::Display for WriteKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Delete => "delete",
        })
    }
}

/// One write of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Write {
    /// Its revision, which is the object's resourceVersion.
    pub revision: u64,
    /// When, on the cluster's clock.
    pub at: Timestamp,
    /// The user who asked for it, or `system:apiserver`.
    pub by: String,
    /// What it did.
    pub kind: WriteKind,
    /// The key, as in `/registry/pods/default/web`.
    pub key: String,
    /// What was stored, without the resourceVersion; nothing for a deletion.
    pub value: Bytes,
}

impl fmt::Display for Write {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { revision, at, by, kind, key, .. } = self;
        write!(f, "{revision:>6} {at:.3} {kind} {key} by {by}")
    }
}

/// The last 100,000 writes of a cluster, in the order of their revisions.
///
/// Its text is a line for each; [`to_bytes`](Self::to_bytes) has what was stored, too. Clones are the same history.
#[derive(Debug, Clone, Default)]
pub struct History(Arc<Mutex<VecDeque<Write>>>);

impl History {
    pub(super) fn push(&self, write: Write) {
        let mut writes = self.0.lock();
        if writes.len() == KEPT {
            writes.pop_front();
        }
        // Answers may come in another order than the writes were made.
        let later = writes.iter().rev().take_while(|other| other.revision > write.revision).count();
        let place = writes.len() - later;
        writes.insert(place, write);
    }

    /// The writes, the oldest first.
    #[must_use]
    pub fn writes(&self) -> Vec<Write> {
        self.0.lock().iter().cloned().collect()
    }

    /// Everything about every write: equal for two runs that wrote the same at the same times in the same order.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for write in self.0.lock().iter() {
            bytes.extend_from_slice(write.to_string().as_bytes());
            bytes.push(b'\n');
            bytes.extend_from_slice(&write.value);
            bytes.push(b'\n');
        }
        bytes
    }

    /// The last writes but for renewed leases, as a failed test tells them.
    pub(super) fn tail(&self) -> String {
        let writes = self.0.lock();
        let mut lines: Vec<_> = writes
            .iter()
            .rev()
            .filter(|write| !write.key.contains("/leases/"))
            .take(TOLD)
            .map(ToString::to_string)
            .collect();
        lines.reverse();
        lines.join("\n")
    }
}

impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.lock().iter().try_for_each(|write| writeln!(f, "{write}"))
    }
}
