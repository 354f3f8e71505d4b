//! Taking pods from stage to stage.

use super::{Shared, retry};
use crate::pod::{Moment, Next, Pod, Progress};
use futures::StreamExt;
use kubeplane_client::{Change, Informer, ObjectKey, WorkQueue};
use std::{collections::HashMap, net::Ipv4Addr, sync::Arc, time::Duration};

/// What is known of pods.
#[derive(Default)]
pub(super) struct Pods {
    /// By uid.
    progress: HashMap<String, Progress>,
    /// Addresses given out so far.
    addresses: u32,
}

impl Shared {
    /// What is to be done for a pod now.
    fn next(&self, pod: &Pod) -> Next {
        let meta = &pod.metadata;
        let namespace = meta.namespace.as_deref().unwrap_or_default();
        let stages =
            self.simulation.stages_of(namespace, meta.labels.as_ref()).unwrap_or(&self.default);
        let moment = Moment { elapsed: self.clock.elapsed(), now: self.now(node_of(pod)) };
        let chance = || self.seed.fraction();
        let mut pods = self.pods.lock();
        let Pods { progress, addresses } = &mut *pods;
        let uid = meta.uid.clone().unwrap_or_default();
        let new_address = || {
            *addresses += 1;
            address(*addresses)
        };
        let progress = progress
            .entry(uid)
            .or_insert_with(|| Progress::seen(pod, stages, moment, new_address, &chance));
        progress.next(pod, stages, moment, &chance)
    }

    /// Addresses that pods have already are not given out again.
    pub(super) fn spare(&self, pods: &[Arc<Pod>]) {
        let given = pods.iter().filter_map(|pod| number(pod.status.as_ref()?.pod_ip.as_deref()?));
        let highest = given.max().unwrap_or_default();
        let mut pods = self.pods.lock();
        pods.addresses = pods.addresses.max(highest);
    }

    fn progress(&self, pod: &Pod) -> Option<Progress> {
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        self.pods.lock().progress.get(uid).cloned()
    }

    /// Takes a step back that was not written.
    fn back(&self, pod: &Pod, before: Option<Progress>) {
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        let mut pods = self.pods.lock();
        match before {
            Some(before) => pods.progress.insert(uid, before),
            None => pods.progress.remove(&uid),
        };
    }
}

/// The node of a pod; nothing of one that has none.
fn node_of(pod: &Pod) -> &str {
    pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or_default()
}

/// An address of 10.64.0.0/10.
fn address(number: u32) -> String {
    let low = number & 0x003f_ffff;
    format!("10.{}.{}.{}", 64 | (low >> 16), (low >> 8) & 255, low & 255)
}

/// The number that an address was made from.
fn number(address: &str) -> Option<u32> {
    let octets = address.parse::<Ipv4Addr>().ok()?.octets();
    let ours = octets[0] == 10 && octets[1] & 0xc0 == 64;
    ours.then(|| u32::from_be_bytes(octets) & 0x003f_ffff)
}

/// Puts pods of our nodes into the queue when they change.
pub(super) async fn feed(shared: Arc<Shared>, pods: Informer<Pod>, queue: WorkQueue<ObjectKey>) {
    let mut changes = pods.subscribe();
    while let Some(change) = changes.next().await {
        let pod = change.object();
        if let Change::Deleted(_) = &change {
            shared.pods.lock().progress.remove(pod.metadata.uid.as_deref().unwrap_or_default());
            continue;
        }
        if shared.simulation.has_node(node_of(pod)) {
            queue.add(ObjectKey::of(&**pod));
        }
    }
}

/// Works on one pod after the other. Those that wait in the line of a node stay taken.
pub(super) async fn work(shared: Arc<Shared>, pods: Informer<Pod>, queue: WorkQueue<ObjectKey>) {
    while let Some(key) = queue.take().await {
        let node = pods.get(&key.namespace, &key.name).map(|pod| node_of(&pod).to_owned());
        let Some(node) = node else {
            queue.done(&key);
            continue;
        };
        let mut turn = shared.lines.enter(&node, key);
        while let Some(key) = turn {
            look(&shared, &pods, &queue, &key).await;
            queue.done(&key);
            turn = shared.lines.next(&node);
        }
    }
}

/// Looks at a pod as it is now.
async fn look(
    shared: &Shared,
    pods: &Informer<Pod>,
    queue: &WorkQueue<ObjectKey>,
    key: &ObjectKey,
) {
    let Some(pod) = pods.get(&key.namespace, &key.name) else { return queue.forget(key) };
    match step(shared, &pod).await {
        Err(error) if retry(&error) => {
            tracing::debug!(pod = %key, %error, "not written");
            return queue.add_rate_limited(key.clone());
        }
        Ok(Some(wait)) => queue.add_after(key.clone(), wait),
        Ok(None) => {}
        // It is gone, or another by now.
        Err(error) => tracing::debug!(pod = %key, %error, "refused"),
    }
    queue.forget(key);
}

/// Takes a pod as far as it goes now; how long until it goes on by itself.
async fn step(shared: &Shared, pod: &Pod) -> kube::Result<Option<Duration>> {
    let node = node_of(pod);
    // What follows a write depends on what is known here, not on how soon the change is seen.
    loop {
        let before = shared.progress(pod);
        match shared.next(pod) {
            Next::Rest => return Ok(None),
            Next::Wait(left) => return Ok(Some(left)),
            Next::Remove => return shared.writer.delete_pod(node, pod).await.map(|()| None),
            Next::Patch(change) => {
                if let Err(error) = shared.writer.patch_pod_status(node, pod, change).await {
                    shared.back(pod, before);
                    return Err(error);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_known_again() {
        for given in [1, 255, 256, 70_000, 0x003f_ffff] {
            assert_eq!(number(&address(given)), Some(given));
        }
        assert_eq!([number("10.244.0.1"), number("192.168.0.1"), number("::1")], [None; 3]);
    }
}
