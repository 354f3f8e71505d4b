//! Admission steps that the built-in kinds cannot do without, under the original's names.

mod claims;
mod node;
mod priority;
mod service_account;
mod storage_protection;
mod taints;
mod tolerations;

pub use claims::{DefaultStorageClass, PersistentVolumeClaimResize};
pub use node::NodeRestriction;
pub use priority::Priority;
pub use service_account::ServiceAccount;
pub use storage_protection::StorageObjectInUseProtection;
pub use taints::TaintNodesByCondition;
pub use tolerations::DefaultTolerationSeconds;

use kubeplane_core::{Definition, Object, admission::Request, status::ApiError};
use serde_json::Value;

/// Whether a definition is this resource of the core group.
fn is_core(definition: &Definition, plural: &str) -> bool {
    definition.kind.group.is_empty() && definition.plural == plural
}

/// 403 in the words every step uses.
fn refuse(request: &Request<'_>, why: impl std::fmt::Display) -> ApiError {
    ApiError::forbidden(&request.definition.resource(), request.name, why)
}

/// The items of a list, or none.
fn items<'a>(object: &'a Object, path: &[&str]) -> &'a [Value] {
    object.at(path).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// The list at a path, made if missing.
fn list_mut<'a>(object: &'a mut Object, above: &[&str], name: &str) -> &'a mut Vec<Value> {
    let slot =
        object.map_at_mut(above).entry(name.to_owned()).or_insert_with(|| Value::Array(Vec::new()));
    if !slot.is_array() {
        *slot = Value::Array(Vec::new());
    }
    match slot {
        Value::Array(list) => list,
        _ => unreachable!("the slot was just made a list"),
    }
}
