//! The end of a definition: its objects go first.

use super::stamp;
use crate::{conditions, kind};
use futures::StreamExt;
use kubeplane_apiserver::{Api, DeleteOptions};
use kubeplane_core::{
    GroupResource, Object,
    status::{ApiError, ApiResult},
};
use kubeplane_store_trait::{KeyRange, ListOptions};
use std::time::Duration;

/// How many objects are deleted at a time.
const AT_ONCE: usize = 16;
/// The first and the longest pause between looks at what is left.
const PAUSES: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));
/// How long objects may take to go before that is said.
const PATIENCE: Duration = Duration::from_secs(60);

/// Deletes the objects of a definition, then lets it go; tries until that is done. Returns its name.
pub(super) async fn run(api: Api, crd: Object, overlaps: bool) -> String {
    let name = crd.name().to_owned();
    let mut pause = PAUSES.0;
    loop {
        match finish(&api, &crd, overlaps).await {
            Ok(()) => return name,
            Err(error) if error.code() == 404 => return name,
            Err(error) => {
                tracing::warn!(crd = %name, %error, "objects of a definition cannot be deleted yet")
            }
        }
        api.clock().sleep(pause).await;
        pause = (pause * 2).min(PAUSES.1);
    }
}

async fn finish(api: &Api, crd: &Object, overlaps: bool) -> ApiResult<()> {
    condition(
        api,
        crd,
        "True",
        "InstanceDeletionInProgress",
        "CustomResource deletion is in progress",
    )
    .await?;
    let (reason, message) = if overlaps {
        ("OverlappingBuiltInResource", "instances overlap with built-in resources in storage")
    } else if conditions::is_true(crd, "Established") {
        delete_all(api, crd).await?;
        ("InstanceDeletionCompleted", "removed all instances")
    } else {
        ("NeverEstablished", "resource was never established")
    };
    let now = stamp(api);
    let resource = kind::resource();
    let done = api.update_with(&resource, "", crd.name(), |fresh| {
        same(fresh, crd)?;
        let crd = fresh;
        conditions::set_at(crd, "Terminating", "False", reason, message, &now);
        let left: Vec<_> = crd
            .finalizers()
            .into_iter()
            .filter(|own| *own != kind::FINALIZER)
            .map(str::to_owned)
            .collect();
        if left.is_empty() {
            crd.remove(&["metadata", "finalizers"]);
        } else {
            crd.set(&["metadata", "finalizers"], left);
        }
        Ok(())
    });
    done.await.map(drop)
}

/// A definition of the same name that came after is another one.
fn same(fresh: &Object, crd: &Object) -> ApiResult<()> {
    match fresh.uid() == crd.uid() {
        true => Ok(()),
        false => Err(ApiError::not_found(&kind::resource(), crd.name())),
    }
}

async fn condition(
    api: &Api,
    crd: &Object,
    status: &str,
    reason: &str,
    message: &str,
) -> ApiResult<()> {
    let now = stamp(api);
    let resource = kind::resource();
    let written = api.update_with(&resource, "", crd.name(), |fresh| {
        same(fresh, crd)?;
        conditions::set_at(fresh, "Terminating", status, reason, message, &now);
        Ok(())
    });
    written.await.map(drop)
}

async fn delete_all(api: &Api, crd: &Object) -> ApiResult<()> {
    let resource = GroupResource::new(
        crd.text(&["spec", "group"]).to_owned(),
        crd.text(&["spec", "names", "plural"]).to_owned(),
    );
    if api.registry().resource(&resource).is_none() {
        return drop_stored(api, &resource).await;
    }
    let started = api.clock().elapsed();
    let mut pause = PAUSES.0;
    loop {
        let objects = api.list_stored(&resource, "").await?;
        if objects.is_empty() {
            return Ok(());
        }
        let waiting = objects.iter().filter(|object| !object.is_deleting());
        let deletions = waiting.map(|object| {
            let (namespace, name) = (object.namespace().to_owned(), object.name().to_owned());
            let resource = &resource;
            async move { api.delete(resource, &namespace, &name, DeleteOptions::default()).await }
        });
        let results: Vec<_> = futures::stream::iter(deletions.collect::<Vec<_>>())
            .buffer_unordered(AT_ONCE)
            .collect()
            .await;
        if let Some(error) =
            results.into_iter().filter_map(Result::err).find(|error| error.code() != 404)
        {
            let message = format!("could not issue all deletes: {error}");
            condition(api, crd, "True", "InstanceDeletionFailed", &message).await?;
            return Err(error);
        }
        if api.clock().elapsed().saturating_sub(started) > PATIENCE {
            let message = "could not confirm zero CustomResources remaining: timed out waiting for the condition";
            condition(api, crd, "True", "InstanceDeletionCheck", message).await?;
            return Err(ApiError::timeout(message));
        }
        api.clock().sleep(pause).await;
        pause = (pause * 2).min(PAUSES.1);
    }
}

/// Objects no version serves: nobody can have finalizers honoured on them.
async fn drop_stored(api: &Api, resource: &GroupResource) -> ApiResult<()> {
    let root = api.registry().root();
    let range = KeyRange::prefix(format!("{root}/{}/{}/", resource.group, resource.resource));
    let page =
        api.store().list(&range, ListOptions::default()).await.map_err(ApiError::internal)?;
    for entry in page.entries {
        api.store().delete(&entry.key, entry.revision).await.map_err(ApiError::internal)?;
    }
    Ok(())
}
