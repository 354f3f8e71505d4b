use crate::{
    Change, ObjectKey,
    changes::{Changes, Pending},
};
use kubeplane_clock::watch;
use parking_lot::RwLock;
use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::{Arc, Weak},
};

/// How far a cache is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Filling,
    Synced,
    Closed,
}

/// The objects of one informer with their indexes and readers.
pub(crate) struct Cache<K> {
    state: RwLock<State<K>>,
    phase: watch::Sender<Phase>,
}

type IndexFn<K> = Box<dyn Fn(&K) -> Vec<String> + Send + Sync>;

struct Index<K> {
    keys_of: IndexFn<K>,
    entries: HashMap<String, BTreeMap<ObjectKey, Arc<K>>>,
}

struct State<K> {
    objects: BTreeMap<String, BTreeMap<String, Arc<K>>>,
    count: usize,
    indexes: HashMap<&'static str, Index<K>>,
    readers: Vec<Weak<Pending<K>>>,
}

impl<K> fmt::Debug for Cache<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache").field("objects", &self.state.read().count).finish_non_exhaustive()
    }
}

impl<K: kube::Resource> Cache<K> {
    pub(crate) fn new() -> Self {
        let state = State {
            objects: BTreeMap::new(),
            count: 0,
            indexes: HashMap::new(),
            readers: Vec::new(),
        };
        Self { state: RwLock::new(state), phase: watch::Sender::new(Phase::Filling) }
    }

    pub(crate) fn phase(&self) -> watch::Receiver<Phase> {
        self.phase.subscribe()
    }

    pub(crate) fn len(&self) -> usize {
        self.state.read().count
    }

    pub(crate) fn get(&self, namespace: &str, name: &str) -> Option<Arc<K>> {
        self.state.read().objects.get(namespace)?.get(name).cloned()
    }

    pub(crate) fn list(&self) -> Vec<Arc<K>> {
        self.state.read().objects.values().flat_map(BTreeMap::values).cloned().collect()
    }

    pub(crate) fn list_in(&self, namespace: &str) -> Vec<Arc<K>> {
        let state = self.state.read();
        state
            .objects
            .get(namespace)
            .map(|names| names.values().cloned().collect())
            .unwrap_or_default()
    }

    pub(crate) fn add_index(&self, name: &'static str, keys_of: IndexFn<K>) {
        let mut state = self.state.write();
        if state.indexes.contains_key(name) {
            return;
        }
        let mut index = Index { keys_of, entries: HashMap::new() };
        for object in state.objects.values().flat_map(BTreeMap::values) {
            index.insert(&ObjectKey::of(&**object), object);
        }
        state.indexes.insert(name, index);
    }

    pub(crate) fn by_index(&self, name: &str, key: &str) -> Vec<Arc<K>> {
        let state = self.state.read();
        let found = state.indexes.get(name).and_then(|index| index.entries.get(key));
        found.map(|objects| objects.values().cloned().collect()).unwrap_or_default()
    }

    pub(crate) fn subscribe(&self) -> Changes<K> {
        let pending = Arc::new(Pending::new());
        let mut state = self.state.write();
        for object in state.objects.values().flat_map(BTreeMap::values) {
            pending.push(&ObjectKey::of(&**object), Change::Added(object.clone()));
        }
        if *self.phase.borrow() == Phase::Closed {
            pending.close();
        }
        state.readers.push(Arc::downgrade(&pending));
        Changes::new(pending)
    }

    /// Takes in a created or changed object.
    pub(crate) fn apply(&self, object: Arc<K>) {
        let key = ObjectKey::of(&*object);
        self.state.write().apply(&key, object);
    }

    /// Takes in the last state of an object that is gone.
    pub(crate) fn delete(&self, object: Arc<K>) {
        let key = ObjectKey::of(&*object);
        let mut state = self.state.write();
        if state.remove(&key).is_some() {
            state.tell(&key, &Change::Deleted(object));
        }
    }

    /// Makes the cache hold exactly `objects`.
    pub(crate) fn replace(&self, objects: Vec<Arc<K>>) {
        let mut state = self.state.write();
        let mut gone: BTreeMap<ObjectKey, Arc<K>> = BTreeMap::new();
        for object in state.objects.values().flat_map(BTreeMap::values) {
            gone.insert(ObjectKey::of(&**object), object.clone());
        }
        for object in objects {
            let key = ObjectKey::of(&*object);
            gone.remove(&key);
            state.apply(&key, object);
        }
        for (key, last) in gone {
            state.remove(&key);
            state.tell(&key, &Change::Deleted(last));
        }
        drop(state);
        self.phase.send_if_modified(|phase| {
            std::mem::replace(phase, (*phase).max_synced()) == Phase::Filling
        });
    }

