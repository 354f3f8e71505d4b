//! Values are held once, whoever reads them.

use crate::ALLOCATOR;
use bytes::Bytes;
use futures::StreamExt;
use kubeplane_store_memory::MemoryStore;
use kubeplane_store_trait::{
    Entry, Event, Key, KeyRange, ListOptions, ReadAt, Revision, Store, WriteOptions,
};
use stats_alloc::Region;
use std::process::Command;

async fn listed(store: &MemoryStore, at: ReadAt) -> Entry {
    let options = ListOptions { at, ..ListOptions::default() };
    let page = store.list(&KeyRange::all(), options).await.unwrap();
    assert_eq!(page.entries.len(), 1);
    page.entries[0].clone()
}

/// Everybody is given the very bytes that were written, not a copy.
async fn check(store: &MemoryStore) {
    let key = Key::new("key").unwrap();
    let [first, second] = [b'1', b'2'].map(|byte| Bytes::from(vec![byte; 10_000]));
    let options = WriteOptions::default();
    let created = store.create(&key, first.clone(), options).await.unwrap();
    store.update(&key, second.clone(), created, options).await.unwrap();

    let read = store.get(&key, ReadAt::Latest).await.unwrap().entry.unwrap();
    assert_eq!(read.value.as_ptr(), second.as_ptr(), "get");
    assert_eq!(listed(store, ReadAt::Latest).await.value.as_ptr(), second.as_ptr(), "list");
    let past = listed(store, ReadAt::Exact(created)).await;
    assert_eq!(past.value.as_ptr(), first.as_ptr(), "list of the past");
    let copy = MemoryStore::builder().snapshot(&store.snapshot()).open().unwrap();
    assert_eq!(listed(&copy, ReadAt::Latest).await.value.as_ptr(), second.as_ptr(), "snapshot");

    let mut watcher = store.watch(&KeyRange::all(), Revision(created.0 - 1)).await.unwrap();
    let mut events = Vec::new();
    while events.len() < 2 {
        events.extend(watcher.next().await.unwrap().unwrap().events);
    }
    match &events[1] {
        Event::Put { entry, previous: Some(previous) } => {
            let seen = [entry, previous].map(|entry| entry.value.as_ptr());
            assert_eq!(seen, [second.as_ptr(), first.as_ptr()], "event");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn whoever_reads_gets_the_bytes_that_were_written() {
    check(&MemoryStore::new()).await;
    let directory = tempfile::tempdir().unwrap();
    check(&MemoryStore::open(directory.path()).unwrap()).await;
}

#[tokio::test]
async fn after_opening_again_a_get_and_a_list_share_what_was_read() {
    let directory = tempfile::tempdir().unwrap();
    let key = Key::new("key").unwrap();
    let store = MemoryStore::open(directory.path()).unwrap();
    store.create(&key, vec![b'x'; 10_000].into(), WriteOptions::default()).await.unwrap();
    store.close().await;
    let store = MemoryStore::open(directory.path()).unwrap();
    let read = store.get(&key, ReadAt::Latest).await.unwrap().entry.unwrap();
    let list = listed(&store, ReadAt::Latest).await;
    assert_eq!(read.value.as_ptr(), list.value.as_ptr());
    assert_eq!(read.value, vec![b'x'; 10_000]);
}

/// Runs in a process of its own, where nobody else allocates meanwhile.
#[tokio::test]
#[ignore = "the child process of the test below"]
async fn lists_counted() {
    const ENTRIES: usize = 3000;
    let store = MemoryStore::new();
    let mut last = Revision(0);
    for index in 0..ENTRIES {
        let key = Key::new(format!("/registry/pods/namespace-{:04}/pod-{index:08}", index % 7));
        let (key, value) = (key.unwrap(), vec![b'x'; 10 * 1024].into());
        last = store.create(&key, value, WriteOptions::default()).await.unwrap();
    }
    let next = Key::new("/registry/pods/namespace-9999/next").unwrap();
    store.create(&next, "x".into(), WriteOptions::default()).await.unwrap();
    for (what, at, keys_only) in [
        ("a list", ReadAt::Latest, false),
        ("a list of keys", ReadAt::Latest, true),
        ("a list of the past", ReadAt::Exact(last), false),
    ] {
        let options = ListOptions { at, keys_only, ..ListOptions::default() };
        let range = KeyRange::prefix("/registry/pods/namespace-0");
        let region = Region::new(ALLOCATOR);
        let page = store.list(&range, options).await.unwrap();
        let allocated = region.change().bytes_allocated;
        assert_eq!(page.entries.len() + page.keys.len(), ENTRIES, "{what}");
        assert!(allocated > 0, "it is counted");
        assert!(allocated < ENTRIES * 256, "{what} of {ENTRIES} entries: {allocated} bytes");
    }
}

#[test]
fn a_list_allocates_nothing_for_its_values() {
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["sharing::lists_counted", "--exact", "--ignored", "--nocapture"])
        .output()
        .unwrap();
    let said = [child.stdout, child.stderr].map(|said| String::from_utf8_lossy(&said).into_owned());
    assert!(child.status.success(), "{said:?}");
    assert!(said[0].contains("1 passed"), "{said:?}");
}
