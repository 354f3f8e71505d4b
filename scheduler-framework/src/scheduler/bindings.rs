use super::reports::{Turn, insist};
use crate::{
    Framework, Placement, PodInfo,
    framework::{Permission, Setback},
    queue::QueuedPod,
};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use kubeplane_clock::SharedClock;
use serde_json::json;
use std::{sync::Arc, time::Duration};

/// How a binding went.
pub(super) struct Bound {
    pub(super) pod: QueuedPod,
    pub(super) node: String,
    pub(super) outcome: Result<(), Setback>,
    /// Whether the pod was told the node before it was bound.
    pub(super) announced: bool,
    pub(super) framework: Arc<Framework>,
    /// When the attempt began.
    pub(super) started: Duration,
}

/// Waits for permission, binds, and takes back what was reserved if that fails.
pub(super) async fn bind(
    client: kube::Client,
    clock: SharedClock,
    framework: Arc<Framework>,
    pod: QueuedPod,
    placement: Placement,
    permission: Permission,
    started: Duration,
) -> Bound {
    let Placement { node, mut state, .. } = placement;
    let announces = framework.announces(&state, &pod.info, &node, &permission);
    let announced = announces == Ok(true) && announce(client.clone(), &pod.info, &node).await;
    let permitted = match announces {
        Ok(_) => framework.permitted(&pod.info, permission).await,
        Err(why) => Err(why),
    };
    let outcome = match permitted {
        Ok(()) => match framework.bind(&state, &pod.info, &node).await {
            Err(_) if is_there(client, &clock, &pod.info, &node).await => Ok(()),
            bound => bound,
        },
        Err(why) => Err(why),
    };
    if outcome.is_err() {
        framework.unreserve(&mut state, &pod.info, &node);
    }
    Bound { pod, node, outcome, announced, framework, started }
}

/// Has the pod say where it will be: binding may take a while, and others may want to know. It is no reason not to go on
/// if that fails.
async fn announce(client: kube::Client, pod: &PodInfo, node: &str) -> bool {
    if pod.nominated_node() == Some(node) {
        return false;
    }
    let patch = json!({"metadata": {"uid": pod.uid()}, "status": {"nominatedNodeName": node}});
    let pods: Api<Pod> = Api::namespaced(client, pod.namespace());
    let patch = Patch::Strategic(patch);
    let told = pods.patch_status(pod.name(), &PatchParams::default(), &patch).await;
    if let Err(error) = &told {
        tracing::debug!(pod = pod.key(), node, %error, "node not announced");
    }
    told.is_ok()
}

/// Whether the pod has the node although its binding failed: only the answer was lost. Were its room given to others,
/// there would be too many of them.
async fn is_there(client: kube::Client, clock: &SharedClock, pod: &PodInfo, node: &str) -> bool {
    let pods: Api<Pod> = Api::namespaced(client, pod.namespace());
    let found = insist(clock, || pods.get_opt(pod.name())).await;
    let Ok(Some(found)) = found else { return false };
    found.metadata.uid.as_deref() == Some(pod.uid())
        && found.spec.is_some_and(|spec| spec.node_name.as_deref() == Some(node))
}

/// A binding that comes after what was told of its pod, lest the pod say at last that it has no node.
pub(super) async fn after(before: Option<Turn>, binding: impl Future<Output = Bound>) -> Bound {
    if let Some(before) = before {
        // It says nothing; that its sender is gone is enough.
        let _ = before.await;
    }
    binding.await
}
