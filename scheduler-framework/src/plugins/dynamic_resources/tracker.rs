use super::{
    claims::allocation,
    devices::{Allocated, Ledger},
    extended::maker,
};
use crate::{
    PodInfo,
    objects::{ClusterObjects, Objects},
};
use futures::{FutureExt, StreamExt};
use k8s_openapi::{
    api::resource::v1::{AllocationResult, ResourceClaim},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kubeplane_client::Changes;
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

/// Claims as they are, with what this scheduler decided and informers do not show yet.
#[derive(Debug, Default)]
pub(super) struct Tracker {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// What the API server has answered, by uid.
    written: HashMap<String, Arc<ResourceClaim>>,
    /// Allocations on their way to it, by uid.
    pending: HashMap<String, Pending>,
    source: Option<Source>,
    /// What the source shows, by uid, as far as its changes were taken in.
    shown: HashMap<String, Arc<ResourceClaim>>,
    /// Of those the uids of the claims that were made for extended resources, by the uid of their pod and by name.
    made: HashMap<String, BTreeMap<String, String>>,
    ledger: Ledger,
}

/// Where claims come from.
#[derive(Debug)]
struct Source {
    objects: Objects<ResourceClaim>,
    /// `None` when it does not tell, and has to be listed.
    changes: Option<Changes<ResourceClaim>>,
}

#[derive(Debug)]
struct Pending {
    claim: Arc<ResourceClaim>,
    /// How many pods count on it; more than one only where they are of one group.
    sharers: usize,
}

/// With more answers than this those about claims that are gone are let go.
const WRITTEN: usize = 4096;

fn version(meta: &ObjectMeta) -> u64 {
    meta.resource_version.as_deref().and_then(|own| own.parse().ok()).unwrap_or_default()
}

fn is_newer(claim: &ResourceClaim, than: &ResourceClaim) -> bool {
    version(&claim.metadata) > version(&than.metadata)
}

fn uid_of(claim: &ResourceClaim) -> &str {
    claim.metadata.uid.as_deref().unwrap_or_default()
}

impl Inner {
    /// The newer of what is known and what was written.
    fn newest(&self, known: Arc<ResourceClaim>) -> Arc<ResourceClaim> {
        let written = self.written.get(uid_of(&known));
        written.filter(|own| is_newer(own, &known)).cloned().unwrap_or(known)
    }

    /// Takes in what a source shows by now.
    fn catch_up(&mut self, objects: &Objects<ResourceClaim>) {
        let is_same = self.source.as_ref().is_some_and(|own| Arc::ptr_eq(&own.objects, objects));
        if !is_same {
            let changes = objects.changes();
            self.source = Some(Source { objects: objects.clone(), changes });
            self.replace(&[]);
        }
        if !self.drain() {
            self.replace(&objects.all());
        }
    }

    /// Takes in what changed; `false` when the source does not tell.
    fn drain(&mut self) -> bool {
        let source = self.source.as_mut();
        let Some(changes) = source.and_then(|own| own.changes.as_mut()) else { return false };
        let mut told = Vec::new();
        while let Some(Some(change)) = changes.next().now_or_never() {
            told.push(change);
        }
        for change in told {
            if change.is_deleted() {
                let uid = uid_of(change.object());
                self.written.remove(uid);
                self.hide(uid);
            } else {
                self.show(change.object());
            }
        }
        true
    }

    /// Shows these claims, and no others.
    fn replace(&mut self, all: &[Arc<ResourceClaim>]) {
        let mut gone: HashSet<String> = self.shown.keys().cloned().collect();
        for claim in all {
            gone.remove(uid_of(claim));
            self.show(claim);
        }
        gone.iter().for_each(|uid| self.hide(uid));
    }

    fn show(&mut self, claim: &Arc<ResourceClaim>) {
        let uid = uid_of(claim);
        if self.written.get(uid).is_some_and(|own| !is_newer(own, claim)) {
            self.written.remove(uid);
        }
        if let Some(before) = self.shown.insert(uid.to_owned(), claim.clone()) {
            self.forget_maker(&before);
        }
        if let Some(pod) = maker(claim) {
            let name = claim.metadata.name.clone().unwrap_or_default();
            self.made.entry(pod.to_owned()).or_default().insert(name, uid.to_owned());
        }
        self.settle(uid);
    }

    fn hide(&mut self, uid: &str) {
        if let Some(before) = self.shown.remove(uid) {
            self.forget_maker(&before);
            self.settle(uid);
        }
    }

    fn forget_maker(&mut self, claim: &ResourceClaim) {
        let Some(pod) = maker(claim) else { return };
        let Some(all) = self.made.get_mut(pod) else { return };
        all.retain(|_, uid| uid.as_str() != uid_of(claim));
        if all.is_empty() {
            self.made.remove(pod);
        }
    }

    /// Counts what is true of a claim now: what is on its way, or the newest of what was written and what is shown. One
    /// that is not shown is gone.
    fn settle(&mut self, uid: &str) {
        let pending = self.pending.get(uid).map(|own| own.claim.clone());
        let now = pending.or_else(|| self.shown.get(uid).cloned().map(|own| self.newest(own)));
        self.ledger.set(uid, now);
    }

    fn forget_gone(&mut self) {
        if self.written.len() > WRITTEN {
            let shown = &self.shown;
            self.written.retain(|uid, _| shown.contains_key(uid));
        }
    }
}

impl Tracker {
    pub(super) fn claim(
        &self,
        objects: &ClusterObjects,
        namespace: &str,
        name: &str,
    ) -> Option<Arc<ResourceClaim>> {
        let known = objects.resource_claims.find(namespace, name)?;
        Some(self.inner.lock().newest(known))
    }

    /// The claim that was made for the extended resources of a pod, the first by name if there are several.
    pub(super) fn made_for(
        &self,
        objects: &ClusterObjects,
        pod: &PodInfo,
    ) -> Option<Arc<ResourceClaim>> {
        let inner = &mut *self.inner.lock();
        inner.catch_up(&objects.resource_claims);
        let uid = inner.made.get(pod.uid())?.values().next()?;
        let claim = inner.shown.get(uid)?;
        (claim.metadata.namespace.as_deref() == Some(pod.namespace())).then(|| claim.clone())
    }

    /// All devices that are allocated, or about to be.
    pub(super) fn allocated(&self, objects: &ClusterObjects) -> Arc<Allocated> {
        let inner = &mut *self.inner.lock();
        inner.catch_up(&objects.resource_claims);
        inner.forget_gone();
        inner.ledger.total()
    }

    /// What of the claim is on its way.
    pub(super) fn pending(&self, uid: &str) -> Option<AllocationResult> {
        allocation(&self.inner.lock().pending.get(uid)?.claim).cloned()
    }

    /// A claim is about to get what it says, or one more pod counts on that.
    pub(super) fn begin(&self, claim: Arc<ResourceClaim>) {
        let uid = uid_of(&claim).to_owned();
        let inner = &mut *self.inner.lock();
        let pending = inner.pending.entry(uid.clone());
        pending.or_insert(Pending { claim, sharers: 0 }).sharers += 1;
        inner.settle(&uid);
    }

    /// A pod does not count on it any more, or it is so: then this is what the API server answered.
    pub(super) fn end(&self, uid: &str, written: Option<Arc<ResourceClaim>>) {
        let inner = &mut *self.inner.lock();
        if let Some(claim) = written {
            // It may be known by another uid now, and should be shown by now.
            inner.drain();
            let own = uid_of(&claim).to_owned();
            inner.ledger.rename(uid, &own);
            inner.pending.remove(uid);
            let overtaken = inner.shown.get(&own).is_some_and(|shown| !is_newer(&claim, shown));
            if !overtaken {
                inner.written.insert(own.clone(), claim);
            }
            inner.settle(&own);
            inner.settle(uid);
        } else if let Some(own) = inner.pending.get_mut(uid) {
            own.sharers -= 1;
            if own.sharers == 0 {
                inner.pending.remove(uid);
                inner.settle(uid);
            }
        }
    }
}
