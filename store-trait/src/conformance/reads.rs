use super::{
    Factory,
    setup::{churn, create, failed, get, key, list, names, ok, some, update},
};
use crate::{Error, KeyRange, ListOptions, ReadAt, Revision, Store};
use bytes::Bytes;
use tokio::task::JoinSet;

pub(super) async fn reads_see_every_acknowledged_write(factory: &dyn Factory) {
    let store = factory.fresh().await;
    let mut tasks = JoinSet::new();
    for writer in 0..8 {
        let store = store.clone();
        tasks.spawn(async move {
            let name = format!("{writer}");
            let mut revision = create(&*store, &name, "0").await;
            for round in 1..15 {
                revision = update(&*store, &name, &round.to_string(), revision).await;
                let read = ok(store.get(&key(&name), ReadAt::Latest).await);
                assert!(read.revision >= revision, "a read is older than a write before it");
                assert_eq!(some(read.entry).revision, revision);
            }
        });
    }
    tasks.join_all().await;
}

pub(super) async fn the_revision_includes_every_acknowledged_write(factory: &dyn Factory) {
    let store = factory.fresh().await;
    let mut tasks = JoinSet::new();
    for writer in 0..8 {
        let store = store.clone();
        tasks.spawn(async move {
            let mut last = ok(store.revision().await);
            for round in 0..15 {
                let written = create(&*store, format!("{writer}/{round}"), "x").await;
                for revision in [ok(store.revision().await), ok(store.status().await).revision] {
                    assert!(revision >= written, "{revision} leaves out a write at {written}");
                    assert!(revision >= last, "the revision went back from {last} to {revision}");
                    last = revision;
                    // What the store says it has reached can be read.
                    list(&*store, &KeyRange::all(), ReadAt::Exact(revision)).await;
                }
            }
        });
    }
    tasks.join_all().await;
    let page = list(&*store, &KeyRange::all(), ReadAt::Latest).await;
    assert_eq!(ok(store.revision().await), page.revision);
    assert_eq!(page.entries.iter().map(|entry| entry.revision).max(), Some(page.revision));
}

pub(super) async fn exact_reads_see_the_state_of_their_revision(factory: &dyn Factory) {
    let store = factory.fresh().await;
    let start = ok(store.revision().await);
    let one = create(&*store, "a", "one").await;
    let other = create(&*store, "b", "other").await;
    let two = update(&*store, "a", "two", one).await;
    let deleted = ok(store.delete(&key("a"), two).await).revision;
    let again = create(&*store, "a", "three").await;
    let expected = [
        (Revision(0), None),
        (start, None),
        (one, Some(("one", one, one))),
        (other, Some(("one", one, one))),
        (two, Some(("two", two, one))),
        (deleted, None),
        (again, Some(("three", again, again))),
    ];
    for (revision, value) in expected {
        let read = ok(store.get(&key("a"), ReadAt::Exact(revision)).await);
        assert_eq!(read.revision, revision);
        let page = list(&*store, &KeyRange::prefix("a"), ReadAt::Exact(revision)).await;
        assert_eq!(page.entries, read.entry.clone().into_iter().collect::<Vec<_>>());
        assert_eq!(page.revision, revision);
        let found = read.entry.map(|entry| (entry.value, entry.revision, entry.created));
        let value = value.map(|(value, at, created)| (Bytes::from(value), at, created));
        assert_eq!(found, value, "at revision {revision}");
        let b = get(&*store, "b", ReadAt::Exact(revision)).await;
        assert_eq!(b.is_some(), revision >= other);
    }
}

pub(super) async fn exact_reads_of_the_future_are_refused(factory: &dyn Factory) {
    let store = factory.fresh().await;
    let latest = create(&*store, "a", "one").await;
    let future = Revision(latest.0 + 1);
    let at = ReadAt::Exact(future);
    for error in [
        failed(store.get(&key("a"), at).await),
        failed(store.list(&KeyRange::all(), ListOptions { at, ..Default::default() }).await),
    ] {
        match error {
            Error::Future { requested, latest: stated } => {
                assert_eq!((requested, stated), (future, latest));
            }
            other => panic!("must be Future, but is: {other}"),
        }
    }
}

pub(super) async fn pages_are_stable_under_writes(factory: &dyn Factory) {
    let store = factory.fresh().await;
    for index in 0..20 {
        create(&*store, format!("p/{index:02}"), "old").await;
    }
    create(&*store, "q", "outside").await;
    let range = KeyRange::prefix("p/");
    let before = list(&*store, &range, ReadAt::Latest).await;
    let mut pages = Vec::new();
    let mut rest = range.clone();
    let mut at = ReadAt::Latest;
    loop {
        let options = ListOptions { at, limit: Some(3), ..ListOptions::default() };
        let page = ok(store.list(&rest, options).await);
        assert_eq!(page.revision, before.revision, "every page shows one revision");
        assert!(page.entries.len() <= 3);
        pages.extend(page.entries.iter().cloned());
        assert_eq!(page.remaining as usize, before.entries.len() - pages.len());
        disturb(&*store, pages.len()).await;
        if page.remaining == 0 {
            break;
        }
        rest = rest.after(&some(page.entries.last()).key);
        at = ReadAt::Exact(page.revision);
    }
    assert_eq!(pages, before.entries);
}

