use super::{machine::architecture, status};
use crate::{Result, api::is_status, host::Host};
use k8s_openapi::{
    api::core::v1::{Node, NodeSpec},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::api::{Api, Patch, PatchParams, PostParams};
use kubeplane_workload::storage::LOCAL_VOLUMES;
use serde_json::json;
use std::{collections::BTreeMap, time::Duration};

const RETRY: Duration = Duration::from_millis(200);
const LAST_RETRY: Duration = Duration::from_secs(5);

/// The labels every node has.
fn labels(host: &Host) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::from([
        ("kubernetes.io/hostname".to_owned(), host.config.node_name.clone()),
        ("kubernetes.io/os".to_owned(), "linux".to_owned()),
        ("kubernetes.io/arch".to_owned(), architecture().to_owned()),
        ("beta.kubernetes.io/os".to_owned(), "linux".to_owned()),
        ("beta.kubernetes.io/arch".to_owned(), architecture().to_owned()),
    ]);
    labels.extend(host.config.labels.clone());
    labels
}

/// The annotations every node has.
fn annotations(host: &Host) -> BTreeMap<String, String> {
    let volumes = crate::volumes::local::root(&host.config.data_dir);
    BTreeMap::from([
        ("volumes.kubernetes.io/controller-managed-attach-detach".to_owned(), "true".to_owned()),
        (LOCAL_VOLUMES.to_owned(), volumes.display().to_string()),
    ])
}

/// Makes the node object, or brings its labels up to date; tries until the API server takes it.
///
/// # Cancellation
/// Dropping the future ends the tries.
pub(crate) async fn register(host: &Host) {
    let mut wait = RETRY;
    loop {
        match once(host).await {
            Ok(()) => return,
            Err(error) => {
                tracing::warn!(%error, "failed to register the node");
                host.clock.sleep(wait).await;
                wait = (wait * 2).min(LAST_RETRY);
            }
        }
    }
}

async fn once(host: &Host) -> Result<()> {
    let api = Api::<Node>::all(host.client.clone());
    let node = Node {
        metadata: ObjectMeta {
            name: Some(host.config.node_name.clone()),
            labels: Some(labels(host)),
            annotations: Some(annotations(host)),
            ..ObjectMeta::default()
        },
        spec: Some(NodeSpec {
            taints: (!host.config.taints.is_empty()).then(|| host.config.taints.clone()),
            ..NodeSpec::default()
        }),
        status: Some(status::current(host, None).await),
    };
    match api.create(&PostParams::default(), &node).await {
        Ok(_) => Ok(()),
        Err(error) if is_status(&error, 409) => {
            let known = api.get(&host.config.node_name).await?;
            let (labels, annotations) = (labels(host), annotations(host));
            if has_all(known.metadata.labels.as_ref(), &labels)
                && has_all(known.metadata.annotations.as_ref(), &annotations)
            {
                return Ok(());
            }
            let patch = json!({"metadata": {"labels": labels, "annotations": annotations}});
            let name = &host.config.node_name;
            api.patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await?;
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}

fn has_all(present: Option<&BTreeMap<String, String>>, wanted: &BTreeMap<String, String>) -> bool {
    wanted.iter().all(|(key, value)| present.and_then(|own| own.get(key)) == Some(value))
}
