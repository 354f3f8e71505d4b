//! What is wrong with compaction, expiry and opening again.

use crate::broken::{Flaw, Watch};
use bytes::Bytes;
use kubeplane_store_trait::{
    Deleted, Error, Event, Key, KeyRange, Read, ReadAt, Result, Revision, WatchBatch, WriteOptions,
    conformance::{ModelState, ModelStore, ModelWatcher},
};
use parking_lot::Mutex;
use std::{collections::BTreeSet, time::Duration};

type Item = Result<WatchBatch>;

/// Makes as if some writes had never been.
pub(super) fn undo(state: &mut ModelState, undone: impl Fn(Revision) -> bool) {
    state.log.retain(|event| !undone(event.revision()));
    state.revision = state.log.last().map_or(state.compacted.max(Revision(1)), Event::revision);
    let replayed = state.at(ReadAt::Exact(state.revision)).map(|(entries, _)| entries.into_owned());
    state.entries = replayed.unwrap_or_default();
    let entries = &state.entries;
    state.deadlines.retain(|key, _| entries.contains_key(key));
}

#[derive(Debug, Default)]
pub(crate) struct CompactionIsIgnoredMutant;

impl Flaw for CompactionIsIgnoredMutant {
    fn compact(&self, _: &mut ModelState, _: Revision) -> Result<()> {
        Ok(())
    }
}

/// Forgets one revision too many.
#[derive(Debug, Default)]
pub(crate) struct CompactionForgetsThePointMutant;

impl Flaw for CompactionForgetsThePointMutant {
    fn compact(&self, state: &mut ModelState, through: Revision) -> Result<()> {
        state.compact(through)?;
        let next = Revision(through.0 + 1).min(state.revision);
        if next > through { state.compact(next) } else { Ok(()) }
    }
}

#[derive(Debug, Default)]
pub(crate) struct CompactionOfTheFutureMutant;

impl Flaw for CompactionOfTheFutureMutant {
    fn compact(&self, state: &mut ModelState, through: Revision) -> Result<()> {
        let through = through.min(state.revision);
        state.compact(through)
    }
}

#[derive(Debug, Default)]
pub(crate) struct CompactionTakesRevisionMutant;

impl Flaw for CompactionTakesRevisionMutant {
    fn compact(&self, state: &mut ModelState, through: Revision) -> Result<()> {
        state.compact(through)?;
        state.revision.0 += 1;
        Ok(())
    }
}

#[derive(Debug, Default)]
pub(crate) struct CompactionAgainMutant;

impl Flaw for CompactionAgainMutant {
    fn compact(&self, state: &mut ModelState, through: Revision) -> Result<()> {
        match state.compact(through) {
            Err(Error::Compacted { .. }) => Ok(()),
            other => other,
        }
    }
}

/// Reads the oldest state for one that is gone.
#[derive(Debug, Default)]
pub(crate) struct CompactedReadsAreOldestMutant;

