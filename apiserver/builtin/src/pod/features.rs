//! Fields of features that are off: they are dropped before anything looks at them.

use crate::{
    defaulting::{map_in, maps_in},
    look::{Look, sub},
};
use kubeplane_core::{Object, features::Features};
use serde_json::{Map, Value};

const CONTAINERS: [&str; 3] = ["initContainers", "containers", "ephemeralContainers"];
const STATUSES: [&str; 3] =
    ["containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"];
const DEVICES: &str = "allocatedResourcesStatus";

/// Drops them from the spec of a pod, but for those that the spec before uses.
pub(crate) fn drop_disabled(features: &Features, spec: &mut Map<String, Value>, old: &Value) {
    let dropped = |gate: &str, used: bool| !used && !features.is_on(gate);
    if dropped("GenericWorkload", old.has("schedulingGroup")) {
        spec.remove("schedulingGroup");
    }
    let sources = |source: &str| {
        let projected = old.list("volumes").iter().map(|volume| volume.sub("projected"));
        projected.flat_map(|projected| projected.list("sources")).any(|one| one.has(source))
    };
    if dropped("ClusterTrustBundleProjection", sources("clusterTrustBundle")) {
        drop_source(spec, "clusterTrustBundle");
    }
    if dropped("PodCertificateRequest", sources("podCertificate")) {
        drop_source(spec, "podCertificate");
    }
    let mut containers = CONTAINERS.iter().flat_map(|list| old.list(list));
    let signals = containers.any(|one| one.sub("lifecycle").has("stopSignal"));
    if dropped("ContainerStopSignals", signals) {
        drop_stop_signals(spec);
    }
    drop_switched_off(features, spec, old);
}

/// The same for features that are on by default.
fn drop_switched_off(features: &Features, spec: &mut Map<String, Value>, old: &Value) {
    let off = |gate: &str| !features.is_on(gate);
    let asked = |field: &str| {
        let amounts = old.sub("resources").sub(field).as_object();
        amounts.is_some_and(|amounts| !amounts.is_empty())
    };
    if off("PodLevelResources") && !asked("requests") && !asked("limits") {
        spec.remove("resources");
    }
    if off("HostnameOverride") && !old.has("hostnameOverride") {
        spec.remove("hostnameOverride");
    }
    let has_keys = |constraint: &Value| !constraint.list("matchLabelKeys").is_empty();
    if off("MatchLabelKeysInPodTopologySpread")
        && !old.list("topologySpreadConstraints").iter().any(has_keys)
    {
        maps_in(spec, "topologySpreadConstraints")
            .for_each(|constraint| drop(constraint.remove("matchLabelKeys")));
    }
    if off("EnvFiles") && !containers(old).any(reads_files) {
        drop_files(spec);
    }
    if off("ContainerRestartRules") && !has_restart_rules(old) {
        drop_restart_rules(spec);
    }
}

fn containers(spec: &Value) -> impl Iterator<Item = &Value> {
    CONTAINERS.iter().flat_map(move |list| spec.list(list))
}

fn reads_files(container: &Value) -> bool {
    container.list("env").iter().any(|variable| variable.sub("valueFrom").has("fileKeyRef"))
}

fn drop_files(spec: &mut Map<String, Value>) {
    for list in CONTAINERS {
        for container in maps_in(spec, list) {
            for variable in maps_in(container, "env") {
                if let Some(from) = map_in(variable, "valueFrom") {
                    from.remove("fileKeyRef");
                }
            }
        }
    }
}

/// Whether containers say themselves when they are started again, other than sidecars do.
fn has_restart_rules(spec: &Value) -> bool {
    let of_init = |container: &Value| {
        !matches!(container.text("restartPolicy"), "" | "Always")
            || !container.list("restartPolicyRules").is_empty()
    };
    spec.list("initContainers").iter().any(of_init)
        || spec.list("containers").iter().any(|container| container.has("restartPolicy"))
}

