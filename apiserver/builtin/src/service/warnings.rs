//! What is allowed in a Service, but does nothing or is on its way out.

use super::Shape;
use crate::{
    addresses::{warn_of_cidr, warn_of_ip},
    look::At,
};
use kubeplane_core::{Object, admission::Warnings};

const HINTS: &str = "service.kubernetes.io/topology-aware-hints";

pub(super) fn service(warnings: &Warnings, object: &Object) {
    let (spec, shape) = (At::top(object.map(), "spec"), Shape::of(object));
    if object.annotation(HINTS).is_some() {
        let mode = "service.kubernetes.io/topology-mode";
        warnings.add(format!("annotation {HINTS} is deprecated, please use {mode} instead"));
    }
    let headless = shape.kind == "ClusterIP" && spec.get("clusterIP").str() == "None";
    let outside = spec.get("externalIPs");
    if headless {
        for (set, field) in [
            (!spec.get("loadBalancerIP").str().is_empty(), "loadBalancerIP"),
            (!outside.is_empty(), "externalIPs"),
            (spec.get("sessionAffinity").str() != "None", "SessionAffinity"),
        ] {
            if set {
                warnings.add(format!("spec.{field} is ignored for headless services"));
            }
        }
    }
    let inside = spec.get("clusterIPs").items().filter(|ip| ip.str() != "None");
    for ip in inside.chain(outside.items()).chain([spec.get("loadBalancerIP")]) {
        warn_of_ip(warnings, &ip);
    }
    if !outside.is_empty() && !headless && shape.has_cluster_ip() {
        warnings.add(
            "spec.externalIPs is deprecated and may no longer be implemented in some clusters",
        );
    }
    for range in spec.get("loadBalancerSourceRanges").items() {
        warn_of_cidr(warnings, &range);
    }
    if !shape.has_cluster_ip() && !outside.is_empty() {
        warnings.add("spec.externalIPs is ignored when spec.type is \"ExternalName\"");
    }
    if shape.has_cluster_ip() && !spec.get("externalName").str().is_empty() {
        warnings.add("spec.externalName is ignored when spec.type is not \"ExternalName\"");
    }
    if spec.get("trafficDistribution").str() == "PreferClose" {
        warnings
            .add("spec.trafficDistribution: \"PreferClose\" is deprecated; use \"PreferSameZone\"");
    }
}
