use super::{Cache, CacheOptions, Freshness};
use bytes::Bytes;
use kubeplane_clock::RealClock;
use kubeplane_store_memory::MemoryStore;
use kubeplane_store_trait::{Key, ReadAt, Store, WriteOptions};
use std::sync::Arc;

fn value(name: &str) -> Bytes {
    let head = r#"{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":""#;
    format!("{head}{name}\"}},\"data\":{{\"text\":\"{}\"}}}}", "x".repeat(4096)).into()
}

fn key(name: &str) -> Key {
    Key::new(format!("/registry/configmaps/default/{name}")).unwrap()
}

/// With the embedded store an object is in memory once, whoever reads it: in the store, in the cache, in a list.
#[tokio::test]
async fn the_cache_shares_the_bytes_of_the_embedded_store() {
    let directory = tempfile::tempdir().unwrap();
    let store = Arc::new(MemoryStore::open(directory.path()).unwrap());
    store.create(&key("before"), value("before"), WriteOptions::default()).await.unwrap();
    let definition =
        kubeplane_builtin::all().into_iter().find(|kind| kind.plural == "configmaps").unwrap();
    let prefix = "/registry/configmaps/".to_owned();
    let options = CacheOptions { store: store.clone(), clock: Arc::new(RealClock::default()) };
    let cache = Cache::new(definition, prefix, options);
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
