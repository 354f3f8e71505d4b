use super::{
    claims::allocation,
    devices::{Allocated, Ledger},
};
use crate::objects::ClusterObjects;
use k8s_openapi::{
    api::resource::v1::{AllocationResult, ResourceClaim},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use parking_lot::Mutex;
use std::{collections::HashMap, sync::Arc};

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
    ledger: Ledger,
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

impl Inner {
    /// The newer of what is known and what was written.
    fn newest(&mut self, known: Arc<ResourceClaim>) -> Arc<ResourceClaim> {
        if self.written.is_empty() {
            return known;
        }
        let uid = known.metadata.uid.as_deref().unwrap_or_default();
        let Some(own) = self.written.get(uid) else { return known };
        if version(&own.metadata) > version(&known.metadata) {
            return own.clone();
        }
        self.written.remove(uid);
        known
    }

    fn forget_gone(&mut self, objects: &ClusterObjects) {
        if self.written.len() <= WRITTEN {
            return;
        }
        self.written.retain(|_, own| {
            let (namespace, name) = (&own.metadata.namespace, &own.metadata.name);
            let found = objects.resource_claims.find(
                namespace.as_deref().unwrap_or_default(),
                name.as_deref().unwrap_or_default(),
            );
            found.is_some_and(|found| found.metadata.uid == own.metadata.uid)
        });
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

    /// All devices that are allocated, or about to be.
    pub(super) fn allocated(&self, objects: &ClusterObjects) -> Arc<Allocated> {
        let known = objects.resource_claims.all();
        let inner = &mut *self.inner.lock();
        inner.forget_gone(objects);
        let mut all = Vec::with_capacity(known.len() + inner.pending.len());
        for claim in known {
            let claim = inner.newest(claim);
            let uid = claim.metadata.uid.as_deref().unwrap_or_default();
            if !inner.pending.contains_key(uid) {
                all.push(claim);
            }
        }
        all.extend(inner.pending.values().map(|own| own.claim.clone()));
        inner.ledger.sum(all.into_iter())
    }

    /// What of the claim is on its way.
    pub(super) fn pending(&self, uid: &str) -> Option<AllocationResult> {
        allocation(&self.inner.lock().pending.get(uid)?.claim).cloned()
    }

    /// A claim is about to get what it says, or one more pod counts on that.
    pub(super) fn begin(&self, claim: Arc<ResourceClaim>) {
        let uid = claim.metadata.uid.clone().unwrap_or_default();
        let mut inner = self.inner.lock();
        inner.pending.entry(uid).or_insert(Pending { claim, sharers: 0 }).sharers += 1;
    }

    /// A pod does not count on it any more, or it is so: then this is what the API server answered.
    pub(super) fn end(&self, uid: &str, written: Option<Arc<ResourceClaim>>) {
        let mut inner = self.inner.lock();
        if let Some(claim) = written {
            inner.pending.remove(uid);
            inner.written.insert(claim.metadata.uid.clone().unwrap_or_default(), claim);
        } else if let Some(own) = inner.pending.get_mut(uid) {
            own.sharers -= 1;
            if own.sharers == 0 {
                inner.pending.remove(uid);
            }
        }
    }
}
