use crate::diagnosis::Nomination;
use jiff::Timestamp;
use k8s_openapi::{api::core::v1::Pod, apimachinery::pkg::apis::meta::v1::Time};
use kube::api::{Api, Patch, PatchParams};
use kubeplane_workload::condition;
use serde_json::{Value, json};
use std::borrow::Cow;

/// The longest text of an event, in bytes.
const NOTE_MOST: usize = 1024;
/// Ends one that was longer.
const MORE: &str = " ...";

/// A text as events may have it.
pub(super) fn shortened(text: &str) -> Cow<'_, str> {
    if text.len() <= NOTE_MOST {
        return text.into();
    }
    let most = NOTE_MOST - MORE.len();
    let end = (0..=most).rev().find(|end| text.is_char_boundary(*end)).unwrap_or_default();
    format!("{}{MORE}", &text[..end]).into()
}

/// The change that makes the pod say why it is not scheduled; `None` when it says so already.
pub(super) fn condition_patch(
    pod: &Pod,
    reason: &str,
    message: &str,
    nomination: &Nomination,
    now: Timestamp,
) -> Option<Value> {
    let nominated = pod.status.as_ref().and_then(|status| status.nominated_node_name.as_deref());
    let nominated = nominated.filter(|name| !name.is_empty());
    let wanted = match nomination {
        Nomination::Keep => nominated,
        Nomination::Clear => None,
        Nomination::Node(node) => Some(node.as_str()),
    };
    let present = condition(pod, "PodScheduled");
    let same = present.is_some_and(|own| {
        own.status == "False"
            && own.reason.as_deref() == Some(reason)
            && own.message.as_deref() == Some(message)
    });
    if same && wanted == nominated {
        return None;
    }
    let since = present
        .filter(|own| own.status == "False")
        .and_then(|own| own.last_transition_time.clone());
    let mut condition = json!({
        "type": "PodScheduled", "status": "False", "reason": reason, "message": message,
        "lastProbeTime": null, "lastTransitionTime": since.unwrap_or(Time(now)),
    });
    if let Some(generation) = pod.metadata.generation {
        condition["observedGeneration"] = json!(generation);
    }
    let uid = pod.metadata.uid.as_deref().unwrap_or_default();
    let mut patch = json!({"metadata": {"uid": uid}, "status": {"conditions": [condition]}});
    if wanted != nominated {
        patch["status"]["nominatedNodeName"] = json!(wanted);
    }
    Some(patch)
}

/// Sends the change. A pod that is gone or changed meanwhile is none of our business any more.
pub(super) async fn send(client: kube::Client, pod: &Pod, patch: Value) {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let pods: Api<Pod> = Api::namespaced(client, namespace);
    if let Err(error) =
        pods.patch_status(name, &PatchParams::default(), &Patch::Strategic(patch)).await
    {
        tracing::debug!(namespace, name, %error, "condition not written");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_is_told_once_and_of_which_state_of_it() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let mut told = json!({"metadata": {"uid": "u", "generation": 3}, "status": {}});
        let patch = |told: &Value, message: &str, nomination: &Nomination| {
            let pod: Pod = serde_json::from_value(told.clone()).unwrap();
            condition_patch(&pod, "Unschedulable", message, nomination, now)
        };
        let first = patch(&told, "no room", &Nomination::Node("n".into())).unwrap();
        let condition = &first["status"]["conditions"][0];
        assert_eq!(
            (&condition["observedGeneration"], &condition["status"]),
            (&json!(3), &json!("False"))
        );
        assert_eq!(first["status"]["nominatedNodeName"], "n");
        told["status"] = first["status"].clone();
        assert_eq!(patch(&told, "no room", &Nomination::Keep), None);
        let cleared = patch(&told, "no room", &Nomination::Clear).unwrap();
        assert_eq!(cleared["status"].get("nominatedNodeName"), Some(&Value::Null));
        assert!(patch(&told, "no room at all", &Nomination::Keep).is_some());
    }

    #[test]
    fn long_texts_are_cut_where_events_would_be_refused() {
        assert_eq!(shortened("short"), "short");
        let long = "é".repeat(600);
        let cut = shortened(&long);
        assert!(cut.len() <= NOTE_MOST && cut.ends_with("é ..."), "{}", cut.len());
    }
}
