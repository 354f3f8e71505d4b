//! What the manager of a new object owns: all that is in it, written in one walk as the text that is stored.
//!
//! [`record`](super::record) finds the same by comparing the object with nothing, and makes trees of all its steps.

use super::{
    Request, STRIPPED,
    filter::Filter,
    managed,
    packed::{DOT, write_field},
    path::{PathElement, quote},
    set::{FieldSet, Node},
    shape::{Keys, MapShape, Shape, Type, equal},
};
use crate::Object;
use serde_json::{Map, Value};
use std::mem::discriminant;

const MANAGED_FIELDS: [&str; 2] = ["metadata", "managedFields"];

/// Records that all of a new object is the request's manager's; false when that cannot be told in one walk, and then
/// nothing was changed.
pub(super) fn update(new: &mut Object, request: &Request<'_>) -> bool {
    let excluded = match request.reset {
        Filter::None => None,
        Filter::Exclude(excluded) => Some(excluded),
        Filter::Include(_) => return false,
    };
    if new.at(&MANAGED_FIELDS).is_some() {
        return false;
    }
    let limits = Limits { excluded, stripped: Some(&STRIPPED) };
    let mut walk = Walk { out: String::with_capacity(8 * 1024) };
    let shape = Type::root(request.schema).object();
    walk.out.push('{');
    if walk.entries(shape, true, new.map(), limits).is_err() {
        return false;
    }
    walk.out.push('}');
    if walk.out != "{}" {
        let mut entry = managed::updater(request, FieldSet::new());
        entry["fieldsV1"] = walk.out.into();
        new.set(&MANAGED_FIELDS, vec![entry]);
    }
    true
}

/// A value of another kind than what an object has where it has nothing.
struct Unlike;

/// What is not owned here: fields with all that is below them, and fields by themselves.
#[derive(Clone, Copy)]
struct Limits<'s> {
    excluded: Option<&'s FieldSet>,
    stripped: Option<&'s FieldSet>,
}

impl<'s> Limits<'s> {
    /// The limits one step down, and whether the step itself may be owned; `None` when nothing there may be.
    fn below(self, step: impl Fn(&'s FieldSet) -> Option<&'s Node>) -> Option<(Self, bool)> {
        let node = |set: Option<&'s FieldSet>| set.and_then(&step);
        let (excluded, stripped) = (node(self.excluded), node(self.stripped));
        if excluded.is_some_and(|node| node.member) {
            return None;
        }
        let children = |node: &'s Node| &node.children;
        let below = Self { excluded: excluded.map(children), stripped: stripped.map(children) };
        Some((below, stripped.is_none_or(|node| !node.member)))
    }
}

struct Walk {
    out: String,
}

impl Walk {
    /// Writes what is owned of a value that came to be where `before` was implied, or nothing: whether that is anything.
    fn node(
        &mut self,
        ty: Type<'_>,
        before: Option<&Value>,
        value: &Value,
        (limits, ownable): (Limits<'_>, bool),
    ) -> Result<bool, Unlike> {
        let shape = ty.shape(Some(value));
        if before.is_some() && discriminant(&shape) != discriminant(&ty.shape(before)) {
            return Err(Unlike);
        }
        let leaf = is_hollow(value)
            || match shape {
                Shape::Scalar(_) => true,
                Shape::List { keys, .. } => matches!(keys, Keys::Atomic),
                Shape::Map(map) => map.atomic,
            };
        let changed = before.is_none_or(|before| leaf && !equal(before, value));
        let (start, member) = (self.out.len(), changed && ownable);
        self.out.push('{');
        let inside = self.out.len();
        if !leaf {
            if member {
                self.out.push_str(DOT);
            }
            let dotted = self.out.len();
            match (shape, value) {
                (Shape::List { items, keys }, Value::Array(list)) => {
                    self.items(items, keys, list, limits)?;
                }
                (Shape::Map(shape), Value::Object(map)) => {
                    let implied = before.is_some_and(Value::is_object);
                    self.entries(shape, implied, map, limits)?;
                }
                _ => {}
            }
            if self.out.len() == dotted {
                self.out.truncate(inside);
            }
        }
        if self.out.len() == inside && !member {
            self.out.truncate(start);
            return Ok(false);
        }
        self.out.push('}');
        Ok(true)
    }

    /// Writes what is owned of the entries of a map; `implied` when others than those that are there had a value before.
    fn entries(
        &mut self,
        shape: MapShape<'_>,
        implied: bool,
        map: &Map<String, Value>,
        limits: Limits<'_>,
    ) -> Result<(), Unlike> {
        for (key, value) in map {
            let before = if implied { shape.implied(key) } else { None };
            if before == Some(value) {
                continue;
            }
            let Some(below) = limits.below(|set| set.field(key)) else { continue };
            let start = self.begin(|out| write_field(key, out));
            if !self.node(shape.entry(key), before, value, below)? {
                self.out.truncate(start);
            }
        }
        Ok(())
    }

    /// Writes what is owned of the items of a list, in the order of their keys' texts.
    fn items(
        &mut self,
        items: Type<'_>,
        keys: Keys<'_>,
        list: &[Value],
        limits: Limits<'_>,
    ) -> Result<(), Unlike> {
        let step = |item| Some((items.item(keys, item).ok()?, item));
        let mut found: Vec<(PathElement, &Value)> = list.iter().filter_map(step).collect();
        found.sort_by(|(one, _), (other, _)| one.cmp(other));
        let mut steps: Vec<_> = found
            .chunk_by(|(one, _), (other, _)| one == other)
            .map(|alike| (alike[0].0.encode(), alike))
            .collect();
        steps.sort_by(|(one, _), (other, _)| one.cmp(other));
        for (key, alike) in steps {
            let Some(below) = limits.below(|set| set.node(&alike[0].0)) else { continue };
            let start = self.begin(|out| quote(out, &key));
            let kept = match alike {
                [(_, item)] => self.node(items, None, item, below)?,
                // Items that share a step are owned as one, without what is in them.
                _ => {
                    self.out.push_str(if below.1 { "{}" } else { "" });
                    below.1
                }
            };
            if !kept {
                self.out.truncate(start);
            }
        }
        Ok(())
    }

    /// Begins a node with its key; where to cut if there is nothing in it.
    fn begin(&mut self, key: impl FnOnce(&mut String)) -> usize {
        let start = self.out.len();
        if !self.out.ends_with('{') {
            self.out.push(',');
        }
        key(&mut self.out);
        self.out.push(':');
        start
    }
}

fn is_hollow(value: &Value) -> bool {
    match value {
        Value::Object(map) => map.is_empty(),
        Value::Array(list) => list.is_empty(),
        _ => true,
    }
}
