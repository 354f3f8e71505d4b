use crate::{ObjectKey, object::Object};
use std::{collections::BTreeMap, mem, sync::Arc};

type Names = BTreeMap<String, Arc<dyn Object>>;

/// Objects by namespace and name, found without building a key.
#[derive(Default)]
pub(super) struct Objects {
    namespaces: BTreeMap<String, Names>,
    count: usize,
}

impl Objects {
    pub(super) fn len(&self) -> usize {
        self.count
    }

    pub(super) fn get(&self, namespace: &str, name: &str) -> Option<&Arc<dyn Object>> {
        self.namespaces.get(namespace)?.get(name)
    }

    pub(super) fn namespace(&self, namespace: &str) -> Option<&Names> {
        self.namespaces.get(namespace)
    }

    /// By namespace, then name.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<dyn Object>> {
        self.namespaces.values().flat_map(BTreeMap::values)
    }

    /// What was there before under `key`.
    pub(super) fn put(
        &mut self,
        key: &ObjectKey,
        object: Arc<dyn Object>,
    ) -> Option<Arc<dyn Object>> {
        let names = match self.namespaces.get_mut(&key.namespace) {
            Some(names) => names,
            None => self.namespaces.entry(key.namespace.clone()).or_default(),
        };
        if let Some(place) = names.get_mut(&key.name) {
            return Some(mem::replace(place, object));
        }
        names.insert(key.name.clone(), object);
        self.count += 1;
        None
    }

    pub(super) fn remove(&mut self, key: &ObjectKey) -> Option<Arc<dyn Object>> {
        let names = self.namespaces.get_mut(&key.namespace)?;
        let old = names.remove(&key.name)?;
        if names.is_empty() {
            self.namespaces.remove(&key.namespace);
        }
        self.count -= 1;
        Some(old)
    }
}
