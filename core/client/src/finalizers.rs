//! Adding and removing one finalizer without touching those of others.

use crate::{Error, Result};
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde::de::DeserializeOwned;
use serde_json::json;
use std::fmt::Debug;

/// Whether `object` carries `finalizer`.
#[must_use]
pub fn has<K: kube::Resource>(object: &K, finalizer: &str) -> bool {
    object.meta().finalizers.iter().flatten().any(|present| present == finalizer)
}

/// Adds `finalizer` when it is not there; gives back the object as it is then.
///
/// # Errors
/// When the object changed in between (a conflict), is gone, or cannot be written.
pub async fn add<K>(api: &Api<K>, object: &K, finalizer: &str) -> Result<K>
where
    K: kube::Resource + DeserializeOwned + Clone + Debug,
{
    if has(object, finalizer) {
        return Ok(object.clone());
    }
    let mut finalizers = object.meta().finalizers.clone().unwrap_or_default();
    finalizers.push(finalizer.to_owned());
    write(api, object, &finalizers).await
}

/// Removes `finalizer` when it is there; an object that is gone already needs nothing.
///
/// # Errors
/// When the object changed in between (a conflict) or cannot be written.
pub async fn remove<K>(api: &Api<K>, object: &K, finalizer: &str) -> Result<()>
where
    K: kube::Resource + DeserializeOwned + Clone + Debug,
{
    if !has(object, finalizer) {
        return Ok(());
    }
    let finalizers = object.meta().finalizers.iter().flatten();
    let rest: Vec<_> = finalizers.filter(|present| *present != finalizer).cloned().collect();
    match write(api, object, &rest).await {
        Err(error) if error.is_not_found() => Ok(()),
        other => other.map(drop),
    }
}

async fn write<K>(api: &Api<K>, object: &K, finalizers: &[String]) -> Result<K>
where
    K: kube::Resource + DeserializeOwned + Clone + Debug,
{
    let meta = object.meta();
    let name = meta.name.as_deref().unwrap_or_default();
    let patch = json!({"metadata": {
        "resourceVersion": meta.resource_version, "uid": meta.uid, "finalizers": finalizers,
    }});
    api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.map_err(Error::Api)
}
