use crate::{
    Entry, Error, Key, KeyRange, ListOptions, Page, ReadAt, Result, Revision, Store, WriteOptions,
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
