use std::{borrow::Borrow, collections::HashMap, hash::Hash};

/// Values that are known by numbers, from zero in the order they came.
#[derive(Debug, Clone)]
pub(super) struct Numbered<T> {
    all: Vec<T>,
    numbers: HashMap<T, usize>,
}

impl<T> Default for Numbered<T> {
    fn default() -> Self {
        Self { all: Vec::new(), numbers: HashMap::new() }
    }
}

impl<T: Hash + Eq + Clone> Numbered<T> {
    /// The number of a value, the next one if it is new.
    pub(super) fn number<Q>(&mut self, value: &Q) -> usize
    where
        T: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = T> + ?Sized,
    {
        if let Some(number) = self.numbers.get(value) {
            return *number;
        }
        let number = self.all.len();
        self.all.push(value.to_owned());
        self.numbers.insert(value.to_owned(), number);
        number
    }

    /// The number of a value that is known.
    pub(super) fn known<Q>(&self, value: &Q) -> Option<usize>
    where
        T: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.numbers.get(value).copied()
    }

    /// The value of a number.
    pub(super) fn value(&self, number: u64) -> Option<&T> {
        self.all.get(usize::try_from(number).ok()?)
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }
}
