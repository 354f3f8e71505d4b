//! What `/livez` and `/readyz` say of the objects every cluster starts with, under the original's names.

use kubeplane_apiserver::{Api, StartCheck};

#[derive(Debug)]
pub(super) struct Checks {
    pub(super) namespaces: StartCheck,
    pub(super) roles: StartCheck,
    pub(super) priority_classes: StartCheck,
    pub(super) flow_control: StartCheck,
    pub(super) service_range: StartCheck,
    pub(super) service: StartCheck,
    pub(super) addresses: StartCheck,
    pub(super) api_services: StartCheck,
    pub(super) extension_access: StartCheck,
}

impl Checks {
    pub(super) fn new(api: &Api) -> Self {
        let hook = |name: &str| api.start_check(&format!("poststarthook/{name}"));
        Self {
            namespaces: hook("start-system-namespaces-controller"),
            roles: hook("rbac/bootstrap-roles"),
            priority_classes: hook("scheduling/bootstrap-system-priority-classes"),
            flow_control: hook("priority-and-fairness-config-producer"),
            service_range: hook("start-kubernetes-service-cidr-controller"),
            service: hook("bootstrap-controller"),
            addresses: hook("start-service-ip-repair-controllers"),
            api_services: hook("kube-apiserver-autoregistration"),
            extension_access: hook("start-cluster-authentication-info-controller"),
        }
    }
}
