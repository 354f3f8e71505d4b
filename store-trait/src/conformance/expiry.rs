use super::{
    Factory,
    reader::Reader,
    setup::{create, get, key, ok, some},
};
use crate::{Event, KeyRange, ReadAt, WriteOptions};
use std::time::Duration;

fn expiring() -> WriteOptions {
    WriteOptions { ttl: Some(Duration::from_secs(1)) }
}

pub(super) async fn entries_expire_and_their_deletes_are_watched(factory: &dyn Factory) {
    let store = factory.fresh().await;
    if !store.capabilities().ttl {
        return;
    }
    let kept = create(&*store, "kept", "x").await;
    let mut reader = Reader::start(&*store, &KeyRange::all(), kept).await;
    let first = ok(store.create(&key("first"), "1".into(), expiring()).await);
    let second = ok(store.create(&key("second"), "2".into(), expiring()).await);
    let entry = some(get(&*store, "first", ReadAt::Latest).await);
    assert_eq!(entry.revision, first);
    let events = reader.events(4).await;
    let mut gone: Vec<_> = events[2..]
        .iter()
        .map(|event| match event {
            Event::Delete { key, previous: Some(was), revision } if *revision > second => {
                (key.to_string(), was.value.clone())
            }
            other => panic!("must be the delete of what expired, but is {other:?}"),
        })
        .collect();
    gone.sort();
    assert_eq!(gone, [("first".into(), "1".into()), ("second".into(), "2".into())]);
    assert_eq!(get(&*store, "first", ReadAt::Latest).await, None);
    assert!(get(&*store, "kept", ReadAt::Latest).await.is_some());
    assert_eq!(get(&*store, "first", ReadAt::Exact(first)).await, Some(entry));
}

pub(super) async fn an_update_renews_or_ends_the_expiry(factory: &dyn Factory) {
    let store = factory.fresh().await;
    if !store.capabilities().ttl {
        return;
    }
    let ended = ok(store.create(&key("ended"), "1".into(), expiring()).await);
    let renewed = ok(store.create(&key("renewed"), "1".into(), expiring()).await);
    let long = WriteOptions { ttl: Some(Duration::from_secs(3600)) };
    ok(store.update(&key("ended"), "2".into(), ended, WriteOptions::default()).await);
    let after = ok(store.update(&key("renewed"), "2".into(), renewed, long).await);
    let mut reader = Reader::start(&*store, &KeyRange::all(), after).await;
    // Written last, so the others would be gone when this one is.
    ok(store.create(&key("probe"), "1".into(), expiring()).await);
    let events = reader.events(2).await;
    assert_eq!(events[1].key(), &key("probe"), "only what nobody renewed expires");
    assert!(get(&*store, "ended", ReadAt::Latest).await.is_some());
    assert!(get(&*store, "renewed", ReadAt::Latest).await.is_some());
}
