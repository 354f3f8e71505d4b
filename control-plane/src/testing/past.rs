//! A cluster as it was.

use kube::{
    Api, Client, Resource,
    api::{ListParams, VersionMatch},
};
use serde::de::DeserializeOwned;
use std::fmt::Debug;

/// The objects of a cluster at one revision.
#[derive(Clone)]
pub struct Past {
    client: Client,
    revision: u64,
}

impl Debug for Past {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Past").field("revision", &self.revision).finish_non_exhaustive()
    }
}

impl Past {
    pub(super) fn new(client: Client, revision: u64) -> Self {
        Self { client, revision }
    }

    /// All objects of a kind, in all namespaces.
    ///
    /// # Errors
    /// 410 when the revision is no longer kept, 504 when it is not reached.
    ///
    /// # Cancellation
    /// Without effect.
    pub async fn all<K>(&self) -> kube::Result<Vec<K>>
    where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
    {
        self.list("").await
    }

    /// One object; the namespace is empty for those that are in none.
    ///
    /// # Errors
    /// As [`all`](Self::all).
    ///
    /// # Cancellation
    /// Without effect.
    pub async fn get<K>(&self, namespace: &str, name: &str) -> kube::Result<Option<K>>
    where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
    {
        let found: Vec<K> = self.list(&format!("metadata.name={name}")).await?;
        let is_it =
            |object: &K| object.meta().namespace.as_deref().unwrap_or_default() == namespace;
        Ok(found.into_iter().find(is_it))
    }

    async fn list<K>(&self, fields: &str) -> kube::Result<Vec<K>>
    where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
    {
        let mut options =
            ListParams::default().at(&self.revision.to_string()).matching(VersionMatch::Exact);
        if !fields.is_empty() {
            options = options.fields(fields);
        }
        Ok(Api::<K>::all(self.client.clone()).list(&options).await?.items)
    }
}
