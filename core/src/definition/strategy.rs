//! The hooks of a kind.

use super::NameRule;
use crate::{
    GroupVersion, Object, admission::Warnings, apply::Filter, auth::UserInfo, features::Features,
    field, schema::SchemaRef, status::ApiResult,
};
use async_trait::async_trait;
use jiff::Timestamp;
use serde_json::Value;
use std::fmt::Debug;

/// What a hook may know of the write it is part of.
#[derive(Debug)]
pub struct Context<'a> {
    /// The wall time of the request.
    pub now: Timestamp,
    /// Who writes.
    pub user: &'a UserInfo,
    /// The subresource written, or the empty text.
    pub subresource: &'a str,
    /// Warnings to the client.
    pub warnings: &'a Warnings,
    /// The gates of the cluster.
    pub features: &'a Features,
}

/// How an object is to be deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deletion {
    /// At once (finalizers still hold it).
    Immediate,
    /// After this many seconds, by whoever runs it.
    Graceful {
        /// The seconds.
        seconds: i64,
    },
}

/// The hooks of a kind.
///
/// # Contract
/// Hooks are pure: same input, same output, no I/O. The handlers do what is the same for all kinds:
/// metadata (name, uid, timestamps, generation steps asked for here, managed fields), the check that
/// the subresource changes only its part, optimistic concurrency. Order of a create: decode against the
/// schema, `default`, `prepare_create`, mutating admission (and `default` again), `validate`, validating
/// admission, store. Order of an update: the same with `prepare_update` and `validate_update` (which runs
/// after the handler's own checks of metadata).
pub trait Strategy: Debug + Send + Sync + 'static {
    /// Fills in what the user left out; runs on every write and on objects read from older versions.
    fn default(&self, _object: &mut Object) {}

    /// Clears what a creator may not set (status, mostly) and sets the generation.
    fn prepare_create(&self, _context: &Context<'_>, _object: &mut Object) {}

    /// Keeps what an updater may not change, by copying it from `old`, and steps the generation. For a
    /// write to a subresource (named in the context) it keeps all but the subresource's part.
    fn prepare_update(&self, _context: &Context<'_>, _object: &mut Object, _old: &Object) {}

    /// Checks an object about to be created. Metadata is checked by the handler, names by [`name_rule`](Self::name_rule).
    fn validate(&self, _context: &Context<'_>, _object: &Object) -> field::Errors {
        Vec::new()
    }

    /// Checks a change.
    fn validate_update(
        &self,
        _context: &Context<'_>,
        _object: &Object,
        _old: &Object,
    ) -> field::Errors {
        Vec::new()
    }

    /// The fields a write of this subresource (or of the whole, for the empty text) cannot change and so not come to
    /// own; `None` for what is usual: `status` in a write of the whole, all else in a write of the status.
    fn reset_fields(&self, _subresource: &str) -> Option<Filter> {
        None
    }

    /// What clients of this version are warned with on every request, when it should no longer be used.
    fn deprecation(&self) -> Option<&str> {
        None
    }

    /// What names are allowed.
    fn name_rule(&self) -> NameRule {
        NameRule::DnsSubdomain
    }

    /// The cells of a table row, one for each column of the definition (the first is the name).
    fn table_row(&self, object: &Object, now: Timestamp) -> Vec<Value>;

    /// What a table says of a row as a whole, as that its pod has ended: `TableRowCondition`s of `meta.k8s.io/v1`.
    fn row_conditions(&self, _object: &Object) -> Vec<Value> {
        Vec::new()
    }

    /// The value of a selectable field of the definition. For the index of a cache the object holds only its labels,
    /// the scalars of its two uppermost levels, and what the definition's selectable fields name or begin, whole.
    fn field(&self, object: &Object, path: &str) -> String {
        let keys: Vec<_> = path.split('.').collect();
        match object.at(&keys) {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Null) | None => String::new(),
            Some(other) => other.to_string(),
        }
    }

    /// How a delete goes about; `grace` is what the client asked for.
    fn deletion(&self, _object: &Object, _grace: Option<i64>) -> Deletion {
        Deletion::Immediate
    }

    /// Brings an object as it was stored, in whatever version, up to what that version is today, before it is converted:
    /// the schema of a kind made at run time may be another one since. Whether it does; then no
    /// [`default`](Self::default) follows the conversion.
    fn restore(&self, _object: &mut Object) -> bool {
        false
    }

    /// Drops what the version of an object does not know, once it was converted for the store or out of it.
    fn prune(&self, _object: &mut Object) {}

    /// Whether objects stored in this very version may have to be [restored](Self::restore). Reading costs more where they
    /// have.
    fn outdated(&self) -> bool {
        false
    }

    /// Converts an object of one version of this resource into another of its versions.
    fn convert(&self, object: Object, _to: &GroupVersion) -> Object {
        object
    }

    /// The shape of objects in a version of this resource, served or not, where the strategy knows all versions there are:
    /// then objects are never in another one. `None` by default, and the versions are those that are served.
    fn shape_in(&self, _version: &GroupVersion) -> Option<SchemaRef> {
        None
    }

    /// Who converts between versions in place of [`convert`](Self::convert), where that takes more than a pure function.
    fn converter(&self) -> Option<&dyn Converter> {
        None
    }
}

/// Converts objects between versions by asking someone else, as the webhook of a CustomResourceDefinition.
#[async_trait]
pub trait Converter: Debug + Send + Sync + 'static {
    /// Converts objects of any versions of one resource; those of the wanted version come back as they are. There are as
    /// many objects afterwards, in the same order.
    ///
    /// # Errors
    /// When one of them cannot be converted; sent to the client as a Status.
    ///
    /// # Cancellation
    /// No effect.
    async fn convert(&self, objects: Vec<Object>, to: &GroupVersion) -> ApiResult<Vec<Object>>;
}
