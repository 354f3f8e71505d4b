use super::{
    Factory,
    reader::{PATIENCE, Reader},
    setup::{create, get, key, ok, some, update},
};
use crate::{Entry, Error, Event, KeyRange, ReadAt, Revision, Store};
use std::{sync::Arc, time::Duration};
use tokio::{task::JoinSet, time::timeout};

/// Writes, updates and deletes under `prefix`; returns the revision of each in order.
async fn churn(store: &dyn Store, prefix: &str, rounds: usize) -> Vec<Revision> {
    let mut revisions = Vec::new();
    for round in 0..rounds {
        let name = format!("{prefix}{}", round % 3);
        let revision = match get(store, &name, ReadAt::Latest).await {
            None => create(store, &name, &round.to_string()).await,
            Some(entry) if round % 4 == 3 => {
                ok(store.delete(&entry.key, entry.revision).await).revision
            }
            Some(entry) => update(store, &name, &round.to_string(), entry.revision).await,
        };
        revisions.push(revision);
        tokio::task::yield_now().await;
    }
    revisions
}

fn revisions(events: &[Event]) -> Vec<Revision> {
    events.iter().map(Event::revision).collect()
}

pub(super) async fn a_watch_delivers_in_order_once_and_whole(factory: &dyn Factory) {
    let store = factory.fresh().await;
    let start = ok(store.status().await).revision;
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

pub(super) async fn a_watch_resumes_at_every_revision(factory: &dyn Factory) {
    let store = factory.fresh().await;
    let start = ok(store.status().await).revision;
    let written = churn(&*store, "k", 25).await;
    let mut from_zero = Reader::start(&*store, &KeyRange::all(), Revision(0)).await;
    let all = from_zero.events(written.len()).await;
    assert_eq!(revisions(&all), written);
    for after in std::iter::once(&start).chain(&written) {
        let mut reader = Reader::start(&*store, &KeyRange::all(), *after).await;
        let events = reader.until(some(written.last().copied())).await;
        let expected: Vec<_> = all.iter().filter(|event| event.revision() > *after).collect();
        assert!(events.iter().eq(expected), "after {after}: {events:?}");
    }
}

pub(super) async fn a_watch_sees_only_its_range(factory: &dyn Factory) {
    let store = factory.fresh().await;
    let start = ok(store.status().await).revision;
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
    let last = ok(store.status().await).revision;
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
    let start = ok(store.status().await).revision;
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
    let start = ok(store.status().await).revision;
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
    let last = ok(store.status().await).revision;
    for (mut reader, expected, seen) in readers {
        let rest = reader.until(last).await.len();
        assert_eq!(seen + rest, expected, "every change of the range, once");
    }
    assert_eq!(late.until(last).await.len(), 400);
}

pub(super) async fn a_slow_reader_never_has_a_gap(factory: &dyn Factory) {
    const WRITERS: usize = 32;
    const WRITES: usize = 60;
    let store = factory.fresh().await;
    let start = ok(store.status().await).revision;
    let mut reader = Reader::start(&*store, &KeyRange::all(), start).await;
    let mut tasks = JoinSet::new();
    for writer in 0..WRITERS {
        let store = store.clone();
        tasks.spawn(async move {
            let mut written = Vec::new();
            for write in 0..WRITES {
                let value = "x".repeat(1024);
                written.push(create(&*store, format!("{writer}/{write}"), &value).await);
            }
            written
        });
    }
    let mut written: Vec<_> = tasks.join_all().await.into_iter().flatten().collect();
    written.sort_unstable();
    let mut seen = Vec::new();
    while seen.len() < written.len() {
        match some(reader.next().await) {
            Ok(batch) => seen.extend(revisions(&batch.events)),
            Err(Error::Lagged) => {
                assert!(reader.next().await.is_none(), "a watch goes on after its error");
                break;
            }
            Err(other) => panic!("must be Lagged, but is: {other}"),
        }
    }
    assert_eq!(seen, written[..seen.len()], "everything up to the end, or to the error");
    resume(&store, reader.through(), &written).await;
}

/// After the last `through` the rest comes, or the store says that it is gone.
async fn resume(store: &Arc<dyn Store>, through: Revision, written: &[Revision]) {
    match store.watch(&KeyRange::all(), through).await {
        Err(Error::Compacted { .. }) => {}
        Err(other) => panic!("must be Compacted, but is: {other}"),
        Ok(_) => {
            let mut reader = Reader::start(&**store, &KeyRange::all(), through).await;
            let rest: Vec<_> = written.iter().filter(|at| **at > through).copied().collect();
            assert_eq!(revisions(&reader.events(rest.len()).await), rest);
        }
    }
}

pub(super) async fn dropped_watchers_are_freed(factory: &dyn Factory) {
    let store = factory.fresh().await;
    let mut revision = create(&*store, "a", "0").await;
    let mut readers = Vec::new();
    let work = async {
        for round in 0..200 {
            readers.push(Reader::start(&*store, &KeyRange::all(), revision).await);
            revision = update(&*store, "a", &round.to_string(), revision).await;
            if round % 20 == 19 {
                readers.clear();
            }
        }
    };
    assert!(timeout(PATIENCE, work).await.is_ok(), "dropped watchers hold the store up");
    let mut reader = Reader::start(&*store, &KeyRange::all(), revision).await;
    let last = update(&*store, "a", "last", revision).await;
    assert_eq!(revisions(&reader.events(1).await), [last]);
}
