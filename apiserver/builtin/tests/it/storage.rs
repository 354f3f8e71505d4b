//! Where kinds are kept: as in the original, so that one etcd serves both.

use kubeplane_builtin::all;
use std::collections::BTreeMap;

/// Group, plural, and the path below `/registry` at which a server of Kubernetes 1.36 keeps the objects.
const PATHS: &[(&str, &str, &str)] = &[
    ("", "componentstatuses", "componentstatuses"),
    ("", "configmaps", "configmaps"),
    ("", "endpoints", "services/endpoints"),
    ("", "events", "events"),
    ("", "limitranges", "limitranges"),
    ("", "namespaces", "namespaces"),
    ("", "nodes", "minions"),
    ("", "persistentvolumeclaims", "persistentvolumeclaims"),
    ("", "persistentvolumes", "persistentvolumes"),
    ("", "pods", "pods"),
    ("", "podtemplates", "podtemplates"),
    ("", "replicationcontrollers", "controllers"),
    ("", "resourcequotas", "resourcequotas"),
    ("", "secrets", "secrets"),
    ("", "serviceaccounts", "serviceaccounts"),
    ("", "services", "services/specs"),
    ("admissionregistration.k8s.io", "mutatingadmissionpolicies", "mutatingadmissionpolicies"),
    (
        "admissionregistration.k8s.io",
        "mutatingadmissionpolicybindings",
        "mutatingadmissionpolicybindings",
    ),
    (
        "admissionregistration.k8s.io",
        "mutatingwebhookconfigurations",
        "mutatingwebhookconfigurations",
    ),
    ("admissionregistration.k8s.io", "validatingadmissionpolicies", "validatingadmissionpolicies"),
    (
        "admissionregistration.k8s.io",
        "validatingadmissionpolicybindings",
        "validatingadmissionpolicybindings",
    ),
    (
        "admissionregistration.k8s.io",
        "validatingwebhookconfigurations",
        "validatingwebhookconfigurations",
    ),
    (
        "apiextensions.k8s.io",
        "customresourcedefinitions",
        "apiextensions.k8s.io/customresourcedefinitions",
    ),
    ("apiregistration.k8s.io", "apiservices", "apiregistration.k8s.io/apiservices"),
    ("apps", "controllerrevisions", "controllerrevisions"),
    ("apps", "daemonsets", "daemonsets"),
    ("apps", "deployments", "deployments"),
    ("apps", "replicasets", "replicasets"),
    ("apps", "statefulsets", "statefulsets"),
    ("autoscaling", "horizontalpodautoscalers", "horizontalpodautoscalers"),
    ("batch", "cronjobs", "cronjobs"),
    ("batch", "jobs", "jobs"),
    ("certificates.k8s.io", "certificatesigningrequests", "certificatesigningrequests"),
    ("coordination.k8s.io", "leases", "leases"),
    ("discovery.k8s.io", "endpointslices", "endpointslices"),
    ("events.k8s.io", "events", "events"),
    ("flowcontrol.apiserver.k8s.io", "flowschemas", "flowschemas"),
    ("flowcontrol.apiserver.k8s.io", "prioritylevelconfigurations", "prioritylevelconfigurations"),
    ("networking.k8s.io", "ingressclasses", "ingressclasses"),
    ("networking.k8s.io", "ingresses", "ingress"),
    ("networking.k8s.io", "ipaddresses", "ipaddresses"),
    ("networking.k8s.io", "networkpolicies", "networkpolicies"),
    ("networking.k8s.io", "servicecidrs", "servicecidrs"),
    ("node.k8s.io", "runtimeclasses", "runtimeclasses"),
    ("policy", "poddisruptionbudgets", "poddisruptionbudgets"),
    ("rbac.authorization.k8s.io", "clusterrolebindings", "clusterrolebindings"),
    ("rbac.authorization.k8s.io", "clusterroles", "clusterroles"),
    ("rbac.authorization.k8s.io", "rolebindings", "rolebindings"),
    ("rbac.authorization.k8s.io", "roles", "roles"),
    ("resource.k8s.io", "deviceclasses", "deviceclasses"),
    ("resource.k8s.io", "resourceclaims", "resourceclaims"),
    ("resource.k8s.io", "resourceclaimtemplates", "resourceclaimtemplates"),
    ("resource.k8s.io", "resourceslices", "resourceslices"),
    ("scheduling.k8s.io", "priorityclasses", "priorityclasses"),
    ("storage.k8s.io", "csidrivers", "csidrivers"),
    ("storage.k8s.io", "csinodes", "csinodes"),
    ("storage.k8s.io", "csistoragecapacities", "csistoragecapacities"),
    ("storage.k8s.io", "storageclasses", "storageclasses"),
    ("storage.k8s.io", "volumeattachments", "volumeattachments"),
    ("storage.k8s.io", "volumeattributesclasses", "volumeattributesclasses"),
];

#[test]
fn every_kind_is_kept_where_the_original_keeps_it() {
    let paths: BTreeMap<_, _> = PATHS.iter().map(|row| ((row.0, row.1), row.2)).collect();
    for kind in all() {
        if kind.verbs.iter().all(|verb| *verb == kubeplane_core::definition::Verb::Create) {
            continue; // Reviews and bindings are stored nowhere.
        }
        let path = paths.get(&(kind.kind.group.as_ref(), kind.plural.as_ref()));
        let path = path.unwrap_or_else(|| panic!("{} is not in the table", kind.resource()));
        assert_eq!(kind.storage_path(), *path, "{}", kind.resource());
    }
}
