//! How lists are merged and ordered.

use super::{
    Object, Outcome, PATCH, merge_map, mismatch, text, unknown_directive, without_directives,
};
use crate::patch::PatchError;
use crate::schema::{PatchStrategy, Schema};
use serde_json::Value;
use std::collections::{HashMap, HashSet};
use std::mem::discriminant;

/// Merges two lists; items of the patch keep their order, those only in the original theirs.
pub(super) fn merge_list(
    original: Vec<Value>,
    patch: Vec<Value>,
    items: &Schema,
    merge_key: &str,
) -> Outcome<Vec<Value>> {
    if original.is_empty() && patch.is_empty() {
        return Ok(original);
    }
    if !holds_maps(&[&original, &patch])? {
        let mut seen = HashSet::new();
        let both = original.iter().chain(&patch);
        let merged = both.filter(|item| seen.insert(*item)).cloned().collect();
        return arrange(merged, &patch, &original, None);
    }
    if merge_key.is_empty() {
        let kind = text::go_kind(items);
        return Err(mismatch(format!("cannot merge lists without merge key for {kind}")));
    }
    let server_order = original.clone();
    let (original, patch) = special_items(original, patch, merge_key)?;
    let Some(patch) = patch else {
        return arrange(original.clone(), &[], &original, Some(merge_key));
    };
    let order = keys_only(&patch, merge_key)?;
    let merged = merge_items(original, patch, items, merge_key)?;
    arrange(merged, &order, &server_order, Some(merge_key))
}

/// Merges a list that comes with `$setElementOrder`; `None` when neither side has the list.
pub(super) fn merge_ordered(
    original: Option<Vec<Value>>,
    patch: Option<Vec<Value>>,
    order: &[Value],
    items: &Schema,
    strategy: &PatchStrategy,
) -> Outcome<Option<Vec<Value>>> {
    let merge_key = (!strategy.merge_key.is_empty()).then_some(&*strategy.merge_key);
    check_order(patch.as_deref().unwrap_or_default(), order, merge_key)?;
    let server_order = original.clone().unwrap_or_default();
    let sides = [server_order.as_slice(), patch.as_deref().unwrap_or_default()];
    let absent = original.is_none() && patch.is_none();
    if !absent && sides.iter().all(|side| side.is_empty()) {
        return Err(mismatch("no elements in any of the given slices"));
    }
    holds_maps(&sides)?;
    let merged = match (original, patch) {
        (None, None) => return Ok(None),
        (Some(original), None) => original,
        (None, Some(patch)) => patch.into_iter().filter_map(without_directives).collect(),
        (Some(original), Some(patch)) if strategy.merge => {
            merge_list(original, patch, items, &strategy.merge_key)?
        }
        (Some(_), Some(patch)) => patch,
    };
    arrange(merged, order, &server_order, merge_key).map(Some)
}

/// Whether the lists hold maps; items of mixed types and lists of lists are errors.
pub(super) fn holds_maps(lists: &[&[Value]]) -> Outcome<bool> {
    let mut items = lists.iter().copied().flatten();
    let Some(first) = items.next() else {
        return Ok(false);
    };
    if first.is_array() {
        return Err(PatchError::Unprocessable("lists of lists are not supported".to_owned()));
    }
    if items.any(|item| discriminant(item) != discriminant(first)) {
        let printed: Vec<_> = lists.iter().map(|list| text::go_list(list)).collect();
        let printed = printed.join(" ");
        return Err(mismatch(format!("list element types are not identical: [{printed}]")));
    }
    Ok(first.is_object())
}

/// Carries out the items with a `$patch`: what is left of both lists, and no patch when the list is
/// replaced.
fn special_items(
    mut original: Vec<Value>,
    patch: Vec<Value>,
    merge_key: &str,
) -> Outcome<(Vec<Value>, Option<Vec<Value>>)> {
    let mut plain = Vec::with_capacity(patch.len());
    let mut replace = false;
    for item in patch {
        let map = as_map(&item)?;
        match map.get(PATCH) {
            None => plain.push(item),
            Some(Value::String(directive)) if directive == "delete" => {
                let unwanted = map.get(merge_key).ok_or_else(|| no_merge_key(map, merge_key))?;
                original.retain(|item| item.get(merge_key) != Some(unwanted));
            }
            Some(Value::String(directive)) if directive == "replace" => replace = true,
            Some(Value::String(directive)) if directive == "merge" => {
                return Err(mismatch("merging lists cannot yet be specified in the patch"));
            }
            Some(other) => return Err(unknown_directive(other, map)),
        }
    }
    Ok(if replace { (plain, None) } else { (original, Some(plain)) })
}

