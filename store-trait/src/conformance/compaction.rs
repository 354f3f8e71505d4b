use super::{
    Factory,
    reader::Reader,
    setup::{compacted, create, failed, get, key, list, ok, revisions, some, update},
};
use crate::{Error, Event, KeyRange, ListOptions, ReadAt, Revision, Store};

/// Five writes of one key, the third a delete; returns their revisions.
async fn five(store: &dyn Store) -> [Revision; 5] {
    let one = create(store, "a", "one").await;
    let two = update(store, "a", "two", one).await;
    let gone = ok(store.delete(&key("a"), two).await).revision;
    let three = create(store, "a", "three").await;
    let four = update(store, "a", "four", three).await;
    [one, two, gone, three, four]
}

pub(super) async fn compaction_forgets_only_the_past(factory: &dyn Factory) {
    let store = factory.fresh().await;
    let [one, two, gone, three, four] = five(&*store).await;
    create(&*store, "b", "kept").await;
    assert!(ok(store.status().await).compacted <= one);
    ok(store.compact(three).await);
    assert_eq!(ok(store.status().await).compacted, three);
    for old in [one, two, gone] {
        let at = ReadAt::Exact(old);
        compacted(failed(store.get(&key("a"), at).await), old, three);
        let options = ListOptions { at, ..ListOptions::default() };
        compacted(failed(store.list(&KeyRange::all(), options).await), old, three);
    }
    for (kept, value) in [(three, "three"), (four, "four")] {
        let entry = some(get(&*store, "a", ReadAt::Exact(kept)).await);
        assert_eq!((entry.value, entry.revision), (value.into(), kept));
    }
    assert_eq!(list(&*store, &KeyRange::all(), ReadAt::Latest).await.entries.len(), 2);
}

pub(super) async fn compaction_of_the_future_or_the_past_is_refused(factory: &dyn Factory) {
    let store = factory.fresh().await;
    let [_, two, gone, _, four] = five(&*store).await;
    let future = Revision(four.0 + 1);
    match failed(store.compact(future).await) {
        Error::Future { requested, latest } => assert_eq!((requested, latest), (future, four)),
        other => panic!("must be Future, but is: {other}"),
    }
    ok(store.compact(gone).await);
    for again in [gone, two] {
        compacted(failed(store.compact(again).await), again, gone);
    }
    ok(store.compact(four).await);
    assert_eq!(ok(store.revision().await), four, "a compaction is no write");
}

pub(super) async fn compaction_leaves_readers_that_are_up_to_date(factory: &dyn Factory) {
    let store = factory.fresh().await;
    let [.., four] = five(&*store).await;
    let mut current = Reader::start(&*store, &KeyRange::all(), Revision(0)).await;
    let mut quiet = Reader::start(&*store, &KeyRange::prefix("quiet/"), four).await;
    current.until(four).await;
    quiet.until(four).await;
    ok(store.compact(four).await);
    let last = create(&*store, "quiet/a", "x").await;
    assert_eq!(revisions(&current.events(1).await), [last]);
    assert_eq!(revisions(&quiet.events(1).await), [last]);
}

pub(super) async fn a_watch_of_the_compacted_past_is_refused(factory: &dyn Factory) {
    let store = factory.fresh().await;
    let [one, two, gone, three, four] = five(&*store).await;
    for (point, past) in
        [(two, vec![Revision(0), Revision(1), one]), (four, vec![one, two, gone, three])]
    {
        ok(store.compact(point).await);
        for old in past {
            for range in [KeyRange::all(), KeyRange::prefix("elsewhere/")] {
                compacted(failed(store.watch(&range, old).await), old, point);
            }
        }
    }
}

pub(super) async fn a_watch_resumes_at_the_compaction_point(factory: &dyn Factory) {
    let store = factory.fresh().await;
    let [one, two, gone, three, four] = five(&*store).await;
    assert!(one < two);
    for (point, rest) in [(two, vec![gone, three, four]), (gone, vec![three, four]), (four, vec![])]
    {
        ok(store.compact(point).await);
        let mut reader = Reader::start(&*store, &KeyRange::all(), point).await;
        let events = reader.until(four).await;
        assert_eq!(revisions(&events), rest);
        if point == two {
            assert_eq!(
                events.first().map(|event| match event {
                    Event::Delete { previous, .. } => previous.as_ref().map(|was| was.revision),
                    Event::Put { .. } => None,
                }),
                Some(Some(two)),
                "the state at the compaction point is the previous of what follows"
            );
        }
    }
    let mut reader = Reader::start(&*store, &KeyRange::all(), four).await;
    let last = update(&*store, "a", "five", four).await;
    ok(store.compact(last).await);
    match reader.next().await {
        // Delivered before the compaction, or lost to it: never passed over.
        Some(Ok(batch)) => assert_eq!(batch.events.len(), 1),
        Some(Err(Error::Lagged | Error::Compacted { .. })) => {}
        other => panic!("neither the event nor an error: {other:?}"),
    }
}
