//! Where in its life a pod is.

use k8s_openapi::api::core::v1::Pod;

/// The phase; `Pending` when none is set.
#[must_use]
pub fn phase(pod: &Pod) -> &str {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    phase.filter(|phase| !phase.is_empty()).unwrap_or("Pending")
}

/// Whether it has ended, well or not.
#[must_use]
pub fn is_terminal(pod: &Pod) -> bool {
    matches!(phase(pod), "Succeeded" | "Failed")
}

/// Whether it is to be deleted.
#[must_use]
pub fn is_deleting(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}

/// Whether it counts as one of its controller's replicas: neither ended nor being deleted.
#[must_use]
pub fn is_active(pod: &Pod) -> bool {
    !is_terminal(pod) && !is_deleting(pod)
}

/// The node it is bound to.
#[must_use]
pub fn node_name(pod: &Pod) -> Option<&str> {
    let name = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
    name.filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_pod_is_active_until_it_ends_or_is_deleted() {
        let pod = |value| serde_json::from_value::<Pod>(value).unwrap();
        assert!(is_active(&pod(json!({}))));
        assert!(is_active(&pod(json!({"status": {"phase": "Running"}}))));
        assert!(!is_active(&pod(json!({"status": {"phase": "Failed"}}))));
        assert!(!is_active(&pod(
            json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}})
        )));
        assert_eq!(
            node_name(&pod(json!({"spec": {"containers": [], "nodeName": "n"}}))),
            Some("n")
        );
    }
}
