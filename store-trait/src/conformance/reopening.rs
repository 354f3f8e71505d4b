use super::{
    Factory,
    reader::Reader,
    setup::{create, key, list, ok, some, update},
};
use crate::{KeyRange, ReadAt};

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
