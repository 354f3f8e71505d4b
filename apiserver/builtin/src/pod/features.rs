//! Fields of features that are off by default in this version of the API: they are dropped before anything looks
//! at them.

use crate::defaulting::{map_in, maps_in};
use serde_json::{Map, Value};

/// Drops them from the spec of a pod.
pub(crate) fn drop_disabled(spec: &mut Map<String, Value>) {
    spec.remove("schedulingGroup");
    for volume in maps_in(spec, "volumes") {
        if let Some(projected) = map_in(volume, "projected") {
            for source in maps_in(projected, "sources") {
                source.remove("clusterTrustBundle");
                source.remove("podCertificate");
            }
        }
    }
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        for container in maps_in(spec, list) {
            if let Some(lifecycle) = map_in(container, "lifecycle") {
                lifecycle.remove("stopSignal");
            }
        }
    }
}

/// Drops them from the spec of the pod template below `spec.template`.
pub(crate) fn drop_from_template(object: &mut kubeplane_core::Object) {
    let spec = map_in(object.map_mut(), "spec").and_then(|spec| map_in(spec, "template"));
    if let Some(spec) = spec.and_then(|template| map_in(template, "spec")) {
        drop_disabled(spec);
    }
}
