//! Pods that are measured wherever they are, and what is done to them and around them.

use super::super::rows::{Update, WATCHED};
use super::{Counter, LOOK, Measured, PATIENCE, Run, failed, labelled, stuck};
use k8s_openapi::{
    api::core::v1::{Node, Pod},
    serde::de::DeserializeOwned,
};
use kube::{
    Api, Client,
    api::{ListParams, Patch, PatchParams},
};
use std::{
    fmt::Debug,
    time::{Duration, Instant},
};

/// Pods with the label [`WATCHED`] get their nodes.
pub(super) struct Watched {
    counter: Counter,
    made: usize,
    /// When the first of them began to be made, and when the last was.
    times: Option<(Instant, Instant)>,
}

fn labels() -> String {
    format!("{}={}", WATCHED.0, WATCHED.1)
}

impl Watched {
    pub(super) fn start(client: &Client) -> Self {
        Self { counter: Counter::labelled(client, &labels()), made: 0, times: None }
    }

    /// So many more were made since then.
    pub(super) fn more(&mut self, count: usize, began: Instant) {
        self.made += count;
        let first = self.times.map_or(began, |(first, _)| first);
        self.times = Some((first, Instant::now()));
    }
}

impl Run {
    /// Waits until the scheduler has said something of each that has no node.
    pub(super) async fn tried(&self) -> Result<(), String> {
        let pods = self.all_pods();
        let waiting = ListParams::default().labels(&labels()).fields("spec.nodeName=");
        let limit = Instant::now() + PATIENCE;
        loop {
            let left = pods.list(&waiting).await.map_err(failed("list"))?.items;
            if left.iter().all(is_tried) {
                return Ok(());
            }
            if Instant::now() > limit {
                let left = left.iter().filter(|pod| !is_tried(pod)).count();
                return Err(format!("of {left} pods the scheduler has said nothing"));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Waits until all of them have their nodes.
    pub(super) async fn settled(&mut self) -> Result<Measured, String> {
        let nodes = self.nodes;
        let watched = self.watched.as_mut().ok_or("nothing is watched")?;
        if let Err(seen) = watched.counter.wait_for(watched.made, PATIENCE).await {
            let left = watched.made - seen.min(watched.made);
            return Err(self.stuck_among(left).await);
        }
        let now = Instant::now();
        let (first, last) = watched.times.unwrap_or((now, now));
        Ok(Measured {
            nodes,
            pods: watched.made,
            made: last - first,
            placed: now - first,
            rates: watched.counter.so_far(),
        })
    }

    /// How many have no node, and what is said of a few of them.
    async fn stuck_among(&self, left: usize) -> String {
        let waiting = ListParams::default().labels(&labels()).fields("spec.nodeName=");
        stuck(&self.all_pods(), &waiting, left, "those that are watched").await
    }

    fn all_pods(&self) -> Api<Pod> {
        Api::all(self.client.clone())
    }

    /// Changes pods or nodes.
    pub(super) async fn update(&self, own: &Update) -> Result<(), String> {
        match own.namespace {
            Some(namespace) => change(&self.within::<Pod>(namespace), own).await,
            None => change(&self.all::<Node>(), own).await,
        }
    }
}

fn is_tried(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.is_some_and(|all| all.iter().any(|own| own.type_ == "PodScheduled"))
}

/// The number in a name that ends with one.
fn number(name: &str) -> Option<usize> {
    name.rsplit('-').next()?.parse().ok()
}

async fn change<K>(all: &Api<K>, own: &Update) -> Result<(), String>
where
    K: Clone + DeserializeOwned + Debug,
{
    let found = all.list_metadata(&labelled(own.labels)).await.map_err(failed("list"))?.items;
    let mut names: Vec<_> = found.into_iter().filter_map(|own| own.metadata.name).collect();
    names.sort_by_key(|name| number(name));
    let mut pace = tokio::time::interval(Duration::from_secs(1) / own.per_second);
    let parameters = PatchParams::default();
    for (index, name) in names.iter().enumerate() {
        pace.tick().await;
        let next = (own.change)(index);
        let changed = match own.part {
            // Of a list only what is said is another.
            Some(part) => {
                all.patch_subresource(part, name, &parameters, &Patch::Strategic(next)).await
            }
            None => all.patch(name, &parameters, &Patch::Merge(next)).await,
        };
        changed.map_err(failed(name))?;
    }
    Ok(())
}
