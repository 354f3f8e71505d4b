//! Closing, and the death of the writer.

use super::{create, disk::TestDisk, exists, open};
use crate::MemoryStore;
use futures::StreamExt;
use kubeplane_clock::PausedClock;
use kubeplane_store_trait::{Error, Key, KeyRange, Revision, Store, WriteOptions};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{runtime, time::timeout};

const PATIENCE: Duration = Duration::from_secs(30);

#[tokio::test]
async fn everybody_who_closes_waits_for_the_directory() {
    let disk = TestDisk::default();
    let (directory, store) = open(&disk);
    disk.set(|state| state.held = true);
    // It is flushed on closing at the latest.
    create(&store, "lease/a").await.unwrap();
    let closing = |store: MemoryStore| tokio::spawn(async move { store.close().await });
    let first = closing(store.clone());
    disk.is_flushed().await;
    let mut second = closing(store.clone());
    let early = timeout(Duration::from_millis(300), &mut second).await;
    assert!(early.is_err(), "the directory is still held");
    disk.set(|state| state.held = false);
    second.await.unwrap();
    assert!(exists(&MemoryStore::open(directory.path()).unwrap(), "lease/a").await);
    first.await.unwrap();
}

#[tokio::test]
async fn a_writer_that_panics_is_told_to_everybody() {
    let disk = TestDisk::default();
    let (directory, store) = open(&disk);
    let kept = create(&store, "kept").await.unwrap();
    let mut watcher = store.watch(&KeyRange::all(), kept).await.unwrap();
    disk.set(|state| state.panics = true);
    let lost = create(&store, "lost").await.unwrap_err();
    assert!(matches!(lost, Error::Indeterminate { .. }), "{lost}");
    let ended = timeout(PATIENCE, watcher.next()).await.expect("watchers do not hang");
    assert!(matches!(ended, Some(Err(Error::Unavailable { .. }))), "{ended:?}");
    assert!(watcher.next().await.is_none());
    for refused in [store.status().await.err(), create(&store, "later").await.err()] {
        let refused = refused.unwrap();
        assert!(matches!(refused, Error::Unavailable { .. }), "{refused}");
        assert!(refused.to_string().contains("panicked"), "{refused}");
    }
    assert!(exists(&store, "kept").await, "what was acknowledged stays readable");
    drop(store);
    assert!(exists(&MemoryStore::open(directory.path()).unwrap(), "kept").await);
}

#[tokio::test]
async fn a_store_without_a_directory_takes_no_writes_once_it_is_closed() {
    let store = MemoryStore::new();
    let kept = create(&store, "kept").await.unwrap();
    let mut watcher = store.watch(&KeyRange::all(), Revision(0)).await.unwrap();
    let other = store.clone();
    store.close().await;
    let key = Key::new("kept").unwrap();
    for refused in [
        create(&other, "later").await.err(),
        other.update(&key, "x".into(), kept, WriteOptions::default()).await.err(),
        other.delete(&key, kept).await.err(),
        other.compact(kept).await.err(),
        other.replace_with(&store.snapshot()).await.err(),
    ] {
        let refused = refused.unwrap();
        assert!(matches!(refused, Error::Unavailable { .. }), "{refused}");
        assert!(refused.to_string().contains("closed"), "{refused}");
    }
    assert!(exists(&other, "kept").await && !exists(&other, "later").await, "reads go on");
    assert_eq!(watcher.next().await.unwrap().unwrap().through, kept);
    assert!(matches!(watcher.next().await, Some(Err(Error::Unavailable { .. }))));
}

#[test]
fn entries_expire_though_the_runtime_that_wrote_them_is_gone() {
    let runtime = || runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let clock = PausedClock::starting_at("2026-01-01T00:00:00Z".parse().unwrap());
    let store = MemoryStore::builder().clock(Arc::new(clock.clone())).open().unwrap();
    for round in 0..3 {
        let name = format!("round-{round}");
        let key = Key::new(name.clone()).unwrap();
        let options = WriteOptions { ttl: Some(Duration::from_secs(10)) };
        let first = runtime();
        first.block_on(store.create(&key, "x".into(), options)).unwrap();
        drop(first);
        clock.advance(Duration::from_secs(11));
        let deadline = Instant::now() + PATIENCE;
        runtime().block_on(async {
            while exists(&store, &name).await {
                assert!(Instant::now() < deadline, "{name} never expires");
                tokio::task::yield_now().await;
            }
        });
    }
}
