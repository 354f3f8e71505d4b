use crate::{
    Entry, Error, Event, Key, KeyRange, ListOptions, Page, ReadAt, Result, Revision, Store,
    WriteOptions,
};
use bytes::Bytes;

/// The value of a call that must succeed.
#[track_caller]
pub(super) fn ok<T>(result: Result<T>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => panic!("must succeed, but failed: {error}"),
    }
}

/// The error of a call that must fail.
#[track_caller]
pub(super) fn failed<T>(result: Result<T>) -> Error {
    match result {
        Ok(_) => panic!("must fail, but succeeded"),
        Err(error) => error,
    }
}

/// The value that must be there.
#[track_caller]
pub(super) fn some<T>(value: Option<T>) -> T {
    match value {
        Some(value) => value,
        None => panic!("must be there, but is not"),
    }
}

pub(super) fn key(name: impl AsRef<[u8]>) -> Key {
    some(Key::new(Bytes::copy_from_slice(name.as_ref())))
}

pub(super) async fn create(store: &dyn Store, name: impl AsRef<[u8]>, value: &str) -> Revision {
    let value = Bytes::copy_from_slice(value.as_bytes());
    ok(store.create(&key(name), value, WriteOptions::default()).await)
}

pub(super) async fn update(
    store: &dyn Store,
    name: impl AsRef<[u8]>,
    value: &str,
    expected: Revision,
) -> Revision {
    let value = Bytes::copy_from_slice(value.as_bytes());
    ok(store.update(&key(name), value, expected, WriteOptions::default()).await)
}

pub(super) async fn get(store: &dyn Store, name: impl AsRef<[u8]>, at: ReadAt) -> Option<Entry> {
    ok(store.get(&key(name), at).await).entry
}

pub(super) async fn list(store: &dyn Store, range: &KeyRange, at: ReadAt) -> Page {
    ok(store.list(range, ListOptions { at, ..ListOptions::default() }).await)
}

pub(super) fn names(page: &Page) -> Vec<String> {
    page.entries.iter().map(|entry| entry.key.to_string()).collect()
}

pub(super) fn revisions(events: &[Event]) -> Vec<Revision> {
    events.iter().map(Event::revision).collect()
}

/// Writes, updates and deletes under `prefix`; returns the revision of each in order.
pub(super) async fn churn(store: &dyn Store, prefix: &str, rounds: usize) -> Vec<Revision> {
    let mut revisions = Vec::new();
    for round in 0..rounds {
        let name = format!("{prefix}{}", round % 3);
        let revision = match get(store, &name, ReadAt::Latest).await {
            None => create(store, &name, &round.to_string()).await,
            Some(entry) if round % 4 == 3 => {
                ok(store.delete(&entry.key, entry.revision).await).revision
            }
            Some(entry) => update(store, &name, &round.to_string(), entry.revision).await,
        };
        revisions.push(revision);
        tokio::task::yield_now().await;
    }
    revisions
}

/// The error must be a conflict with this entry.
#[track_caller]
pub(super) fn conflict(error: Error, name: &str, expected: Option<&Entry>) {
    match error {
        Error::Conflict { key: at, current } => {
            assert_eq!((at, current.as_ref()), (key(name), expected));
        }
        other => panic!("must be Conflict, but is: {other}"),
    }
}

/// The error must say that `asked` is older than `oldest`, the oldest revision kept.
#[track_caller]
pub(super) fn compacted(error: Error, asked: Revision, oldest: Revision) {
    match error {
        Error::Compacted { requested, oldest: stated } => {
            assert_eq!((requested, stated), (asked, oldest));
        }
        other => panic!("must be Compacted, but is: {other}"),
    }
}
