//! How many pods get their nodes in each second, counted as the original counts them.
#![expect(clippy::cast_precision_loss, reason = "rates are fractions")]

use futures::StreamExt;
use k8s_openapi::{
    api::{core::v1::Pod, resource::v1::ResourceSlice},
    serde::de::DeserializeOwned,
};
use kube::{
    Api, Client, Resource, ResourceExt,
    core::PartialObjectMeta,
    runtime::watcher::{self, Event, watcher},
};
use parking_lot::Mutex;
use std::{
    collections::HashSet,
    fmt::Debug,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{sync::watch, task::JoinSet};

const SECOND: Duration = Duration::from_secs(1);

/// Pods a second, one number for each second but the first in which there were any.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rates(Vec<f64>);

impl Rates {
    pub(crate) fn new(mut samples: Vec<f64>) -> Self {
        samples.sort_by(f64::total_cmp);
        Self(samples)
    }

    /// `None` when all was over before there was a whole second.
    pub(crate) fn average(&self) -> Option<f64> {
        let count = self.0.len();
        (count > 0).then(|| self.0.iter().sum::<f64>() / count as f64)
    }

    pub(crate) fn percentile(&self, percent: usize) -> Option<f64> {
        let rank = (self.0.len() * percent).div_ceil(100);
        self.0.get(rank.checked_sub(1)?).copied()
    }
}

/// Watches pods get their nodes, or something else come.
pub(crate) struct Counter {
    seen: watch::Receiver<usize>,
    samples: Arc<Mutex<Vec<f64>>>,
    _tasks: JoinSet<()>,
}

impl Counter {
    /// Counts the pods of a namespace.
    pub(crate) fn start(client: &Client, namespace: &str) -> Self {
        let pods: Api<PartialObjectMeta<Pod>> = Api::namespaced(client.clone(), namespace);
        Self::of(pods, placed())
    }

    /// Counts the pods with these labels, wherever they are.
    pub(crate) fn labelled(client: &Client, labels: &str) -> Self {
        let pods: Api<PartialObjectMeta<Pod>> = Api::all(client.clone());
        Self::of(pods, placed().labels(labels))
    }

    /// Counts what is said of devices.
    pub(crate) fn slices(client: &Client) -> Self {
        let slices: Api<PartialObjectMeta<ResourceSlice>> = Api::all(client.clone());
        Self::of(slices, watcher::Config::default())
    }

    fn of<K>(all: Api<K>, which: watcher::Config) -> Self
    where
        K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
    {
        let (tell, seen) = watch::channel(0);
        let samples = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = JoinSet::new();
        tasks.spawn(count(all, which, tell));
        tasks.spawn(sample(seen.clone(), samples.clone()));
        Self { seen, samples, _tasks: tasks }
    }

    /// Waits until so many were seen; says how many were when there is not one more within `patience`.
    pub(crate) async fn wait_for(&mut self, count: usize, patience: Duration) -> Result<(), usize> {
        loop {
            let seen = *self.seen.borrow_and_update();
            if seen >= count {
                return Ok(());
            }
            if !matches!(tokio::time::timeout(patience, self.seen.changed()).await, Ok(Ok(()))) {
                return Err(seen);
            }
        }
    }

    pub(crate) fn so_far(&self) -> Rates {
        Rates::new(self.samples.lock().clone())
    }

    pub(crate) fn stop(self) -> Rates {
        Rates::new(std::mem::take(&mut *self.samples.lock()))
    }
}

/// Pods that have a node.
fn placed() -> watcher::Config {
    watcher::Config::default().fields("spec.nodeName!=")
}

async fn count<K>(all: Api<K>, which: watcher::Config, tell: watch::Sender<usize>)
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let mut events = std::pin::pin!(watcher(all, which));
    let mut known = HashSet::new();
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Apply(own) | Event::InitApply(own)) => {
                if known.insert(own.name_any()) {
                    tell.send_replace(known.len());
                }
            }
            Ok(Event::Delete(_) | Event::Init | Event::InitDone) => {}
            Err(error) => {
                eprintln!("watch of what is counted: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn sample(seen: watch::Receiver<usize>, samples: Arc<Mutex<Vec<f64>>>) {
    let mut ticks = tokio::time::interval(SECOND);
    ticks.tick().await;
    let (mut last, mut skipped) = (None, 0);
    loop {
        ticks.tick().await;
        let (count, now) = (*seen.borrow(), Instant::now());
        let Some((before, since)) = last else {
            // Nobody knows when in this second it began.
            last = (count > 0).then_some((count, now));
            continue;
        };
        if count == before {
            skipped += 1;
            continue;
        }
        let rate = (count - before) as f64 / now.duration_since(since).as_secs_f64();
        samples.lock().extend(std::iter::repeat_n(rate, skipped + 1));
        (last, skipped) = (Some((count, now)), 0);
    }
}
