//! Bounded history, and expiry by the clock.

use futures::{FutureExt, StreamExt};
use jiff::Timestamp;
use kubeplane_clock::{Clock, PausedClock};
use kubeplane_store_memory::MemoryStore;
use kubeplane_store_trait::{Error, Key, KeyRange, ReadAt, Revision, Store, WriteOptions};
use std::{sync::Arc, time::Duration};

async fn create(store: &MemoryStore, name: &str, ttl: Option<Duration>) -> Revision {
    let key = Key::new(name.to_owned()).unwrap();
    store.create(&key, "value".into(), WriteOptions { ttl }).await.unwrap()
}

#[tokio::test]
async fn a_lagging_watcher_gets_one_error_and_the_end_but_a_quiet_one_does_not() {
    let store = MemoryStore::builder().history(Duration::MAX, 10, usize::MAX).open().unwrap();
    let mut busy = store.watch(&KeyRange::prefix("busy/"), Revision(0)).await.unwrap();
    let mut quiet = store.watch(&KeyRange::prefix("quiet/"), Revision(0)).await.unwrap();
    for index in 0..50 {
        create(&store, &format!("busy/{index}"), None).await;
    }
    let event = create(&store, "quiet/a", None).await;
    let batch = quiet.next().await.unwrap().unwrap();
    assert_eq!((batch.events.len(), batch.through), (1, event));
    assert!(matches!(busy.next().await, Some(Err(Error::Lagged))));
    assert!(busy.next().await.is_none());
    let refused = store.watch(&KeyRange::all(), Revision(5)).await.err().unwrap();
    assert!(matches!(refused, Error::Compacted { .. }), "{refused}");
    assert_eq!(store.watchers(), 2);
    drop((busy, quiet));
    assert_eq!(store.watchers(), 0);
}

#[tokio::test]
async fn history_ends_by_age_and_by_size() {
    let clock = PausedClock::starting_at(Timestamp::UNIX_EPOCH);
    let aging = MemoryStore::builder()
        .history(Duration::from_secs(60), usize::MAX, usize::MAX)
        .clock(Arc::new(clock.clone()))
        .open()
        .unwrap();
    let first = create(&aging, "a", None).await;
    clock.advance(Duration::from_secs(61));
    let second = create(&aging, "b", None).await;
    assert_eq!(aging.status().await.unwrap().compacted, first);
    assert!(aging.watch(&KeyRange::all(), first).await.is_ok());
    assert_eq!(second, Revision(first.0 + 1));

    let small = MemoryStore::builder().history(Duration::MAX, usize::MAX, 4096).open().unwrap();
    for index in 0..100 {
        create(&small, &index.to_string(), None).await;
    }
    let status = small.status().await.unwrap();
    assert!(status.revision.0 - status.compacted.0 < 20, "{status:?}");
}

#[tokio::test]
async fn entries_expire_by_the_clock_also_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let clock = PausedClock::starting_at(Timestamp::UNIX_EPOCH);
    let open = |clock: &PausedClock| {
        let builder = MemoryStore::builder().path(directory.path());
        builder.clock(Arc::new(clock.clone())).open().unwrap()
    };
    let store = open(&clock);
    create(&store, "kept", None).await;
    create(&store, "short", Some(Duration::from_secs(10))).await;
    let last = create(&store, "long", Some(Duration::from_secs(100))).await;
    let mut watcher = store.watch(&KeyRange::all(), last).await.unwrap();
    clock.advance(Duration::from_secs(9));
    assert!(watcher.next().now_or_never().is_none());
    clock.advance(Duration::from_secs(1));
    let batch = watcher.next().await.unwrap().unwrap();
    assert_eq!(batch.events[0].key(), &Key::new("short").unwrap());
    store.close().await;
    drop((store, watcher));

    // The next process has another monotonic clock, and finds the entry nearly due.
    let next = PausedClock::starting_at(clock.now() + jiff::SignedDuration::from_secs(89));
    let store = open(&next);
    let mut watcher = store.watch(&KeyRange::all(), batch.through).await.unwrap();
    let long = Key::new("long").unwrap();
    assert!(store.get(&long, ReadAt::Latest).await.unwrap().entry.is_some());
    next.advance(Duration::from_secs(1));
    let batch = watcher.next().await.unwrap().unwrap();
    assert_eq!(batch.events[0].key(), &long);
}
