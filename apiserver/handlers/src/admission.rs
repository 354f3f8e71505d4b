//! Admission steps that the built-in kinds cannot do without, under the original's names.

mod always_pull;
mod certificates;
mod claims;
mod device_access;
mod event_rate;
mod external_ips;
mod ingress_class;
mod jobs;
mod limit_ranger;
mod node;
mod node_features;
mod owner_references;
mod plugins;
mod pod_groups;
mod pod_resize;
mod pod_security;
mod pod_tolerations;
mod priority;
mod resource_quota;
mod runtime_class;
mod service_account;
mod storage_protection;
mod taints;
mod toleration;
mod tolerations;
mod topology_labels;

pub use always_pull::AlwaysPullImages;
pub use certificates::{CertificateApproval, CertificateSigning, CertificateSubjectRestriction};
pub use claims::{DefaultStorageClass, PersistentVolumeClaimResize};
pub use event_rate::{EventLimit, EventLimitType, EventRateLimit, EventRateLimitError};
pub use external_ips::DenyServiceExternalIPs;
pub use ingress_class::DefaultIngressClass;
pub use limit_ranger::LimitRanger;
pub use node::NodeRestriction;
pub use node_features::NodeDeclaredFeatureValidator;
pub use owner_references::OwnerReferencesPermissionEnforcement;
pub use plugins::{AdmissionPlugins, AdmissionPluginsError};
pub use pod_resize::PodResizeValidator;
pub use pod_security::{
    Level, LevelVersion, PodSecurity, PodSecurityError, PodSecurityOptions, PolicyVersion,
};
pub use pod_tolerations::PodTolerationRestriction;
pub use priority::Priority;
pub use resource_quota::{LimitedResources, LimitedResourcesError, ResourceQuota};
pub use runtime_class::RuntimeClass;
pub use service_account::ServiceAccount;
pub use storage_protection::StorageObjectInUseProtection;
pub use taints::TaintNodesByCondition;
pub use tolerations::DefaultTolerationSeconds;
pub use topology_labels::PodTopologyLabels;

use kubeplane_core::{Definition, Object, admission::Request, status::ApiError};
use serde_json::Value;

/// Whether a definition is this resource of the core group.
fn is_core(definition: &Definition, plural: &str) -> bool {
    definition.kind.group.is_empty() && definition.plural == plural
}

/// 403 in the words every step uses.
fn refuse(request: &Request<'_>, why: impl std::fmt::Display) -> ApiError {
    ApiError::forbidden(&request.definition.resource(), &name_of(request), why)
}

/// What is written, as messages call it: a name that is to be made yet is told by how it begins.
fn name_of(request: &Request<'_>) -> String {
    let object = request.object.as_deref();
    let own = object.map(|object| [object.name(), object.text(&["metadata", "generateName"])]);
    let names = [request.name].into_iter().chain(own.into_iter().flatten());
    names.into_iter().find(|name| !name.is_empty()).unwrap_or("Unknown").to_owned()
}

/// Several reasons as the original joins them: one as it is, more in brackets, each once.
fn joined(reasons: Vec<String>) -> Option<String> {
    let mut once: Vec<String> = Vec::new();
    for reason in reasons {
        if !once.contains(&reason) {
            once.push(reason);
        }
    }
    match once.len() {
        0 => None,
        1 => once.pop(),
        _ => Some(format!("[{}]", once.join(", "))),
    }
}

/// The items of a list, or none.
fn items<'a>(object: &'a Object, path: &[&str]) -> &'a [Value] {
    object.at(path).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// The list at a path, made if missing.
fn list_mut<'a>(object: &'a mut Object, above: &[&str], name: &str) -> &'a mut Vec<Value> {
    let slot =
        object.map_at_mut(above).entry(name.to_owned()).or_insert_with(|| Value::Array(Vec::new()));
    if !slot.is_array() {
        *slot = Value::Array(Vec::new());
    }
    match slot {
        Value::Array(list) => list,
        _ => unreachable!("the slot was just made a list"),
    }
}
