//! Watches that go on where another one ended.

use super::{
    Factory,
    reader::Reader,
    setup::{churn, ok, revisions, some},
};
use crate::{KeyRange, Revision};
use tokio::task::JoinSet;

pub(super) async fn a_watch_resumes_at_every_revision(factory: &dyn Factory) {
    let store = factory.fresh().await;
    let start = ok(store.revision().await);
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

pub(super) async fn a_watch_broken_off_again_and_again_misses_nothing(factory: &dyn Factory) {
    const WRITERS: usize = 4;
    const WRITES: usize = 40;
    let store = factory.fresh().await;
    let start = ok(store.revision().await);
    let mut tasks = JoinSet::new();
    for writer in 0..WRITERS {
        let store = store.clone();
        tasks.spawn(async move { churn(&*store, &format!("{writer}/"), WRITES).await });
    }
    let (mut seen, mut through) = (Vec::new(), start);
    while seen.len() < WRITERS * WRITES {
        let mut reader = Reader::start(&*store, &KeyRange::all(), through).await;
        seen.extend(revisions(&reader.batch().await.events));
        through = reader.through();
    }
    let mut written: Vec<_> = tasks.join_all().await.into_iter().flatten().collect();
    written.sort_unstable();
    assert_eq!(seen, written, "each change once, however often the watch was broken off");
}
