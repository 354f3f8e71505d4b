//! Managers of an object that is changed, in the packed form that the writer keeps them in.
//!
//! A change touches few fields, and most of what managers own stays as it was: reading all of it into sets and writing
//! it again would cost more than the change itself. What was stored by a server can be taken as it stands; what a client
//! sends cannot, and takes the other way ([`record`](super::record)).

use super::{
    Request, STRIPPED,
    compare::Comparison,
    managed::{self, MAX_UPDATERS},
    packed::{Change, changed, packed_set},
    set::FieldSet,
    shape::Type,
};
use crate::{
    Object,
    decode::time,
    schema::{Schema, SchemaRef, builtin},
};
use serde_json::Value;
use std::{borrow::Cow, cmp::Ordering};

/// Records what the request's manager changed; false when that cannot be done in place, and then nothing was changed.
pub(super) fn update(live: &Object, new: &mut Object, request: &Request<'_>) -> bool {
    if !is_builtin(request.schema) {
        return false;
    }
    let Some(stored) = list(live).filter(|stored| is_plain(stored, request)) else { return false };
    let sent = new.at(&MANAGED_FIELDS);
    let own = sent.and_then(Value::as_array) == Some(stored);
    if !(own || !request.subresource.is_empty() || sent.is_none()) {
        return false;
    }
    let taken = new.remove(&MANAGED_FIELDS);
    let recorded = match &taken {
        Some(Value::Array(entries)) if own => record(entries.clone(), live, new, request),
        _ => record(stored.clone(), live, new, request),
    };
    let done = recorded.is_some();
    let entries = recorded.map(Value::Array).filter(|list| *list != Value::Array(Vec::new()));
    if let Some(managers) = if done { entries } else { taken } {
        new.set(&MANAGED_FIELDS, managers);
    }
    done
}

const MANAGED_FIELDS: [&str; 2] = ["metadata", "managedFields"];

fn list(object: &Object) -> Option<&Vec<Value>> {
    object.at(&MANAGED_FIELDS)?.as_array()
}

/// The shapes of other kinds change while objects are stored: their sets must be brought in line first.
pub(super) fn is_builtin(schema: &Schema) -> bool {
    matches!(builtin(&schema.name), Some(SchemaRef::Static(known)) if std::ptr::eq(known, schema))
}

/// Whether entries are as this server writes them, and not so many that some must be thrown together.
fn is_plain(entries: &[Value], request: &Request<'_>) -> bool {
    let whole = |entry: &Value| {
        matches!(text(entry, "operation"), "Apply" | "Update")
            && !text(entry, "apiVersion").is_empty()
            && text(entry, "fieldsType") == "FieldsV1"
            && entry.get("fieldsV1").and_then(packed_set).is_some_and(|set| set != "{}")
    };
    let updaters = entries.iter().filter(|entry| text(entry, "operation") == "Update").count();
    let known = entries.iter().any(|entry| is_own(entry, request));
    let twice = |(index, entry)| entries[..index].iter().any(|before| same_manager(before, entry));
    let version = request.version();
    // What is owned in other versions is told apart there.
    let alike = |entry: &Value| request.versions.is_none() || text(entry, "apiVersion") == version;
    !entries.is_empty()
        && entries.iter().all(|entry| whole(entry) && alike(entry))
        && updaters + usize::from(!known) <= MAX_UPDATERS
        && !entries.iter().enumerate().any(twice)
}

fn text<'v>(entry: &'v Value, key: &str) -> &'v str {
    entry.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn same_manager(one: &Value, other: &Value) -> bool {
    let same = |key: &str| text(one, key) == text(other, key);
    same("manager")
        && same("subresource")
        && same("operation")
        && (same("apiVersion") || text(one, "operation") == "Apply")
}

fn is_own(entry: &Value, request: &Request<'_>) -> bool {
    text(entry, "operation") == "Update"
        && text(entry, "manager") == request.manager_name()
        && text(entry, "subresource") == request.subresource
        && text(entry, "apiVersion") == request.version()
}

/// The entries after the change; `None` when one of them is not as this server writes it.
fn record(
    mut entries: Vec<Value>,
    live: &Object,
    new: &Object,
    request: &Request<'_>,
) -> Option<Vec<Value>> {
    let ty = Type::root(request.schema);
    let mut comparison = Comparison::of(ty, live.map(), new.map());
    comparison.filter(request.reset);
    let mut written = comparison.take_written();
    for entry in &mut entries {
        change(entry, Change::Take, &written)?;
        change(entry, Change::Take, &comparison.removed)?;
    }
    entries.retain(|entry| text(entry, "fieldsV1") != "{}");
    written.subtract(&STRIPPED);
    if !written.is_empty() {
        match entries.iter_mut().find(|entry| is_own(entry, request)) {
            Some(entry) => {
                change(entry, Change::Add, &written)?;
                entry["time"] = time(request.now).into();
            }
            None => entries.push(managed::updater(request, written)),
        }
    }
    entries.sort_by(order);
    Some(entries)
}

fn change(entry: &mut Value, change: Change, by: &FieldSet) -> Option<()> {
    if by.is_empty() {
        return Some(());
    }
    if let Cow::Owned(set) = changed(text(entry, "fieldsV1"), change, by)? {
        entry["fieldsV1"] = set.into();
    }
    Some(())
}

/// Appliers first, then by time; the texts of times are all of one form.
fn order(one: &Value, other: &Value) -> Ordering {
    let by = |key: &str| text(one, key).cmp(text(other, key));
    ["operation", "time", "manager", "apiVersion", "subresource"]
        .iter()
        .fold(Ordering::Equal, |order, key| order.then_with(|| by(key)))
}
