//! The newest state of objects: what a cache shows, or what was written since.

use kubeplane_client::{Informer, ObjectKey, Watchable};
use parking_lot::Mutex;
use std::{collections::HashMap, fmt, sync::Arc};

/// What a controller wrote of objects of one kind and its cache does not show yet.
pub(super) struct Newest<K> {
    own: Mutex<HashMap<ObjectKey, Arc<K>>>,
}

impl<K> fmt::Debug for Newest<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Newest").finish_non_exhaustive()
    }
}

impl<K> Default for Newest<K> {
    fn default() -> Self {
        Self { own: Mutex::default() }
    }
}

/// A resourceVersion as the number it is.
fn version<K: kube::Resource>(object: &K) -> u64 {
    let text = object.meta().resource_version.as_deref();
    text.and_then(|text| text.parse().ok()).unwrap_or_default()
}

impl<K: Watchable> Newest<K> {
    /// One object; what the cache no longer shows is gone.
    pub(super) fn get(
        &self,
        informer: &Informer<K>,
        namespace: &str,
        name: &str,
    ) -> Option<Arc<K>> {
        let Some(known) = informer.get(namespace, name) else {
            self.own.lock().remove(&ObjectKey::new(namespace, name));
            return None;
        };
        Some(self.newer(known))
    }

    /// The state that was written, if it is newer than the one known.
    pub(super) fn newer(&self, known: Arc<K>) -> Arc<K> {
        let mut own = self.own.lock();
        if own.is_empty() {
            return known;
        }
        let key = ObjectKey::of(&*known);
        match own.get(&key) {
            Some(written) if version(&**written) > version(&*known) => written.clone(),
            Some(_) => {
                own.remove(&key);
                known
            }
            None => known,
        }
    }

    /// Notes the state that the server answered a write with.
    pub(super) fn written(&self, object: K) -> Arc<K> {
        let object = Arc::new(object);
        self.own.lock().insert(ObjectKey::of(&*object), object.clone());
        object
    }
}