fn drop_restart_rules(spec: &mut Map<String, Value>) {
    for list in CONTAINERS {
        for container in maps_in(spec, list) {
            container.remove("restartPolicyRules");
            let sidecar = list == "initContainers" && sub(container, "restartPolicy") == "Always";
            if !sidecar {
                container.remove("restartPolicy");
            }
        }
    }
}

fn drop_source(spec: &mut Map<String, Value>, source: &str) {
    for volume in maps_in(spec, "volumes") {
        if let Some(projected) = map_in(volume, "projected") {
            maps_in(projected, "sources").for_each(|one| drop(one.remove(source)));
        }
    }
}

/// Drops the signals, and the rest of what had nothing else.
fn drop_stop_signals(spec: &mut Map<String, Value>) {
    for list in CONTAINERS {
        for container in maps_in(spec, list) {
            let Some(lifecycle) = map_in(container, "lifecycle") else { continue };
            if lifecycle.remove("stopSignal").is_some() && lifecycle.is_empty() {
                container.remove("lifecycle");
            }
        }
    }
}

/// Drops them from the status of a pod, unless the stored pod uses them.
pub(super) fn drop_from_status(features: &Features, object: &mut Object, old: &Object) {
    const NODE_CLAIMS: &str = "nodeAllocatableResourceClaimStatuses";
    let before = sub(old.map(), "status");
    if !features.is_on("DRANodeAllocatableResources") && before.list(NODE_CLAIMS).is_empty() {
        object.remove(&["status", NODE_CLAIMS]);
    }
    drop_devices(features, object, before);
    let mut mounts =
        STATUSES.iter().flat_map(|list| before.list(list)).flat_map(|one| one.list("volumeMounts"));
    if features.is_on("ImageVolumeWithDigest") || mounts.any(|mount| mount.has("volumeStatus")) {
        return;
    }
    let Some(status) = map_in(object.map_mut(), "status") else { return };
    for list in STATUSES {
        for one in maps_in(status, list) {
            maps_in(one, "volumeMounts").for_each(|mount| drop(mount.remove("volumeStatus")));
        }
    }
}

fn devices(status: &Value) -> impl Iterator<Item = &Value> {
    STATUSES
        .iter()
        .flat_map(move |list| status.list(list))
        .flat_map(|container| container.list(DEVICES))
}

/// What a status says of devices, where that was switched off.
fn drop_devices(features: &Features, object: &mut Object, before: &Value) {
    const CLAIM: &str = "extendedResourceClaimStatus";
    if !features.is_on("DRAExtendedResource") && !before.has(CLAIM) {
        object.remove(&["status", CLAIM]);
    }
    let all = !features.is_on("ResourceHealthStatus") && devices(before).next().is_none();
    let says = |device: &Value| device.list("resources").iter().any(|one| one.has("message"));
    let messages = !features.is_on("ResourceHealthStatusMessage") && !devices(before).any(says);
    let Some(status) = map_in(object.map_mut(), "status").filter(|_| all || messages) else {
        return;
    };
    for list in STATUSES {
        for one in maps_in(status, list) {
            if all {
                one.remove(DEVICES);
            }
            for device in maps_in(one, DEVICES) {
                maps_in(device, "resources").for_each(|health| drop(health.remove("message")));
            }
        }
    }
}

