use super::{Freshness, Row};
use crate::{
    registry::{Registry, Resource},
    storage::About,
};
use async_trait::async_trait;
use kubeplane_core::{
    Definition, GroupResource, GroupVersion, Object,
    reader::{ObjectChange, ObjectList, ObjectReader},
    status::{ApiError, ApiResult},
};
use kubeplane_store_trait::{ReadAt, Revision, Store};
use std::sync::Arc;

/// Reads objects from the watch caches.
#[derive(Debug)]
pub(crate) struct CacheReader {
    registry: Arc<Registry>,
    store: Arc<dyn Store>,
}

impl CacheReader {
    pub(crate) fn shared(registry: Arc<Registry>, store: Arc<dyn Store>) -> Arc<dyn ObjectReader> {
        Arc::new(Self { registry, store })
    }

    fn resource(&self, resource: &GroupResource) -> ApiResult<Arc<Resource>> {
        self.registry.resource(resource).ok_or_else(ApiError::no_such_path)
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
        let resource = self.resource(resource)?;
        let Some(key) = resource.key(namespace, name) else { return Ok(None) };
        let snapshot = resource.cache().snapshot(Freshness::Any).await?;
        let row = snapshot.rows.get(key.as_bytes());
        row.map(|row| row.kept()).transpose().map_err(ApiError::internal)
    }

    async fn get_fresh(
        &self,
        resource: &GroupResource,
        namespace: &str,
        name: &str,
    ) -> ApiResult<Option<Arc<Object>>> {
        let (named, resource) = (resource, self.resource(resource)?);
        let Some(key) = resource.key(namespace, name) else { return Ok(None) };
        let read = self.store.get(&key, ReadAt::Latest).await.about(named, name)?;
        let Some(entry) = read.entry else { return Ok(None) };
        let snapshot = resource.cache().peek();
        let row = snapshot.as_ref().and_then(|snapshot| snapshot.rows.get(key.as_bytes()));
        if let Some(row) = row.filter(|row| row.revision == entry.revision) {
            return row.kept().map(Some).map_err(ApiError::internal);
        }
        let object = resource.cache().shape().decode(&entry.value, entry.revision).await?;
        Ok(Some(Arc::new(object)))
    }

    async fn catch_up(&self, resource: &GroupResource) -> ApiResult<()> {
        let resource = self.resource(resource)?;
        resource.cache().snapshot(Freshness::Consistent).await.map(drop)
    }

    fn changes(
        &self,
        resource: &GroupResource,
        after: Option<u64>,
        told: &mut dyn FnMut(ObjectChange<'_>),
    ) -> Option<u64> {
        let resource = self.registry.resource(resource)?;
        let snapshot = resource.cache().peek()?;
        let mut tell = |row: &Row, there: bool| {
            told(ObjectChange {
                namespace: row.namespace(),
                name: row.name(),
                generation: there.then_some(row.generation),
                object: &|| row.decoded(row.revision).ok().filter(|_| there),
            });
        };
        let Some(after) = after else {
            snapshot.rows.values().for_each(|row| tell(row, true));
            return Some(snapshot.through.0);
        };
        let mut seen = after;
        for event in resource.cache().events(Revision(after))? {
            match (&event.row, &event.previous) {
                (Some(row), _) => tell(row, true),
                (None, Some(previous)) => tell(previous, false),
                (None, None) => {}
            }
            seen = event.revision.0;
        }
        Some(seen)
    }

    fn definition(&self, version: &GroupVersion, kind: &str) -> Option<Arc<Definition>> {
        self.registry.of_kind(version, kind).map(|resource| resource.definition().clone())
    }

    async fn list(&self, resource: &GroupResource, namespace: &str) -> ApiResult<ObjectList> {
        let resource = self.resource(resource)?;
        let snapshot = resource.cache().snapshot(Freshness::Any).await?;
        let rows = snapshot.range(&resource.range(namespace)).map(|(_, row)| row.kept());
        let items = rows.collect::<Result<_, _>>().map_err(ApiError::internal)?;
        Ok(ObjectList { revision: snapshot.changed.0, items })
    }
}
