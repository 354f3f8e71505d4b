use crate::broken::Flaw;
use bytes::Bytes;
use kubeplane_store_trait::{
    Deleted, Entry, Error, Event, Key, Result, Revision, WriteOptions, conformance::ModelState,
};
use parking_lot::Mutex;

fn current(state: &ModelState, key: &Key, given: Revision) -> Revision {
    state.entries.get(key).map_or(given, |entry| entry.revision)
}

#[derive(Debug, Default)]
pub(crate) struct CreateReplacesMutant;

impl Flaw for CreateReplacesMutant {
    fn create(
        &self,
        state: &mut ModelState,
        key: &Key,
        value: Bytes,
        options: WriteOptions,
    ) -> Result<Revision> {
        Ok(state.put(key, value, options))
    }
}

#[derive(Debug, Default)]
pub(crate) struct UpdateIgnoresRevisionMutant;

impl Flaw for UpdateIgnoresRevisionMutant {
    fn update(
        &self,
        state: &mut ModelState,
        key: &Key,
        value: Bytes,
        expected: Revision,
        options: WriteOptions,
    ) -> Result<Revision> {
        let expected = current(state, key, expected);
        state.update(key, value, expected, options)
    }
}

#[derive(Debug, Default)]
pub(crate) struct DeleteIgnoresRevisionMutant;

impl Flaw for DeleteIgnoresRevisionMutant {
    fn delete(&self, state: &mut ModelState, key: &Key, expected: Revision) -> Result<Deleted> {
        let expected = current(state, key, expected);
        state.delete(key, expected)
    }
}

/// Takes "expected at zero" for "expected to be absent".
#[derive(Debug, Default)]
pub(crate) struct UpdateCreatesMutant;

impl Flaw for UpdateCreatesMutant {
    fn update(
        &self,
        state: &mut ModelState,
        key: &Key,
        value: Bytes,
        expected: Revision,
        options: WriteOptions,
    ) -> Result<Revision> {
        if expected.0 == 0 && !state.entries.contains_key(key) {
            return state.create(key, value, options);
        }
        state.update(key, value, expected, options)
    }
}

/// An update makes the entry new.
#[derive(Debug, Default)]
pub(crate) struct CreationIsForgottenMutant;

impl Flaw for CreationIsForgottenMutant {
    fn update(
        &self,
        state: &mut ModelState,
        key: &Key,
        value: Bytes,
        expected: Revision,
        options: WriteOptions,
    ) -> Result<Revision> {
        let revision = state.update(key, value, expected, options)?;
        edit_last(state, |entry| entry.created = revision);
        Ok(revision)
    }
}

/// Changes the entry that was just put, also in the log.
fn edit_last(state: &mut ModelState, change: impl Fn(&mut Entry)) {
    if let Some(Event::Put { entry, .. }) = state.log.last_mut() {
        change(entry);
        state.entries.insert(entry.key.clone(), entry.clone());
    }
}

#[derive(Debug, Default)]
pub(crate) struct DeleteReturnsNothingMutant;

impl Flaw for DeleteReturnsNothingMutant {
    fn delete(&self, state: &mut ModelState, key: &Key, expected: Revision) -> Result<Deleted> {
        let mut deleted = state.delete(key, expected)?;
        deleted.previous.value = Bytes::new();
        Ok(deleted)
    }
}

/// Revisions are milliseconds: several writes share one.
#[derive(Debug, Default)]
pub(crate) struct WallClockRevisionsMutant {
    start: Mutex<Option<tokio::time::Instant>>,
}

impl Flaw for WallClockRevisionsMutant {
    fn create(
        &self,
        state: &mut ModelState,
        key: &Key,
        value: Bytes,
        options: WriteOptions,
    ) -> Result<Revision> {
        let now = tokio::time::Instant::now();
        let start = *self.start.lock().get_or_insert(now);
        let clock = 100 + (now - start).as_millis() as u64;
        state.revision.0 = clock - 1;
        state.create(key, value, options)
    }
}

/// Two writes in a row get one revision.
#[derive(Debug, Default)]
pub(crate) struct SharedRevisionsMutant;

impl Flaw for SharedRevisionsMutant {
    fn create(
        &self,
        state: &mut ModelState,
        key: &Key,
        value: Bytes,
        options: WriteOptions,
    ) -> Result<Revision> {
        if state.revision.0.is_multiple_of(10) && !state.entries.contains_key(key) {
            state.revision.0 -= 1;
        }
        state.create(key, value, options)
    }
}

/// Acknowledges an update now and then without doing it.
#[derive(Debug, Default)]
pub(crate) struct LostUpdateMutant;

impl Flaw for LostUpdateMutant {
    fn update(
        &self,
        state: &mut ModelState,
        key: &Key,
        value: Bytes,
        expected: Revision,
        options: WriteOptions,
    ) -> Result<Revision> {
        let revision = state.update(key, value, expected, options)?;
        if revision.0.is_multiple_of(7)
            && let Some(Event::Put { previous: Some(was), .. }) = state.log.last().cloned()
        {
            edit_last(state, |entry| entry.value = was.value.clone());
        }
        Ok(revision)
    }
}