impl Flaw for CompactedReadsAreOldestMutant {
    fn get(&self, state: &mut ModelState, key: &Key, at: ReadAt) -> Result<Read> {
        match state.get(key, at) {
            Err(Error::Compacted { oldest, .. }) => state.get(key, ReadAt::Exact(oldest)),
            other => other,
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct CompactedWatchStartsLateMutant;

impl Flaw for CompactedWatchStartsLateMutant {
    fn watch(&self, model: &ModelStore, range: &KeyRange, after: Revision) -> Result<ModelWatcher> {
        let oldest = model.with(|state| state.compacted);
        model.follow(range, after.max(oldest))
    }
}

#[derive(Debug, Default)]
pub(crate) struct WatchAtThePointIsRefusedMutant;

impl Flaw for WatchAtThePointIsRefusedMutant {
    fn watch(&self, model: &ModelStore, range: &KeyRange, after: Revision) -> Result<ModelWatcher> {
        let oldest = model.with(|state| state.compacted);
        if after == oldest && oldest.0 > 0 {
            return Err(Error::Compacted { requested: after, oldest });
        }
        model.follow(range, after)
    }
}

/// Ends every watcher with a compaction, also those that missed nothing.
#[derive(Debug, Default)]
pub(crate) struct CompactionEndsWatchersMutant;

impl Flaw for CompactionEndsWatchersMutant {
    fn deliver(&self, watch: &mut Watch, item: Item) -> Vec<Item> {
        let compacted = watch.model.with(|state| state.compacted);
        if watch.count > 0 && compacted.0 > 0 { vec![Err(Error::Lagged)] } else { vec![item] }
    }
}

#[derive(Debug, Default)]
pub(crate) struct ExpiryIsIgnoredMutant;

impl Flaw for ExpiryIsIgnoredMutant {
    fn create(
        &self,
        state: &mut ModelState,
        key: &Key,
        value: Bytes,
        _: WriteOptions,
    ) -> Result<Revision> {
        state.create(key, value, WriteOptions::default())
    }
}

/// Entries expire a little before their time: what is left of a second is cut off, not rounded up.
#[derive(Debug, Default)]
pub(crate) struct EarlyExpiryMutant;

impl EarlyExpiryMutant {
    fn sooner(options: WriteOptions) -> WriteOptions {
        let early = |ttl: Duration| ttl.saturating_sub(Duration::from_millis(2));
        WriteOptions { ttl: options.ttl.map(early) }
    }
}

impl Flaw for EarlyExpiryMutant {
    fn create(
        &self,
        state: &mut ModelState,
        key: &Key,
        value: Bytes,
        options: WriteOptions,
    ) -> Result<Revision> {
        state.create(key, value, Self::sooner(options))
    }

    fn update(
        &self,
        state: &mut ModelState,
        key: &Key,
        value: Bytes,
        expected: Revision,
        options: WriteOptions,
    ) -> Result<Revision> {
        state.update(key, value, expected, Self::sooner(options))
    }
}

/// What expires is gone, but no watcher is told.
#[derive(Debug, Default)]
pub(crate) struct ExpiryWithoutEventMutant {
    deleted: Mutex<BTreeSet<Revision>>,
}

impl Flaw for ExpiryWithoutEventMutant {
    fn delete(&self, state: &mut ModelState, key: &Key, expected: Revision) -> Result<Deleted> {
        let deleted = state.delete(key, expected)?;
        self.deleted.lock().insert(deleted.revision);
        Ok(deleted)
    }

    fn deliver(&self, _: &mut Watch, item: Item) -> Vec<Item> {
        let asked = self.deleted.lock();
        vec![item.map(|mut batch| {
            batch.events.retain(|event| match event {
                Event::Delete { revision, .. } => asked.contains(revision),
                _ => true,
            });
            batch
        })]
    }
}

#[derive(Debug, Default)]
pub(crate) struct UpdateKeepsExpiryMutant;

impl Flaw for UpdateKeepsExpiryMutant {
    fn update(
        &self,
        state: &mut ModelState,
        key: &Key,
        value: Bytes,
        expected: Revision,
        options: WriteOptions,
    ) -> Result<Revision> {
        let deadline = state.deadlines.get(key).copied();
        let revision = state.update(key, value, expected, options)?;
        state.deadlines.extend(deadline.map(|deadline| (key.clone(), deadline)));
        Ok(revision)
    }
}

/// An entry dies of the expiry that one before it under the same key was given.
#[derive(Debug, Default)]
pub(crate) struct ExpiryOutlivesItsEntryMutant {
    given: Mutex<BTreeSet<Key>>,
}

impl Flaw for ExpiryOutlivesItsEntryMutant {
    fn create(
        &self,
        state: &mut ModelState,
        key: &Key,
        value: Bytes,
        mut options: WriteOptions,
    ) -> Result<Revision> {
        if options.ttl.is_some() {
            self.given.lock().insert(key.clone());
        } else if self.given.lock().contains(key) {
            options.ttl = Some(Duration::from_millis(500));
        }
        state.create(key, value, options)
    }
}

/// Of the changes of one revision only the first is told.
#[derive(Debug, Default)]
pub(crate) struct OneChangePerRevisionMutant;

impl Flaw for OneChangePerRevisionMutant {
    fn deliver(&self, _: &mut Watch, item: Item) -> Vec<Item> {
        vec![item.map(|mut batch| {
            let mut known = BTreeSet::new();
            batch.events.retain(|event| known.insert(event.revision()));
            batch
        })]
    }
}

#[derive(Debug, Default)]
pub(crate) struct LostLastWriteMutant;

impl Flaw for LostLastWriteMutant {
    fn reopened(&self, state: &mut ModelState) {
        let last = state.revision;
        undo(state, |revision| revision == last);
    }
}

/// Shows a write before it is durable.
#[derive(Debug, Default)]
pub(crate) struct DirtyReadMutant {
    lost: Mutex<BTreeSet<Revision>>,
}

impl Flaw for DirtyReadMutant {
    fn pauses(&self) -> bool {
        true
    }

    fn abandoned(&self, _: &mut ModelState, written: Revision) {
        self.lost.lock().insert(written);
    }

    fn reopened(&self, state: &mut ModelState) {
        let lost = self.lost.lock();
        undo(state, |revision| lost.contains(&revision));
    }
}

#[derive(Debug, Default)]
pub(crate) struct LostHistoryMutant;

impl Flaw for LostHistoryMutant {
    fn reopened(&self, state: &mut ModelState) {
        state.base = state.entries.clone();
        state.log.clear();
    }
}

#[derive(Debug, Default)]
pub(crate) struct LostCompactionMutant;

impl Flaw for LostCompactionMutant {
    fn reopened(&self, state: &mut ModelState) {
        state.compacted = Revision(0);
    }
}

/// Takes the newest entry's revision for the latest.
#[derive(Debug, Default)]
pub(crate) struct ReusedRevisionsMutant;

impl Flaw for ReusedRevisionsMutant {
    fn reopened(&self, state: &mut ModelState) {
        let newest = state.entries.values().map(|entry| entry.revision).max();
        state.revision = newest.unwrap_or(Revision(1)).max(state.compacted);
        let latest = state.revision;
        state.log.retain(|event| event.revision() <= latest);
    }
}

#[derive(Debug, Default)]
pub(crate) struct LostExpiriesMutant;

impl Flaw for LostExpiriesMutant {
    fn reopened(&self, state: &mut ModelState) {
        state.deadlines.clear();
    }
}
