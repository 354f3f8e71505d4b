//! From values to sets of fields, and sets brought in line with a schema.

use super::{
    path::PathElement,
    set::FieldSet,
    shape::{Keys, MapShape, Shape, Type},
};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// What a value contributes to a set: itself, and what is below it.
#[derive(Debug, Default)]
pub(super) struct Part {
    pub(super) member: bool,
    pub(super) children: FieldSet,
}

/// Every leaf field and item of the object.
pub(super) fn field_set(ty: Type<'_>, object: &Map<String, Value>) -> FieldSet {
    entries(ty.object(), object, false)
}

/// Every field and item of the object, leaf or not.
pub(super) fn full_set(ty: Type<'_>, object: &Map<String, Value>) -> FieldSet {
    entries(ty.object(), object, true)
}

fn part(ty: Type<'_>, value: &Value, all: bool) -> Part {
    let mut part = Part::default();
    match ty.shape(Some(value)) {
        Shape::Scalar(_) | Shape::List { keys: Keys::Atomic, .. } => part.member = true,
        Shape::List { items, keys } => {
            for (element, item) in unique_items(items, keys, value) {
                let children = item.map(|item| self::part(items, item, all).children);
                part.children.put(element, true, children.unwrap_or_default());
            }
        }
        Shape::Map(shape) if shape.atomic => part.member = true,
        Shape::Map(shape) => {
            if let Value::Object(map) = value {
                part.children = entries(shape, map, all);
            }
        }
    }
    part
}

fn entries(shape: MapShape<'_>, map: &Map<String, Value>, all: bool) -> FieldSet {
    let mut set = FieldSet::new();
    for (key, value) in map {
        let (child, element) = shape.child(key);
        let below = part(child, value, all);
        let hollow = value.is_null() || value.as_object().is_some_and(Map::is_empty);
        let inner = all && !below.children.is_empty();
        let member = below.member || hollow || inner || shape.field(key).is_none();
        set.put(element, member, below.children);
    }
    set
}

/// The items by step, `None` for steps that several items share; items without one are left out.
pub(super) fn unique_items<'v>(
    items: Type<'_>,
    keys: Keys<'_>,
    list: &'v Value,
) -> BTreeMap<PathElement, Option<&'v Value>> {
    let mut unique = BTreeMap::new();
    for item in list.as_array().into_iter().flatten() {
        if let Ok(element) = items.item(keys, item) {
            unique.entry(element).and_modify(|seen| *seen = None).or_insert(Some(item));
        }
    }
    unique
}

/// Makes every named field above a member a member too.
pub(super) fn ensure_named(ty: Type<'_>, set: &mut FieldSet) {
    let shape = ty.shape(None);
    set.change(|node| {
        if node.children.is_empty() {
            return;
        }
        if let (Shape::Map(map), PathElement::Field(name)) = (shape, &node.element) {
            node.member |= map.field(name).is_some();
        }
        ensure_named(ty.step(&node.element), &mut node.children);
    });
}

/// Folds what is below fields that have become atomic since the set was written.
pub(super) fn reconcile(ty: Type<'_>, set: &mut FieldSet) {
    set.change(|node| {
        if node.children.is_empty() {
            return;
        }
        let child = ty.step(&node.element);
        let atomic = match child.shape(None) {
            Shape::Scalar(_) => return,
            Shape::List { keys, .. } => matches!(keys, Keys::Atomic),
            Shape::Map(map) if map.deduced && !map.atomic => return,
            Shape::Map(map) => map.atomic,
        };
        if atomic {
            node.member = true;
            node.children = FieldSet::new();
        } else {
            reconcile(child, &mut node.children);
        }
    });
}
