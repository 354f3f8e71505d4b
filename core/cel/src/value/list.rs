//! Lists: looked into, compared and joined as their kind asks for.

use super::{ATOMIC, List, Value};
use crate::shape::ListKind;
use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};

impl<'a> List<'a> {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Json(items, ..) => items.len(),
            Self::Shared(items) => items.len(),
        }
    }

    pub(crate) fn get(&self, index: usize) -> Option<Value<'a>> {
        match self {
            Self::Json(items, of, _) => items.get(index).map(|item| Value::shaped(item, *of)),
            Self::Shared(items) => items.get(index).cloned(),
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Value<'a>> + '_ {
        (0..self.len()).filter_map(|index| self.get(index))
    }

    fn kind(&self) -> &ListKind {
        match self {
            Self::Json(_, _, kind) => kind,
            Self::Shared(_) => &ATOMIC,
        }
    }

    pub(crate) fn contains(&self, wanted: &Value<'_>) -> bool {
        self.iter().any(|item| item.equals(wanted))
    }

    pub(super) fn equals(&self, other: &Self) -> bool {
        if self.len() != other.len() {
            return false;
        }
        let kind = self.kind();
        if matches!(kind, ListKind::Atomic) {
            return self.iter().zip(other.iter()).all(|(a, b)| a.equals(&b));
        }
        // The order of sets and of lists with keys says nothing.
        let places = Places::of(kind, other.iter());
        self.iter().all(|item| {
            let mut at = places.at(mark(kind, &item)).iter().filter_map(|at| other.get(*at));
            let found = at.find(|other| stands_for(kind, &item, other));
            found.is_some_and(|found| matches!(kind, ListKind::Set) || item.equals(&found))
        })
    }

    /// Both one after the other; what a set or a list with keys has already is not added again.
    pub(crate) fn plus(self, other: &Self) -> Value<'a> {
        let kind = self.kind().clone();
        let mut items = match self {
            Self::Shared(items) => items,
            list => Arc::new(list.iter().collect()),
        };
        let all = Arc::make_mut(&mut items);
        if matches!(kind, ListKind::Atomic) {
            all.extend(other.iter());
            return Value::List(List::Shared(items));
        }
        let mut places = Places::of(&kind, all.iter().cloned());
        for item in other.iter() {
            let mark = mark(&kind, &item);
            let mut had = places.at(mark).iter().copied();
            match had.find(|at| stands_for(&kind, &all[*at], &item)) {
                Some(at) if matches!(kind, ListKind::Map(_)) => all[at] = item,
                Some(_) => {}
                None => {
                    places.add(mark, all.len());
                    all.push(item);
                }
            }
        }
        Value::List(List::Shared(items))
    }
}

/// Where items stand, by what those that stand for each other have in common: lists may be too long to be searched for
/// each of their items.
struct Places(HashMap<u64, Vec<usize>>);

impl Places {
    fn of<'a>(kind: &ListKind, items: impl Iterator<Item = Value<'a>>) -> Self {
        let mut places = Self(HashMap::new());
        items.enumerate().for_each(|(at, item)| places.add(mark(kind, &item), at));
        places
    }

    fn add(&mut self, mark: u64, at: usize) {
        self.0.entry(mark).or_default().push(at);
    }

    fn at(&self, mark: u64) -> &[usize] {
        self.0.get(&mark).map_or(&[], Vec::as_slice)
    }
}

/// Whether two items of a set are the same, or two of a list with keys have the same keys.
fn stands_for(kind: &ListKind, a: &Value<'_>, b: &Value<'_>) -> bool {
    match kind {
        ListKind::Map(keys) => same_keys(keys, a, b),
        _ => a.equals(b),
    }
}

fn same_keys(keys: &[String], a: &Value<'_>, b: &Value<'_>) -> bool {
    let (Value::Map(a), Value::Map(b)) = (a, b) else { return false };
    keys.iter().all(|key| match (a.field(key), b.field(key)) {
        (Some(a), Some(b)) => a.equals(&b),
        (a, b) => a.is_none() && b.is_none(),
    })
}

/// What items that stand for each other have in common.
fn mark(kind: &ListKind, item: &Value<'_>) -> u64 {
    let mut hasher = DefaultHasher::new();
    match (kind, item) {
        (ListKind::Map(keys), Value::Map(map)) => {
            keys.iter().filter_map(|key| map.field(key)).for_each(|key| put(&key, &mut hasher));
        }
        (_, item) => put(item, &mut hasher),
    }
    hasher.finish()
}

/// The same of values that are equal.
#[expect(clippy::cast_precision_loss, reason = "numbers are compared likewise")]
fn put(value: &Value<'_>, hasher: &mut DefaultHasher) {
    let mut number = |number: f64| (number + 0.0).to_bits().hash(hasher);
    match value {
        Value::Int(value) => number(*value as f64),
        Value::Uint(value) => number(*value as f64),
        Value::Double(value) => number(*value),
        Value::Bool(value) => value.hash(hasher),
        Value::String(text) => text.as_str().hash(hasher),
        Value::Bytes(bytes) => bytes.hash(hasher),
        Value::Timestamp(moment) => moment.hash(hasher),
        Value::Duration(span) => span.hash(hasher),
        Value::List(list) => list.len().hash(hasher),
        Value::Map(map) => map.len().hash(hasher),
        _ => {}
    }
}
