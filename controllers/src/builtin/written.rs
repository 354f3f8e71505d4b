//! What a controller wrote and its cache does not show yet.

use super::figures::{Skips, labels};
use crate::{Action, sources::owner_key};
use kubeplane_client::{Change, Informer, ObjectKey, Watchable};
use kubeplane_clock::SharedClock;
use parking_lot::Mutex;
use std::{collections::HashMap, sync::Arc, time::Duration};

/// A write that is not seen for so long was undone before the cache could show it; as long as the original waits.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(300);

/// How long a request waits when the cache lags behind; mostly the missing change wakes it much earlier.
pub(super) const LAGGING: Action = Action::RequeueAfter(Duration::from_secs(1));

/// The newest writes of each request, so that none is decided on a cache that does not show the last ones.
#[derive(Debug, Clone)]
pub(super) struct Written {
    clock: SharedClock,
    skips: Skips,
    writes: Arc<Mutex<HashMap<ObjectKey, HashMap<ObjectKey, Write>>>>,
}

#[derive(Debug)]
struct Write {
    what: What,
    at: Duration,
}

#[derive(Debug, Clone, Copy)]
enum What {
    Created(u64),
    Updated(u64),
    Deleted,
    Removed,
}

/// A resourceVersion as the number it is.
fn version<K: kube::Resource>(object: &K) -> Option<u64> {
    object.meta().resource_version.as_deref()?.parse().ok()
}

impl Written {
    pub(super) fn new(clock: SharedClock) -> Self {
        Self { clock, skips: Skips::default(), writes: Arc::default() }
    }

    /// Counts there how often something was not seen.
    pub(super) fn counted(self, skips: &Skips) -> Self {
        Self { skips: skips.clone(), ..self }
    }

    fn note(&self, request: &ObjectKey, object: ObjectKey, what: What) {
        let write = Write { what, at: self.clock.elapsed() };
        self.writes.lock().entry(request.clone()).or_default().insert(object, write);
    }

    /// `object` was created as it is now.
    pub(super) fn created<K: kube::Resource>(&self, request: &ObjectKey, object: &K) {
        if let Some(version) = version(object) {
            self.note(request, ObjectKey::of(object), What::Created(version));
        }
    }

    /// `object`, which the cache knows, was changed to what it is now.
    pub(super) fn updated<K: kube::Resource>(&self, request: &ObjectKey, object: &K) {
        if let Some(version) = version(object) {
            self.note(request, ObjectKey::of(object), What::Updated(version));
        }
    }

    /// `object` was deleted.
    pub(super) fn deleted<K: kube::Resource>(&self, request: &ObjectKey, object: &K) {
        self.note(request, ObjectKey::of(object), What::Deleted);
    }

    /// `object`, which was being deleted, lost its last finalizer.
    pub(super) fn removed<K: kube::Resource>(&self, request: &ObjectKey, object: &K) {
        self.note(request, ObjectKey::of(object), What::Removed);
    }

    /// `object` was seen to go, perhaps before it was seen to come.
    pub(super) fn gone<K: kube::Resource>(&self, request: &ObjectKey, object: &K) {
        if let Some(writes) = self.writes.lock().get_mut(request) {
            writes.remove(&ObjectKey::of(object));
        }
    }

    /// The same of an object whose deletion was seen, for the `O` that managed it.
    pub(super) fn gone_of<O, K>(&self, change: &Change<K>)
    where
        O: kube::Resource<DynamicType = ()>,
        K: kube::Resource,
    {
        if let Some(owner) = owner_key::<O, K>(change.object()).filter(|_| change.is_deleted()) {
            self.gone(&owner, &**change.object());
        }
    }

    /// Whether `object` was written for `request`, and nobody has asked since it was seen.
    pub(super) fn awaits<K: kube::Resource>(&self, request: &ObjectKey, object: &K) -> bool {
        let all = self.writes.lock();
        all.get(request).is_some_and(|writes| writes.contains_key(&ObjectKey::of(object)))
    }

    /// Whether `informer` shows everything that was written for `request`. To be asked before anything is read to
    /// decide on: what was read earlier may be older than what this finds.
    pub(super) fn is_seen<K: Watchable>(
        &self,
        request: &ObjectKey,
        informer: &Informer<K>,
    ) -> bool {
        let now = self.clock.elapsed();
        let mut all = self.writes.lock();
        let Some(writes) = all.get_mut(request) else { return true };
        writes.retain(|key, write| {
            let present = informer.get(&key.namespace, &key.name);
            let newest = present.as_ref().and_then(|object| version(&**object));
            let seen = match (write.what, newest) {
                (What::Deleted, _) => {
                    present.is_none_or(|object| object.meta().deletion_timestamp.is_some())
                }
                (What::Removed, _) => present.is_none(),
                (What::Created(written) | What::Updated(written), Some(seen)) => seen >= written,
                (What::Created(_), None) => false,
                (What::Updated(_), None) => true,
            };
            !seen && now.saturating_sub(write.at) < FORGOTTEN_AFTER
        });
        let seen = writes.is_empty();
        if seen {
            all.remove(request);
        } else {
            let (group, resource) = (K::group(&()), K::plural(&()));
            let label = labels([("group", &*group), ("resource", &*resource)]);
            self.skips.get_or_create(&label).inc();
        }
        seen
    }

    pub(super) fn forget(&self, request: &ObjectKey) {
        self.writes.lock().remove(request);
    }
}
