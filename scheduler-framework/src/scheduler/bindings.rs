use super::reports::Turn;
use crate::{Framework, Placement, framework::Permission, queue::QueuedPod};
use std::{sync::Arc, time::Duration};

/// How a binding went.
pub(super) struct Bound {
    pub(super) pod: QueuedPod,
    pub(super) node: String,
    pub(super) outcome: Result<(), String>,
    pub(super) framework: Arc<Framework>,
    /// When the attempt began.
    pub(super) started: Duration,
}

/// Waits for permission, binds, and takes back what was reserved if that fails.
pub(super) async fn bind(
    framework: Arc<Framework>,
    pod: QueuedPod,
    placement: Placement,
    permission: Permission,
    started: Duration,
) -> Bound {
    let Placement { node, mut state, .. } = placement;
    let outcome = match framework.permitted(&pod.info, permission).await {
        Ok(()) => framework.bind(&state, &pod.info, &node).await,
        Err(why) => Err(why),
    };
    if outcome.is_err() {
        framework.unreserve(&mut state, &pod.info, &node);
    }
    Bound { pod, node, outcome, framework, started }
}

/// A binding that comes after what was told of its pod, lest the pod say at last that it has no node.
pub(super) async fn after(before: Option<Turn>, binding: impl Future<Output = Bound>) -> Bound {
    if let Some(before) = before {
        // It says nothing; that its sender is gone is enough.
        let _ = before.await;
    }
    binding.await
}
