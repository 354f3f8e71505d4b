use super::*;
use serde_json::{Value, json};

#[test]
fn events_have_the_originals_names() {
    for (resource, action, name) in [
        (EventResource::Node, ActionType::ADD, "NodeAdd"),
        (EventResource::Node, ActionType::UPDATE_TAINTS, "NodeUpdateNodeTaint"),
        (EventResource::Node, ActionType::UPDATE_LABELS, "NodeUpdateNodeLabel"),
        (EventResource::AssignedPod, ActionType::UPDATE_LABELS, "AssignedPodUpdatePodLabel"),
        (EventResource::UnscheduledPod, ActionType::ADD, "UnschedulablePodAdd"),
        (EventResource::PersistentVolumeClaim, ActionType::ADD, "PersistentVolumeClaimAdd"),
        (EventResource::StorageClass, ActionType::ADD, "storage.k8s.io/StorageClassAdd"),
        (EventResource::CsiNode, ActionType::UPDATE_OTHER, "storage.k8s.io/CSINodeUpdate"),
        (
            EventResource::VolumeAttachment,
            ActionType::DELETE,
            "storage.k8s.io/VolumeAttachmentDelete",
        ),
        (EventResource::ResourceSlice, ActionType::ADD, "resource.k8s.io/ResourceSliceAdd"),
        (EventResource::PodGroup, ActionType::ADD, "scheduling.k8s.io/PodGroupAdd"),
    ] {
        assert_eq!(ClusterEvent::new(resource, action).label(), name);
    }
}

#[test]
fn changes_of_a_pod_are_told_by_what_they_mean_to_scheduling() {
    let with = |metadata: Value, spec: Value, status: Value| -> Pod {
        serde_json::from_value(json!({"metadata": metadata, "spec": spec, "status": status}))
            .unwrap()
    };
    let none = || json!({});
    let asking =
        |cpu: &str| json!({"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]});
    let gated = json!({"schedulingGates": [{"name": "g"}], "containers": []});
    let tolerating = json!({"tolerations": [{"operator": "Exists"}], "containers": []});
    let made = json!({"resourceClaimStatuses": [{"name": "r", "resourceClaimName": "p-r"}]});
    let extended = json!({"extendedResourceClaimStatus":
        {"resourceClaimName": "p-x", "requestMappings": []}});
    let plain = || json!({"containers": []});
    for (old, new, expected) in [
        (
            with(none(), plain(), none()),
            with(json!({"labels": {"a": "b"}}), plain(), none()),
            ActionType::UPDATE_LABELS,
        ),
        (
            with(none(), asking("2"), none()),
            with(none(), asking("1"), none()),
            ActionType::UPDATE_SCALE_DOWN,
        ),
        (
            with(none(), gated, none()),
            with(none(), plain(), none()),
            ActionType::UPDATE_GATES_ELIMINATED,
        ),
        (
            with(none(), plain(), none()),
            with(none(), tolerating, none()),
            ActionType::UPDATE_TOLERATIONS,
        ),
        (
            with(none(), plain(), none()),
            with(none(), plain(), made),
            ActionType::UPDATE_GENERATED_CLAIM,
        ),
        (
            with(none(), plain(), none()),
            with(none(), plain(), extended),
            ActionType::UPDATE_GENERATED_CLAIM,
        ),
        (
            with(none(), plain(), none()),
            with(json!({"annotations": {"a": "b"}}), plain(), none()),
            ActionType::UPDATE_OTHER,
        ),
        (
            with(none(), asking("1"), none()),
            with(none(), asking("2"), json!({"phase": "Pending"})),
            ActionType::default(),
        ),
    ] {
        assert_eq!(pod_action(&old, &new), expected, "{new:?}");
    }
}

#[test]
fn several_changes_at_once_are_told_one_by_one() {
    let both = ActionType::UPDATE_LABELS.or(ActionType::UPDATE_TAINTS);
    let each = |action: ActionType| action.each().collect::<Vec<_>>();
    assert_eq!(each(both), [ActionType::UPDATE_LABELS, ActionType::UPDATE_TAINTS]);
    assert_eq!(each(ActionType::ADD), [ActionType::ADD]);
    assert_eq!(each(ActionType::default()), []);
}
