use std::{collections::HashMap, hash::Hash, sync::Arc};

/// The few values that many nodes have in common: each is kept once, and known by its number.
#[derive(Debug)]
pub(crate) struct Distinct<T> {
    numbers: HashMap<Arc<T>, usize>,
    values: Vec<Arc<T>>,
}

impl<T> Default for Distinct<T> {
    fn default() -> Self {
        Self { numbers: HashMap::new(), values: Vec::new() }
    }
}

impl<T: Eq + Hash> Distinct<T> {
    /// The number of a value: the next one if it has not come before.
    pub(crate) fn number(&mut self, value: T) -> usize {
        if let Some(number) = self.numbers.get(&value) {
            return *number;
        }
        let (number, value) = (self.values.len(), Arc::new(value));
        self.values.push(value.clone());
        self.numbers.insert(value, number);
        number
    }

    /// All of them, by number.
    pub(crate) fn values(&self) -> &[Arc<T>] {
        &self.values
    }
}

/// On how many nodes there is what, by the number of that.
#[derive(Debug, Default)]
pub(crate) struct Counts(Vec<usize>);

impl Counts {
    /// One node more.
    pub(crate) fn add(&mut self, number: usize) {
        if self.0.len() <= number {
            self.0.resize(number + 1, 0);
        }
        self.0[number] += 1;
    }

    /// One node less.
    pub(crate) fn take(&mut self, number: usize) {
        if let Some(count) = self.0.get_mut(number) {
            *count = count.saturating_sub(1);
        }
    }

    /// The values that were counted, with on how many nodes each is.
    pub(crate) fn of<'a, T: Eq + Hash>(
        &'a self,
        distinct: &'a Distinct<T>,
    ) -> impl Iterator<Item = (&'a T, usize)> {
        let counted = distinct.values().iter().zip(&self.0);
        counted.filter(|(_, count)| **count > 0).map(|(value, count)| (&**value, *count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_have_one_number_and_are_counted_together() {
        let (mut reasons, mut counts) = (Distinct::default(), Counts::default());
        let given = ["full", "tainted", "full"].map(|why| reasons.number(why.to_owned()));
        assert_eq!(given, [0, 1, 0]);
        reasons.number("seen before".to_owned());
        given.into_iter().for_each(|number| counts.add(number));
        let counted: Vec<_> =
            counts.of(&reasons).map(|(why, count)| (why.as_str(), count)).collect();
        assert_eq!(counted, [("full", 2), ("tainted", 1)]);
        assert_eq!(reasons.values().len(), 3);
        counts.take(1);
        assert_eq!(counts.of(&reasons).map(|(_, count)| count).collect::<Vec<_>>(), [2]);
    }
}
