use super::{
    Factory,
    reader::Reader,
    setup::{conflict, create, failed, get, key, list, ok, some, update},
};
use crate::{
    Deleted, Error, KeyRange, ListOptions, ReadAt, Result, Retry, Revision, Store, WriteOptions,
};
use bytes::Bytes;
use std::sync::Arc;
use tokio::task::JoinSet;

pub(super) async fn a_created_entry_is_read_as_it_was_written(factory: &dyn Factory) {
    let store = factory.fresh().await;
    let before = ok(store.get(&key("a"), ReadAt::Latest).await);
    assert_eq!(before.entry, None);
    let revision = create(&*store, "a", "one").await;
    assert!(revision > before.revision, "{revision} is not after {}", before.revision);
    let read = ok(store.get(&key("a"), ReadAt::Latest).await);
    assert_eq!(read.revision, revision);
    let entry = some(read.entry);
    assert_eq!((entry.key, &*entry.value), (key("a"), &b"one"[..]));
    assert_eq!((entry.revision, entry.created), (revision, revision));
    assert_eq!(ok(store.revision().await), revision);
    assert_eq!(ok(store.status().await).revision, revision);
}

pub(super) async fn a_create_of_a_taken_key_returns_the_current_entry(factory: &dyn Factory) {
    let store = factory.fresh().await;
    create(&*store, "a", "one").await;
    let entry = get(&*store, "a", ReadAt::Latest).await;
    let error = failed(store.create(&key("a"), "two".into(), WriteOptions::default()).await);
    assert_eq!(error.retry(), Retry::Never);
    match error {
        Error::Exists { key: taken, current } => {
            assert_eq!((taken, Some(current)), (key("a"), entry.clone()));
        }
        other => panic!("must be Exists, but is: {other}"),
    }
    assert_eq!(get(&*store, "a", ReadAt::Latest).await, entry, "a refused create changed it");
    let revision = some(entry).revision;
    ok(store.delete(&key("a"), revision).await);
    let again = create(&*store, "a", "three").await;
    let entry = some(get(&*store, "a", ReadAt::Latest).await);
    assert_eq!((entry.created, entry.revision), (again, again), "created anew");
}

pub(super) async fn an_update_compares_the_revision(factory: &dyn Factory) {
    let store = factory.fresh().await;
    let first = create(&*store, "a", "one").await;
    let second = update(&*store, "a", "two", first).await;
    assert!(second > first);
    let entry = some(get(&*store, "a", ReadAt::Latest).await);
    assert_eq!((&*entry.value, entry.revision, entry.created), (&b"two"[..], second, first));
    for wrong in [first, Revision(second.0 + 1), Revision(0)] {
        let result = store.update(&key("a"), "three".into(), wrong, WriteOptions::default()).await;
        assert!(matches!(failed(result), Error::Conflict { .. }));
        assert_eq!(get(&*store, "a", ReadAt::Latest).await.as_ref(), Some(&entry));
    }
    for expected in [first, Revision(0)] {
        let options = WriteOptions::default();
        let result = store.update(&key("b"), "x".into(), expected, options).await;
        assert!(matches!(failed(result), Error::Conflict { .. }));
        assert_eq!(get(&*store, "b", ReadAt::Latest).await, None, "a refused update created it");
    }
}

pub(super) async fn a_delete_compares_the_revision(factory: &dyn Factory) {
    let store = factory.fresh().await;
    let first = create(&*store, "a", "one").await;
    let second = update(&*store, "a", "two", first).await;
    let entry = some(get(&*store, "a", ReadAt::Latest).await);
    for wrong in [first, Revision(second.0 + 1), Revision(0)] {
        let error = failed(store.delete(&key("a"), wrong).await);
        assert!(matches!(error, Error::Conflict { .. }), "must be Conflict, but is: {error}");
        assert_eq!(get(&*store, "a", ReadAt::Latest).await.as_ref(), Some(&entry));
    }
    let Deleted { previous, revision } = ok(store.delete(&key("a"), second).await);
    assert_eq!(previous, entry);
    assert!(revision > second);
    assert_eq!(get(&*store, "a", ReadAt::Latest).await, None);
    assert!(matches!(failed(store.delete(&key("a"), second).await), Error::Conflict { .. }));
}

