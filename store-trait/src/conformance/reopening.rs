use super::{
    Factory,
    reader::Reader,
    setup::{churn, compacted, create, failed, get, key, list, ok, revisions, some, update},
};
use crate::{Event, KeyRange, ListOptions, ReadAt, WriteOptions};
use std::time::Duration;

pub(super) async fn reopening_keeps_entries_and_revisions(factory: &dyn Factory) {
    let store = factory.fresh().await;
    let durable = store.capabilities().durable;
    let one = create(&*store, "a", "one").await;
    update(&*store, "a", "two", one).await;
    create(&*store, "b", "x").await;
    let doomed = create(&*store, "c", "x").await;
    let deleted = ok(store.delete(&key("c"), doomed).await).revision;
    let before = list(&*store, &KeyRange::all(), ReadAt::Latest).await;
    assert_eq!(before.revision, deleted);
    let Some(store) = factory.reopen(store).await else {
        assert!(!durable, "a durable store can be opened again");
        return;
    };
    assert_eq!(list(&*store, &KeyRange::all(), ReadAt::Latest).await, before);
    let mut reader = Reader::start(&*store, &KeyRange::all(), deleted).await;
    let next = update(&*store, "a", "three", some(before.entries.first()).revision).await;
    assert!(next > deleted, "revisions go on");
    assert_eq!(reader.events(1).await[0].revision(), next);
    let before = list(&*store, &KeyRange::all(), ReadAt::Latest).await;
    drop(reader);
    let store = some(factory.reopen(store).await);
    assert_eq!(list(&*store, &KeyRange::all(), ReadAt::Latest).await, before);
}

pub(super) async fn reopening_keeps_the_history_or_says_where_it_begins(factory: &dyn Factory) {
    let store = factory.fresh().await;
    let written = churn(&*store, "k", 12).await;
    let point = written[4];
    ok(store.compact(point).await);
    let mut past = Vec::new();
    for revision in &written[4..] {
        past.push(list(&*store, &KeyRange::all(), ReadAt::Exact(*revision)).await);
    }
    let Some(store) = factory.reopen(store).await else { return };
    let oldest = ok(store.status().await).compacted;
    assert!(oldest >= point, "compacted through {point}, but {oldest} is kept");
    for (index, revision) in written.iter().enumerate() {
        let at = ReadAt::Exact(*revision);
        let options = ListOptions { at, ..ListOptions::default() };
        let page = store.list(&KeyRange::all(), options).await;
        if *revision < oldest {
            compacted(failed(page), *revision, oldest);
            let watch = store.watch(&KeyRange::all(), *revision).await;
            compacted(failed(watch), *revision, oldest);
            continue;
        }
        assert_eq!(ok(page), past[index - 4], "at {revision}");
        let mut reader = Reader::start(&*store, &KeyRange::all(), *revision).await;
        let events = reader.until(some(written.last().copied())).await;
        assert_eq!(revisions(&events), written[index + 1..], "after {revision}");
    }
}

pub(super) async fn reopening_never_reuses_a_revision(factory: &dyn Factory) {
    let mut store = factory.fresh().await;
    let mut last = ok(store.revision().await);
    for round in 0..4 {
        let doomed = create(&*store, "doomed", "x").await;
        assert!(doomed > last, "{doomed} was given before");
        // The newest revision belongs to no entry, and once not even to the history.
        last = ok(store.delete(&key("doomed"), doomed).await).revision;
        if round % 2 == 1 {
            ok(store.compact(last).await);
        }
        let Some(again) = factory.reopen(store).await else { return };
        store = again;
        let revision = ok(store.revision().await);
        assert!(revision >= last, "the store went back from {last} to {revision}");
    }
}

pub(super) async fn reopening_keeps_the_expiries(factory: &dyn Factory) {
    let store = factory.fresh().await;
    if !store.capabilities().ttl {
        return;
    }
    let ttl = |seconds| WriteOptions { ttl: Some(Duration::from_secs(seconds)) };
    create(&*store, "kept", "x").await;
    ok(store.create(&key("long"), "x".into(), ttl(3600)).await);
    let renewed = ok(store.create(&key("renewed"), "x".into(), ttl(2)).await);
    ok(store.update(&key("renewed"), "x".into(), renewed, ttl(3600)).await);
    let last = ok(store.create(&key("short"), "x".into(), ttl(2)).await);
    let Some(store) = factory.reopen(store).await else { return };
    let mut reader = Reader::start(&*store, &KeyRange::all(), last).await;
    let events = reader.events(1).await;
    assert!(matches!(&events[0], Event::Delete { key: gone, .. } if *gone == key("short")));
    for name in ["kept", "long", "renewed"] {
        assert!(get(&*store, name, ReadAt::Latest).await.is_some(), "{name} has expired");
    }
}
