use crate::state::{Change, Record, State, What};
use bytes::Bytes;
use kubeplane_store_trait::{Deleted, Error, Key, Result, Revision};
use std::{cmp::Ordering, collections::BTreeSet, sync::Arc, time::Duration};

/// How much history is kept for exact reads and watches.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HistoryLimits {
    pub(crate) age: Duration,
    pub(crate) revisions: usize,
    pub(crate) bytes: usize,
}

/// One thing to be done to the store.
#[derive(Debug)]
pub(crate) enum Write {
    Create {
        key: Key,
        value: Bytes,
        ttl: Option<Duration>,
    },
    Update {
        key: Key,
        value: Bytes,
        expected: Revision,
        ttl: Option<Duration>,
    },
    Delete {
        key: Key,
        expected: Revision,
    },
    Compact {
        through: Revision,
    },
    /// Deletes every entry whose deadline has passed.
    Expire,
    /// Makes the entries be these, in order of their keys; their revisions are not looked at.
    Replace {
        records: Vec<Arc<Record>>,
    },
}

impl Write {
    /// The key it is about; `None` when it is about more.
    pub(crate) fn key(&self) -> Option<&Key> {
        match self {
            Self::Create { key, .. } | Self::Update { key, .. } | Self::Delete { key, .. } => {
                Some(key)
            }
            Self::Compact { .. } | Self::Expire | Self::Replace { .. } => None,
        }
    }

    /// Whether it must be in a group of its own: a compaction takes away the very history from which
    /// the others in its group would be delivered, a replacement is large.
    pub(crate) fn alone(&self) -> bool {
        matches!(self, Self::Compact { .. } | Self::Replace { .. })
    }

    /// Roughly what it adds to the log, in bytes.
    pub(crate) fn size(&self) -> usize {
        let value = match self {
            Self::Create { value, .. } | Self::Update { value, .. } => value.len(),
            _ => 0,
        };
        value + self.key().map_or(0, |key| key.as_bytes().len())
    }
}

/// What a write did.
#[derive(Debug)]
pub(crate) enum Outcome {
    Written(Revision),
    Deleted(Deleted),
    Done,
}

/// The state as its one writer sees it: ahead of what is published by the writes under way.
#[derive(Debug)]
pub(crate) struct Ledger {
    pub(crate) state: State,
    deadlines: BTreeSet<(Duration, Key)>,
    limits: HistoryLimits,
}

impl Ledger {
    pub(crate) fn new(state: State, limits: HistoryLimits) -> Self {
        let deadlines = state
            .entries
            .iter()
            .filter_map(|record| Some((record.deadline()?, record.key.clone())))
            .collect();
        let mut ledger = Self { state, deadlines, limits };
        ledger.note_next_deadline();
        ledger
    }

    /// Does one thing at the time `now`. An error means that nothing was done.
    pub(crate) fn apply(&mut self, write: Write, now: Duration) -> Result<Outcome> {
        match write {
            Write::Create { key, value, ttl } => {
                if let Some(record) = self.state.entries.get(key.as_bytes()) {
                    let current = record.entry();
                    return Err(Error::Exists { key, current });
                }
                let deadline = ttl.map(|ttl| now.saturating_add(ttl));
                let created = self.state.revision + 1;
                Ok(Outcome::Written(self.store(key, value, created, deadline, now)))
            }
            Write::Update { key, value, expected, ttl } => {
                let record = self.check(&key, expected)?;
                let (key, created) = (record.key.clone(), record.created);
                let deadline = ttl.map(|ttl| now.saturating_add(ttl));
                Ok(Outcome::Written(self.store(key, value, created, deadline, now)))
            }
            Write::Delete { key, expected } => {
                let previous = self.check(&key, expected)?.entry();
                let revision = self.remove(&key, now);
                Ok(Outcome::Deleted(Deleted { previous, revision }))
            }
            Write::Compact { through } => self.compact(through.0).map(|()| Outcome::Done),
            Write::Expire => {
                while let Some((deadline, key)) = self.deadlines.first().cloned() {
                    if deadline > now {
                        break;
                    }
                    self.remove(&key, now);
                }
                Ok(Outcome::Done)
            }
            Write::Replace { records } => {
                self.replace(records, now);
                Ok(Outcome::Written(Revision(self.state.revision)))
            }
        }
    }

    /// Stores a value under the next revision, whatever was there.
    pub(crate) fn put(
        &mut self,
        key: Key,
        value: Bytes,
        deadline: Option<Duration>,
        now: Duration,
    ) -> Revision {
        let created = self.state.revision + 1;
        let (key, created) = match self.state.entries.get(key.as_bytes()) {
            Some(before) => (before.key.clone(), before.created),
            None => (key, created),
        };
        self.store(key, value, created, deadline, now)
    }

