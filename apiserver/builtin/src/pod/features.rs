//! Fields of features that are off: they are dropped before anything looks at them.

use crate::defaulting::{map_in, maps_in};
use kubeplane_core::{Object, features::Features};
use serde_json::{Map, Value};

/// Drops them from the spec of a pod.
pub(crate) fn drop_disabled(features: &Features, spec: &mut Map<String, Value>) {
    let drop = |gate: &str, from: &mut Map<String, Value>, field: &str| {
        if !features.is_on(gate) {
            from.remove(field);
        }
    };
    drop("GenericWorkload", spec, "schedulingGroup");
    for volume in maps_in(spec, "volumes") {
        if let Some(projected) = map_in(volume, "projected") {
            for source in maps_in(projected, "sources") {
                drop("ClusterTrustBundleProjection", source, "clusterTrustBundle");
                drop("PodCertificateRequest", source, "podCertificate");
            }
        }
    }
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        for container in maps_in(spec, list) {
            if let Some(lifecycle) = map_in(container, "lifecycle") {
                drop("ContainerStopSignals", lifecycle, "stopSignal");
            }
        }
    }
}

/// Drops them from the spec of the pod template below `spec.template`.
pub(crate) fn drop_from_template(features: &Features, object: &mut Object) {
    let spec = map_in(object.map_mut(), "spec").and_then(|spec| map_in(spec, "template"));
    if let Some(spec) = spec.and_then(|template| map_in(template, "spec")) {
        drop_disabled(features, spec);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_field_stays_when_its_gate_is_on() {
        let spec = json!({
            "schedulingGroup": {"podGroupName": "g"},
            "containers": [{"lifecycle": {"stopSignal": "SIGUSR1"}}],
        });
        let left = |gates: &str| {
            let mut spec = spec.as_object().cloned().unwrap();
            drop_disabled(&gates.parse().unwrap(), &mut spec);
            Value::Object(spec)
        };
        assert_eq!(left(""), json!({"containers": [{"lifecycle": {}}]}));
        assert_eq!(left("GenericWorkload=true,ContainerStopSignals=true"), spec);
    }
}
