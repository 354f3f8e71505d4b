//! What differs between two values, as sets of fields.

use super::{
    fields::Part,
    filter::Filter,
    path::PathElement,
    set::FieldSet,
    shape::{Keys, MapShape, Shape, Type, equal},
};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// The fields that differ; no field is in two of the sets.
#[derive(Debug, Default)]
pub(super) struct Comparison {
    pub(super) removed: FieldSet,
    pub(super) modified: FieldSet,
    pub(super) added: FieldSet,
}

impl Comparison {
    /// Compares two objects of one type.
    pub(super) fn of(ty: Type<'_>, left: &Map<String, Value>, right: &Map<String, Value>) -> Self {
        let mut delta = Delta::default();
        delta.compare_entries(ty.object(), Some(left), Some(right));
        Self {
            removed: delta.removed.children,
            modified: delta.modified.children,
            added: delta.added.children,
        }
    }

    pub(super) fn filter(&mut self, filter: &Filter) {
        filter.apply(&mut self.removed);
        filter.apply(&mut self.modified);
        filter.apply(&mut self.added);
    }

    /// Takes out what has a new value.
    pub(super) fn take_written(&mut self) -> FieldSet {
        let mut written = std::mem::take(&mut self.modified);
        written.extend(std::mem::take(&mut self.added));
        written
    }
}

#[derive(Default)]
struct Delta {
    removed: Part,
    modified: Part,
    added: Part,
}

type Side<'v> = Option<&'v Value>;

/// Compares two sides that differ: whoever has both looks first, since most of an object is as it was, which is cheap to
/// see, and its keys need not be read.
fn compare(ty: Type<'_>, left: Side<'_>, right: Side<'_>) -> Delta {
    let mut delta = Delta::default();
    let (left_shape, right_shape) = (ty.shape(left), ty.shape(right));
    let in_leaf = match (left, right) {
        (_, None) => delta.compare_as(left_shape, left, right),
        (None, _) => delta.compare_as(right_shape, left, right),
        _ => {
            // A value whose type is only deduced may have changed its kind.
            if std::mem::discriminant(&left_shape) != std::mem::discriminant(&right_shape) {
                delta.compare_as(left_shape, left, right);
            }
            delta.compare_as(right_shape, left, right)
        }
    };
    if !in_leaf {
        delta.added.member |= left.is_none();
        delta.removed.member |= right.is_none();
    }
    delta
}

impl Delta {
    /// Compares by a shape; whether it was a leaf.
    fn compare_as(&mut self, shape: Shape<'_>, left: Side<'_>, right: Side<'_>) -> bool {
        match shape {
            Shape::Scalar(_) | Shape::List { keys: Keys::Atomic, .. } => self.leaf(left, right),
            Shape::Map(map) if map.atomic => self.leaf(left, right),
            Shape::List { items, keys } => {
                if is_hollow(left) && is_hollow(right) {
                    return self.leaf(left, right);
                }
                self.compare_items(items, keys, left, right);
                false
            }
            Shape::Map(map) => {
                if is_hollow(left) && is_hollow(right) {
                    return self.leaf(left, right);
                }
                let as_map = Value::as_object;
                self.compare_entries(map, left.and_then(as_map), right.and_then(as_map));
                false
            }
        }
    }

    fn leaf(&mut self, left: Side<'_>, right: Side<'_>) -> bool {
        match (left, right) {
            (None, _) => self.added.member = true,
            (_, None) => self.removed.member = true,
            (Some(left), Some(right)) => self.modified.member |= !equal(left, right),
        }
        true
    }

    fn put(&mut self, element: &PathElement, child: Delta) {
        let sides = [
            (&mut self.removed, child.removed),
            (&mut self.modified, child.modified),
            (&mut self.added, child.added),
        ];
        for (side, part) in sides {
            if part.member || !part.children.is_empty() {
                side.children.put(element.clone(), part.member, part.children);
            }
        }
    }

    fn compare_entries(
        &mut self,
        shape: MapShape<'_>,
        left: Option<&Map<String, Value>>,
        right: Option<&Map<String, Value>>,
    ) {
        for (key, value) in left.into_iter().flatten() {
            let other = right.and_then(|map| map.get(key).or_else(|| shape.implied(key)));
            self.compare_entry(shape, key, Some(value), other);
        }
        for (key, value) in right.into_iter().flatten() {
            if left.is_none_or(|map| !map.contains_key(key)) {
                let other = left.and_then(|_| shape.implied(key));
                self.compare_entry(shape, key, other, Some(value));
            }
        }
    }

    fn compare_entry(&mut self, shape: MapShape<'_>, key: &str, left: Side<'_>, right: Side<'_>) {
        if left == right {
            return;
        }
        let (ty, element) = shape.child(key);
        self.put(&element, compare(ty, left, right));
    }

    fn compare_items(&mut self, items: Type<'_>, keys: Keys<'_>, left: Side<'_>, right: Side<'_>) {
        let left = group(items, keys, left);
        let mut right = group(items, keys, right);
        for (element, lefts) in left {
            let rights = right.remove(&element).unwrap_or_default();
            self.compare_group(items, &element, &lefts, &rights);
        }
        for (element, rights) in right {
            self.compare_group(items, &element, &[], &rights);
        }
    }

    /// Items that share a step are owned as one, without what is in them.
    fn compare_group(
        &mut self,
        items: Type<'_>,
        element: &PathElement,
        left: &[&Value],
        right: &[&Value],
    ) {
        let mut delta = Delta::default();
        match (left, right) {
            ([left], [right]) if left == right => return,
            ([] | [_], [] | [_]) => {
                delta = compare(items, left.first().copied(), right.first().copied());
            }
            ([_, _, ..], [_, _, ..]) => {
                let same = left.len() == right.len()
                    && left.iter().zip(right).all(|(left, right)| equal(left, right));
                delta.modified.member = !same;
            }
            (_, [] | [_]) => {
                if let [only] = right {
                    delta = compare(items, None, Some(only));
                }
                delta.removed.member = true;
            }
            _ => {
                if let [only] = left {
                    delta = compare(items, Some(only), None);
                }
                delta.added.member = true;
            }
        }
        self.put(element, delta);
    }
}

fn is_hollow(side: Side<'_>) -> bool {
    match side {
        Some(Value::Object(map)) => map.is_empty(),
        Some(Value::Array(list)) => list.is_empty(),
        _ => true,
    }
}

fn group<'v>(
    items: Type<'_>,
    keys: Keys<'_>,
    list: Side<'v>,
) -> BTreeMap<PathElement, Vec<&'v Value>> {
    let mut groups: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for item in list.and_then(Value::as_array).into_iter().flatten() {
        if let Ok(element) = items.item(keys, item) {
            groups.entry(element).or_default().push(item);
        }
    }
    groups
}
