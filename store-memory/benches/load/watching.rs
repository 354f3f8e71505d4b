//! Watchers that take all they are given.

use futures::StreamExt;
use kubeplane_store_trait::{BoxWatcher, Error, KeyRange, Store};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::task::JoinSet;

/// Watchers of everything. One that lags watches again from the latest: what it missed is not delivered, and counted as
/// one lag.
pub(crate) struct Watching {
    counts: Arc<Counts>,
    _tasks: JoinSet<()>,
}

#[derive(Default)]
struct Counts {
    deliveries: AtomicU64,
    lags: AtomicU64,
    failures: AtomicU64,
}

impl Watching {
    /// Returns once all of them watch.
    pub(crate) async fn start(store: Arc<dyn Store>, watchers: u32) -> Self {
        let (counts, mut tasks) = (Arc::new(Counts::default()), JoinSet::new());
        for _ in 0..watchers {
            let watcher = watch(&*store).await.unwrap();
            tasks.spawn(follow(store.clone(), watcher, counts.clone()));
        }
        Self { counts, _tasks: tasks }
    }

    /// What they have seen so far.
    pub(crate) fn told(&self) -> String {
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let Counts { deliveries, lags, failures } = &*self.counts;
        let (deliveries, lags, failures) = (count(deliveries), count(lags), count(failures));
        format!("{deliveries} deliveries, {lags} lags, {failures} other failures")
    }
}

async fn watch(store: &dyn Store) -> Result<BoxWatcher, Error> {
    let latest = store.revision().await?;
    store.watch(&KeyRange::all(), latest).await
}

async fn follow(store: Arc<dyn Store>, mut watcher: BoxWatcher, counts: Arc<Counts>) {
    loop {
        let failed = loop {
            match watcher.next().await {
                Some(Ok(batch)) => {
                    counts.deliveries.fetch_add(batch.events.len() as u64, Ordering::Relaxed);
                }
                Some(Err(error)) => break Some(error),
                None => break None,
            }
        };
        let count =
            if matches!(failed, Some(Error::Lagged)) { &counts.lags } else { &counts.failures };
        count.fetch_add(1, Ordering::Relaxed);
        watcher = loop {
            if let Ok(again) = watch(&*store).await {
                break again;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
    }
}