/// A refusal with another entry as the current one.
fn refusing<T>(result: Result<T>, change: impl FnOnce(Entry) -> Option<Entry>) -> Result<T> {
    result.map_err(|error| match error {
        Error::Conflict { key, current } => {
            Error::Conflict { key, current: current.and_then(change) }
        }
        other => other,
    })
}

#[derive(Debug, Default)]
pub(crate) struct ConflictWithoutCurrentMutant;

impl Flaw for ConflictWithoutCurrentMutant {
    fn update(
        &self,
        state: &mut ModelState,
        key: &Key,
        value: Bytes,
        expected: Revision,
        options: WriteOptions,
    ) -> Result<Revision> {
        refusing(state.update(key, value, expected, options), |_| None)
    }

    fn delete(&self, state: &mut ModelState, key: &Key, expected: Revision) -> Result<Deleted> {
        refusing(state.delete(key, expected), |_| None)
    }
}

/// A refused write is shown the entry before the current one.
fn previous(state: &ModelState, current: Entry) -> Entry {
    let older = state.log.iter().rev().find_map(|event| match event {
        Event::Put { entry, previous } if *entry == current => previous.clone(),
        _ => None,
    });
    older.unwrap_or(current)
}

#[derive(Debug, Default)]
pub(crate) struct StaleConflictMutant;

impl Flaw for StaleConflictMutant {
    fn delete(&self, state: &mut ModelState, key: &Key, expected: Revision) -> Result<Deleted> {
        let result = state.delete(key, expected);
        refusing(result, |current| Some(previous(state, current)))
    }
}

#[derive(Debug, Default)]
pub(crate) struct StaleExistsMutant;

impl Flaw for StaleExistsMutant {
    fn create(
        &self,
        state: &mut ModelState,
        key: &Key,
        value: Bytes,
        options: WriteOptions,
    ) -> Result<Revision> {
        state.create(key, value.clone(), options).map_err(|error| match error {
            Error::Exists { key, current } => {
                Error::Exists { key, current: Entry { value, ..current } }
            }
            other => other,
        })
    }
}

#[derive(Debug, Default)]
pub(crate) struct RefusalTakesRevisionMutant;

impl Flaw for RefusalTakesRevisionMutant {
    fn update(
        &self,
        state: &mut ModelState,
        key: &Key,
        value: Bytes,
        expected: Revision,
        options: WriteOptions,
    ) -> Result<Revision> {
        let result = state.update(key, value, expected, options);
        if result.is_err() {
            state.revision.0 += 1;
        }
        result
    }
}

#[derive(Debug, Default)]
pub(crate) struct LargeValuesAreCutMutant;

impl Flaw for LargeValuesAreCutMutant {
    fn create(
        &self,
        state: &mut ModelState,
        key: &Key,
        value: Bytes,
        options: WriteOptions,
    ) -> Result<Revision> {
        let value = value.slice(..value.len().min(ModelState::MAX_VALUE));
        state.create(key, value, options)
    }
}

#[derive(Debug, Default)]
pub(crate) struct LargeValuesAreTakenMutant;

impl Flaw for LargeValuesAreTakenMutant {
    fn update(
        &self,
        state: &mut ModelState,
        key: &Key,
        value: Bytes,
        expected: Revision,
        options: WriteOptions,
    ) -> Result<Revision> {
        if value.len() > ModelState::MAX_VALUE && current(state, key, expected) == expected {
            return Ok(state.put(key, value, options));
        }
        state.update(key, value, expected, options)
    }
}

#[derive(Debug, Default)]
pub(crate) struct ValuesAreTextMutant;

impl Flaw for ValuesAreTextMutant {
    fn create(
        &self,
        state: &mut ModelState,
        key: &Key,
        value: Bytes,
        options: WriteOptions,
    ) -> Result<Revision> {
        let value = String::from_utf8_lossy(&value).into_owned();
        state.create(key, value.into(), options)
    }
}

/// Sets the value before the revision; who goes away in between leaves it at that.
#[derive(Debug, Default)]
pub(crate) struct CancelledWriteIsTornMutant;

impl Flaw for CancelledWriteIsTornMutant {
    fn pauses(&self) -> bool {
        true
    }

    fn abandoned(&self, state: &mut ModelState, written: Revision) {
        let Some(Event::Put { entry, previous: Some(was) }) = state.log.last().cloned() else {
            return;
        };
        if entry.revision == written {
            let torn = Entry { revision: was.revision, ..entry };
            state.entries.insert(torn.key.clone(), torn);
        }
    }
}

/// Takes back what was visible already when the caller goes away.
#[derive(Debug, Default)]
pub(crate) struct CancelledWriteIsUndoneMutant;

impl Flaw for CancelledWriteIsUndoneMutant {
    fn pauses(&self) -> bool {
        true
    }

    fn abandoned(&self, state: &mut ModelState, written: Revision) {
        super::durability::undo(state, |revision| revision == written);
    }
}
