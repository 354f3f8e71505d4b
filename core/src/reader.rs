//! How parts of the API server read stored objects without going through a request.

use crate::{GroupResource, Object, status::ApiResult};
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

    /// All objects of a resource, or those of one namespace (empty: all namespaces).
    ///
    /// # Errors
    /// As [`get`](Self::get).
    async fn list(&self, resource: &GroupResource, namespace: &str) -> ApiResult<ObjectList>;
}
