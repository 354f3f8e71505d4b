//! Managers of other versions than that of the request: what they own is told apart in their own version.

use super::{
    Request,
    compare::Comparison,
    fields::{ensure_named, full_set, reconcile},
    filter::Filter,
    managed::{Managed, Owned},
    merge,
    set::FieldSet,
    shape::Type,
    times,
};
use crate::{Object, schema::SchemaRef};
use serde_json::{Map, Value};
use std::{collections::BTreeMap, fmt};

/// The versions a kind has, for managers that wrote another one than that of the request.
///
/// # Contract
/// The same answer for the same object and version, as long as one write goes on.
pub trait Versions: fmt::Debug + Sync {
    /// What objects are in a version, as in `autoscaling/v1`; `None` when there is no such version (any more), and who
    /// manages fields in it does so no more.
    fn form(&self, version: &str) -> Option<Form>;

    /// The object in a version that has a form, whatever version it is in.
    ///
    /// # Errors
    /// Why it cannot be converted, in words. A write that applies fails by them; any other write forgets all managers.
    fn convert(&self, object: &Object, version: &str) -> Result<Object, String>;
}

/// What objects are in one version.
#[derive(Debug, Clone)]
pub struct Form {
    /// Their shape.
    pub schema: SchemaRef,
    /// The fields that the write cannot change, as they are named in this version.
    pub reset: Filter,
}

/// The versions that managers wrote, but for that of the request.
#[derive(Debug, Default)]
pub(super) struct Others(BTreeMap<String, Other>);

#[derive(Debug)]
struct Other {
    form: Form,
    /// The live object in this version; empty when there is none.
    live: Map<String, Value>,
}

impl Others {
    /// Looks the versions of all managers up. Those whose version is no more are dropped.
    ///
    /// # Errors
    /// When the live object cannot be converted.
    pub(super) fn of(
        live: Option<&Object>,
        managed: &mut Managed,
        request: &Request<'_>,
    ) -> Result<Self, String> {
        let Some(versions) = request.versions else { return Ok(Self::default()) };
        let own = request.version();
        let mut found: BTreeMap<String, Option<Other>> = BTreeMap::new();
        for owned in managed.owners.values().filter(|owned| owned.api_version != own) {
            let version = &owned.api_version;
            if found.contains_key(version) {
                continue;
            }
            let other = match versions.form(version) {
                None => None,
                Some(form) => {
                    let live = live.map(|live| converted(versions, &bare(live), version));
                    let live = live.transpose()?.map(Object::into_value);
                    let live = live.and_then(|live| live.as_object().cloned()).unwrap_or_default();
                    Some(Other { form, live })
                }
            };
            found.insert(version.clone(), other);
        }
        managed.owners.retain(|_, owned| !matches!(found.get(&owned.api_version), Some(None)));
        let known = found.into_iter().filter_map(|(version, other)| Some((version, other?)));
        Ok(Self(known.collect()))
    }

