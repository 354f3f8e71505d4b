use crate::{
    log::record,
    state::{Change, Record, State, What},
};
use bytes::Bytes;
use kubeplane_store_trait::{Deleted, Error, Key, Result, Revision};
use std::{cmp::Ordering, collections::BTreeSet, sync::Arc, time::Duration};

/// The most that one replacement may write to the log, in bytes: all of it is one group there.
const REPLACED: usize = 1 << 30;

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

/// A part of a replacement.
#[derive(Debug)]
enum Step {
    Put(Arc<Record>),
    Remove(Arc<Record>),
}

impl Step {
    /// What it adds to the log, in bytes.
    fn len(&self) -> usize {
        match self {
            Self::Put(record) => record::put_len(&record.key, &record.value),
            Self::Remove(record) => record::delete_len(&record.key),
        }
    }
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
                self.replace(records, REPLACED, now)?;
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
        self.record(Change::new(revision, now, What::Put { before, after }))
    }

    /// Removes a key under the next revision, if it is there.
    pub(crate) fn remove(&mut self, key: &Key, now: Duration) -> Revision {
        let revision = self.state.revision + 1;
        let Some(before) = self.state.entries.remove(key.as_bytes()) else {
            return Revision(self.state.revision);
        };
        self.leave(&before, None);
        self.record(Change::new(revision, now, What::Delete { before }))
    }

    /// Puts and removes what differs from `records`, in order of the keys; nothing if that is more than `limit`
    /// bytes of log.
    fn replace(&mut self, records: Vec<Arc<Record>>, limit: usize, now: Duration) -> Result<()> {
        let steps = self.steps(records);
        let size = steps.iter().map(Step::len).sum();
        if size > limit {
            return Err(Error::TooLarge { size, limit });
        }
        for step in steps {
            match step {
                Step::Put(new) => {
                    self.put(new.key.clone(), new.value.clone(), new.deadline(), now);
                }
                Step::Remove(old) => {
                    self.remove(&old.key, now);
                }
            }
        }
        Ok(())
    }

    /// What makes the entries be `records`, in order of the keys.
    fn steps(&self, records: Vec<Arc<Record>>) -> Vec<Step> {
        let mut steps = Vec::new();
        let mut old = self.state.entries.iter().peekable();
        for new in records {
            while let Some(gone) = old.next_if(|old| old.key < new.key) {
                steps.push(Step::Remove(gone.clone()));
            }
            let same = match old.peek().map(|old| old.key.cmp(&new.key)) {
                Some(Ordering::Equal) => old
                    .next()
                    .is_some_and(|old| old.value == new.value && old.deadline() == new.deadline()),
                _ => false,
            };
            if !same {
                steps.push(Step::Put(new));
            }
        }
        steps.extend(old.cloned().map(Step::Remove));
        steps
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
            weight -= change.weight;
            through = change.revision;
        }
        self.state.history_weight = weight;
        self.release(through);
    }

    fn forget(&mut self, through: u64) {
        let state = &self.state;
        let gone = state.history.between(state.compacted, through).map(|change| change.weight);
        self.state.history_weight -= gone.sum::<usize>();
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
        self.state.history_weight += change.weight;
        self.state.history.push(change);
        self.note_next_deadline();
        Revision(revision)
    }

    fn note_next_deadline(&mut self) {
        self.state.next_deadline = self.deadlines.first().map(|(deadline, _)| *deadline);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed test says where")]
mod tests {
    use super::*;

    fn record(name: &str, value: &str) -> Arc<Record> {
        let key = Key::new(name.to_owned()).unwrap();
        Arc::new(Record::new(key, value.to_owned().into(), 2, 2, None))
    }

    #[test]
    fn a_replacement_too_large_for_the_log_is_refused_and_changes_nothing() {
        let limits = HistoryLimits { age: Duration::MAX, revisions: 1000, bytes: 1 << 20 };
        let entries = vec![record("changed", "1"), record("gone", ""), record("kept", "1")];
        let mut ledger = Ledger::new(State::of(entries, 4), limits);
        let new = || vec![record("changed", "22"), record("kept", "1"), record("new", "")];
        // Exactly what the log would hold, the keys of what is deleted too, but not what stays as it is.
        let mut log = Vec::new();
        record::put(&mut log, &record("changed", "").key, b"22", 0);
        record::delete(&mut log, &record("gone", "").key);
        record::put(&mut log, &record("new", "").key, b"", 0);
        let refused = ledger.replace(new(), log.len() - 1, Duration::ZERO).unwrap_err();
        match refused {
            Error::TooLarge { size, limit } => {
                assert_eq!((size, limit), (log.len(), log.len() - 1))
            }
            other => panic!("{other}"),
        }
        assert_eq!((ledger.state.revision, ledger.state.entries.len()), (4, 3));
        ledger.replace(new(), log.len(), Duration::ZERO).unwrap();
        let keys: Vec<_> = ledger.state.entries.iter().map(|entry| entry.key.to_string()).collect();
        assert_eq!(keys, ["changed", "kept", "new"]);
        assert_eq!(ledger.state.revision, 7);
    }
}
