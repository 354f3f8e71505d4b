//! What a controller wrote and its cache does not show yet.

use kubeplane_client::{Informer, ObjectKey, Watchable};
use kubeplane_clock::SharedClock;
use parking_lot::Mutex;
use std::{collections::HashMap, time::Duration};

/// A write that is not seen for so long was undone before the cache could show it.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(30);

/// The newest writes of each request, so that none is decided on a cache that does not show the last ones.
#[derive(Debug)]
pub(super) struct Written {
    clock: SharedClock,
    writes: Mutex<HashMap<ObjectKey, HashMap<ObjectKey, Write>>>,
}

#[derive(Debug)]
struct Write {
    /// `None` for a deletion.
    version: Option<u64>,
    at: Duration,
}

/// A resourceVersion as the number it is.
fn version<K: kube::Resource>(object: &K) -> Option<u64> {
    object.meta().resource_version.as_deref()?.parse().ok()
}

impl Written {
    pub(super) fn new(clock: SharedClock) -> Self {
        Self { clock, writes: Mutex::default() }
    }

    fn note(&self, request: &ObjectKey, object: ObjectKey, version: Option<u64>) {
        let write = Write { version, at: self.clock.elapsed() };
        self.writes.lock().entry(request.clone()).or_default().insert(object, write);
    }

    /// `object` was written as it is now.
    pub(super) fn wrote<K: kube::Resource>(&self, request: &ObjectKey, object: &K) {
        if let Some(version) = version(object) {
            self.note(request, ObjectKey::of(object), Some(version));
        }
    }

    /// `object` was deleted.
    pub(super) fn deleted<K: kube::Resource>(&self, request: &ObjectKey, object: &K) {
        self.note(request, ObjectKey::of(object), None);
    }

    /// Whether `informer` shows everything that was written for `request`.
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
            let seen = match write.version {
                None => present.is_none(),
                Some(written) => {
                    present.and_then(|object| version(&*object)).is_some_and(|seen| seen >= written)
                }
            };
            !seen && now.saturating_sub(write.at) < FORGOTTEN_AFTER
        });
        let seen = writes.is_empty();
        if seen {
            all.remove(request);
        }
        seen
    }

    pub(super) fn forget(&self, request: &ObjectKey) {
        self.writes.lock().remove(request);
    }
}
