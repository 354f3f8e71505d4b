//! Where ranges begin and end.

use super::{
    Factory,
    reader::Reader,
    setup::{create, key, list, ok},
};
use crate::{Event, Key, KeyRange, ListOptions, ReadAt};

/// Keys that lie close together, in order.
const NAMES: [&[u8]; 11] =
    [b"a", b"a\0", b"a/", b"a/x", b"a0", b"b", b"b\xff", b"b\xff\xff", b"c", b"\xff", b"\xff\xff"];

/// Ranges, and which of the names lie in each.
fn ranges() -> Vec<(KeyRange, &'static [&'static [u8]])> {
    vec![
        (KeyRange::all(), &NAMES),
        (KeyRange::prefix("a"), &NAMES[..5]),
        (KeyRange::prefix("a/"), &NAMES[2..4]),
        (KeyRange::prefix("a/x"), &NAMES[3..4]),
        (KeyRange::prefix("a/x/"), &[]),
        (KeyRange::prefix("b\u{0}"), &[]),
        (KeyRange::prefix(&b"b\xff"[..]), &NAMES[6..8]),
        (KeyRange::prefix(&b"\xff"[..]), &NAMES[9..]),
        (KeyRange::prefix(&b"\xff\xff"[..]), &NAMES[10..]),
        (KeyRange::single(&key("a")), &NAMES[..1]),
        (KeyRange::single(&key(b"\xff\xff")), &NAMES[10..]),
        (KeyRange::between("a/", Some("b".into())), &NAMES[2..5]),
        (KeyRange::between(&b"b\xff\xff"[..], None), &NAMES[7..]),
        (KeyRange::between("b", Some("b".into())), &[]),
        (KeyRange::between("c", Some("b".into())), &[]),
        (KeyRange::prefix("a").after(&key("a/")), &NAMES[3..5]),
    ]
}

fn keys(names: &[&[u8]]) -> Vec<Key> {
    names.iter().map(key).collect()
}

pub(super) async fn ranges_end_where_they_should(factory: &dyn Factory) {
    let store = factory.fresh().await;
    for name in NAMES {
        create(&*store, name, "x").await;
    }
    for (range, expected) in ranges() {
        let page = list(&*store, &range, ReadAt::Latest).await;
        let found: Vec<_> = page.entries.into_iter().map(|entry| entry.key).collect();
        assert_eq!((found, page.remaining), (keys(expected), 0), "in {range:?}");
        let exact = list(&*store, &range, ReadAt::Exact(page.revision)).await;
        assert_eq!(exact.entries.len(), expected.len(), "in {range:?}");
        let count = ListOptions { count_only: true, ..ListOptions::default() };
        let count = ok(store.list(&range, count).await).remaining;
        assert_eq!(count, expected.len() as u64, "counted in {range:?}");
    }
}

pub(super) async fn watched_ranges_end_where_they_should(factory: &dyn Factory) {
    let store = factory.fresh().await;
    let start = ok(store.revision().await);
    let mut readers = Vec::new();
    for (range, expected) in ranges() {
        readers.push((Reader::start(&*store, &range, start).await, range, expected));
    }
    for name in NAMES {
        create(&*store, name, "x").await;
    }
    let last = ok(store.revision().await);
    for (mut reader, range, expected) in readers {
        let live: Vec<_> = found(reader.until(last).await);
        assert_eq!(live, keys(expected), "live in {range:?}");
        let mut late = Reader::start(&*store, &range, start).await;
        assert_eq!(found(late.until(last).await), keys(expected), "late in {range:?}");
    }
}

fn found(events: Vec<Event>) -> Vec<Key> {
    events.iter().map(|event| event.key().clone()).collect()
}
