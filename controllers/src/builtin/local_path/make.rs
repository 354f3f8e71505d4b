//! New volumes.

use super::{FINALIZER, LOCAL_PATH_PROVISIONER};
use crate::{Context, Error};
use k8s_openapi::{
    api::{
        core::v1::{
            LocalVolumeSource, Node, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm,
            PersistentVolume, PersistentVolumeClaim, PersistentVolumeSpec, VolumeNodeAffinity,
        },
        storage::v1::StorageClass,
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{Api, ResourceExt, api::PostParams};
use kubeplane_client::{EventType, ObjectKey};
use kubeplane_workload::storage::{
    LOCAL_NODE, LOCAL_VOLUMES, PROVISIONED_BY, SELECTED_NODE, STORAGE_PROVISIONER, annotation,
    bound, claim_class, volume_name,
};
use std::{collections::BTreeMap, sync::Arc};

const HOST: &str = "kubernetes.io/hostname";

/// Whether a claim waits for a volume of ours.
pub(super) fn is_asked(claim: &PersistentVolumeClaim) -> bool {
    annotation(&claim.metadata, STORAGE_PROVISIONER) == Some(LOCAL_PATH_PROVISIONER)
        && volume_name(claim).is_none()
        && claim.metadata.deletion_timestamp.is_none()
}

/// Why no directory does what the claim asks for.
fn refusal(claim: &PersistentVolumeClaim) -> Option<&'static str> {
    let spec = claim.spec.as_ref()?;
    let alone = |mode: &String| matches!(mode.as_str(), "ReadWriteOnce" | "ReadWriteOncePod");
    if !spec.access_modes.iter().flatten().all(alone) {
        Some("only ReadWriteOnce and ReadWriteOncePod are supported")
    } else if spec.volume_mode.as_deref() == Some("Block") {
        Some("block volumes are not supported")
    } else if spec.selector.is_some() {
        Some("claim Selector is not supported")
    } else if spec.data_source.is_some() || spec.data_source_ref.is_some() {
        Some("data sources are not supported")
    } else {
        None
    }
}

pub(super) async fn make(context: &Context, claim: &PersistentVolumeClaim) -> Result<(), Error> {
    let class = claim_class(claim);
    let Some(class) = context.informers().of::<StorageClass>().get("", class) else {
        return Ok(());
    };
    if class.provisioner != LOCAL_PATH_PROVISIONER {
        return Ok(());
    }
    let fail = |why: &str| {
        let name = class.name_any();
        let text = format!("failed to provision volume with StorageClass {name:?}: {why}");
        context.recorder().event_for(claim, EventType::Warning, "ProvisioningFailed", text);
    };
    if let Some(why) = refusal(claim) {
        fail(why);
        return Ok(());
    }
    let Some(selected) = annotation(&claim.metadata, SELECTED_NODE) else {
        fail("no node was selected: the class must have volumeBindingMode WaitForFirstConsumer");
        return Ok(());
    };
    let node = node(context, selected).await?;
    let directory = node.as_ref().and_then(|node| annotation(&node.metadata, LOCAL_VOLUMES));
    let (Some(node), Some(directory)) = (&node, directory) else {
        fail(&format!("node {selected:?} has no directory for volumes"));
        return give_back(context, claim).await;
    };
    let volumes: Api<PersistentVolume> = Api::all(context.client());
    let volume = volume(claim, &class, node, directory);
    let name = volume.name_any();
    match volumes.create(&PostParams::default(), &volume).await.map_err(Error::from) {
        Ok(_) => {
            let text = format!("Successfully provisioned volume {name}");
            context.recorder().event_for(claim, EventType::Normal, "ProvisioningSucceeded", text);
            Ok(())
        }
        // The cache was late.
        Err(error) if error.is_already_exists() => Ok(()),
        Err(error) => {
            let key = ObjectKey::of(claim);
            fail(&format!("error creating volume object for claim {key}: {}", error.text()));
            Err(error)
        }
    }
}

/// The node that was selected. One that the cache does not show with a directory may have told of it a moment ago.
async fn node(context: &Context, name: &str) -> Result<Option<Arc<Node>>, Error> {
    let known = context.informers().of::<Node>().get("", name);
    if known.as_ref().is_some_and(|node| annotation(&node.metadata, LOCAL_VOLUMES).is_some()) {
        return Ok(known);
    }
    let nodes: Api<Node> = Api::all(context.client());
    Ok(nodes.get_opt(name).await?.map(Arc::new))
}

/// Lets the scheduler choose another node.
async fn give_back(context: &Context, claim: &PersistentVolumeClaim) -> Result<(), Error> {
    let mut next = claim.clone();
    next.annotations_mut().remove(SELECTED_NODE);
    let namespace = claim.namespace().unwrap_or_default();
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(context.client(), &namespace);
    claims.replace(&claim.name_any(), &PostParams::default(), &next).await?;
    Ok(())
}

fn volume(
    claim: &PersistentVolumeClaim,
    class: &StorageClass,
    node: &Node,
    directory: &str,
) -> PersistentVolume {
    let name = format!("pvc-{}", claim.metadata.uid.as_deref().unwrap_or_default());
    let wanted = claim.spec.clone().unwrap_or_default();
    let policy = class.reclaim_policy.clone().unwrap_or_else(|| "Delete".to_owned());
    let annotations =
        [(PROVISIONED_BY, LOCAL_PATH_PROVISIONER.to_owned()), (LOCAL_NODE, node.name_any())];
    let volume = PersistentVolume {
        metadata: ObjectMeta {
            name: Some(name.clone()),
            annotations: Some(annotations.map(|(key, value)| (key.to_owned(), value)).into()),
            finalizers: (policy == "Delete").then(|| vec![FINALIZER.to_owned()]),
            ..ObjectMeta::default()
        },
        spec: Some(PersistentVolumeSpec {
            access_modes: wanted.access_modes,
            capacity: wanted.resources.and_then(|resources| resources.requests).map(storage_only),
            local: Some(LocalVolumeSource { path: format!("{directory}/{name}"), fs_type: None }),
            mount_options: class.mount_options.clone(),
            node_affinity: Some(VolumeNodeAffinity { required: Some(on(node)) }),
            persistent_volume_reclaim_policy: Some(policy),
            storage_class_name: class.metadata.name.clone(),
            volume_mode: wanted.volume_mode,
            ..PersistentVolumeSpec::default()
        }),
        status: None,
    };
    let mut volume = bound(&volume, claim);
    volume.annotations_mut().remove(kubeplane_workload::storage::BOUND_BY_CONTROLLER);
    volume
}

fn storage_only<V>(amounts: BTreeMap<String, V>) -> BTreeMap<String, V> {
    amounts.into_iter().filter(|(resource, _)| resource == "storage").collect()
}

/// What matches the node alone.
fn on(node: &Node) -> NodeSelector {
    let is = |key: &str, value: String| {
        let (key, operator) = (key.to_owned(), "In".to_owned());
        Some(vec![NodeSelectorRequirement { key, operator, values: Some(vec![value]) }])
    };
    let term = match node.labels().get(HOST) {
        Some(host) => NodeSelectorTerm {
            match_expressions: is(HOST, host.clone()),
            ..NodeSelectorTerm::default()
        },
        None => NodeSelectorTerm {
            match_fields: is("metadata.name", node.name_any()),
            ..NodeSelectorTerm::default()
        },
    };
    NodeSelector { node_selector_terms: vec![term] }
}