    /// Stores a value whose entry was created at `created`; `key` is that entry's own.
    fn store(
        &mut self,
        key: Key,
        value: Bytes,
        created: u64,
        deadline: Option<Duration>,
        now: Duration,
    ) -> Revision {
        let revision = self.state.revision + 1;
        let after = Arc::new(Record::new(key, value, revision, created, deadline));
        if let Some(deadline) = after.deadline() {
            self.deadlines.insert((deadline, after.key.clone()));
        }
        self.state.size += after.size();
        let before = self.state.entries.insert(after.clone());
        if let Some(before) = &before {
            self.leave(before, after.deadline());
        }
        self.record(Change { revision, at: now, what: What::Put { before, after } })
    }

    /// Removes a key under the next revision, if it is there.
    pub(crate) fn remove(&mut self, key: &Key, now: Duration) -> Revision {
        let revision = self.state.revision + 1;
        let Some(before) = self.state.entries.remove(key.as_bytes()) else {
            return Revision(self.state.revision);
        };
        self.leave(&before, None);
        self.record(Change { revision, at: now, what: What::Delete { before } })
    }

    /// Puts and removes what differs from `records`, in order of the keys.
    fn replace(&mut self, records: Vec<Arc<Record>>, now: Duration) {
        let entries = self.state.entries.clone();
        let mut old = entries.iter().peekable();
        for new in records {
            while let Some(gone) = old.next_if(|old| old.key < new.key) {
                self.remove(&gone.key, now);
            }
            let same = match old.peek().map(|old| old.key.cmp(&new.key)) {
                Some(Ordering::Equal) => old
                    .next()
                    .is_some_and(|old| old.value == new.value && old.deadline() == new.deadline()),
                _ => false,
            };
            if !same {
                self.put(new.key.clone(), new.value.clone(), new.deadline(), now);
            }
        }
        for gone in old {
            self.remove(&gone.key, now);
        }
    }

    /// Forgets the history before `through`.
    pub(crate) fn compact(&mut self, through: u64) -> Result<()> {
        let state = &mut self.state;
        if through <= state.compacted {
            return Err(Error::Compacted {
                requested: Revision(through),
                oldest: Revision(state.compacted),
            });
        }
        if through > state.revision {
            return Err(Error::Future {
                requested: Revision(through),
                latest: Revision(state.revision),
            });
        }
        self.forget(through);
        Ok(())
    }

    /// Drops what the limits no longer allow to be kept.
    pub(crate) fn trim(&mut self, now: Duration) {
        let state = &self.state;
        let limit = self.limits.revisions as u64;
        let mut through = state.compacted.max(state.revision.saturating_sub(limit));
        let changes = state.changes_after(state.compacted);
        let mut weight = state.history_weight;
        for change in changes {
            let kept = change.revision > through
                && weight <= self.limits.bytes
                && now.saturating_sub(change.at) <= self.limits.age;
            if kept {
                break;
            }
            weight -= change.weight();
            through = change.revision;
        }
        self.state.history_weight = weight;
        self.release(through);
    }

    fn forget(&mut self, through: u64) {
        let state = &self.state;
        let gone =
            state.history.between(state.compacted, through).map(Change::weight).sum::<usize>();
        self.state.history_weight -= gone;
        self.release(through);
    }

    fn release(&mut self, through: u64) {
        let state = &mut self.state;
        if through > state.compacted {
            state.compacted = through;
            state.history.forget(through, state.revision);
        }
    }

    fn check(&self, key: &Key, expected: Revision) -> Result<&Arc<Record>> {
        let record = self.state.entries.get(key.as_bytes());
        match record {
            Some(record) if record.revision == expected.0 => Ok(record),
            _ => Err(Error::Conflict {
                key: key.clone(),
                current: record.map(|record| record.entry()),
            }),
        }
    }

    /// Notes that `before` is no longer stored; what is in its place has the deadline `next`.
    fn leave(&mut self, before: &Record, next: Option<Duration>) {
        self.state.size -= before.size();
        if let Some(deadline) = before.deadline()
            && next != Some(deadline)
        {
            self.deadlines.remove(&(deadline, before.key.clone()));
        }
    }

    fn record(&mut self, change: Change) -> Revision {
        let revision = change.revision;
        self.state.revision = revision;
        self.state.history_weight += change.weight();
        self.state.history.push(change);
        self.note_next_deadline();
        Revision(revision)
    }

    fn note_next_deadline(&mut self) {
        self.state.next_deadline = self.deadlines.first().map(|(deadline, _)| *deadline);
    }
}
