//! How each kind's own rules look at metadata, as the original's strategies and validation do.

use kubeplane_core::definition::{MetadataRules, StatusMetadata};

const CORE: MetadataRules = MetadataRules::CORE;
const OTHER: MetadataRules = MetadataRules::OTHER;
/// Metadata is left to the rules of all kinds.
const NONE: MetadataRules = MetadataRules { own: false, ..OTHER.update(0, 0).status(0, 0) };

/// The rules of a kind.
pub(crate) fn rules(group: &str, plural: &str) -> MetadataRules {
    match (group, plural) {
        ("admissionregistration.k8s.io", "validatingadmissionpolicies") => {
            fixed(OTHER.update(1, 0).status(0, 0))
        }
        ("admissionregistration.k8s.io", _) => OTHER.update(1, 0),
        ("apiregistration.k8s.io", _) => fixed(OTHER.update(1, 1)),
        ("apps", "controllerrevisions") | ("batch", "jobs") => CORE.update(1, 1),
        ("apps", "deployments") => in_status(CORE, StatusMetadata::Keeps(&["labels"])),
        ("batch", "cronjobs") => CORE.status(0, 0),
        ("certificates.k8s.io", _) => CORE.update(1, 1).status(1, 1),
        ("coordination.k8s.io", _) => OTHER,
        ("discovery.k8s.io", _) => CORE.update(1, 0),
        ("flowcontrol.apiserver.k8s.io", _) => fixed(CORE.update(1, 0).status(0, 0)),
        ("networking.k8s.io", "ingresses" | "ingressclasses" | "ipaddresses") => CORE.update(1, 1),
        ("networking.k8s.io", "servicecidrs") | ("scheduling.k8s.io", "podgroups") => fixed(CORE),
        ("node.k8s.io", _) => OTHER.update(1, 1),
        ("policy", _) | ("authentication.k8s.io" | "authorization.k8s.io", _) => NONE,
        ("rbac.authorization.k8s.io", _) => CORE.update(1, 1),
        ("resource.k8s.io", "resourceslices") => CORE,
        ("resource.k8s.io", "resourceclaims" | "devicetaintrules") => fixed(CORE.update(1, 1)),
        ("resource.k8s.io", _) => CORE.update(1, 1),
        ("storage.k8s.io", "csidrivers") => CORE,
        ("storage.k8s.io", "csinodes") => CORE.update(1, 0),
        ("storage.k8s.io", "volumeattachments") => fixed(CORE.update(1, 0).status(1, 0)),
        ("storage.k8s.io", _) => CORE.update(1, 1),
        ("", plural) => core(plural),
        _ => CORE,
    }
}

fn core(plural: &str) -> MetadataRules {
    match plural {
        "pods" => {
            let kept = StatusMetadata::Keeps(&["ownerReferences", "deletionTimestamp"]);
            in_status(CORE.update(1, 1), kept)
        }
        "configmaps"
        | "endpoints"
        | "namespaces"
        | "nodes"
        | "persistentvolumeclaims"
        | "secrets"
        | "serviceaccounts" => CORE.update(1, 1),
        "events" => NONE,
        "limitranges" => CORE.update(1, 0),
        "persistentvolumes" => CORE.update(2, 0),
        _ => CORE,
    }
}

const fn fixed(rules: MetadataRules) -> MetadataRules {
    in_status(rules, StatusMetadata::Fixed)
}

const fn in_status(rules: MetadataRules, in_status: StatusMetadata) -> MetadataRules {
    MetadataRules { in_status, ..rules }
}
