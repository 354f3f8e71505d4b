use super::{
    Factory,
    reader::Reader,
    setup::{create, get, key, list, names, ok, some},
};
use crate::{Event, KeyRange, ReadAt, Revision, WriteOptions};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use tokio::time::Instant;

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

pub(super) async fn an_entry_lives_as_long_as_it_was_given(factory: &dyn Factory) {
    let store = factory.fresh().await;
    if !store.capabilities().ttl {
        return;
    }
    let given = |seconds| WriteOptions { ttl: Some(Duration::from_secs(seconds)) };
    let start = ok(store.revision().await);
    let mut reader = Reader::start(&*store, &KeyRange::all(), start).await;
    // Each counts from before its write, so that no store is held to more than it promises.
    let mut due = BTreeMap::new();
    for (name, seconds) in [("a", 1), ("b", 2), ("c", 3)] {
        let begun = Instant::now();
        ok(store.create(&key(name), "1".into(), given(seconds)).await);
        due.insert(key(name), begun + Duration::from_secs(seconds));
    }
    let begun = Instant::now();
    let again = some(get(&*store, "c", ReadAt::Latest).await).revision;
    ok(store.update(&key("c"), "2".into(), again, given(2)).await);
    due.insert(key("c"), begun + Duration::from_secs(2));
    while !due.is_empty() {
        let events = reader.batch().await.events;
        let now = Instant::now();
        for event in events.iter().filter(|event| matches!(event, Event::Delete { .. })) {
            let due = some(due.remove(event.key()));
            assert!(now >= due, "{} is gone {:?} too soon", event.key(), due - now);
        }
    }
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

pub(super) async fn an_expired_key_can_be_created_anew(factory: &dyn Factory) {
    let store = factory.fresh().await;
    if !store.capabilities().ttl {
        return;
    }
    let start = ok(store.revision().await);
    let mut reader = Reader::start(&*store, &KeyRange::all(), start).await;
    let first = ok(store.create(&key("a"), "1".into(), expiring()).await);
    let gone = reader.events(2).await[1].revision();
    let again = create(&*store, "a", "2").await;
    assert!(first < gone && gone < again);
    let entry = some(get(&*store, "a", ReadAt::Latest).await);
    assert_eq!((entry.created, entry.revision), (again, again), "created anew");
    // What the first entry was given does not end the second.
    ok(store.create(&key("probe"), "1".into(), expiring()).await);
    let events = reader.events(3).await;
    assert_eq!(events[2].key(), &key("probe"));
    assert_eq!(get(&*store, "a", ReadAt::Latest).await, Some(entry));
}

pub(super) async fn the_changes_of_one_revision_come_together(factory: &dyn Factory) {
    let store = factory.fresh().await;
    if !store.capabilities().ttl {
        return;
    }
    const KEYS: usize = 12;
    let start = ok(store.revision().await);
    let mut reader = Reader::start(&*store, &KeyRange::all(), start).await;
    let mut expected = BTreeSet::new();
    for index in 0..KEYS {
        let name = format!("{index:02}");
        ok(store.create(&key(&name), "x".into(), expiring()).await);
        expected.insert(name);
    }
    reader.events(KEYS).await;
    while !expected.is_empty() {
        let batch = reader.batch().await;
        let mut left: BTreeSet<Revision> = batch.events.iter().map(Event::revision).collect();
        while let Some(revision) = left.pop_first() {
            // All that vanished between two revisions is in this batch, however many keys that was.
            let gone = batch.events.iter().filter(|event| event.revision() == revision);
            let gone: BTreeSet<_> = gone.map(|event| event.key().to_string()).collect();
            let before = ReadAt::Exact(Revision(revision.0 - 1));
            let before = names(&list(&*store, &KeyRange::all(), before).await);
            let after = names(&list(&*store, &KeyRange::all(), ReadAt::Exact(revision)).await);
            let vanished = before.into_iter().filter(|name| !after.contains(name)).collect();
            assert_eq!(gone, vanished, "at revision {revision}");
            expected.retain(|name| !gone.contains(name));
        }
    }
}
