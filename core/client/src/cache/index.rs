use crate::{ObjectKey, object::Object};
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

/// The values under which an index has an object.
pub(crate) type KeysOf = Box<dyn Fn(&dyn Object) -> Vec<String> + Send + Sync>;
/// A number that is the same for objects that are alike.
pub(crate) type ClassOf = Box<dyn Fn(&dyn Object) -> u64 + Send + Sync>;

/// The objects of a cache once more, by what a function says of them.
pub(super) struct Index {
    keys_of: KeysOf,
    class_of: Option<ClassOf>,
    entries: HashMap<String, Entry>,
}

/// What there is under one value.
#[derive(Default)]
pub(super) struct Entry {
    pub(super) objects: BTreeMap<ObjectKey, Arc<dyn Object>>,
    /// One object of each class, and how many there are; empty where nobody asked for classes.
    classes: BTreeMap<u64, (Arc<dyn Object>, usize)>,
}

impl Entry {
    fn join(&mut self, class: Option<u64>, object: &Arc<dyn Object>) {
        let Some(class) = class else { return };
        let (sample, count) = self.classes.entry(class).or_insert_with(|| (object.clone(), 0));
        sample.clone_from(object);
        *count += 1;
    }

    fn leave(&mut self, class: Option<u64>) {
        let Some(class) = class else { return };
        if let Some((_, count)) = self.classes.get_mut(&class) {
            *count -= 1;
            if *count == 0 {
                self.classes.remove(&class);
            }
        }
    }

    /// Objects that stand for all that are alike, each with their number; every object where nobody asked for classes.
    pub(super) fn classes(&self) -> Vec<(Arc<dyn Object>, usize)> {
        if self.classes.is_empty() {
            return self.objects.values().map(|object| (object.clone(), 1)).collect();
        }
        self.classes.values().cloned().collect()
    }
}

impl Index {
    pub(super) fn new(keys_of: KeysOf, class_of: Option<ClassOf>) -> Self {
        Self { keys_of, class_of, entries: HashMap::new() }
    }

    pub(super) fn under(&self, value: &str) -> Option<&Entry> {
        self.entries.get(value)
    }

    /// Under what there is anything, in no order.
    pub(super) fn values(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    fn class(&self, object: &dyn Object) -> Option<u64> {
        self.class_of.as_ref().map(|class_of| class_of(object))
    }

    /// Takes in `object` in place of `old`.
    pub(super) fn put(
        &mut self,
        key: &ObjectKey,
        old: Option<&dyn Object>,
        object: &Arc<dyn Object>,
    ) {
        let (mut values, class) = ((self.keys_of)(&**object), self.class(&**object));
        if values.len() > 1 {
            values.sort_unstable();
            values.dedup();
        }
        let before = old.and_then(|old| self.class(old));
        if let Some(old) = old {
            for value in (self.keys_of)(old) {
                if !values.contains(&value) {
                    self.drop_from(&value, key, before);
                }
            }
        }
        for value in values {
            let entry = self.entries.entry(value).or_default();
            match entry.objects.get_mut(key) {
                Some(place) => {
                    place.clone_from(object);
                    entry.leave(before);
                }
                None => drop(entry.objects.insert(key.clone(), object.clone())),
            }
            entry.join(class, object);
        }
    }

    pub(super) fn remove(&mut self, key: &ObjectKey, object: &dyn Object) {
        let class = self.class(object);
        for value in (self.keys_of)(object) {
            self.drop_from(&value, key, class);
        }
    }

    fn drop_from(&mut self, value: &str, key: &ObjectKey, class: Option<u64>) {
        if let Some(entry) = self.entries.get_mut(value) {
            if entry.objects.remove(key).is_some() {
                entry.leave(class);
            }
            if entry.objects.is_empty() {
                self.entries.remove(value);
            }
        }
    }
}
