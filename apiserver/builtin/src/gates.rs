//! Rules that depend on gates of the cluster: what is wrong with a feature off is found first, and taken out again where
//! the feature is on; the other way round for rules that can be switched off.

use crate::{check, look::At};
use kubeplane_core::{
    features::Features,
    field::{Error, ErrorKind, Errors},
    names,
};

/// What is wrong with an address only since `StrictIPCIDRValidation`.
const STRICT: [&str; 5] = [
    "must not have leading 0s",
    "must not be an IPv4-mapped IPv6 address",
    "must not have leading 0s in IP or prefix length",
    "must not have an IPv4-mapped IPv6 address",
    "must not have bits set beyond the prefix length",
];

/// What is wrong with rules of sidecars without `RestartAllContainersOnContainerExits`.
pub(crate) const SIDECAR_RULES: &str =
    "restartPolicyRules are not allowed for init containers with restart policy Always";

/// Takes out what is right with the gates as they are.
pub(crate) fn allow(features: &Features, errors: &mut Errors) {
    errors.retain(|error| !is_allowed(features, error));
    if errors.iter().any(is_comparison) {
        // What is compared with matters only where comparing is allowed.
        errors.retain(|error| !is_compared(error));
    }
}

fn is_allowed(features: &Features, error: &Error) -> bool {
    let (path, detail) = (error.path.as_str(), error.detail.as_str());
    if is_comparison(error) {
        return features.is_on("TaintTolerationComparisonOperators");
    }
    if restarts_all(error) {
        return features.is_on("RestartAllContainersOnContainerExits");
    }
    match detail {
        _ if STRICT.contains(&detail) => !features.is_on("StrictIPCIDRValidation"),
        "must be a 32bit integer" => !features.is_on("PodDeletionCost"),
        "may not be set on pods that are already bound to a node" => {
            !features.is_on("ClearingNominatedNodeNameAfterBinding")
        }
        "when `hostUsers` is false" if path.ends_with(".hostNetwork") => {
            features.is_on("UserNamespacesHostNetworkSupport")
        }
        _ if path.ends_with(".seLinuxChangePolicy") && error.value == "MountOption" => {
            error.kind == ErrorKind::NotSupported && features.is_on("SELinuxMount")
        }
        _ => false,
    }
}

/// Whether it is the operator of a toleration that compares numbers.
pub(crate) fn is_comparison(error: &Error) -> bool {
    error.kind == ErrorKind::NotSupported
        && is_of_toleration(error, ".operator")
        && (error.value == "Lt" || error.value == "Gt")
}

/// Whether it is a rule that restarts all containers, or one of a sidecar, which have none without that.
pub(crate) fn restarts_all(error: &Error) -> bool {
    error.detail == SIDECAR_RULES
        || (error.kind == ErrorKind::NotSupported
            && error.value == "RestartAllContainers"
            && error.path.as_str().ends_with(".action"))
}

fn is_compared(error: &Error) -> bool {
    error.kind == ErrorKind::Invalid && is_of_toleration(error, ".value")
}

fn is_of_toleration(error: &Error, field: &str) -> bool {
    let path = error.path.as_str();
    path.contains("tolerations[") && path.ends_with(field)
}

/// The name of a Service begins with a letter unless `RelaxedServiceNameValidation` is on.
pub(crate) fn service_name(features: &Features, name: &At<'_>, errors: &mut Errors) {
    let relaxed = features.is_on("RelaxedServiceNameValidation");
    if !relaxed && !name.str().is_empty() && names::is_dns1123_label(name.str()).is_empty() {
        check::messages(name, names::is_dns1035_label(name.str()), errors);
    }
}
