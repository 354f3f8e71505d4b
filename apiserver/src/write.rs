//! The write path: what happens between a decoded object and the store, the same for every kind.
//!
//! ```text
//!   object ─> admission mutates ─> defaults ─> hooks ─> prepare ─> validate ─> admission validates ─> store
//!      ^                                                                                             │
//!      └───────────────── again, on the fresh object, when another write came between ───────────────┘
//! ```

pub(crate) mod admit;
mod conversions;
mod create;
mod delete;
mod fields;
mod metadata;
mod rules;
mod update;

pub(crate) use conversions::Conversions;
pub(crate) use delete::{Removed, State};
pub(crate) use fields::reset;
pub(crate) use metadata::{ensure_namespace, wipe};

use crate::{api::Api, audit::Record, handler::WriteHook, registry::Resource, stored};
use bytes::Bytes;
use jiff::Timestamp;
use kubeplane_core::{
    Definition, GroupResource, GroupVersion, Object,
    admission::Warnings,
    apply::unpack_managers,
    auth::UserInfo,
    definition::Context,
    schema::SchemaRef,
    status::{ApiError, ApiResult},
};
use kubeplane_store_trait::{Entry, Key, ReadAt, Revision, WriteOptions};
use std::{sync::Arc, time::Duration};

/// How often a write is tried again because another one came between.
const TRIES: usize = 64;

/// Everything a write knows beside the object.
#[derive(Debug)]
pub(crate) struct Writer<'a> {
    pub(crate) api: &'a Api,
    pub(crate) resource: &'a Arc<Resource>,
    pub(crate) namespace: &'a str,
    pub(crate) subresource: &'a str,
    pub(crate) verb: &'a str,
    pub(crate) user: &'a UserInfo,
    pub(crate) warnings: &'a Warnings,
    pub(crate) now: Timestamp,
    pub(crate) dry_run: bool,
    /// Who is noted to manage the fields written; `None` to keep what the object says.
    pub(crate) manager: Option<&'a str>,
    /// The options as sent, for admission; `None` leaves admission out.
    pub(crate) options: Option<&'a Object>,
    /// Where what admission has to say is recorded.
    pub(crate) audit: Option<&'a Record>,
    /// Those of the resource.
    pub(crate) hooks: &'a [Arc<dyn WriteHook>],
}

/// An object as it was written.
#[derive(Debug)]
pub(crate) struct Written {
    /// In the stored form of the served version.
    pub(crate) value: Bytes,
    /// `None` for a dry run of a create.
    pub(crate) revision: Option<Revision>,
    /// With its resourceVersion; for writes from inside the server alone. Requests are answered with the value, and what
    /// they decoded goes where it came from before they wait for the store.
    object: Option<Object>,
    /// It was not there before.
    pub(crate) created: bool,
}

/// An object as it was read to be changed.
#[derive(Debug)]
pub(crate) struct Current {
    pub(crate) object: Object,
    pub(crate) value: Bytes,
    pub(crate) revision: Revision,
}

impl<'a> Writer<'a> {
    /// A write from inside the server: no admission, no field tracking.
    pub(crate) fn inside(
        api: &'a Api,
        resource: &'a Arc<Resource>,
        namespace: &'a str,
        user: &'a UserInfo,
        warnings: &'a Warnings,
    ) -> Self {
        Self {
            api,
            resource,
            namespace: if resource.definition().is_namespaced() { namespace } else { "" },
            subresource: "",
            verb: "",
            user,
            warnings,
            now: api.clock().now(),
            dry_run: false,
            manager: None,
            options: None,
            audit: None,
            hooks: api.hooks(resource),
        }
    }

