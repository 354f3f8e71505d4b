//! Defaults of Services.

use super::Shape;
use crate::defaulting::{map_in, maps_in, missing, text};
use kubeplane_core::Object;
use serde_json::{Value, json};

/// Three hours.
const CLIENT_SECONDS: i64 = 10_800;

pub(super) fn service(object: &mut Object) {
    let spec = object.map_at_mut(&["spec"]);
    text(spec, "sessionAffinity", "None");
    match spec["sessionAffinity"].as_str() {
        Some("None") => drop(spec.remove("sessionAffinityConfig")),
        Some("ClientIP") => {
            let seconds =
                spec.get("sessionAffinityConfig").and_then(|config| config.get("clientIP"));
            if seconds.and_then(|client| client.get("timeoutSeconds")).is_none_or(Value::is_null) {
                let config = json!({"clientIP": {"timeoutSeconds": CLIENT_SECONDS}});
                spec.insert("sessionAffinityConfig".to_owned(), config);
            }
        }
        _ => {}
    }
    text(spec, "type", "ClusterIP");
    for port in maps_in(spec, "ports") {
        text(port, "protocol", "TCP");
        let unset = port
            .get("targetPort")
            .is_none_or(|target| target.is_null() || *target == 0 || *target == "");
        if unset {
            let number = port.get("port").cloned().unwrap_or_else(|| 0.into());
            port.insert("targetPort".to_owned(), number);
        }
    }
    let kind = spec["type"].as_str().unwrap_or_default().to_owned();
    if Shape::of(object).is_reachable_from_outside() {
        text(object.map_at_mut(&["spec"]), "externalTrafficPolicy", "Cluster");
    }
    let spec = object.map_at_mut(&["spec"]);
    if matches!(&*kind, "NodePort" | "LoadBalancer" | "ClusterIP") {
        missing(spec, "internalTrafficPolicy", "Cluster");
    }
    if kind == "LoadBalancer" {
        missing(spec, "allocateLoadBalancerNodePorts", true);
        ip_modes(object);
    }
}

fn ip_modes(object: &mut Object) {
    let status = object.map_mut().get_mut("status").and_then(Value::as_object_mut);
    let Some(balancer) = status.and_then(|status| map_in(status, "loadBalancer")) else {
        return;
    };
    for point in maps_in(balancer, "ingress") {
        if point.get("ip").and_then(Value::as_str).is_some_and(|ip| !ip.is_empty()) {
            missing(point, "ipMode", "VIP");
        }
    }
}
