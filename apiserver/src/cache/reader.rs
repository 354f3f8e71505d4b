use super::Freshness;
use crate::registry::{Registry, Resource};
use async_trait::async_trait;
use kubeplane_core::{
    GroupResource, Object,
    reader::{ObjectList, ObjectReader},
    status::{ApiError, ApiResult},
};
use std::sync::Arc;

/// Reads objects from the watch caches.
#[derive(Debug)]
pub(crate) struct CacheReader {
    registry: Arc<Registry>,
}

impl CacheReader {
    pub(crate) fn new(registry: Arc<Registry>) -> Arc<dyn ObjectReader> {
        Arc::new(Self { registry })
    }

    fn resource(&self, resource: &GroupResource) -> ApiResult<Arc<Resource>> {
        self.registry.resource(resource).ok_or_else(ApiError::no_such_path)
    }

    async fn one(
        &self,
        resource: &GroupResource,
        namespace: &str,
        name: &str,
        freshness: Freshness,
    ) -> ApiResult<Option<Arc<Object>>> {
        let resource = self.resource(resource)?;
        let Some(key) = resource.key(namespace, name) else { return Ok(None) };
        let snapshot = resource.cache().snapshot(freshness).await?;
        let row = snapshot.rows.get(key.as_bytes());
        row.map(|row| row.kept()).transpose().map_err(ApiError::internal)
    }
}

#[async_trait]
impl ObjectReader for CacheReader {
    fn revision(&self, resource: &GroupResource) -> Option<u64> {
        let resource = self.registry.resource(resource)?;
        Some(resource.cache().peek().map_or(0, |snapshot| snapshot.changed.0))
    }

    async fn get(
        &self,
        resource: &GroupResource,
        namespace: &str,
        name: &str,
    ) -> ApiResult<Option<Arc<Object>>> {
        self.one(resource, namespace, name, Freshness::Any).await
    }

    async fn get_fresh(
        &self,
        resource: &GroupResource,
        namespace: &str,
        name: &str,
    ) -> ApiResult<Option<Arc<Object>>> {
        self.one(resource, namespace, name, Freshness::Consistent).await
    }

    async fn list(&self, resource: &GroupResource, namespace: &str) -> ApiResult<ObjectList> {
        let resource = self.resource(resource)?;
        let snapshot = resource.cache().snapshot(Freshness::Any).await?;
        let rows = snapshot.range(&resource.range(namespace)).map(|(_, row)| row.kept());
        let items = rows.collect::<Result<_, _>>().map_err(ApiError::internal)?;
        Ok(ObjectList { revision: snapshot.changed.0, items })
    }
}