async fn rewrite(store: &dyn Store, name: &str, expected: Revision) -> Result<Revision> {
    store.update(&key(name), "other".into(), expected, WriteOptions::default()).await
}

pub(super) async fn a_conflict_carries_the_current_entry(factory: &dyn Factory) {
    let store = factory.fresh().await;
    let first = create(&*store, "a", "one").await;
    let second = update(&*store, "a", "two", first).await;
    let entry = some(get(&*store, "a", ReadAt::Latest).await);
    for wrong in [first, Revision(second.0 + 1), Revision(0)] {
        conflict(failed(rewrite(&*store, "a", wrong).await), "a", Some(&entry));
        conflict(failed(store.delete(&key("a"), wrong).await), "a", Some(&entry));
    }
    let gone = ok(store.delete(&key("a"), second).await).revision;
    for wrong in [second, gone, Revision(0)] {
        conflict(failed(rewrite(&*store, "a", wrong).await), "a", None);
        conflict(failed(store.delete(&key("a"), wrong).await), "a", None);
    }
    create(&*store, "a", "again").await;
    let entry = some(get(&*store, "a", ReadAt::Latest).await);
    conflict(failed(rewrite(&*store, "a", second).await), "a", Some(&entry));
    conflict(failed(store.delete(&key("a"), second).await), "a", Some(&entry));
    conflict(failed(rewrite(&*store, "never", Revision(0)).await), "never", None);
}

pub(super) async fn a_refused_write_changes_nothing(factory: &dyn Factory) {
    let store = factory.fresh().await;
    let first = create(&*store, "a", "one").await;
    let before = list(&*store, &KeyRange::all(), ReadAt::Latest).await;
    let mut reader = Reader::start(&*store, &KeyRange::all(), first).await;
    let (wrong, options) = (Revision(first.0 + 1), WriteOptions::default());
    failed(store.create(&key("a"), "two".into(), options).await);
    failed(rewrite(&*store, "a", wrong).await);
    failed(rewrite(&*store, "b", first).await);
    failed(store.delete(&key("a"), wrong).await);
    failed(store.delete(&key("b"), first).await);
    assert_eq!(list(&*store, &KeyRange::all(), ReadAt::Latest).await, before);
    assert_eq!(ok(store.revision().await), first, "a refused write took a revision");
    let next = create(&*store, "z", "next").await;
    assert_eq!(reader.events(1).await[0].revision(), next, "a refused write is watched");
}

pub(super) async fn one_of_many_concurrent_creates_wins(factory: &dyn Factory) {
    const WRITERS: usize = 16;
    let store = factory.fresh().await;
    for round in 0..10 {
        let mut tasks = JoinSet::new();
        for writer in 0..WRITERS {
            let store = store.clone();
            tasks.spawn(async move {
                let value = Bytes::from(writer.to_string());
                let name = key(format!("{round}"));
                (value.clone(), store.create(&name, value, WriteOptions::default()).await)
            });
        }
        let mut won = Vec::new();
        let mut found = Vec::new();
        for (value, result) in tasks.join_all().await {
            match result {
                Ok(revision) => won.push((value, revision)),
                Err(Error::Exists { current, .. }) => found.push(current),
                Err(other) => panic!("must be Exists, but is: {other}"),
            }
        }
        let entry = some(get(&*store, format!("{round}"), ReadAt::Latest).await);
        assert_eq!(won, [(entry.value.clone(), entry.revision)], "one create wins");
        assert!(found.iter().all(|current| *current == entry), "the others are shown it");
    }
}

