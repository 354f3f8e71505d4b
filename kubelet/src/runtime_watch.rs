//! Notices what happens in the runtime: by its events where it has them, and by asking again and again.

use crate::{
    host::Host,
    observed::{self, Digest},
    resize,
    spec::PodId,
};
use futures::StreamExt;
use kubeplane_runtime_cri::v1;
use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};
use tokio::sync::mpsc;

const EVENTS_RETRY: Duration = Duration::from_secs(1);

/// What was noticed.
#[derive(Debug)]
pub(crate) enum Noticed {
    /// Something of this pod changed.
    Pod(String),
    /// All pods the runtime has, after a full look.
    All(HashMap<String, PodId>),
}

/// Tells of everything that happens, until the receiver is gone.
pub(crate) async fn watch(host: Arc<Host>, noticed: mpsc::Sender<Noticed>) {
    tokio::join!(relist(&host, &noticed), events(&host, &noticed));
}

async fn relist(host: &Host, noticed: &mpsc::Sender<Noticed>) {
    let mut last = Digest::new();
    loop {
        let began = host.clock.elapsed();
        match observed::digest(host.runtime.as_ref()).await {
            Ok((digest, pods)) => {
                let (ended, now) = (host.clock.elapsed(), host.clock.now());
                let states = observed::container_states(&digest);
                host.metrics.relisted(began, ended, now, host.pods.running(), &states);
                host.metrics.resizes.count(resize::counts(host));
                for uid in changed(&last, &digest) {
                    if noticed.send(Noticed::Pod(uid)).await.is_err() {
                        return;
                    }
                }
                last = digest;
                if noticed.send(Noticed::All(pods)).await.is_err() {
                    return;
                }
            }
            Err(error) => tracing::debug!(%error, "failed to list the pods of the runtime"),
        }
        host.clock.sleep(host.config.relist_period).await;
    }
}

fn changed(last: &Digest, now: &Digest) -> BTreeSet<String> {
    let uids: BTreeSet<&String> = last.keys().chain(now.keys()).collect();
    uids.into_iter().filter(|uid| last.get(*uid) != now.get(*uid)).cloned().collect()
}

async fn events(host: &Host, noticed: &mpsc::Sender<Noticed>) {
    loop {
        match host.runtime.events().await {
            Ok(mut events) => {
                while let Some(event) = events.next().await {
                    let Ok(event) = event else { break };
                    let Some(uid) = pod_of(&event) else { continue };
                    if noticed.send(Noticed::Pod(uid)).await.is_err() {
                        return;
                    }
                }
            }
            Err(error) if error.is_unimplemented() => return,
            Err(error) => tracing::debug!(%error, "the runtime does not send events"),
        }
        host.clock.sleep(EVENTS_RETRY).await;
    }
}

fn pod_of(event: &v1::ContainerEventResponse) -> Option<String> {
    let sandbox = event.pod_sandbox_status.as_ref().and_then(|sandbox| sandbox.metadata.as_ref());
    let by_sandbox = sandbox.map(|metadata| metadata.uid.clone());
    by_sandbox.or_else(|| {
        let statuses = event.containers_statuses.iter();
        statuses.filter_map(|status| status.labels.get(observed::POD_UID).cloned()).next()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_whose_containers_changed_are_found() {
        let digest = |entries: &[(&str, &str, i32)]| {
            let mut digest = Digest::new();
            for (uid, id, state) in entries {
                digest.entry((*uid).to_owned()).or_default().insert((*id).to_owned(), *state);
            }
            digest
        };
        let before = digest(&[("a", "1", 0), ("b", "2", 0), ("c", "3", 0)]);
        let after = digest(&[("a", "1", 0), ("b", "2", 1), ("d", "4", 0)]);
        let found: Vec<String> = changed(&before, &after).into_iter().collect();
        assert_eq!(found, ["b", "c", "d"]);
    }
}
