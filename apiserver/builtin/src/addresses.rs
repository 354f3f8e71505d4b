//! Warnings about addresses in forms that are understood and are not the usual ones.

use crate::look::At;
use kubeplane_core::{
    Object,
    admission::Warnings,
    names::address::{warning_for_ip, warnings_for_cidr},
};

pub(crate) fn warn_of_ip(warnings: &Warnings, ip: &At<'_>) {
    if let Some(warning) = warning_for_ip(ip.path().as_str(), ip.str()) {
        warnings.add(warning);
    }
}

pub(crate) fn warn_of_cidr(warnings: &Warnings, network: &At<'_>) {
    for warning in warnings_for_cidr(network.path().as_str(), network.str()) {
        warnings.add(warning);
    }
}

/// Warns of the addresses of load balancers in a status; the original's path ends with which of them it is.
pub(crate) fn warn_of_balancers(warnings: &Warnings, object: &Object) {
    for point in At::top(object.map(), "status").get("loadBalancer").get("ingress").items() {
        if let Some(warning) = warning_for_ip(point.path().as_str(), point.get("ip").str()) {
            warnings.add(warning);
        }
    }
}
