//! Applying a manager's configuration.

use super::{
    Request, STRIPPED,
    conflict::Conflicts,
    fields::{ensure_named, field_set, full_set},
    last_applied::{self, KUBECTL},
    managed::{Managed, Manager, Operation, Owned},
    merge,
    packed::unpack_managers,
    record,
    set::FieldSet,
    shape::Type,
    times,
    validate::validate,
    versions::{self, Changes, Others},
};
use crate::{
    GroupVersionKind, Object,
    decode::misfit,
    schema::{SchemaRef, builtin},
    status::{ApiError, ApiResult},
};
use http::StatusCode;
use serde_json::{Map, Value};
use std::sync::LazyLock;

/// The manager of the fields of an object that nobody managed when it was applied to first.
const BEFORE_FIRST_APPLY: &str = "before-first-apply";

/// Merges a manager's whole configuration into the live object (`None` when it creates it).
///
/// The result holds what was live with the applied fields over it, without fields that the manager
/// applied before and now leaves out (unless others own them), and the new `managedFields`. Defaults
/// are the caller's.
///
/// # Errors
/// 409 with one cause per field when others own fields it would change and `force` is not set; 400 when it
/// is of another kind or brings `managedFields`; 500, as the original answers, when it does not fit the
/// schema, or an object cannot be converted to the version of another manager.
pub fn apply(
    live: Option<&Object>,
    applied: Object,
    force: bool,
    request: &Request<'_>,
) -> ApiResult<Object> {
    let mut merged = apply_packed(live, applied, force, request)?;
    unpack_managers(&mut merged);
    Ok(merged)
}

/// As [`apply`], to an object whose managers may be [packed](super::pack_managers); they are in the outcome.
///
/// # Errors
/// As [`apply`].
pub fn apply_packed(
    live: Option<&Object>,
    applied: Object,
    force: bool,
    request: &Request<'_>,
) -> ApiResult<Object> {
    check(&applied, request)?;
    let mut managed = match live {
        Some(live) => Managed::decode(live)
            .map_err(|why| failure(format!("failed to decode managed fields: {why}")))?,
        None => Managed::default(),
    };
    if let (Some(live), true) = (live, managed.is_empty()) {
        record(&mut managed, None, live, BEFORE_FIRST_APPLY, request).map_err(failure)?;
    }
    let others = Others::of(live, &mut managed, request).map_err(failure)?;
    others.follow_schema(&mut managed, request);
    let merged = merge_over(live, &applied, &mut managed, &others, request)?;
    settle(live, &merged, &mut managed, &others, force, request)?;
    Ok(finish(live, applied, merged, managed, request))
}

fn check(applied: &Object, request: &Request<'_>) -> ApiResult<()> {
    let version = applied.group_version().unwrap_or_default();
    let kind = GroupVersionKind {
        group: version.group,
        version: version.version,
        kind: applied.kind().to_owned().into(),
    };
    if kind != *request.kind {
        let (version, kind) = (kind.group_version(), kind.kind);
        let why =
            format!("invalid object type: {}/{}, Kind={kind}", version.group, version.version);
        return Err(ApiError::bad_request(why));
    }
    if applied.at(&["metadata", "managedFields"]).is_some_and(are_managers) {
        return Err(ApiError::bad_request("metadata.managedFields must be nil"));
    }
    validate(Type::root(request.schema), applied.map(), true).map_err(|why| {
        let about = format!("{}/{}; {kind}", applied.namespace(), applied.name());
        failure(format!("failed to create typed patch object ({about}): {why}"))
    })
}

/// Whether these are managers, be it none; what cannot be read as such says nothing.
fn are_managers(value: &Value) -> bool {
    static ENTRY: LazyLock<Option<SchemaRef>> =
        LazyLock::new(|| builtin("io.k8s.apimachinery.pkg.apis.meta.v1.ManagedFieldsEntry"));
    let fits = |entry: &Value| {
        entry.is_object() && ENTRY.as_ref().is_none_or(|schema| misfit(entry, schema).is_none())
    };
    value.as_array().is_some_and(|list| list.iter().all(fits))
}

fn failure(message: String) -> ApiError {
    ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "", message)
}

