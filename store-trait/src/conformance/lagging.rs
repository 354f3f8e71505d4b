//! Readers that fall behind, and watchers that nobody reads.

use super::{
    Factory,
    reader::{PATIENCE, Reader},
    setup::{create, ok, revisions, some, update},
};
use crate::{Error, KeyRange, Revision, Store};
use std::{sync::Arc, time::Duration};
use tokio::{task::JoinSet, time::timeout};

pub(super) async fn a_slow_reader_never_has_a_gap(factory: &dyn Factory) {
    const WRITERS: usize = 32;
    const WRITES: usize = 60;
    let store = factory.fresh().await;
    let start = ok(store.revision().await);
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
    drain(&mut reader, &written).await;
    resume(&store, reader.through(), &written).await;
}

pub(super) async fn a_lagging_reader_gets_one_error_and_the_end(factory: &dyn Factory) {
    let store = factory.fresh().await;
    let start = ok(store.revision().await);
    let mut idle = Reader::start(&*store, &KeyRange::all(), start).await;
    let mut begun = Reader::start(&*store, &KeyRange::all(), start).await;
    let mut written = vec![create(&*store, "a", "0").await];
    assert_eq!(revisions(&begun.events(1).await), written);
    for round in 0..200 {
        written.push(update(&*store, "a", &round.to_string(), written[round]).await);
    }
    // What neither has read yet can now only come from what was put aside for it.
    ok(store.compact(some(written.last().copied())).await);
    drain(&mut idle, &written).await;
    drain(&mut begun, &written[1..]).await;
    for reader in [idle, begun] {
        resume(&store, reader.through(), &written).await;
    }
}

/// Reads until everything has come, or one error and the end.
async fn drain(reader: &mut Reader, written: &[Revision]) {
    let mut seen = Vec::new();
    while seen.len() < written.len() {
        match reader.next().await {
            Some(Ok(batch)) => seen.extend(revisions(&batch.events)),
            Some(Err(Error::Lagged)) => {
                assert!(reader.next().await.is_none(), "a watch goes on after its error");
                break;
            }
            Some(Err(other)) => panic!("must be Lagged, but is: {other}"),
            None => panic!("the watch ended without an error"),
        }
    }
    assert_eq!(seen, written[..seen.len()], "everything up to the end, or to the error");
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
    let idle = factory.watchers();
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
    let freed = async {
        while factory.watchers() > idle {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let freed = timeout(PATIENCE, freed).await.is_ok();
    assert!(freed, "{:?} watchers are left, where {idle:?} were", factory.watchers());
    let mut reader = Reader::start(&*store, &KeyRange::all(), revision).await;
    let last = update(&*store, "a", "last", revision).await;
    assert_eq!(revisions(&reader.events(1).await), [last]);
}
