//! Fields of features that are off: they are dropped before anything looks at them.

use crate::{
    defaulting::{map_in, maps_in},
    look::{Look, sub},
};
use kubeplane_core::{Object, features::Features};
use serde_json::{Map, Value};

const CONTAINERS: [&str; 3] = ["initContainers", "containers", "ephemeralContainers"];

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
    let lists = ["containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"];
    let mut mounts =
        lists.iter().flat_map(|list| before.list(list)).flat_map(|one| one.list("volumeMounts"));
    if features.is_on("ImageVolumeWithDigest") || mounts.any(|mount| mount.has("volumeStatus")) {
        return;
    }
    let Some(status) = map_in(object.map_mut(), "status") else { return };
    for list in lists {
        for one in maps_in(status, list) {
            maps_in(one, "volumeMounts").for_each(|mount| drop(mount.remove("volumeStatus")));
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