pub(super) async fn pages_are_stable_under_concurrent_writers(factory: &dyn Factory) {
    let store = factory.fresh().await;
    let mut tasks = JoinSet::new();
    for writer in 0..4 {
        let store = store.clone();
        tasks.spawn(async move { churn(&*store, &format!("{writer}/"), 60).await });
    }
    while !tasks.is_empty() {
        let (mut rest, mut at, mut found) = (KeyRange::all(), ReadAt::Latest, Vec::new());
        let revision = loop {
            let options = ListOptions { at, limit: Some(2), ..ListOptions::default() };
            let page = ok(store.list(&rest, options).await);
            let last = page.entries.last().map(|entry| entry.key.clone());
            found.extend(page.entries);
            tokio::task::yield_now().await;
            match last.filter(|_| page.remaining > 0) {
                Some(last) => (rest, at) = (rest.after(&last), ReadAt::Exact(page.revision)),
                None => break page.revision,
            }
        };
        let whole = list(&*store, &KeyRange::all(), ReadAt::Exact(revision)).await;
        assert_eq!(found, whole.entries, "the pages are not the list at {revision}");
        while tasks.try_join_next().is_some() {}
    }
}

pub(super) async fn a_limit_cuts_and_counts_the_rest(factory: &dyn Factory) {
    let store = factory.fresh().await;
    for index in 0..5 {
        create(&*store, format!("a/{index}"), "x").await;
    }
    let last = create(&*store, "b", "outside").await;
    let range = KeyRange::prefix("a/");
    for at in [ReadAt::Latest, ReadAt::Exact(last)] {
        for limit in [0, 1, 4, 5, 6, usize::MAX] {
            let options = ListOptions { at, limit: Some(limit), ..ListOptions::default() };
            let page = ok(store.list(&range, options).await);
            let expected: Vec<_> = (0..limit.min(5)).map(|index| format!("a/{index}")).collect();
            let rest = 5 - expected.len() as u64;
            assert_eq!((names(&page), page.remaining), (expected, rest), "limited to {limit}");
        }
    }
}

async fn disturb(store: &dyn Store, seen: usize) {
    create(store, format!("p/{seen:02}+"), "new").await;
    let next = format!("p/{:02}", seen + 1);
    if let Some(entry) = get(store, &next, ReadAt::Latest).await {
        update(store, &next, "new", entry.revision).await;
    }
    let later = format!("p/{:02}", seen + 2);
    if let Some(entry) = get(store, &later, ReadAt::Latest).await {
        ok(store.delete(&entry.key, entry.revision).await);
    }
}

pub(super) async fn counts_and_keys_only_leave_values_out(factory: &dyn Factory) {
    let store = factory.fresh().await;
    for name in ["a/1", "a/2", "a/3", "b"] {
        create(&*store, name, "value").await;
    }
    let range = KeyRange::prefix("a/");
    let keys = ListOptions { keys_only: true, limit: Some(2), ..ListOptions::default() };
    let first = some(get(&*store, "a/1", ReadAt::Latest).await);
    let updated = update(&*store, "a/1", "new", first.revision).await;
    for at in [ReadAt::Latest, ReadAt::Exact(Revision(updated.0 - 1)), ReadAt::Exact(updated)] {
        let page = ok(store.list(&range, ListOptions { at, ..keys }).await);
        let whole = ok(store.list(&range, ListOptions { keys_only: false, at, ..keys }).await);
        assert_eq!((page.entries.len(), page.remaining), (0, 1));
        assert!(whole.keys.is_empty(), "keys apart from their entries: {:?}", whole.keys);
        let told = page.keys.iter().map(|one| (one.to_key(), one.revision, one.created));
        let whole = whole.entries.into_iter().map(|one| (one.key, one.revision, one.created));
        assert_eq!(told.collect::<Vec<_>>(), whole.collect::<Vec<_>>());
        assert_eq!(page.keys.last().map(|one| one.to_string()).as_deref(), Some("a/2"));
    }
    let count = ListOptions { count_only: true, ..ListOptions::default() };
    let page = ok(store.list(&range, count).await);
    assert_eq!((page.entries.len(), page.remaining), (0, 3));
    let old = Revision(updated.0 - 3);
    let count = ListOptions { count_only: true, at: ReadAt::Exact(old), ..Default::default() };
    assert_eq!(ok(store.list(&range, count).await).remaining, 2);
}