/// Drops them from the spec of the pod template below `spec.template`, but for those that the one before uses.
pub(crate) fn drop_from_template(features: &Features, object: &mut Object, old: Option<&Object>) {
    let before = old.map_or(&Value::Null, |old| sub(old.map(), "spec").sub("template").sub("spec"));
    let spec = map_in(object.map_mut(), "spec").and_then(|spec| map_in(spec, "template"));
    if let Some(spec) = spec.and_then(|template| map_in(template, "spec")) {
        drop_disabled(features, spec, before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn left(gates: &str, old: &Value, spec: &Value) -> Value {
        let mut spec = spec.as_object().cloned().unwrap();
        drop_disabled(&gates.parse().unwrap(), &mut spec, old);
        Value::Object(spec)
    }

    #[test]
    fn a_field_stays_when_its_gate_is_on() {
        let spec = json!({
            "schedulingGroup": {"podGroupName": "g"},
            "containers": [{"lifecycle": {"stopSignal": "SIGUSR1"}}],
        });
        assert_eq!(left("", &Value::Null, &spec), json!({"containers": [{}]}));
        let gates = "GenericWorkload=true,ContainerStopSignals=true";
        assert_eq!(left(gates, &Value::Null, &spec), spec);
    }

    #[test]
    fn features_that_were_switched_off_take_their_fields_along() {
        let spec = json!({
            "resources": {"limits": {"cpu": "1"}}, "hostnameOverride": "h",
            "topologySpreadConstraints": [{"maxSkew": 1, "matchLabelKeys": ["app"]}],
            "initContainers": [
                {"restartPolicy": "Always", "restartPolicyRules": [{}]}, {"restartPolicy": "Never"},
            ],
            "containers": [{"restartPolicy": "Never", "restartPolicyRules": [{}],
                "env": [{"name": "A", "valueFrom": {"fileKeyRef": {"key": "k"}}}]}],
        });
        let gates = "PodLevelResources=false,InPlacePodLevelResourcesVerticalScaling=false,\
            HostnameOverride=false,EnvFiles=false,MatchLabelKeysInPodTopologySpread=false,\
            MatchLabelKeysInPodTopologySpreadSelectorMerge=false,ContainerRestartRules=false,\
            RestartAllContainersOnContainerExits=false";
        let less = json!({
            "topologySpreadConstraints": [{"maxSkew": 1}],
            "initContainers": [{"restartPolicy": "Always"}, {}],
            "containers": [{"env": [{"name": "A", "valueFrom": {}}]}],
        });
        assert_eq!(left("", &Value::Null, &spec), spec);
        assert_eq!(left(gates, &Value::Null, &spec), less);
        assert_eq!(left(gates, &spec, &spec), spec);
    }

    #[test]
    fn what_a_status_says_of_devices_can_be_switched_off() {
        let status = |health: Value| {
            let devices = json!([{"name": "claim:a", "resources": [health]}]);
            let container = json!({"name": "c", "allocatedResourcesStatus": devices});
            json!({"status": {"containerStatuses": [container],
                "extendedResourceClaimStatus": {"resourceClaimName": "x"}}})
        };
        let said = status(json!({"resourceID": "1", "message": "m"}));
        let left = |gates: &str, old: &Value| {
            let mut object = Object::from_value(said.clone()).unwrap();
            let old = Object::from_value(old.clone()).unwrap();
            drop_from_status(&gates.parse().unwrap(), &mut object, &old);
            object.into_value()
        };
        let none = json!({"status": {}});
        assert_eq!(left("", &none), said);
        let messages = "ResourceHealthStatusMessage=false";
        assert_eq!(left(messages, &none), status(json!({"resourceID": "1"})));
        assert_eq!(left(messages, &said), said);
        let all = "ResourceHealthStatusMessage=false,ResourceHealthStatus=false,DRAExtendedResource=false";
        assert_eq!(left(all, &none), json!({"status": {"containerStatuses": [{"name": "c"}]}}));
        assert_eq!(left(all, &said), said);
    }

    #[test]
    fn a_field_stays_where_it_was_used_before() {
        let uses = json!({
            "schedulingGroup": {"podGroupName": "g"},
            "containers": [{"lifecycle": {"stopSignal": "SIGUSR1", "preStop": {}}}],
            "volumes": [{"projected": {"sources": [{"clusterTrustBundle": {}}, {"podCertificate": {}}]}}],
        });
        assert_eq!(left("", &uses, &uses), uses);
        let none = json!({
            "containers": [{"lifecycle": {"preStop": {}}}],
            "volumes": [{"projected": {"sources": [{}, {}]}}],
        });
        assert_eq!(left("", &none, &uses), none);
    }
}