fn merge_items(
    original: Vec<Value>,
    patch: Vec<Value>,
    items: &Schema,
    merge_key: &str,
) -> Outcome<Vec<Value>> {
    let mut merged = original;
    let mut places: HashMap<Value, usize> = HashMap::with_capacity(merged.len());
    for (index, item) in merged.iter().enumerate() {
        if let Some(key) = item.get(merge_key) {
            places.entry(key.clone()).or_insert(index);
        }
    }
    for item in patch {
        let Value::Object(item) = item else {
            return Err(not_a_map(&item));
        };
        let key = item.get(merge_key).ok_or_else(|| no_merge_key(&item, merge_key))?;
        if let Some(Value::Object(existing)) = places.get(key).and_then(|at| merged.get_mut(*at)) {
            *existing = merge_map(std::mem::take(existing), item, items)?;
        } else {
            places.insert(key.clone(), merged.len());
            merged.push(Value::Object(item));
        }
    }
    Ok(merged)
}

/// Puts the items that `order` names in its order, the others in that of the server's list, and both
/// into one.
fn arrange(
    merged: Vec<Value>,
    order: &[Value],
    server_order: &[Value],
    merge_key: Option<&str>,
) -> Outcome<Vec<Value>> {
    let wanted = positions(order, merge_key)?;
    let server = positions(server_order, merge_key)?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for item in merged {
        let key = identity(&item, merge_key)?.clone();
        let place = server.get(&key).copied();
        match wanted.get(&key) {
            Some(at) => ours.push((*at, place, item)),
            None => theirs.push((place.unwrap_or(usize::MAX), place, item)),
        }
    }
    ours.sort_by_key(|(at, ..)| *at);
    theirs.sort_by_key(|(at, ..)| *at);
    let mut result = Vec::with_capacity(ours.len() + theirs.len());
    let (mut ours, mut theirs) = (ours.into_iter().peekable(), theirs.into_iter().peekable());
    loop {
        let before = match (theirs.peek(), ours.peek()) {
            (None, None) => return Ok(result),
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (Some((_, left, _)), Some((_, right, _))) => {
                left.zip(*right).is_some_and(|(left, right)| left < right)
            }
        };
        let next = if before { theirs.next() } else { ours.next() };
        result.extend(next.map(|(.., item)| item));
    }
}

fn positions(list: &[Value], merge_key: Option<&str>) -> Outcome<HashMap<Value, usize>> {
    let mut places = HashMap::with_capacity(list.len());
    for (index, item) in list.iter().enumerate() {
        places.entry(identity(item, merge_key)?.clone()).or_insert(index);
    }
    Ok(places)
}

/// The patch's items must come in the order of `$setElementOrder` and be named there.
fn check_order(patch: &[Value], order: &[Value], merge_key: Option<&str>) -> Outcome<()> {
    if patch.is_empty() || order.is_empty() {
        return Ok(());
    }
    let mut wanted = order.iter();
    for item in patch {
        if merge_key.is_some() && as_map(item)?.contains_key(PATCH) {
            continue;
        }
        let key = identity(item, merge_key)?;
        let mut found = false;
        for candidate in wanted.by_ref() {
            if identity(candidate, merge_key)? == key {
                found = true;
                break;
            }
        }
        if !found {
            return Err(mismatch(format!(
                "The order in patch list:\n{}\n doesn't match $setElementOrder list:\n{}\n",
                text::go_list(patch),
                text::go_list(order)
            )));
        }
    }
    Ok(())
}

fn keys_only(list: &[Value], merge_key: &str) -> Outcome<Vec<Value>> {
    list.iter()
        .map(|item| {
            let key = identity(item, Some(merge_key))?.clone();
            Ok(Value::Object(Object::from_iter([(merge_key.to_owned(), key)])))
        })
        .collect()
}

fn identity<'v>(item: &'v Value, merge_key: Option<&str>) -> Outcome<&'v Value> {
    let Some(merge_key) = merge_key else {
        return Ok(item);
    };
    let map = as_map(item)?;
    map.get(merge_key).ok_or_else(|| no_merge_key(map, merge_key))
}

fn as_map(item: &Value) -> Outcome<&Object> {
    item.as_object().ok_or_else(|| not_a_map(item))
}

fn not_a_map(item: &Value) -> PatchError {
    mismatch(text::bad_type("map[string]interface {}", item))
}

fn no_merge_key(map: &Object, merge_key: &str) -> PatchError {
    mismatch(format!("map: {} does not contain declared merge key: {merge_key}", text::go_map(map)))
}
