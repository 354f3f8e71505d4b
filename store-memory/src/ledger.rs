use crate::state::{Change, Record, State};
use bytes::Bytes;
use kubeplane_store_trait::{Deleted, Error, Key, Result, Revision};
use std::{collections::BTreeSet, sync::Arc, time::Duration};

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
}

impl Write {
    /// Roughly what it adds to the log, in bytes.
    pub(crate) fn size(&self) -> usize {
        match self {
            Self::Create { key, value, .. } | Self::Update { key, value, .. } => {
                key.as_bytes().len() + value.len()
            }
            Self::Delete { key, .. } => key.as_bytes().len(),
            Self::Compact { .. } | Self::Expire => 0,
        }
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
        let deadlines: BTreeSet<_> = state
            .entries
            .iter()
            .filter_map(|(key, record)| Some((record.deadline?, key.clone())))
            .collect();
        let mut ledger = Self { state, deadlines, limits };
        ledger.note_next_deadline();
        ledger
    }

    /// Does one thing at the time `now`. An error means that nothing was done.
    pub(crate) fn apply(&mut self, write: Write, now: Duration) -> Result<Outcome> {
        match write {
            Write::Create { key, value, ttl } => {
                if let Some(record) = self.state.entries.get(&key) {
                    let current = record.entry(&key, false);
                    return Err(Error::Exists { key, current });
                }
                let deadline = ttl.map(|ttl| now.saturating_add(ttl));
                Ok(Outcome::Written(self.put(key, value, deadline, now)))
            }
            Write::Update { key, value, expected, ttl } => {
                self.check(&key, expected)?;
                let deadline = ttl.map(|ttl| now.saturating_add(ttl));
                Ok(Outcome::Written(self.put(key, value, deadline, now)))
            }
            Write::Delete { key, expected } => {
                let previous = self.check(&key, expected)?.entry(&key, false);
                let revision = self.remove(key, now);
                Ok(Outcome::Deleted(Deleted { previous, revision }))
            }
            Write::Compact { through } => self.compact(through.0).map(|()| Outcome::Done),
            Write::Expire => {
                while let Some((deadline, key)) = self.deadlines.first().cloned() {
                    if deadline > now {
                        break;
                    }
                    self.remove(key, now);
                }
                Ok(Outcome::Done)
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
        let revision = self.state.revision + 1;
        let before = self.state.entries.get(&key).cloned();
        let created = before.as_ref().map_or(revision, |record| record.created);
        let after = Arc::new(Record { value, revision, created, deadline });
        if let Some(deadline) = deadline {
            self.deadlines.insert((deadline, key.clone()));
        }
        self.state.entries.insert(key.clone(), after.clone());
        self.state.size += (key.as_bytes().len() + after.value.len()) as u64;
        self.record(Change { revision, key, before, after: Some(after), at: now })
    }

    /// Removes a key under the next revision.
    pub(crate) fn remove(&mut self, key: Key, now: Duration) -> Revision {
        let revision = self.state.revision + 1;
        let before = self.state.entries.remove(&key);
        self.record(Change { revision, key, before, after: None, at: now })
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
        while self.state.history.front().is_some_and(|change| change.revision <= through) {
            self.forget_oldest();
        }
        self.state.compacted = through;
        Ok(())
    }

    /// Drops what the limits no longer allow to be kept.
    pub(crate) fn trim(&mut self, now: Duration) {
        while let Some(oldest) = self.state.history.front() {
            let kept = self.state.history.len() <= self.limits.revisions
                && self.state.history_weight <= self.limits.bytes
                && now.saturating_sub(oldest.at) <= self.limits.age;
            if kept {
                break;
            }
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some(change) = self.state.history.pop_front() {
            self.state.history_weight -= change.weight();
            self.state.compacted = change.revision;
        }
    }

    fn check(&self, key: &Key, expected: Revision) -> Result<&Arc<Record>> {
        let record = self.state.entries.get(key);
        match record {
            Some(record) if record.revision == expected.0 => Ok(record),
            _ => Err(Error::Conflict {
                key: key.clone(),
                current: record.map(|record| record.entry(key, false)),
            }),
        }
    }

    fn record(&mut self, change: Change) -> Revision {
        if let Some(before) = &change.before {
            self.state.size -= (change.key.as_bytes().len() + before.value.len()) as u64;
            if let Some(deadline) = before.deadline {
                let still = change.after.as_ref().and_then(|after| after.deadline);
                if still != Some(deadline) {
                    self.deadlines.remove(&(deadline, change.key.clone()));
                }
            }
        }
        let revision = change.revision;
        self.state.revision = revision;
        self.state.history_weight += change.weight();
        self.state.history.push_back(Arc::new(change));
        self.note_next_deadline();
        Revision(revision)
    }

    fn note_next_deadline(&mut self) {
        self.state.next_deadline = self.deadlines.first().map(|(deadline, _)| *deadline);
    }
}
