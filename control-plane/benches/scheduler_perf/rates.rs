//! How many pods get their nodes in each second, counted as the original counts them.
#![expect(clippy::cast_precision_loss, reason = "rates are fractions")]

use futures::AsyncBufReadExt;
use k8s_openapi::api::{core::v1::Pod, resource::v1::ResourceSlice};
use kube::{Api, Client, Resource, api::WatchParams};
use parking_lot::Mutex;
use std::{
    error::Error,
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
        Self::of(&Api::<Pod>::namespaced(client.clone(), namespace), placed())
    }

    /// Counts the pods with these labels, wherever they are.
    pub(crate) fn labelled(client: &Client, labels: &str) -> Self {
        Self::of(&Api::<Pod>::all(client.clone()), placed().labels(labels))
    }

    /// Counts what is said of devices.
    pub(crate) fn slices(client: &Client) -> Self {
        Self::of(&Api::<ResourceSlice>::all(client.clone()), lasting())
    }

    fn of<K: Resource<DynamicType = ()> + Clone>(all: &Api<K>, which: WatchParams) -> Self {
        let (tell, seen) = watch::channel(0);
        let samples = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = JoinSet::new();
        let url = all.resource_url().to_owned();
        tasks.spawn(count(all.clone().into_client(), url, which, tell));
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

/// A watch as long as a row may take.
fn lasting() -> WatchParams {
    WatchParams::default().timeout(30 * 60).disable_bookmarks()
}

/// Of pods that have a node.
fn placed() -> WatchParams {
    lasting().fields("spec.nodeName!=")
}

/// Counts what comes to be among what is watched, which is all there when a watch begins; what it is is not looked at.
async fn count(client: Client, url: String, which: WatchParams, tell: watch::Sender<usize>) {
    loop {
        if let Err(error) = count_once(&client, &url, &which, &tell).await {
            eprintln!("watch of what is counted: {error}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

async fn count_once(
    client: &Client,
    url: &str,
    which: &WatchParams,
    tell: &watch::Sender<usize>,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    let request = kube::core::Request::new(url).watch(which, "0")?;
    let mut lines = std::pin::pin!(client.request_stream(request).await?);
    let (mut line, mut known) = (Vec::new(), 0);
    while lines.read_until(b'\n', &mut line).await? > 0 {
        if line.starts_with(br#"{"type":"ADDED""#) {
            known += 1;
            tell.send_if_modified(|told| std::mem::replace(told, known.max(*told)) < known);
        } else if line.starts_with(br#"{"type":"ERROR""#) {
            return Err(String::from_utf8_lossy(&line).into());
        }
        line.clear();
    }
    Ok(())
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
