mod index;
mod objects;
#[cfg(test)]
mod tests;

use crate::{
    Change, ObjectKey,
    changes::Pending,
    object::{Object, Sink},
};
use index::{Index, KeysOf};
use kubeplane_clock::watch;
use objects::Objects;
use parking_lot::RwLock;
use std::{
    collections::BTreeMap,
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

/// The objects of one informer with their indexes and readers. All are of one kind, which its readers know.
pub(crate) struct Cache {
    state: RwLock<State>,
    phase: watch::Sender<Phase>,
}

#[derive(Default)]
struct State {
    objects: Objects,
    indexes: BTreeMap<&'static str, Index>,
    readers: Vec<Weak<Pending>>,
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache").field("objects", &self.len()).finish_non_exhaustive()
    }
}

impl Cache {
    pub(crate) fn new() -> Self {
        Self { state: RwLock::default(), phase: watch::Sender::new(Phase::Filling) }
    }

    pub(crate) fn phase(&self) -> watch::Receiver<Phase> {
        self.phase.subscribe()
    }

    /// Waits for the first list, or for the end.
    pub(crate) async fn settled(&self) {
        // This holds the sender, so waiting cannot fail.
        let _ = self.phase().wait_for(|phase| *phase != Phase::Filling).await;
    }

    pub(crate) fn len(&self) -> usize {
        self.state.read().objects.len()
    }

    pub(crate) fn get(&self, namespace: &str, name: &str) -> Option<Arc<dyn Object>> {
        self.state.read().objects.get(namespace, name).cloned()
    }

    pub(crate) fn list(&self, sink: &mut dyn Sink) {
        let state = self.state.read();
        sink.expect(state.objects.len());
        state.objects.iter().for_each(|object| sink.take(object));
    }

    pub(crate) fn list_in(&self, namespace: &str, sink: &mut dyn Sink) {
        let state = self.state.read();
        if let Some(names) = state.objects.namespace(namespace) {
            sink.expect(names.len());
            names.values().for_each(|object| sink.take(object));
        }
    }

    pub(crate) fn add_index(&self, name: &'static str, keys_of: KeysOf) {
        let mut state = self.state.write();
        if state.indexes.contains_key(name) {
            return;
        }
        let mut index = Index::new(keys_of);
        for object in state.objects.iter() {
            index.put(&ObjectKey::named(object.metadata()), None, object);
        }
        state.indexes.insert(name, index);
    }

    pub(crate) fn by_index(&self, name: &str, key: &str, sink: &mut dyn Sink) {
        let state = self.state.read();
        if let Some(found) = state.indexes.get(name).and_then(|index| index.under(key)) {
            sink.expect(found.len());
            found.values().for_each(|object| sink.take(object));
        }
    }

    pub(crate) fn subscribe(&self) -> Arc<Pending> {
        let pending = Arc::new(Pending::new());
        let mut state = self.state.write();
        for object in state.objects.iter() {
            let key = Arc::new(ObjectKey::named(object.metadata()));
            pending.push(&key, Change::Added(object.clone()));
        }
        if *self.phase.borrow() == Phase::Closed {
            pending.close();
        }
        state.readers.push(Arc::downgrade(&pending));
        pending
    }

    /// Takes in a created or changed object.
    pub(crate) fn apply(&self, object: Arc<dyn Object>) {
        let key = Arc::new(ObjectKey::named(object.metadata()));
        self.state.write().apply(&key, object);
    }

    /// Takes in the last state of an object that is gone.
    pub(crate) fn delete(&self, object: Arc<dyn Object>) {
        let key = Arc::new(ObjectKey::named(object.metadata()));
        let mut state = self.state.write();
        if state.remove(&key).is_some() {
            state.tell(&key, &Change::Deleted(object));
        }
    }

    /// Makes the cache hold exactly `objects`.
    pub(crate) fn replace(&self, objects: Vec<Arc<dyn Object>>) {
        let mut state = self.state.write();
        let mut gone: BTreeMap<ObjectKey, Arc<dyn Object>> = BTreeMap::new();
        for object in state.objects.iter() {
            gone.insert(ObjectKey::named(object.metadata()), object.clone());
        }
        for object in objects {
            let key = Arc::new(ObjectKey::named(object.metadata()));
            gone.remove(&key);
            state.apply(&key, object);
        }
        for (key, last) in gone {
            state.remove(&key);
            state.tell(&Arc::new(key), &Change::Deleted(last));
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

impl State {
    fn apply(&mut self, key: &Arc<ObjectKey>, object: Arc<dyn Object>) {
        let old = self.objects.put(key, object.clone());
        for index in self.indexes.values_mut() {
            index.put(key, old.as_deref(), &object);
        }
        let Some(old) = old else {
            return self.tell(key, &Change::Added(object));
        };
        let (before, now) = (old.metadata(), object.metadata());
        if before.uid != now.uid {
            self.tell(key, &Change::Deleted(old));
            self.tell(key, &Change::Added(object));
        } else if before.resource_version != now.resource_version {
            self.tell(key, &Change::Updated { old, new: object });
        }
    }

    fn remove(&mut self, key: &ObjectKey) -> Option<Arc<dyn Object>> {
        let old = self.objects.remove(key)?;
        for index in self.indexes.values_mut() {
            index.remove(key, &*old);
        }
        Some(old)
    }

    fn tell(&mut self, key: &Arc<ObjectKey>, change: &Change<dyn Object>) {
        self.readers.retain(|reader| match reader.upgrade() {
            Some(reader) => {
                reader.push(key, change.clone());
                true
            }
            None => false,
        });
    }
}
