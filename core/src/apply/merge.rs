//! Merging an applied configuration into an object, and taking fields out of it.

use super::{
    path::PathElement,
    set::FieldSet,
    shape::{Keys, MapShape, Shape, Type},
};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Merges the applied value over the live one. Nothing is removed; lists are in the order of the live
/// one as far as the applied one does not say otherwise.
///
/// # Errors
/// In words, when items of a list cannot be told apart.
fn merge(ty: Type<'_>, live: Value, applied: Value) -> Result<Value, String> {
    match (ty.shape(Some(&applied)), live, applied) {
        (Shape::Map(shape), live @ Value::Object(_), Value::Null) if !shape.atomic => {
            let hollow = live.as_object().is_some_and(Map::is_empty);
            Ok(if hollow { Value::Null } else { live })
        }
        (Shape::Map(shape), Value::Object(live), Value::Object(applied)) if !shape.atomic => {
            merge_maps(shape, live, applied).map(Value::Object)
        }
        (Shape::List { keys: Keys::Atomic, .. }, _, applied) => Ok(applied),
        (Shape::List { .. }, live @ Value::Array(_), Value::Null) => {
            let hollow = live.as_array().is_some_and(Vec::is_empty);
            Ok(if hollow { Value::Null } else { live })
        }
        (Shape::List { items, keys }, Value::Array(live), Value::Array(applied)) => {
            if live.is_empty() && applied.is_empty() {
                return Ok(Value::Array(applied));
            }
            merge_lists(items, keys, live, applied).map(Value::Array)
        }
        (_, _, applied) => Ok(applied),
    }
}

/// Merges two maps or objects; see [`merge`].
pub(super) fn merge_maps(
    shape: MapShape<'_>,
    mut live: Map<String, Value>,
    applied: Map<String, Value>,
) -> Result<Map<String, Value>, String> {
    for (key, value) in applied {
        match live.get_mut(&key) {
            Some(slot) => {
                let (ty, element) = shape.child(&key);
                *slot = merge(ty, slot.take(), value).map_err(|why| format!("{element}{why}"))?;
            }
            None => {
                live.insert(key, value);
            }
        }
    }
    Ok(live)
}

/// Lists being merged, their items by step.
struct Merger<'s> {
    items: Type<'s>,
    /// In order; the values of unique items are in `values`.
    live: VecDeque<(PathElement, Option<Value>)>,
    values: BTreeMap<PathElement, Value>,
    applied: VecDeque<(PathElement, Value)>,
    wanted: BTreeSet<PathElement>,
    merged: BTreeSet<PathElement>,
    /// Steps both have and that are yet to come, in the order of the applied list.
    shared: VecDeque<PathElement>,
    out: Vec<Value>,
}

fn merge_lists(
    items: Type<'_>,
    keys: Keys<'_>,
    live: Vec<Value>,
    applied: Vec<Value>,
) -> Result<Vec<Value>, String> {
    let live = index(items, keys, live)?;
    let applied = index(items, keys, applied)?;
    let mut counts: BTreeMap<PathElement, usize> = BTreeMap::new();
    for (element, _) in &live {
        *counts.entry(element.clone()).or_default() += 1;
    }
    let mut wanted = BTreeSet::new();
    for (element, _) in &applied {
        if !wanted.insert(element.clone()) {
            return Err(format!(": duplicate entries for key {element}"));
        }
    }
    let steps = applied.iter().map(|(element, _)| element);
    let shared = steps.filter(|element| counts.contains_key(element)).cloned().collect();
    let mut merger = Merger {
        items,
        out: Vec::with_capacity(live.len().max(applied.len())),
        live: VecDeque::with_capacity(live.len()),
        values: BTreeMap::new(),
        applied,
        wanted,
        merged: BTreeSet::new(),
        shared,
    };
    for (element, value) in live {
        if counts.get(&element) == Some(&1) {
            merger.values.insert(element.clone(), value);
            merger.live.push_back((element, None));
        } else {
            merger.live.push_back((element, Some(value)));
        }
    }
    merger.run()
}

fn index(
    items: Type<'_>,
    keys: Keys<'_>,
    list: Vec<Value>,
) -> Result<VecDeque<(PathElement, Value)>, String> {
    let step = |(at, item): (usize, Value)| match items.item(keys, &item) {
        Ok(element) => Ok((element, item)),
        Err(why) => Err(format!(": element {at}: {why}")),
    };
    list.into_iter().enumerate().map(step).collect()
}

impl Merger<'_> {
    fn run(mut self) -> Result<Vec<Value>, String> {
        loop {
            if let (Some((left, _)), Some((right, _))) = (self.live.front(), self.applied.front()) {
                if left == right {
                    self.live.pop_front();
                    self.take_applied()?;
                    self.shared.pop_front();
                    continue;
                }
                let early = self.shared.front().is_some_and(|next| next != left);
                if early && self.wanted.contains(left) {
                    self.live.pop_front();
                    continue;
                }
            }
            if let Some((left, _)) = self.live.front() {
                if !self.wanted.contains(left) {
                    self.take_live();
                    continue;
                }
                if self.merged.contains(left) {
                    self.live.pop_front();
                }
            }
            match self.applied.front().map(|(element, _)| element.clone()) {
                Some(element) => {
                    self.take_applied()?;
                    if self.shared.front() == Some(&element) {
                        self.shared.pop_front();
                    }
                }
                None if self.live.is_empty() => return Ok(self.out),
                None => {}
            }
        }
    }

    fn take_live(&mut self) {
        if let Some((element, value)) = self.live.pop_front() {
            self.out.extend(value.or_else(|| self.values.remove(&element)));
        }
    }

    /// Of live duplicates none is known to be the one that is meant, so the applied item stands alone.
    fn take_applied(&mut self) -> Result<(), String> {
        let Some((element, applied)) = self.applied.pop_front() else {
            return Ok(());
        };
        let value = match self.values.remove(&element) {
            Some(live) => {
                merge(self.items, live, applied).map_err(|why| format!("{element}{why}"))?
            }
            None => applied,
        };
        self.out.push(value);
        self.merged.insert(element);
        Ok(())
    }
}

/// Takes the members of the set out of a map or object.
pub(super) fn remove_entries(shape: MapShape<'_>, map: &mut Map<String, Value>, set: &FieldSet) {
    for node in set.nodes() {
        let PathElement::Field(name) = &node.element else {
            continue;
        };
        let gone = map.get_mut(&**name).is_some_and(|child| {
            node.member
                || !node.children.is_empty() && remove(shape.child(name).0, child, &node.children)
        });
        if gone {
            map.remove(&**name);
        }
    }
}

/// Takes the members of the set out of the value; whether nothing is left of it.
fn remove(ty: Type<'_>, value: &mut Value, set: &FieldSet) -> bool {
    match (ty.shape(Some(value)), value) {
        (Shape::Scalar(_), _) => false,
        (Shape::Map(shape), Value::Object(map)) => {
            if shape.atomic {
                return true;
            }
            remove_entries(shape, map, set);
            map.is_empty()
        }
        (Shape::List { keys: Keys::Atomic, .. }, _) => true,
        (Shape::List { items, keys }, Value::Array(list)) => {
            list.retain_mut(|item| {
                let Ok(element) = items.item(keys, item) else {
                    return true;
                };
                let Some(node) = set.node(&element) else {
                    return true;
                };
                !node.member && (node.children.is_empty() || !remove(items, item, &node.children))
            });
            list.is_empty()
        }
        _ => false,
    }
}
