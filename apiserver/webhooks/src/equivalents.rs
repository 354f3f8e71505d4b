//! Other versions of a resource, as `matchPolicy: Equivalent` asks for them.

use kubeplane_apiserver::Registry;
use kubeplane_core::{Definition, GroupVersion, Object, status::ApiResult};
use parking_lot::Mutex;
use std::{collections::HashMap, sync::Arc};

type ByPath = HashMap<String, Vec<Arc<Definition>>>;

/// All served definitions by where they are stored, kept until the registry changes.
#[derive(Debug, Default)]
pub(crate) struct Equivalents(Mutex<Option<(u64, Arc<ByPath>)>>);

impl Equivalents {
    /// The other definitions of what a definition describes; those with the subresource, if there is one.
    pub(crate) fn of(
        &self,
        registry: &Registry,
        definition: &Definition,
        subresource: &str,
    ) -> Vec<Arc<Definition>> {
        let all = self.by_path(registry);
        let own = definition.group_version();
        let others = all.get(definition.storage_path().as_ref()).into_iter().flatten();
        others
            .filter(|other| other.group_version() != own)
            .filter(|other| subresource.is_empty() || other.subresource(subresource).is_some())
            .cloned()
            .collect()
    }

    fn by_path(&self, registry: &Registry) -> Arc<ByPath> {
        let generation = *registry.changes().borrow();
        let mut kept = self.0.lock();
        if let Some((known, all)) = &*kept
            && *known == generation
        {
            return all.clone();
        }
        let mut all = ByPath::new();
        for resource in registry.all() {
            let definition = resource.definition();
            let path = definition.storage_path().into_owned();
            all.entry(path).or_default().push(definition.clone());
        }
        let all = Arc::new(all);
        *kept = Some((generation, all.clone()));
        all
    }
}

/// An object in another version of its kind.
///
/// # Errors
/// When it cannot be converted.
pub(crate) async fn converted(
    object: &Object,
    from: &Definition,
    to: &GroupVersion,
) -> ApiResult<Object> {
    let mut converted = from.converted(vec![object.clone()], to).await?;
    Ok(converted.pop().unwrap_or_default())
}
