//! The parts of an object's metadata that only the server writes.

use super::Writer;
use jiff::Timestamp;
use kubeplane_clock::Seed;
use kubeplane_core::{
    GroupKind, Object,
    admission::Warnings,
    field::show_as_internal,
    schema::SchemaRef,
    status::{ApiError, ApiResult},
};
use serde_json::Value;

/// The longest base of a generated name: what is left of 63 bytes before the five random characters.
const GENERATED_BASE: usize = 58;

/// The time as objects carry it: whole seconds.
pub(super) fn stamp(time: Timestamp) -> String {
    let seconds = Timestamp::from_second(time.as_second()).unwrap_or(time);
    seconds.to_string()
}

/// Takes away what a creator may not set.
pub(crate) fn wipe(object: &mut Object) {
    let Some(Value::Object(metadata)) = object.map_mut().get_mut("metadata") else { return };
    for field in
        ["uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "selfLink"]
    {
        metadata.remove(field);
    }
}

/// Gives a new object its uid, its time and, where asked for, its name.
pub(super) fn begin(object: &mut Object, now: Timestamp, seed: &Seed) {
    wipe(object);
    let uid = uuid::Builder::from_random_bytes(seed.bytes::<16>()).into_uuid();
    object.set(&["metadata", "uid"], uid.to_string());
    object.set(&["metadata", "creationTimestamp"], stamp(now));
    let base = object.text(&["metadata", "generateName"]).to_owned();
    if object.name().is_empty() && !base.is_empty() {
        let kept = base.char_indices().take_while(|(at, c)| at + c.len_utf8() <= GENERATED_BASE);
        let kept: String = kept.map(|(_, c)| c).collect();
        object.set(&["metadata", "name"], format!("{kept}{}", seed.suffix(5)));
    }
}

/// Makes the namespace of an object that of the request.
pub(crate) fn ensure_namespace(object: &mut Object, namespace: &str) -> ApiResult<()> {
    let own = object.namespace();
    if own == namespace {
        return Ok(());
    }
    if namespace.is_empty() {
        object.remove(&["metadata", "namespace"]);
        return Ok(());
    }
    if own.is_empty() {
        object.set(&["metadata", "namespace"], namespace);
        return Ok(());
    }
    let why =
        "the namespace of the provided object does not match the namespace sent on the request";
    Err(ApiError::bad_request(why))
}

/// Keeps what an update may not change.
pub(super) fn keep(object: &mut Object, old: &Object) {
    if object.uid().is_empty() {
        copy(object, old, "uid");
    }
    for field in ["creationTimestamp", "deletionTimestamp"] {
        if !old.text(&["metadata", field]).is_empty() {
            copy(object, old, field);
        }
    }
    if old.is_deleting() && object.deletion_grace_period().is_none() {
        copy(object, old, "deletionGracePeriodSeconds");
    }
    object.remove(&["metadata", "selfLink"]);
}

/// Before preparation: the generation is the server's.
pub(super) fn keep_generation(object: &mut Object, old: &Object) {
    copy(object, old, "generation");
}

pub(super) fn copy(object: &mut Object, old: &Object, field: &str) {
    match old.at(&["metadata", field]) {
        Some(value) => object.set(&["metadata", field], value.clone()),
        None => {
            object.remove(&["metadata", field]);
        }
    }
}

/// Drops owner references that are there twice, and says so.
pub(crate) fn dedupe_owners(object: &mut Object, warnings: &Warnings, after_admission: bool) {
    let Some(Value::Array(owners)) = object.at(&["metadata", "ownerReferences"]) else { return };
    let mut kept: Vec<Value> = Vec::with_capacity(owners.len());
    let mut twice = Vec::new();
    for owner in owners {
        if kept.contains(owner) {
            twice.push(owner.get("uid").and_then(Value::as_str).unwrap_or_default().to_owned());
        } else {
            kept.push(owner.clone());
        }
    }
    if twice.is_empty() {
        return;
    }
    let uids = twice.join(", ");
    warnings.add(if after_admission {
        format!(
            ".metadata.ownerReferences contains duplicate entries after mutating admission happens; API server \
             dedups owner references in 1.20+, and may reject such requests as early as 1.24; please fix your \
             requests; duplicate UID(s) observed: {uids}"
        )
    } else {
        format!(
            ".metadata.ownerReferences contains duplicate entries; API server dedups owner references in 1.20+, \
             and may reject such requests as early as 1.24; please fix your requests; duplicate UID(s) observed: {uids}"
        )
    });
    object.set(&["metadata", "ownerReferences"], kept);
}

impl Writer<'_> {
    /// Refuses an object that breaks the rules all metadata obeys or those of its kind.
    pub(super) fn refuse_invalid(
        &self,
        object: &Object,
        errors: &[kubeplane_core::field::Error],
    ) -> ApiResult<()> {
        if errors.is_empty() {
            return Ok(());
        }
        let mut errors = errors.to_vec();
        match &self.definition().schema {
            SchemaRef::Static(schema) => show_as_internal(&mut errors, schema),
            // Of kinds made at run time only the metadata are structs.
            SchemaRef::Shared(schema) => errors
                .iter_mut()
                .filter(|error| error.path.as_str().starts_with("metadata."))
                .for_each(|error| show_as_internal(std::slice::from_mut(error), schema)),
        }
        Err(ApiError::invalid(&self.stored_kind(), object.name(), &errors))
    }

    /// Group and kind as failures name them: events of both groups are one kind inside.
    pub(super) fn stored_kind(&self) -> GroupKind {
        let group = super::storage_version(self.definition()).group;
        GroupKind { group, kind: self.definition().kind.kind.clone() }
    }
}