    /// Folds ownership below fields that have become atomic.
    pub(super) fn follow_schema(&self, managed: &mut Managed, request: &Request<'_>) {
        let own = request.version();
        for owned in managed.owners.values_mut() {
            match self.0.get(&owned.api_version) {
                Some(other) => reconcile(Type::root(&other.form.schema), &mut owned.set),
                None if owned.api_version == own => {
                    reconcile(Type::root(request.schema), &mut owned.set);
                }
                None => {}
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn ty<'s>(&'s self, version: &str, request: &Request<'s>) -> Type<'s> {
        let schema = self.0.get(version).map(|other| &*other.form.schema);
        Type::root(schema.unwrap_or(request.schema))
    }
}

/// What a write changes, in the version of each manager.
#[derive(Debug)]
pub(super) struct Changes {
    pub(super) own: Change,
    others: BTreeMap<String, Change>,
}

/// What a write changes, in one version.
#[derive(Debug)]
pub(super) struct Change {
    /// What has a new value.
    pub(super) written: FieldSet,
    pub(super) removed: FieldSet,
}

impl Change {
    fn of(ty: Type<'_>, reset: &Filter, live: &Map<String, Value>, new: &Object) -> Self {
        let mut comparison = Comparison::of(ty, live, new.map());
        comparison.filter(reset);
        let written = comparison.take_written();
        Self { written, removed: comparison.removed }
    }

    /// Takes from an owner what another one changes.
    pub(super) fn take_from(&self, owned: &mut Owned) {
        owned.set.subtract(&self.written);
        owned.set.subtract(&self.removed);
    }
}

impl Changes {
    /// Compares the live object with the new one, in each version.
    ///
    /// # Errors
    /// When the new object cannot be converted.
    pub(super) fn of(
        live: Option<&Object>,
        new: &Object,
        others: &Others,
        request: &Request<'_>,
    ) -> Result<Self, String> {
        let (ty, empty) = (Type::root(request.schema), Map::new());
        let own = Change::of(ty, request.reset, live.map_or(&empty, Object::map), new);
        let mut changes = Self { own, others: BTreeMap::new() };
        let Some(versions) = request.versions.filter(|_| !others.0.is_empty()) else {
            return Ok(changes);
        };
        let new = bare(new);
        for (version, other) in &others.0 {
            let new = converted(versions, &new, version)?;
            let ty = Type::root(&other.form.schema);
            let change = Change::of(ty, &other.form.reset, &other.live, &new);
            changes.others.insert(version.clone(), change);
        }
        Ok(changes)
    }

    /// What changes for who manages fields of a version.
    pub(super) fn for_version(&self, version: &str) -> &Change {
        self.others.get(version).unwrap_or(&self.own)
    }
}

/// Takes out what a manager applied last, no longer applies, and nobody else owns, where that was said in several
/// versions. What others own is put back in the version that they own it in.
///
/// # Errors
/// When an object cannot be converted.
pub(super) fn prune(
    merged: Map<String, Value>,
    last: &Owned,
    managed: &Managed,
    others: &Others,
    request: &Request<'_>,
) -> Result<Map<String, Value>, String> {
    let Some(versions) = request.versions else { return Ok(merged) };
    let merged = Object::from_value(Value::Object(merged)).unwrap_or_default();
    let ty = others.ty(&last.api_version, request);
    let at_last = converted(versions, &merged, &last.api_version)?;
    let mut last_set = last.set.clone();
    ensure_named(ty, &mut last_set);
    let mut pruned = at_last.clone();
    merge::remove_entries(ty.object(), pruned.map_mut(), &last_set);

    let mut current = at_last.clone();
    for (version, mut owned) in by_version(managed, &last.api_version) {
        let ty = others.ty(version, request);
        current = converted(versions, &current, version)?;
        pruned = converted(versions, &pruned, version)?;
        ensure_named(ty, &mut owned);
        let mut gone = full_set(ty, current.map());
        gone.subtract(&full_set(ty, pruned.map()));
        gone.subtract(&owned);
        pruned = current.clone();
        merge::remove_entries(ty.object(), pruned.map_mut(), &gone);
    }

    let pruned = converted(versions, &pruned, &last.api_version)?;
    let mut dangling = full_set(ty, at_last.map());
    dangling.subtract(&full_set(ty, pruned.map()));
    let mut rest = at_last;
    merge::remove_entries(ty.object(), rest.map_mut(), &dangling.intersection(&last_set));
    let rest = converted(versions, &rest, &request.version())?;
    Ok(rest.map().clone())
}

/// What is owned in each version, that one first.
fn by_version<'m>(managed: &'m Managed, first: &str) -> Vec<(&'m str, FieldSet)> {
    let mut sets: BTreeMap<&str, FieldSet> = BTreeMap::new();
    for owned in managed.owners.values() {
        sets.entry(&owned.api_version).or_default().extend(owned.set.clone());
    }
    let mut sets: Vec<_> = sets.into_iter().collect();
    sets.sort_by_key(|(version, _)| *version != first);
    sets
}

fn converted(versions: &dyn Versions, object: &Object, to: &str) -> Result<Object, String> {
    if object.api_version() == to { Ok(object.clone()) } else { versions.convert(object, to) }
}

fn bare(object: &Object) -> Object {
    Object::from_value(Value::Object(times::without_managed_fields(object))).unwrap_or_default()
}
