use super::{
    Factory,
    reader::Reader,
    setup::{churn, create, key, list, ok, revisions, update},
};
use crate::{Entry, Event, KeyRange, ListOptions, ReadAt, Revision};
use std::time::Duration;
use tokio::task::JoinSet;

pub(super) async fn a_watch_delivers_in_order_once_and_whole(factory: &dyn Factory) {
    let store = factory.fresh().await;
    let start = ok(store.revision().await);
    let mut reader = Reader::start(&*store, &KeyRange::all(), start).await;
    let mut tasks = JoinSet::new();
    for writer in 0..8 {
        let store = store.clone();
        tasks.spawn(async move { churn(&*store, &format!("{writer}/"), 25).await });
    }
    let mut written: Vec<_> = tasks.join_all().await.into_iter().flatten().collect();
    written.sort_unstable();
    let events = reader.events(written.len()).await;
    assert_eq!(revisions(&events), written);
}

pub(super) async fn a_watch_is_established_when_it_returns(factory: &dyn Factory) {
    let store = factory.fresh().await;
    let mut through = ok(store.revision().await);
    for round in 0..20 {
        let range = KeyRange::prefix(format!("{round}/"));
        let mut reader = Reader::start(&*store, &range, through).await;
        let first = create(&*store, format!("{round}/a"), "x").await;
        let second = create(&*store, format!("{round}/b"), "x").await;
        assert_eq!(revisions(&reader.events(2).await), [first, second]);
        through = second;
    }
}

pub(super) async fn what_a_watch_showed_can_be_read(factory: &dyn Factory) {
    let store = factory.fresh().await;
    let start = ok(store.revision().await);
    let mut reader = Reader::start(&*store, &KeyRange::all(), start).await;
    let mut tasks = JoinSet::new();
    for writer in 0..4 {
        let store = store.clone();
        tasks.spawn(async move { churn(&*store, &format!("{writer}/"), 20).await });
    }
    let mut seen = 0;
    while seen < 80 {
        let batch = reader.batch().await;
        seen += batch.events.len();
        assert!(ok(store.revision().await) >= batch.through, "the store is behind its watcher");
        let page = list(&*store, &KeyRange::all(), ReadAt::Latest).await;
        assert!(page.revision >= batch.through, "a read is behind the watcher");
        for event in batch.events {
            let (key, at) = (event.key().clone(), ReadAt::Exact(event.revision()));
            let options = ListOptions { at, ..ListOptions::default() };
            let page = ok(store.list(&KeyRange::single(&key), options).await);
            let shown = match event {
                Event::Put { entry, .. } => Some(entry),
                Event::Delete { .. } => None,
            };
            assert_eq!(page.entries, Vec::from_iter(shown), "the state that the event tells of");
        }
    }
    tasks.join_all().await;
}

pub(super) async fn a_watch_sees_only_its_range(factory: &dyn Factory) {
    let store = factory.fresh().await;
    let start = ok(store.revision().await);
    create(&*store, "a", "before").await;
    let ranges = [
        KeyRange::prefix("a/"),
        KeyRange::single(&key("a/1")),
        KeyRange::between("a/2", None),
        KeyRange::all(),
    ];
    let mut readers = Vec::new();
    for range in &ranges {
        readers.push(Reader::start(&*store, range, start).await);
    }
    for name in ["a/", "a/1", "a/1/x", "a/2", "a0", "b", "A"] {
        create(&*store, name, "x").await;
    }
    let last = ok(store.revision().await);
    let expected: [&[&str]; 4] = [
        &["a/", "a/1", "a/1/x", "a/2"],
        &["a/1"],
        &["a/2", "a0", "b"],
        &["a", "a/", "a/1", "a/1/x", "a/2", "a0", "b", "A"],
    ];
    for (reader, expected) in readers.iter_mut().zip(expected) {
        let events = reader.until(last).await;
        let found: Vec<_> = events.iter().map(|event| event.key().to_string()).collect();
        assert_eq!(found, expected);
    }
}

pub(super) async fn a_watch_carries_the_previous_value(factory: &dyn Factory) {
    let store = factory.fresh().await;
    let start = ok(store.revision().await);
    let mut live = Reader::start(&*store, &KeyRange::all(), start).await;
    let first = create(&*store, "a", "one").await;
    let second = update(&*store, "a", "two", first).await;
    let third = ok(store.delete(&key("a"), second).await).revision;
    let mut late = Reader::start(&*store, &KeyRange::all(), start).await;
    let entry = |value: &'static str, revision| Entry {
        key: key("a"),
        value: value.into(),
        revision,
        created: first,
    };
    let (one, two) = (entry("one", first), entry("two", second));
    let expected = [
        Event::Put { entry: one.clone(), previous: None },
        Event::Put { entry: two.clone(), previous: Some(one) },
        Event::Delete { key: key("a"), previous: Some(two), revision: third },
    ];
    assert_eq!(live.events(3).await, expected);
    assert_eq!(late.events(3).await, expected);
}

pub(super) async fn a_watch_from_the_future_waits(factory: &dyn Factory) {
    let store = factory.fresh().await;
    let mut revision = create(&*store, "a", "0").await;
    let after = Revision(revision.0 + 3);
    let mut reader = Reader::start(&*store, &KeyRange::all(), after).await;
    while revision <= after {
        revision = update(&*store, "a", "x", revision).await;
    }
    let events = reader.events(1).await;
    assert_eq!(revisions(&events), [revision]);
}

pub(super) async fn bookmarks_come_when_asked_for(factory: &dyn Factory) {
    let store = factory.fresh().await;
    let start = create(&*store, "a", "0").await;
    let mut reader = Reader::start(&*store, &KeyRange::prefix("quiet/"), start).await;
    let outside = create(&*store, "busy", "0").await;
    assert_eq!(reader.until(outside).await, []);
    let inside = create(&*store, "quiet/a", "0").await;
    assert_eq!(revisions(&reader.until(inside).await), [inside]);
    let last = create(&*store, "busy/2", "0").await;
    assert_eq!(reader.until(last).await, []);
}

pub(super) async fn bookmarks_are_never_ahead_of_events(factory: &dyn Factory) {
    let store = factory.fresh().await;
    let start = ok(store.revision().await);
    let mut tasks = JoinSet::new();
    for writer in 0..4 {
        let store = store.clone();
        tasks.spawn(async move { churn(&*store, &format!("{writer}/"), 100).await });
    }
    let mut late = Reader::start(&*store, &KeyRange::all(), start).await;
    let mut readers = Vec::new();
    for (range, expected) in [(KeyRange::all(), 400), (KeyRange::prefix("1/"), 100)] {
        readers.push((Reader::start(&*store, &range, start).await, expected, 0));
    }
    while !tasks.is_empty() {
        for (reader, _, seen) in &mut readers {
            // The reader itself checks each event against the bookmarks before it.
            reader.request_progress();
            if let Some(batch) = reader.soon(Duration::from_millis(2)).await {
                *seen += batch.events.len();
            }
        }
        tokio::task::yield_now().await;
        while tasks.try_join_next().is_some() {}
    }
    let last = ok(store.revision().await);
    for (mut reader, expected, seen) in readers {
        let rest = reader.until(last).await.len();
        assert_eq!(seen + rest, expected, "every change of the range, once");
    }
    assert_eq!(late.until(last).await.len(), 400);
}
