//! The end of volumes.

use super::FINALIZER;
use crate::{Context, Error, error::unless_gone};
use k8s_openapi::api::core::v1::{Node, PersistentVolume};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, Patch, PatchParams, Preconditions},
};
use kubeplane_client::{EventType, finalizers};
use kubeplane_workload::storage::{
    LOCAL_NODE, LOCAL_VOLUME, REMOVE, REMOVED, annotation, volume_phase,
};
use serde_json::{Value, json};

/// Asks for the removal of what is to go; what has no directory any more goes at once.
pub(super) async fn volume(context: &Context, volume: &PersistentVolume) -> Result<(), Error> {
    let policy = volume.spec.as_ref();
    let policy = policy.and_then(|spec| spec.persistent_volume_reclaim_policy.as_deref());
    if policy != Some("Delete") {
        // Nobody wants the directory gone, so nothing holds the volume.
        return if volume.metadata.deletion_timestamp.is_some() {
            let_go(context, volume).await
        } else {
            Ok(())
        };
    }
    if volume_phase(volume) != "Released" {
        return Ok(());
    }
    let name = annotation(&volume.metadata, LOCAL_NODE).unwrap_or_default();
    let nodes: Api<Node> = Api::all(context.client());
    let known = context.informers().of::<Node>().get("", name);
    let Some(node) = known else {
        return match nodes.get_opt(name).await? {
            Some(_) => Err(Error::Incomplete(format!("node {name:?} is not in the cache yet"))),
            // The directory went with its node.
            None => delete(context, volume).await,
        };
    };
    let key = format!("{LOCAL_VOLUME}{}", volume.name_any());
    match annotation(&node.metadata, &key) {
        Some(REMOVED) => {
            delete(context, volume).await?;
            mark(context, name, &key, Value::Null).await
        }
        Some(_) => Ok(()),
        None => {
            // The volume goes before the mark of its directory: one that is seen without a mark may be gone by now.
            let volumes: Api<PersistentVolume> = Api::all(context.client());
            let held = volumes.get_opt(&volume.name_any()).await?;
            match held.filter(|held| finalizers::has(held, FINALIZER)) {
                Some(_) => mark(context, name, &key, json!(REMOVE)).await,
                None => Ok(()),
            }
        }
    }
}

/// Looks at what a node's kubelet says of the directories it was asked to remove.
pub(super) async fn answers(context: &Context, node: &Node) -> Result<(), Error> {
    let volumes: Api<PersistentVolume> = Api::all(context.client());
    for (key, answer) in node.metadata.annotations.iter().flatten() {
        let Some(name) = key.strip_prefix(LOCAL_VOLUME) else { continue };
        if answer == REMOVE {
            continue;
        }
        let known = context.informers().of::<PersistentVolume>().get("", name);
        match (known, answer.as_str()) {
            (Some(known), REMOVED) => volume(context, &known).await?,
            (Some(known), why) => {
                let text = why.to_owned();
                let kind = EventType::Warning;
                context.recorder().event_for(&*known, kind, "VolumeFailedDelete", text);
            }
            (None, _) => {
                if volumes.get_opt(name).await?.is_none() {
                    mark(context, &node.name_any(), key, Value::Null).await?;
                }
            }
        }
    }
    Ok(())
}

async fn mark(context: &Context, node: &str, key: &str, value: Value) -> Result<(), Error> {
    let nodes: Api<Node> = Api::all(context.client());
    let patch = json!({"metadata": {"annotations": {key: value}}});
    unless_gone(nodes.patch(node, &PatchParams::default(), &Patch::Merge(patch)).await)
}

async fn delete(context: &Context, volume: &PersistentVolume) -> Result<(), Error> {
    let volumes: Api<PersistentVolume> = Api::all(context.client());
    let uid = volume.metadata.uid.clone();
    let preconditions = Preconditions { uid, resource_version: None };
    let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
    unless_gone(volumes.delete(&volume.name_any(), &params).await)?;
    match volumes.get_opt(&volume.name_any()).await? {
        Some(left) if left.metadata.uid == volume.metadata.uid => let_go(context, &left).await,
        _ => Ok(()),
    }
}

async fn let_go(context: &Context, volume: &PersistentVolume) -> Result<(), Error> {
    if !finalizers::has(volume, FINALIZER) {
        return Ok(());
    }
    let volumes: Api<PersistentVolume> = Api::all(context.client());
    match finalizers::remove(&volumes, volume, FINALIZER).await.map_err(Error::from) {
        Err(error) if !error.is_not_found() => Err(error),
        _ => Ok(()),
    }
}