/// The live object with the configuration over it, and the manager owning the configuration.
fn merge_over(
    live: Option<&Object>,
    applied: &Object,
    managed: &mut Managed,
    others: &Others,
    request: &Request<'_>,
) -> ApiResult<Object> {
    let ty = Type::root(request.schema);
    let base = live.map(times::without_managed_fields).unwrap_or_default();
    let mut merged = merge::merge_maps(ty.object(), base, applied.map().clone())
        .map_err(|why| failure(format!("failed to merge config: {why}")))?;
    let mut set = field_set(ty, applied.map());
    request.reset.apply(&mut set);
    let owned = Owned { set, ..Owned::none(request.version()) };
    let manager = request.manager(request.manager, Operation::Apply);
    let last = managed.owners.insert(manager.clone(), owned);
    if let Some(last) = last {
        if others.is_empty() {
            prune(ty, &mut merged, &last.set, &manager, managed);
        } else if !last.set.is_empty() {
            merged = versions::prune(merged, &last, managed, others, request)
                .map_err(|why| failure(format!("failed to prune fields: {why}")))?;
        }
        if let Some(owned) = managed.owners.get_mut(&manager) {
            owned.time = last.time;
        }
    }
    Ok(Object::from_value(Value::Object(merged)).unwrap_or_default())
}

/// Takes out what the manager applied last, no longer applies, and nobody else owns, all of it in one version.
fn prune(
    ty: Type<'_>,
    merged: &mut Map<String, Value>,
    last: &FieldSet,
    manager: &Manager,
    managed: &Managed,
) {
    let mut dropped = last.clone();
    if let Some(owned) = managed.owners.get(manager) {
        dropped.subtract(&owned.set);
    }
    if dropped.is_empty() {
        return;
    }
    let mut last = last.clone();
    ensure_named(ty, &mut last);
    let mut owned = FieldSet::new();
    managed.owners.values().for_each(|other| owned.extend(other.set.clone()));
    ensure_named(ty, &mut owned);

    let all = full_set(ty, merged);
    let mut without_last = all.clone();
    without_last.subtract_recursively(&last);
    let mut unowned = all.clone();
    unowned.subtract(&without_last);
    unowned.subtract(&owned);
    let mut kept = all.clone();
    kept.subtract_recursively(&unowned);
    let mut dangling = all;
    dangling.subtract(&kept);
    merge::remove_entries(ty.object(), merged, &dangling.intersection(&last));
}

/// Takes from others what changed, or refuses.
fn settle(
    live: Option<&Object>,
    merged: &Object,
    managed: &mut Managed,
    versions: &Others,
    force: bool,
    request: &Request<'_>,
) -> ApiResult<()> {
    let changes = Changes::of(live, merged, versions, request)
        .map_err(|why| failure(format!("failed to convert new object: {why}")))?;
    let applier = request.manager(request.manager, Operation::Apply);
    let others = || managed.owners.iter().filter(|(manager, _)| **manager != applier);
    if !force {
        let mut conflicts = Conflicts::default();
        for (manager, owned) in others() {
            let change = changes.for_version(&owned.api_version);
            conflicts.add(manager, owned.set.intersection(&change.written));
        }
        if let (KUBECTL, Some(live), false) = (request.manager, live, conflicts.is_empty())
            && let Some(allowed) = last_applied::untouched_fields(live, request)
        {
            conflicts.forgive(&allowed);
        }
        if !conflicts.is_empty() {
            return Err(conflicts.into_error());
        }
    }
    for (_, owned) in managed.owners.iter_mut().filter(|(manager, _)| **manager != applier) {
        changes.for_version(&owned.api_version).take_from(owned);
    }
    Ok(())
}

fn finish(
    live: Option<&Object>,
    applied: Object,
    merged: Object,
    mut managed: Managed,
    request: &Request<'_>,
) -> Object {
    let changed = live.is_none_or(|live| !times::same_but_managed(live.map(), merged.map()));
    let applier = request.manager(request.manager, Operation::Apply);
    if let Some(owned) = managed.owners.get_mut(&applier) {
        owned.set.subtract(&STRIPPED);
        // As in the original: who only joins the owners has no time.
        if changed {
            owned.time = Some(request.now);
        }
    }
    managed.tidy();
    let mut object = merged;
    managed.encode_into(&mut object);
    if request.manager == KUBECTL {
        last_applied::sync(&mut object, applied);
    }
    object
}
