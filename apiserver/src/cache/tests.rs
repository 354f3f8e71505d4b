use super::{Cache, CacheOptions, Freshness, Snapshot};
use async_trait::async_trait;
use bytes::Bytes;
use futures::{
    Stream, StreamExt,
    stream::{self, BoxStream},
};
use kubeplane_clock::RealClock;
use kubeplane_store_memory::MemoryStore;
use kubeplane_store_trait::{
    BoxWatcher, Capabilities, Deleted, Error, Key, KeyRange, ListOptions, Page, Read, ReadAt,
    Result, Revision, Store, StoreStatus, WatchBatch, Watcher, WriteOptions,
    conformance::ModelStore,
};
use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

fn value(name: &str) -> Bytes {
    let head = r#"{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":""#;
    format!("{head}{name}\"}},\"data\":{{\"text\":\"{}\"}}}}", "x".repeat(4096)).into()
}

fn key(name: &str) -> Key {
    Key::new(format!("/registry/configmaps/default/{name}")).unwrap()
}

fn cache_of(store: Arc<dyn Store>) -> Cache {
    let definition =
        kubeplane_builtin::all().into_iter().find(|kind| kind.plural == "configmaps").unwrap();
    let options = CacheOptions { store, clock: Arc::new(RealClock::default()) };
    Cache::new(definition, "/registry/configmaps/".to_owned(), options)
}

/// With the embedded store an object is in memory once, whoever reads it: in the store, in the cache, in a list.
#[tokio::test]
async fn the_cache_shares_the_bytes_of_the_embedded_store() {
    let directory = tempfile::tempdir().unwrap();
    let store = Arc::new(MemoryStore::open(directory.path()).unwrap());
    store.create(&key("before"), value("before"), WriteOptions::default()).await.unwrap();
    let cache = cache_of(store.clone());
    cache.snapshot(Freshness::Any).await.unwrap();
    // One that was there when the cache was filled, one that came by the watch.
    store.create(&key("after"), value("after"), WriteOptions::default()).await.unwrap();
    let snapshot = cache.snapshot(Freshness::Consistent).await.unwrap();
    for name in ["before", "after"] {
        let entry = store.get(&key(name), ReadAt::Latest).await.unwrap().entry.unwrap();
        let row = &snapshot.rows[key(name).as_bytes()];
        assert_eq!(row.value.as_ptr(), entry.value.as_ptr(), "{name} is held twice");
    }
}

#[tokio::test]
async fn a_snapshot_knows_how_many_bytes_its_objects_have() {
    fn held(snapshot: &Snapshot) -> u64 {
        snapshot.rows.values().map(|row| row.value.len() as u64).sum()
    }
    let store = Arc::new(MemoryStore::new());
    let options = WriteOptions::default();
    let one = store.create(&key("one"), value("one"), options).await.unwrap();
    let two = store.create(&key("two"), value("two"), options).await.unwrap();
    let cache = cache_of(store.clone());
    let snapshot = cache.snapshot(Freshness::Consistent).await.unwrap();
    assert_eq!(snapshot.bytes, held(&snapshot));
    assert_eq!(snapshot.bytes, (value("one").len() + value("two").len()) as u64);
    // A new one, a smaller one in the place of another, and one less.
    store.create(&key("three"), value("three"), options).await.unwrap();
    let small = r#"{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"one"}}"#;
    store.update(&key("one"), small.into(), one, options).await.unwrap();
    store.delete(&key("two"), two).await.unwrap();
    let snapshot = cache.snapshot(Freshness::Consistent).await.unwrap();
    assert_eq!((snapshot.rows.len(), snapshot.bytes), (2, held(&snapshot)));
    assert_eq!(snapshot.bytes, (small.len() + value("three").len()) as u64);
}

/// A store as an old etcd is at its worst: a bookmark overtakes the event it promises, and the store finds out. Its
/// first watcher is given the bookmark of a write, and not the write.
#[derive(Debug, Default)]
struct Overtaken {
    store: ModelStore,
    watches: AtomicUsize,
}

struct Script(BoxStream<'static, Result<WatchBatch>>);

impl Stream for Script {
    type Item = Result<WatchBatch>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_next_unpin(context)
    }
}

impl Watcher for Script {
    fn request_progress(self: Pin<&mut Self>) {}
}

#[async_trait]
impl Store for Overtaken {
    fn capabilities(&self) -> Capabilities {
        self.store.capabilities()
    }

    async fn get(&self, key: &Key, at: ReadAt) -> Result<Read> {
        self.store.get(key, at).await
    }

    async fn list(&self, range: &KeyRange, options: ListOptions) -> Result<Page> {
        self.store.list(range, options).await
    }

    async fn create(&self, key: &Key, value: Bytes, options: WriteOptions) -> Result<Revision> {
        self.store.create(key, value, options).await
    }

    async fn update(
        &self,
        key: &Key,
        value: Bytes,
        expected: Revision,
        options: WriteOptions,
    ) -> Result<Revision> {
        self.store.update(key, value, expected, options).await
    }

    async fn delete(&self, key: &Key, expected: Revision) -> Result<Deleted> {
        self.store.delete(key, expected).await
    }

    async fn watch(&self, range: &KeyRange, after: Revision) -> Result<BoxWatcher> {
        if self.watches.fetch_add(1, Ordering::SeqCst) > 0 {
            return self.store.watch(range, after).await;
        }
        let through = self.create(&key("late"), value("late"), WriteOptions::default()).await?;
        let bookmark = WatchBatch { events: Vec::new(), through };
        Ok(Box::pin(Script(stream::iter([Ok(bookmark), Err(Error::Lagged)]).boxed())))
    }

    async fn compact(&self, through: Revision) -> Result<()> {
        self.store.compact(through).await
    }

    async fn status(&self) -> Result<StoreStatus> {
        self.store.status().await
    }
}

/// What a store that lagged has left out may lie before what it promised: only another list shows it.
#[tokio::test]
async fn after_a_store_that_lagged_the_cache_is_filled_again() {
    let store = Arc::new(Overtaken::default());
    let cache = cache_of(store.clone());
    let deadline = Instant::now() + Duration::from_secs(30);
    while store.watches.load(Ordering::SeqCst) < 2 {
        cache.snapshot(Freshness::Any).await.unwrap();
        assert!(Instant::now() < deadline, "the store is not watched again");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // The second watch begins after whatever the cache has taken for complete.
    let snapshot = cache.snapshot(Freshness::Consistent).await.unwrap();
    assert!(snapshot.rows.contains_key(key("late").as_bytes()), "a write is lost for good");
}