    pub(crate) fn definition(&self) -> &'a Arc<Definition> {
        self.resource.definition()
    }

    pub(crate) fn group_resource(&self) -> GroupResource {
        self.resource.group_resource()
    }

    pub(crate) fn context(&self) -> Context<'_> {
        Context {
            now: self.now,
            user: self.user,
            subresource: self.subresource,
            warnings: self.warnings,
            features: self.api.features(),
        }
    }

    fn not_found(&self, name: &str) -> ApiError {
        ApiError::not_found(&self.group_resource(), name)
    }

    fn key(&self, name: &str) -> ApiResult<Key> {
        self.resource.key(self.namespace, name).ok_or_else(|| self.not_found(name))
    }

    fn store_error(&self, error: &kubeplane_store_trait::Error, name: &str) -> ApiError {
        crate::storage::error(error, &self.group_resource(), name)
    }

    async fn read(&self, key: &Key, name: &str) -> ApiResult<Option<Current>> {
        let read = self.api.0.store.get(key, ReadAt::Latest).await;
        let entry = read.map_err(|error| self.store_error(&error, name))?.entry;
        self.found(entry).await
    }

    async fn found(&self, entry: Option<Entry>) -> ApiResult<Option<Current>> {
        match entry {
            Some(entry) => self.current(entry).await.map(Some),
            None => Ok(None),
        }
    }

    /// Whether objects on their way have the sets of their managers packed. Not where hooks look at them.
    fn packs(&self) -> bool {
        matches!(self.definition().schema, SchemaRef::Static(_)) && self.hooks.is_empty()
    }

    async fn current(&self, entry: Entry) -> ApiResult<Current> {
        let shape = self.resource.cache().shape();
        let object = match self.packs() {
            true => shape.decode_packed(&entry.value, entry.revision).await?,
            false => shape.decode(&entry.value, entry.revision).await?,
        };
        Ok(Current { object, value: entry.value, revision: entry.revision })
    }

    /// The bytes to store: of the storage version, whatever version was written.
    async fn encode(&self, object: &Object) -> ApiResult<Bytes> {
        let definition = self.definition();
        let storage = storage_version(definition);
        if storage == definition.group_version() {
            return Ok(stored::encode(object));
        }
        let mut converted = object.clone();
        // Its revision is not stored, and nobody is to see it who converts.
        converted.remove(&["metadata", "resourceVersion"]);
        let mut converted = definition.converted(vec![converted], &storage).await?;
        let mut converted = converted.pop().unwrap_or_default();
        definition.strategy.prune(&mut converted);
        Ok(stored::encode(&converted))
    }

    fn write_options(&self) -> WriteOptions {
        let ttl = self.definition().ttl_seconds.filter(|_| self.api.0.store.capabilities().ttl);
        WriteOptions { ttl: ttl.map(Duration::from_secs) }
    }

    /// What is left of an object once it is encoded.
    fn kept(&self, object: Object) -> Option<Object> {
        self.options.is_none().then_some(object)
    }

    async fn written(
        &self,
        mut object: Option<Object>,
        value: Bytes,
        revision: Option<Revision>,
        created: bool,
    ) -> ApiResult<Written> {
        let value = self.resource.cache().shape().adopt(value).await?;
        match (&mut object, revision) {
            (Some(object), Some(revision)) => {
                object.set(&["metadata", "resourceVersion"], revision.to_string());
            }
            (Some(object), None) => drop(object.remove(&["metadata", "resourceVersion"])),
            (None, _) => {}
        }
        Ok(Written { value, revision, object, created })
    }
}

impl Written {
    /// The object with its resourceVersion.
    pub(crate) fn into_object(self) -> ApiResult<Object> {
        match (self.object, self.revision) {
            (Some(mut object), _) => {
                unpack_managers(&mut object);
                return Ok(object);
            }
            (None, Some(revision)) => stored::decode(&self.value, revision),
            (None, None) => Object::parse(&self.value),
        }
        .map_err(ApiError::internal)
    }
}

/// The version objects are stored in; events of both groups are stored as those of the core group.
fn storage_version(definition: &Definition) -> GroupVersion {
    let group = match definition.kind.group.as_ref() {
        "events.k8s.io" => "".into(),
        _ => definition.kind.group.clone(),
    };
    GroupVersion { group, version: definition.storage_version.clone() }
}
