use crate::{ObjectKey, object::Object};
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

/// The values under which an index has an object.
pub(crate) type KeysOf = Box<dyn Fn(&dyn Object) -> Vec<String> + Send + Sync>;

/// The objects of a cache once more, by what a function says of them.
pub(super) struct Index {
    keys_of: KeysOf,
    entries: HashMap<String, BTreeMap<ObjectKey, Arc<dyn Object>>>,
}

impl Index {
    pub(super) fn new(keys_of: KeysOf) -> Self {
        Self { keys_of, entries: HashMap::new() }
    }

    pub(super) fn under(&self, value: &str) -> Option<&BTreeMap<ObjectKey, Arc<dyn Object>>> {
        self.entries.get(value)
    }

    /// Under what there is anything, in no order.
    pub(super) fn values(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// Takes in `object` in place of `old`.
    pub(super) fn put(
        &mut self,
        key: &ObjectKey,
        old: Option<&dyn Object>,
        object: &Arc<dyn Object>,
    ) {
        let values = (self.keys_of)(&**object);
        if let Some(old) = old {
            for value in (self.keys_of)(old) {
                if !values.contains(&value) {
                    self.drop_from(&value, key);
                }
            }
        }
        for value in values {
            let entry = self.entries.entry(value).or_default();
            match entry.get_mut(key) {
                Some(place) => place.clone_from(object),
                None => drop(entry.insert(key.clone(), object.clone())),
            }
        }
    }

    pub(super) fn remove(&mut self, key: &ObjectKey, object: &dyn Object) {
        for value in (self.keys_of)(object) {
            self.drop_from(&value, key);
        }
    }

    fn drop_from(&mut self, value: &str, key: &ObjectKey) {
        if let Some(entry) = self.entries.get_mut(value) {
            entry.remove(key);
            if entry.is_empty() {
                self.entries.remove(value);
            }
        }
    }
}
