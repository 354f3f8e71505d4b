//! Configurations as the watch cache has them, compiled once for each of their versions.

use kubeplane_core::{GroupResource, Object, reader::ObjectReader, status::ApiResult};
use parking_lot::Mutex;
use std::{collections::HashMap, fmt, sync::Arc};

/// All objects of a resource in another form, in the order of their names.
pub(crate) struct Followed<T> {
    resource: GroupResource,
    make: Box<dyn Fn(&Object) -> T + Send + Sync>,
    kept: Mutex<Option<Kept<T>>>,
}

struct Kept<T> {
    revision: u64,
    all: Arc<Vec<Arc<T>>>,
    /// By uid and resourceVersion.
    made: HashMap<(String, String), Arc<T>>,
}

impl<T> fmt::Debug for Followed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Followed").field("resource", &self.resource).finish_non_exhaustive()
    }
}

impl<T> Followed<T> {
    /// Follows a resource of the group `admissionregistration.k8s.io`.
    pub(crate) fn new(
        plural: &'static str,
        make: impl Fn(&Object) -> T + Send + Sync + 'static,
    ) -> Self {
        let resource = GroupResource::new("admissionregistration.k8s.io", plural);
        Self { resource, make: Box::new(make), kept: Mutex::new(None) }
    }

    /// Everything as it is now.
    ///
    /// # Errors
    /// When the cache is not filled in time. A resource that is not served has no objects.
    pub(crate) async fn current(
        &self,
        reader: &Arc<dyn ObjectReader>,
    ) -> ApiResult<Arc<Vec<Arc<T>>>> {
        let Some(revision) = reader.revision(&self.resource) else {
            return Ok(Arc::default());
        };
        if let Some(kept) = &*self.kept.lock()
            && kept.revision == revision
        {
            return Ok(kept.all.clone());
        }
        let list = reader.list(&self.resource, "").await?;
        let mut kept = self.kept.lock();
        let known = kept.take().map(|kept| kept.made).unwrap_or_default();
        let mut made = HashMap::with_capacity(list.items.len());
        let mut all = Vec::with_capacity(list.items.len());
        for object in &list.items {
            let key = (object.uid().to_owned(), object.resource_version().to_owned());
            let one = known.get(&key).cloned().unwrap_or_else(|| Arc::new((self.make)(object)));
            all.push(one.clone());
            made.insert(key, one);
        }
        let all = Arc::new(all);
        *kept = Some(Kept { revision: list.revision, all: all.clone(), made });
        Ok(all)
    }
}
