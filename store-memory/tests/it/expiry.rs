//! When entries expire.

use kubeplane_clock::{Clock, PausedClock};
use kubeplane_store_memory::MemoryStore;
use kubeplane_store_trait::{Key, ReadAt, Store, WriteOptions};
use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

fn open(path: &Path, clock: &PausedClock) -> MemoryStore {
    MemoryStore::builder().path(path).clock(Arc::new(clock.clone())).open().unwrap()
}

async fn exists(store: &MemoryStore, key: &Key) -> bool {
    store.get(key, ReadAt::Latest).await.unwrap().entry.is_some()
}

/// Looks again until it is so: the task that deletes entries runs when others let it.
async fn eventually<T>(what: &str, look: impl AsyncFn() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < deadline, "never: {what}");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn an_entry_lives_as_long_as_it_was_given_though_the_store_was_opened_again() {
    let directory = tempfile::tempdir().unwrap();
    let clock = PausedClock::starting_at("2026-01-01T00:00:00.0003007Z".parse().unwrap());
    // No time is a whole number of milliseconds, which is what is written down.
    clock.advance(Duration::from_nanos(700_123));
    let (key, ttl) = (Key::new("a").unwrap(), Duration::from_nanos(10_000_000_001));
    let store = open(directory.path(), &clock);
    store.create(&key, "x".into(), WriteOptions { ttl: Some(ttl) }).await.unwrap();
    let end = clock.now() + ttl;
    store.close().await;

    let later = clock.fork();
    later.advance(Duration::from_nanos(1_234_567_891));
    let store = open(directory.path(), &later);
    assert!(exists(&store, &key).await);
    let left = eventually("somebody waits for its end", async || later.next_wake()).await;
    let due = later.now() + left;
    assert!(due >= end, "it would be gone at {due}, but lives until {end}");
    assert!(due < end + Duration::from_millis(1), "it would be gone at {due}, long after {end}");
    later.advance(left);
    eventually("it is gone", async || (!exists(&store, &key).await).then_some(())).await;
}
