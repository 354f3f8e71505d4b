mod index;
mod objects;
#[cfg(test)]
mod tests;

use crate::{
    Change, ObjectKey,
    object::{Object, Sink},
};
use index::{ClassOf, Entry, Index, KeysOf};
use kubeplane_clock::watch;
use objects::Objects;
use parking_lot::{Mutex, RwLock};
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

/// Who is told what changes in a cache.
pub(crate) trait Reader: Send + Sync {
    /// The cache may be read meanwhile, and shows the change.
    fn tell(&self, key: &Arc<ObjectKey>, change: &Change<dyn Object>);

    /// Nothing will change any more.
    fn close(&self);
}

/// The objects of one informer with their indexes and readers. All are of one kind, which its readers know.
pub(crate) struct Cache {
    /// Locked before the state, and until a change of it was told: who begins to read meanwhile begins with that change,
    /// and is not told of it.
    readers: Mutex<Readers>,
    state: RwLock<State>,
    phase: watch::Sender<Phase>,
}

#[derive(Default)]
struct Readers(Vec<Weak<dyn Reader>>);

#[derive(Default)]
struct State {
    objects: Objects,
    indexes: BTreeMap<&'static str, Index>,
}

/// What a new state of one object is to readers: nothing, a change, or an end and a beginning.
type Told = [Option<Change<dyn Object>>; 2];

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache").field("objects", &self.len()).finish_non_exhaustive()
    }
}

impl Cache {
    pub(crate) fn new() -> Self {
        let phase = watch::Sender::new(Phase::Filling);
        Self { readers: Mutex::default(), state: RwLock::default(), phase }
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

    pub(crate) fn len_in(&self, namespace: &str) -> usize {
        self.state.read().objects.namespace(namespace).map_or(0, BTreeMap::len)
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

    pub(crate) fn add_index(&self, name: &'static str, keys_of: KeysOf, class_of: Option<ClassOf>) {
        let mut state = self.state.write();
        if state.indexes.contains_key(name) {
            return;
        }
        let mut index = Index::new(keys_of, class_of);
        for object in state.objects.iter() {
            index.put(&ObjectKey::named(object.metadata()), None, object);
        }
        state.indexes.insert(name, index);
    }

    pub(crate) fn by_index(&self, name: &str, key: &str, sink: &mut dyn Sink) {
        let state = self.state.read();
        if let Some(found) = state.indexes.get(name).and_then(|index| index.under(key)) {
            sink.expect(found.objects.len());
            found.objects.values().for_each(|object| sink.take(object));
        }
    }

    /// One object of each class under `key` in an index, with how many there are.
    pub(crate) fn classes(&self, name: &str, key: &str) -> Vec<(Arc<dyn Object>, usize)> {
        let state = self.state.read();
        let found = state.indexes.get(name).and_then(|index| index.under(key));
        found.map(Entry::classes).unwrap_or_default()
    }

    /// The keys of an index under which there is anything and that are `wanted`.
    pub(crate) fn index_keys(&self, name: &str, wanted: &dyn Fn(&str) -> bool) -> Vec<String> {
        let state = self.state.read();
        let all = state.indexes.get(name).into_iter().flat_map(Index::values);
        all.filter(|key| wanted(key)).map(str::to_owned).collect()
    }

    /// Tells `reader` of what is there, as added, and of every change from then on, until it is dropped.
    pub(crate) fn attach<R: Reader + 'static>(&self, reader: &Arc<R>) {
        let mut readers = self.readers.lock();
        let present: Vec<_> = self.state.read().objects.iter().cloned().collect();
        for object in present {
            let key = Arc::new(ObjectKey::named(object.metadata()));
            reader.tell(&key, &Change::Added(object));
        }
        if *self.phase.borrow() == Phase::Closed {
            reader.close();
        }
        let reader = Arc::downgrade(reader);
        readers.0.push(reader);
    }

    /// Takes in a created or changed object.
    pub(crate) fn apply(&self, object: Arc<dyn Object>) {
        let key = Arc::new(ObjectKey::named(object.metadata()));
        let mut readers = self.readers.lock();
        let told = self.state.write().apply(&key, object);
        told.iter().flatten().for_each(|change| readers.tell(&key, change));
    }

    /// Takes in the last state of an object that is gone.
    pub(crate) fn delete(&self, object: Arc<dyn Object>) {
        let key = Arc::new(ObjectKey::named(object.metadata()));
        let mut readers = self.readers.lock();
        let was_there = self.state.write().remove(&key).is_some();
        if was_there {
            readers.tell(&key, &Change::Deleted(object));
        }
    }

    /// Makes the cache hold exactly `objects`.
    pub(crate) fn replace(&self, objects: Vec<Arc<dyn Object>>) {
        let mut readers = self.readers.lock();
        let told = self.state.write().replace(objects, !readers.0.is_empty());
        told.iter().for_each(|(key, change)| readers.tell(key, change));
        drop(readers);
        self.phase.send_if_modified(|phase| {
            std::mem::replace(phase, (*phase).max_synced()) == Phase::Filling
        });
    }

    /// Ends every reader's stream.
    pub(crate) fn close(&self) {
        let mut readers = self.readers.lock();
        self.phase.send_replace(Phase::Closed);
        for reader in readers.0.drain(..).filter_map(|reader| reader.upgrade()) {
            reader.close();
        }
    }
}

impl Phase {
    fn max_synced(self) -> Self {
        if self == Self::Closed { self } else { Self::Synced }
    }
}

impl Readers {
    fn tell(&mut self, key: &Arc<ObjectKey>, change: &Change<dyn Object>) {
        self.0.retain(|reader| match reader.upgrade() {
            Some(reader) => {
                reader.tell(key, change);
                true
            }
            None => false,
        });
    }
}

impl State {
    fn apply(&mut self, key: &ObjectKey, object: Arc<dyn Object>) -> Told {
        let old = self.objects.put(key, object.clone());
        for index in self.indexes.values_mut() {
            index.put(key, old.as_deref(), &object);
        }
        let Some(old) = old else { return [Some(Change::Added(object)), None] };
        let (before, now) = (old.metadata(), object.metadata());
        if before.uid != now.uid {
            [Some(Change::Deleted(old)), Some(Change::Added(object))]
        } else if before.resource_version != now.resource_version {
            [Some(Change::Updated { old, new: object }), None]
        } else {
            [None, None]
        }
    }

    /// What changed, if that is `wanted`.
    fn replace(
        &mut self,
        objects: Vec<Arc<dyn Object>>,
        wanted: bool,
    ) -> Vec<(Arc<ObjectKey>, Change<dyn Object>)> {
        let mut told = Vec::new();
        let mut gone: BTreeMap<ObjectKey, Arc<dyn Object>> = BTreeMap::new();
        for object in self.objects.iter() {
            gone.insert(ObjectKey::named(object.metadata()), object.clone());
        }
        for object in objects {
            let key = Arc::new(ObjectKey::named(object.metadata()));
            gone.remove(&key);
            let changes = self.apply(&key, object);
            if wanted {
                told.extend(changes.into_iter().flatten().map(|change| (key.clone(), change)));
            }
        }
        for (key, last) in gone {
            self.remove(&key);
            if wanted {
                told.push((Arc::new(key), Change::Deleted(last)));
            }
        }
        told
    }

    fn remove(&mut self, key: &ObjectKey) -> Option<Arc<dyn Object>> {
        let old = self.objects.remove(key)?;
        for index in self.indexes.values_mut() {
            index.remove(key, &*old);
        }
        Some(old)
    }
}