pub(super) async fn revisions_grow_under_many_concurrent_writers(factory: &dyn Factory) {
    const WRITERS: usize = 16;
    const WRITES: usize = 20;
    let store = factory.fresh().await;
    let mut tasks = JoinSet::new();
    for writer in 0..WRITERS {
        let store = store.clone();
        tasks.spawn(async move {
            let mut revisions = Vec::new();
            for write in 0..WRITES {
                revisions.push(create(&*store, format!("{writer}/{write}"), "x").await);
            }
            revisions
        });
    }
    let mut all = Vec::new();
    for revisions in tasks.join_all().await {
        assert!(revisions.is_sorted_by(|a, b| a < b), "one writer's writes in its order");
        all.extend(revisions);
    }
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), WRITERS * WRITES, "two writes share a revision");
    let page = ok(store.list(&KeyRange::all(), ListOptions::default()).await);
    let mut stored: Vec<_> = page.entries.iter().map(|entry| entry.revision).collect();
    stored.sort_unstable();
    assert_eq!(stored, all, "what was acknowledged is what is stored");
    assert_eq!(Some(&page.revision), all.last());
}

pub(super) async fn concurrent_updates_of_one_key_lose_nothing(factory: &dyn Factory) {
    const WRITERS: u64 = 8;
    const WRITES: u64 = 10;
    let store = factory.fresh().await;
    create(&*store, "counter", "0").await;
    let mut tasks = JoinSet::new();
    for _ in 0..WRITERS {
        let store = store.clone();
        tasks.spawn(async move {
            for _ in 0..WRITES {
                increment(&store).await;
            }
        });
    }
    tasks.join_all().await;
    let entry = some(get(&*store, "counter", ReadAt::Latest).await);
    assert_eq!(entry.value, Bytes::from((WRITERS * WRITES).to_string()));
}

async fn increment(store: &Arc<dyn Store>) {
    let mut entry = some(get(&**store, "counter", ReadAt::Latest).await);
    loop {
        let count: u64 = some(String::from_utf8_lossy(&entry.value).parse().ok());
        let value = Bytes::from((count + 1).to_string());
        let options = WriteOptions::default();
        // Lets the others in between, also where everything runs on one thread.
        tokio::task::yield_now().await;
        match store.update(&entry.key, value, entry.revision, options).await {
            Ok(_) => return,
            Err(Error::Conflict { current, .. }) => entry = some(current),
            Err(other) => panic!("must be Conflict, but is: {other}"),
        }
    }
}

pub(super) async fn too_large_values_are_refused_and_change_nothing(factory: &dyn Factory) {
    let store = factory.fresh().await;
    let limit = store.capabilities().max_value;
    let largest = Bytes::from(vec![b'x'; limit]);
    let larger = Bytes::from(vec![b'x'; limit + 1]);
    let options = WriteOptions::default();
    let revision = ok(store.create(&key("a"), largest.clone(), options).await);
    for result in [
        store.create(&key("b"), larger.clone(), options).await,
        store.update(&key("a"), larger.clone(), revision, options).await,
    ] {
        match failed(result) {
            Error::TooLarge { size, limit: stated } => {
                assert_eq!((size, stated), (limit + 1, limit));
            }
            other => panic!("must be TooLarge, but is: {other}"),
        }
    }
    let page = ok(store.list(&KeyRange::all(), ListOptions::default()).await);
    assert_eq!((page.entries.len(), page.revision), (1, revision));
    assert_eq!(page.entries[0].value, largest);
}

pub(super) async fn values_may_be_any_bytes(factory: &dyn Factory) {
    let store = factory.fresh().await;
    let every = Bytes::from_iter(0..=255_u8);
    let odd = key([0, 255, b'/', 0]);
    ok(store.create(&odd, every.clone(), WriteOptions::default()).await);
    ok(store.create(&key("empty"), Bytes::new(), WriteOptions::default()).await);
    let longest = key(vec![b'k'; crate::Key::MAX_LEN]);
    ok(store.create(&longest, every.clone(), WriteOptions::default()).await);
    for (key, value) in [(odd, &every), (key("empty"), &Bytes::new()), (longest, &every)] {
        let entry = some(ok(store.get(&key, ReadAt::Latest).await).entry);
        assert_eq!((&entry.key, &entry.value), (&key, value));
        let page = ok(store.list(&KeyRange::single(&key), ListOptions::default()).await);
        assert_eq!(page.entries, [entry]);
    }
}
