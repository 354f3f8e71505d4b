//! Server-side apply and `metadata.managedFields`: who owns which fields of an object.
//!
//! ```text
//!   update(live, new)      what a create, update or patch changed belongs to its manager
//!   apply(live, applied)   the manager's whole configuration: merged, what it no longer names removed,
//!                          what others own refused
//!   settle_times           a write that changes nothing else does not change times either
//! ```
//!
//! Follows KEP-555 and the original's structured-merge-diff. What a manager owns is named as in the version it wrote:
//! for managers of other versions than the request's both objects are converted ([`Versions`]) and compared there. A
//! request that knows no other versions takes all of them to have the same paths.

mod applier;
mod compare;
mod conflict;
mod fields;
mod filter;
mod in_place;
mod last_applied;
mod managed;
mod merge;
mod packed;
mod path;
mod scale;
mod set;
mod shape;
mod times;
mod validate;
mod versions;
mod whole;

pub use applier::{apply, apply_packed};
pub use filter::{Filter, Step};
pub use packed::{pack_managers, packed_set, refuse_packed_managers, unpack_managers};
pub use path::{PathElement, Scalar};
pub use scale::{ReplicaPaths, scale_from_parent, scale_to_parent};
pub use set::FieldSet;
pub use times::settle_times;
pub use versions::{Form, Versions};

use crate::{GroupVersionKind, Object, schema::Schema};
use jiff::Timestamp;
use managed::{Managed, Manager, Operation, Owned};
use std::sync::LazyLock;
use versions::{Changes, Others};

/// The longest name of a manager, in bytes.
const MAX_MANAGER: usize = 128;

/// One write, as far as ownership goes.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The `fieldManager` parameter, or [`default_manager`].
    pub manager: &'a str,
    /// The subresource written, or the empty text.
    pub subresource: &'a str,
    /// Group, version and kind of the request.
    pub kind: &'a GroupVersionKind,
    /// The shape of the object in that version; [`Kind::Any`](crate::schema::Kind::Any) merges maps and
    /// replaces lists.
    pub schema: &'a Schema,
    /// The fields that the write cannot change.
    pub reset: &'a Filter,
    /// The wall time of the request.
    pub now: Timestamp,
    /// The other versions of the kind; `None` to take fields to be named alike in all of them.
    pub versions: Option<&'a dyn Versions>,
}

impl Request<'_> {
    fn version(&self) -> String {
        self.kind.group_version().to_string()
    }

    fn manager(&self, name: &str, operation: Operation) -> Manager {
        Manager::new(named(name), operation, &self.version(), self.subresource)
    }

    fn manager_name(&self) -> &str {
        named(self.manager)
    }
}

fn named(name: &str) -> &str {
    if name.is_empty() { "unknown" } else { name }
}

/// Records that the request's manager owns what it changed from `live` (`None` when it creates).
///
/// The managers the client sends count unless they do not decode; an empty list forgets all managers, and
/// an object without managers stays so until it is applied to. Writes of a subresource keep the
/// managers of the live object. Where an object cannot be converted to the version of a manager, all managers are
/// forgotten.
#[must_use]
pub fn update(live: Option<&Object>, new: Object, request: &Request<'_>) -> Object {
    let mut updated = update_packed(live, new, request);
    unpack_managers(&mut updated);
    updated
}

/// As [`update`], of an object whose managers may be [packed](pack_managers); they are in the outcome.
#[must_use]
pub fn update_packed(live: Option<&Object>, mut new: Object, request: &Request<'_>) -> Object {
    pack_managers(&mut new);
    let done = match live {
        Some(live) => in_place::update(live, &mut new, request),
        None => whole::update(&mut new, request),
    };
    if done { new } else { recorded(live, new, request) }
}

/// Reads all managers, whatever they are, and writes them again.
fn recorded(live: Option<&Object>, mut new: Object, request: &Request<'_>) -> Object {
    let mut managed = managers_of(live, &new, request);
    managed::strip(&mut new);
    let tracked = !managed.is_empty() || live.is_none_or(|live| live.uid().is_empty());
    if tracked && record(&mut managed, live, &new, request.manager, request).is_err() {
        return new;
    }
    managed.encode_into(&mut new);
    new
}

fn managers_of(live: Option<&Object>, new: &Object, request: &Request<'_>) -> Managed {
    let of_live = || live.and_then(|live| Managed::decode(live).ok()).unwrap_or_default();
    if !request.subresource.is_empty() {
        return of_live();
    }
    if managed::is_reset(new) {
        return Managed::default();
    }
    match Managed::decode(new) {
        Ok(managed) if !managed.is_empty() => managed,
        _ => of_live(),
    }
}

/// Gives what differs between the two to the manager's updates.
///
/// # Errors
/// When an object cannot be converted to the version of a manager.
fn record(
    managed: &mut Managed,
    live: Option<&Object>,
    new: &Object,
    name: &str,
    request: &Request<'_>,
) -> Result<(), String> {
    let others = Others::of(live, managed, request)?;
    others.follow_schema(managed, request);
    let mut changes = Changes::of(live, new, &others, request)?;
    for owned in managed.owners.values_mut() {
        changes.for_version(&owned.api_version).take_from(owned);
    }
    managed.tidy();
    let mut written = std::mem::take(&mut changes.own.written);
    written.subtract(&STRIPPED);
    if !written.is_empty() {
        let owned = managed
            .owners
            .entry(request.manager(name, Operation::Update))
            .or_insert_with(|| Owned::none(request.version()));
        owned.set.extend(written);
        owned.time = Some(request.now);
    }
    managed.cap();
    Ok(())
}

/// Fields nobody manages.
static STRIPPED: LazyLock<FieldSet> = LazyLock::new(|| {
    FieldSet::from_paths(&[
        &["apiVersion"],
        &["kind"],
        &["metadata"],
        &["metadata", "name"],
        &["metadata", "namespace"],
        &["metadata", "creationTimestamp"],
        &["metadata", "selfLink"],
        &["metadata", "uid"],
        &["metadata", "clusterName"],
        &["metadata", "generation"],
        &["metadata", "managedFields"],
        &["metadata", "resourceVersion"],
    ])
});

/// Whether the object's `managedFields` can be read, for a look after mutating admission: when not, the
/// ones from before admission stay and the client is warned with
/// `.metadata.managedFields was in an invalid state after admission; this could be caused by an outdated
/// mutating admission controller; please fix your requests: <error>`.
///
/// # Errors
/// What is wrong, in the original's words.
pub fn validate_managed_fields(object: &Object) -> Result<(), String> {
    Managed::decode(object).map(drop)
}

/// The manager of a request without `fieldManager`: what its user agent says before the first slash, at
/// most 128 bytes.
#[must_use]
pub fn default_manager(user_agent: &str) -> String {
    let product = user_agent.split('/').next().unwrap_or_default();
    let mut name = String::new();
    for c in product.chars().filter(|c| *c == ' ' || !(c.is_control() || c.is_whitespace())) {
        if name.len() + c.len_utf8() > MAX_MANAGER {
            break;
        }
        name.push(c);
    }
    name
}

#[cfg(test)]
mod tests;