    /// Ends every reader's stream.
    pub(crate) fn close(&self) {
        let mut state = self.state.write();
        self.phase.send_replace(Phase::Closed);
        for reader in state.readers.drain(..).filter_map(|reader| reader.upgrade()) {
            reader.close();
        }
    }
}

impl Phase {
    fn max_synced(self) -> Self {
        if self == Self::Closed { self } else { Self::Synced }
    }
}

impl<K> Index<K> {
    fn insert(&mut self, key: &ObjectKey, object: &Arc<K>) {
        for value in (self.keys_of)(object) {
            self.entries.entry(value).or_default().insert(key.clone(), object.clone());
        }
    }

    fn remove(&mut self, key: &ObjectKey, object: &K) {
        for value in (self.keys_of)(object) {
            if let Some(entry) = self.entries.get_mut(&value) {
                entry.remove(key);
                if entry.is_empty() {
                    self.entries.remove(&value);
                }
            }
        }
    }
}

impl<K: kube::Resource> State<K> {
    fn apply(&mut self, key: &ObjectKey, object: Arc<K>) {
        let old = self.remove(key);
        for index in self.indexes.values_mut() {
            index.insert(key, &object);
        }
        self.objects
            .entry(key.namespace.clone())
            .or_default()
            .insert(key.name.clone(), object.clone());
        self.count += 1;
        match old {
            None => self.tell(key, &Change::Added(object)),
            Some(old) if old.meta().uid != object.meta().uid => {
                self.tell(key, &Change::Deleted(old));
                self.tell(key, &Change::Added(object));
            }
            Some(old) if old.meta().resource_version == object.meta().resource_version => {}
            Some(old) => self.tell(key, &Change::Updated { old, new: object }),
        }
    }

    fn remove(&mut self, key: &ObjectKey) -> Option<Arc<K>> {
        let names = self.objects.get_mut(&key.namespace)?;
        let old = names.remove(&key.name)?;
        if names.is_empty() {
            self.objects.remove(&key.namespace);
        }
        self.count -= 1;
        for index in self.indexes.values_mut() {
            index.remove(key, &old);
        }
        Some(old)
    }

    fn tell(&mut self, key: &ObjectKey, change: &Change<K>) {
        self.readers.retain(|reader| match reader.upgrade() {
            Some(reader) => {
                reader.push(key, change.clone());
                true
            }
            None => false,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::{FutureExt, StreamExt};
    use k8s_openapi::{api::core::v1::Pod, apimachinery::pkg::apis::meta::v1::ObjectMeta};

    fn pod(name: &str, uid: &str, version: &str, node: &str) -> Arc<Pod> {
        let metadata = ObjectMeta {
            namespace: Some("ns".into()),
            name: Some(name.into()),
            uid: Some(uid.into()),
            resource_version: Some(version.into()),
            labels: Some([("node".to_owned(), node.to_owned())].into()),
            ..ObjectMeta::default()
        };
        Arc::new(Pod { metadata, ..Pod::default() })
    }

    fn names(pods: Vec<Arc<Pod>>) -> Vec<String> {
        pods.iter().filter_map(|pod| pod.metadata.name.clone()).collect()
    }

    fn index(pod: &Pod) -> Vec<String> {
        pod.metadata.labels.iter().flatten().map(|(_, value)| value.clone()).collect()
    }

    #[test]
    fn an_index_follows_its_objects() {
        let cache = Cache::new();
        cache.apply(pod("a", "1", "1", "x"));
        cache.add_index("node", Box::new(index));
        cache.apply(pod("b", "2", "2", "x"));
        assert_eq!(names(cache.by_index("node", "x")), ["a", "b"]);
        cache.apply(pod("a", "1", "3", "y"));
        assert_eq!(names(cache.by_index("node", "x")), ["b"]);
        cache.delete(pod("b", "2", "4", "x"));
        assert!(cache.by_index("node", "x").is_empty());
        assert_eq!(names(cache.list_in("ns")), ["a"]);
    }

    #[test]
    fn a_new_list_tells_readers_only_what_differs() {
        let cache = Cache::new();
        cache.replace(vec![
            pod("same", "1", "1", "x"),
            pod("gone", "2", "1", "x"),
            pod("again", "3", "1", "x"),
        ]);
        let mut changes = cache.subscribe();
        assert_eq!(std::iter::from_fn(|| changes.next().now_or_never().flatten()).count(), 3);
        cache.replace(vec![
            pod("same", "1", "1", "x"),
            pod("again", "4", "5", "x"),
            pod("new", "5", "6", "x"),
        ]);
        let mut seen: Vec<String> = std::iter::from_fn(|| changes.next().now_or_never().flatten())
            .map(|change| {
                let name = change.object().metadata.name.clone().unwrap_or_default();
                format!("{}{name}", if change.is_deleted() { "-" } else { "+" })
            })
            .collect();
        seen.sort();
        assert_eq!(seen, ["+again", "+new", "-again", "-gone"]);
    }
}
