//! Gives every pod its worker.

use crate::{
    host::Host,
    resize,
    runtime_watch::Noticed,
    spec::PodId,
    worker::{Desired, Worker, end::recorded_grace, remove},
};
use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kubeplane_client::{Change, Informer};
use kubeplane_runtime_cri::{ContainerId, v1};
use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};
use tokio::{
    sync::{Notify, mpsc, watch},
    task::JoinSet,
};

/// How often resizes that wait for room are looked at without a reason.
const RESIZE_RETRY: Duration = Duration::from_secs(180);

/// One pod's worker, seen from outside.
#[derive(Debug)]
struct Handle {
    desired: watch::Sender<Desired>,
    wake: Arc<Notify>,
}

/// Starts, wakes and ends workers; its tasks end when it is dropped.
#[derive(Debug)]
pub(crate) struct Manager {
    host: Arc<Host>,
    pods: Informer<Pod>,
    handles: HashMap<String, Handle>,
    workers: JoinSet<String>,
    orphans: JoinSet<String>,
    removing: HashSet<String>,
}

impl Manager {
    pub(crate) fn new(host: Arc<Host>, pods: Informer<Pod>) -> Self {
        Self {
            host,
            pods,
            handles: HashMap::new(),
            workers: JoinSet::new(),
            orphans: JoinSet::new(),
            removing: HashSet::new(),
        }
    }

    /// Follows the pods of the node, and what the runtime does.
    pub(crate) async fn run(mut self, mut noticed: mpsc::Receiver<Noticed>) {
        let mut changes = self.pods.subscribe();
        let mut next_retry = RESIZE_RETRY;
        loop {
            let now = self.host.clock.elapsed();
            self.host.metrics.looped(now);
            if now >= next_retry {
                next_retry = now + RESIZE_RETRY;
                resize::retry(&self.host, "periodic_retry");
            }
            let retry = self.host.clock.sleep(next_retry.saturating_sub(now));
            tokio::select! {
                () = retry => {}
                Some(change) = changes.next() => self.apply(&change),
                Some(noticed) = noticed.recv() => self.notice(noticed),
                Some(done) = self.workers.join_next() => self.finished(done),
                Some(done) = self.orphans.join_next() => {
                    match done {
                        Ok(uid) => { self.removing.remove(&uid); }
                        // Its uid is lost with it, so all are looked at again.
                        Err(_) => self.removing.clear(),
                    }
                }
            }
        }
    }

    fn apply(&mut self, change: &Change<Pod>) {
        let pod = change.object().clone();
        let gone = change.is_deleted();
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        if let Some(handle) = self.handles.get(&uid) {
            // What it is given is settled before its worker hears of its wish.
            if let Some(old) = self.host.pods.set(&uid, pod.clone()) {
                self.host.metrics.resizes.requested(&old, &pod);
                resize::asked(&self.host, &uid, "pod_updated");
            }
            handle.desired.send_replace(Desired { pod, gone });
            return;
        }
        if gone {
            return;
        }
        let wake = Arc::new(Notify::new());
        self.host.pods.add(&uid, pod.clone(), wake.clone());
        let (desired, receiver) = watch::channel(Desired { pod, gone });
        let worker = Worker::new(self.host.clone(), receiver, wake.clone());
        self.handles.insert(uid.clone(), Handle { desired, wake });
        self.workers.spawn(async move {
            worker.run().await;
            uid
        });
    }

    fn finished(&mut self, done: Result<String, tokio::task::JoinError>) {
        match done {
            Ok(uid) => {
                self.handles.remove(&uid);
                self.host.pods.remove(&uid);
                resize::retry(&self.host, "pods_removed");
            }
            Err(error) => {
                tracing::error!(%error, "the worker of a pod broke");
                self.replace_broken();
            }
        }
    }

    /// A worker that broke took its receiver along; its pod gets a new one.
    fn replace_broken(&mut self) {
        let broken: Vec<String> = self
            .handles
            .iter()
            .filter(|(_, handle)| handle.desired.is_closed())
            .map(|(uid, _)| uid.clone())
            .collect();
        for uid in broken {
            let Some(handle) = self.handles.remove(&uid) else { continue };
            let desired = handle.desired.borrow().clone();
            if !desired.gone {
                self.apply(&Change::Added(desired.pod));
            }
        }
    }

    fn notice(&mut self, noticed: Noticed) {
        match noticed {
            Noticed::Pod(uid) => {
                if let Some(handle) = self.handles.get(&uid) {
                    handle.wake.notify_one();
                }
            }
            Noticed::All(found) => self.remove_orphans(found),
        }
    }

    /// Removes what belongs to pods that are not of this node any more.
    fn remove_orphans(&mut self, found: HashMap<String, PodId>) {
        let mut orphans: HashMap<String, PodId> = found;
        for uid in self.host.volumes.known() {
            let unnamed = PodId { uid: uid.clone(), namespace: String::new(), name: String::new() };
            orphans.entry(uid).or_insert(unnamed);
        }
        orphans.retain(|uid, _| !self.handles.contains_key(uid) && !self.removing.contains(uid));
        if orphans.is_empty() {
            return;
        }
        let known: HashSet<String> =
            self.pods.list().iter().filter_map(|pod| pod.metadata.uid.clone()).collect();
        for (uid, id) in orphans {
            // One that was just added gets its worker in a moment.
            if known.contains(&uid) {
                continue;
            }
            self.removing.insert(uid.clone());
            let host = self.host.clone();
            self.orphans.spawn(async move {
                if let Err(error) = remove_orphan(&host, &id).await {
                    tracing::warn!(pod = %id, %error, "failed to remove what is left of a pod");
                }
                uid
            });
        }
    }
}

async fn remove_orphan(host: &Host, id: &PodId) -> crate::Result<()> {
    let label_selector = HashMap::from([(crate::observed::POD_UID.to_owned(), id.uid.clone())]);
    let running = v1::ContainerStateValue { state: v1::ContainerState::ContainerRunning.into() };
    let filter = v1::ContainerFilter { label_selector, state: Some(running), ..Default::default() };
    let containers = host.runtime.list_containers(filter).await?;
    let stops = containers.into_iter().map(|container| async move {
        let grace = u64::try_from(recorded_grace(&container.annotations)).unwrap_or(1);
        let id = ContainerId::new(container.id);
        host.runtime.stop_container(&id, Duration::from_secs(grace)).await
    });
    for stopped in futures::future::join_all(stops).await {
        stopped?;
    }
    remove::remove(host, id, None).await
}
