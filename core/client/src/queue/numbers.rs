use std::{collections::HashMap, hash::Hash};

/// Small numbers for the items that a queue knows of, so that only this has to know what an item is.
#[derive(Debug)]
pub(super) struct Numbers<T> {
    by_item: HashMap<T, usize>,
    items: Vec<Option<T>>,
    free: Vec<usize>,
}

impl<T> Numbers<T> {
    pub(super) fn new() -> Self {
        Self { by_item: HashMap::new(), items: Vec::new(), free: Vec::new() }
    }
}

impl<T: Clone + Eq + Hash> Numbers<T> {
    /// The number of `item`, which keeps it until it is [released](Self::release).
    pub(super) fn reserve(&mut self, item: &T) -> usize {
        if let Some(number) = self.known(item) {
            return number;
        }
        let number = self.free.pop().unwrap_or(self.items.len());
        match self.items.get_mut(number) {
            Some(place) => *place = Some(item.clone()),
            None => self.items.push(Some(item.clone())),
        }
        self.by_item.insert(item.clone(), number);
        number
    }

    pub(super) fn known(&self, item: &T) -> Option<usize> {
        self.by_item.get(item).copied()
    }

    pub(super) fn item(&self, number: usize) -> Option<T> {
        self.items.get(number).cloned().flatten()
    }

    pub(super) fn release(&mut self, number: usize) {
        if let Some(item) = self.items.get_mut(number).and_then(Option::take) {
            self.by_item.remove(&item);
            self.free.push(number);
        }
    }
}
