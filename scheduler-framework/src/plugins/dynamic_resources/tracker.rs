use super::devices::{Allocated, Ledger};
use crate::{objects::ClusterObjects, plugins::volumes::key};
use k8s_openapi::{
    api::resource::v1::ResourceClaim, apimachinery::pkg::apis::meta::v1::ObjectMeta,
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
    /// What the API server has answered, by namespace and name.
    written: HashMap<String, Arc<ResourceClaim>>,
    /// Allocations on their way to it, by uid.
    pending: HashMap<String, Arc<ResourceClaim>>,
    ledger: Ledger,
}

fn version(meta: &ObjectMeta) -> u64 {
    meta.resource_version.as_deref().and_then(|own| own.parse().ok()).unwrap_or_default()
}

impl Inner {
    /// The newer of what is known and what was written.
    fn newest(&mut self, known: Arc<ResourceClaim>) -> Arc<ResourceClaim> {
        if self.written.is_empty() {
            return known;
        }
        let key = key(&known.metadata);
        let Some(own) = self.written.get(&key) else { return known };
        if own.metadata.uid == known.metadata.uid
            && version(&own.metadata) > version(&known.metadata)
        {
            return own.clone();
        }
        self.written.remove(&key);
        known
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
        let mut all = Vec::with_capacity(known.len() + inner.pending.len());
        for claim in known {
            let claim = inner.newest(claim);
            let uid = claim.metadata.uid.as_deref().unwrap_or_default();
            if !inner.pending.contains_key(uid) {
                all.push(claim);
            }
        }
        all.extend(inner.pending.values().cloned());
        inner.ledger.sum(all.into_iter())
    }

    /// Whether an allocation of the claim is on its way.
    pub(super) fn is_pending(&self, uid: &str) -> bool {
        self.inner.lock().pending.contains_key(uid)
    }

    /// A claim is about to get what it says.
    pub(super) fn begin(&self, claim: Arc<ResourceClaim>) {
        let uid = claim.metadata.uid.clone().unwrap_or_default();
        self.inner.lock().pending.insert(uid, claim);
    }

    /// It will not, or it has: then this is what the API server answered.
    pub(super) fn end(&self, uid: &str, written: Option<Arc<ResourceClaim>>) {
        let mut inner = self.inner.lock();
        if let Some(claim) = written {
            inner.written.insert(key(&claim.metadata), claim);
        }
        inner.pending.remove(uid);
    }
}
