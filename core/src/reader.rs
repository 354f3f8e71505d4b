//! How parts of the API server read stored objects without going through a request.

use crate::{Definition, GroupResource, GroupVersion, Object, status::ApiResult};
use async_trait::async_trait;
use std::{fmt::Debug, sync::Arc};

/// A set of objects and the revision it was read at.
#[derive(Debug, Clone, Default)]
pub struct ObjectList {
    /// The revision of the newest change in the list's resource that it shows.
    pub revision: u64,
    /// The objects.
    pub items: Vec<Arc<Object>>,
}

/// An object that is there, or that has changed.
#[expect(missing_debug_implementations, reason = "it holds what reads the object")]
pub struct ObjectChange<'a> {
    /// Its namespace, or the empty text.
    pub namespace: &'a str,
    /// Its name.
    pub name: &'a str,
    /// Its generation, zero where it has none; `None` when it is gone.
    pub generation: Option<i64>,
    /// Reads it as it was left by the change; `None` when it is gone.
    pub object: &'a dyn Fn() -> Option<Object>,
}

/// Reads objects as the watch cache has them: for authorizers, admission steps, token checks, allocators.
///
/// # Contract
/// Reads are at most a moment old (never older than an earlier read through the same reader).
/// `revision` is cheap, so that a reader can keep what it derived until it moves.
#[async_trait]
pub trait ObjectReader: Debug + Send + Sync + 'static {
    /// The revision of the newest change seen in this resource; `None` when the resource is not served.
    fn revision(&self, resource: &GroupResource) -> Option<u64>;

    /// One object; `None` when it is not there. `namespace` is empty for cluster-scoped resources.
    ///
    /// # Errors
    /// When the resource is not served or its cache is not filled in time.
    async fn get(
        &self,
        resource: &GroupResource,
        namespace: &str,
        name: &str,
    ) -> ApiResult<Option<Arc<Object>>>;

    /// One object as every write acknowledged before the call left it; costs a round to the store.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    async fn get_fresh(
        &self,
        resource: &GroupResource,
        namespace: &str,
        name: &str,
    ) -> ApiResult<Option<Arc<Object>>> {
        self.get(resource, namespace, name).await
    }

    /// Returns once `get` and `list` show every write of this resource that was acknowledged before the call; costs a
    /// round to the store.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    async fn catch_up(&self, _resource: &GroupResource) -> ApiResult<()> {
        Ok(())
    }

    /// Tells of every change of a resource after an earlier answer, in order, or of all its objects when there is none
    /// (`None`); answers where to go on. Objects are not kept for it. `None` where readers cannot tell, where the cache is
    /// not filled yet, and when it no longer has all changes: then all objects are to be looked at again.
    fn changes(
        &self,
        _resource: &GroupResource,
        _after: Option<u64>,
        _told: &mut dyn FnMut(ObjectChange<'_>),
    ) -> Option<u64> {
        None
    }

    /// The definition that serves a kind in a version, if one does.
    fn definition(&self, _version: &GroupVersion, _kind: &str) -> Option<Arc<Definition>> {
        None
    }

    /// All objects of a resource, or those of one namespace (empty: all namespaces).
    ///
    /// # Errors
    /// As [`get`](Self::get).
    async fn list(&self, resource: &GroupResource, namespace: &str) -> ApiResult<ObjectList>;
}

/// A change of one object; it may be asked again, on a fresh copy.
pub type Change<'a> = dyn FnMut(&mut Object) -> ApiResult<()> + Send + 'a;

/// Changes stored objects without going through a request: for admission steps that keep accounts.
#[async_trait]
pub trait ObjectUpdater: Debug + Send + Sync {
    /// Changes an object as it is stored, again and again until no other write came between; returns it as
    /// it is stored then. Neither admission nor hooks see it. A change that leaves it as it was writes nothing.
    ///
    /// # Errors
    /// 404 when it is not there; what `change` returns.
    ///
    /// # Cancellation
    /// It may or may not have been changed.
    async fn update(
        &self,
        resource: &GroupResource,
        namespace: &str,
        name: &str,
        change: &mut Change<'_>,
    ) -> ApiResult<Object>;
}
