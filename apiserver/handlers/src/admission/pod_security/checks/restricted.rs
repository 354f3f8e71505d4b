//! What hardened pods must say.

use super::{
    Finding, Pod,
    baseline::{added, bad_profile},
    finding, named, one_or, quoted, quoted_set, setters, which,
};
use serde_json::Value;
use std::collections::BTreeSet;

const VOLUMES: [&str; 9] = [
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "image",
    "persistentVolumeClaim",
    "projected",
    "secret",
];
const FORBIDDEN_VOLUMES: [&str; 21] = [
    "hostPath",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "gitRepo",
    "nfs",
    "iscsi",
    "glusterfs",
    "rbd",
    "flexVolume",
    "cinder",
    "cephfs",
    "flocker",
    "fc",
    "azureFile",
    "vsphereVolume",
    "quobyte",
    "azureDisk",
    "photonPersistentDisk",
    "portworxVolume",
    "scaleIO",
    "storageos",
];

pub(super) fn escalation(pod: Pod<'_>) -> Option<Finding> {
    let containers = which(pod, |one| one.context()["allowPrivilegeEscalation"] != false);
    if containers.is_empty() {
        return None;
    }
    let containers = named(&containers);
    let detail = format!("{containers} must set securityContext.allowPrivilegeEscalation=false");
    finding("allowPrivilegeEscalation != false", detail)
}

pub(super) fn escalation_25(pod: Pod<'_>) -> Option<Finding> {
    if pod.is_windows() { None } else { escalation(pod) }
}

pub(super) fn capabilities(pod: Pod<'_>) -> Option<Finding> {
    let keeping = which(pod, |one| {
        let drop = one.context()["capabilities"]["drop"].as_array().into_iter().flatten();
        !drop.into_iter().any(|name| name == "ALL")
    });
    let mut bad = BTreeSet::new();
    let adding = which(pod, |one| {
        let of: Vec<_> = added(one).filter(|name| *name != "NET_BIND_SERVICE").collect();
        bad.extend(of.iter().map(|name| (*name).to_owned()));
        !of.is_empty()
    });
    let mut details = Vec::new();
    if !keeping.is_empty() {
        let keeping = named(&keeping);
        details.push(format!("{keeping} must set securityContext.capabilities.drop=[\"ALL\"]"));
    }
    if !adding.is_empty() {
        let (adding, bad) = (named(&adding), quoted_set(&bad));
        details
            .push(format!("{adding} must not include {bad} in securityContext.capabilities.add"));
    }
    if details.is_empty() { None } else { finding("unrestricted capabilities", details.join("; ")) }
}

pub(super) fn capabilities_25(pod: Pod<'_>) -> Option<Finding> {
    if pod.is_windows() { None } else { capabilities(pod) }
}

pub(super) fn volumes(pod: Pod<'_>) -> Option<Finding> {
    let (mut bad, mut kinds) = (Vec::new(), BTreeSet::new());
    for volume in pod.volumes() {
        let is = |kind: &&str| !volume[*kind].is_null();
        if VOLUMES.iter().any(is) {
            continue;
        }
        bad.push(volume["name"].as_str().unwrap_or_default());
        let kind = FORBIDDEN_VOLUMES.iter().find(|kind| is(kind)).unwrap_or(&"unknown");
        kinds.insert((*kind).to_owned());
    }
    if bad.is_empty() {
        return None;
    }
    let (volumes, uses) =
        (one_or(bad.len(), "volume", "volumes"), one_or(bad.len(), "uses", "use"));
    let types = one_or(kinds.len(), "restricted volume type", "restricted volume types");
    let detail = format!("{volumes} {} {uses} {types} {}", quoted(bad), quoted_set(&kinds));
    finding("restricted volume types", detail)
}

pub(super) fn non_root(pod: Pod<'_>) -> Option<Finding> {
    let own = pod.context()["runAsNonRoot"].as_bool();
    let explicit = which(pod, |one| one.context()["runAsNonRoot"] == false);
    let setters = setters(own == Some(false), &explicit);
    if !setters.is_empty() {
        let setters = setters.join(" and ");
        let detail = format!("{setters} must not set securityContext.runAsNonRoot=false");
        return finding("runAsNonRoot != true", detail);
    }
    let silent = which(pod, |one| own != Some(true) && !one.context()["runAsNonRoot"].is_boolean());
    if silent.is_empty() {
        return None;
    }
    let silent = named(&silent);
    let detail = format!("pod or {silent} must set securityContext.runAsNonRoot=true");
    finding("runAsNonRoot != true", detail)
}

pub(super) fn non_root_35(pod: Pod<'_>) -> Option<Finding> {
    if pod.is_in_user_namespace() { None } else { non_root(pod) }
}

pub(super) fn user(pod: Pod<'_>) -> Option<Finding> {
    let root = |context: &Value| context["runAsUser"] == 0;
    let setters = setters(root(pod.context()), &which(pod, |one| root(one.context())));
    if setters.is_empty() {
        return None;
    }
    finding("runAsUser=0", format!("{} must not set runAsUser=0", setters.join(" and ")))
}

pub(super) fn user_35(pod: Pod<'_>) -> Option<Finding> {
    if pod.is_in_user_namespace() { None } else { user(pod) }
}

pub(super) fn seccomp(pod: Pod<'_>) -> Option<Finding> {
    if let Some(found) = super::baseline::seccomp(pod) {
        return Some(found);
    }
    let own = &pod.context()["seccompProfile"];
    let set = own.is_object() && !bad_profile(own, &mut BTreeSet::new());
    let silent = which(pod, |one| !set && !one.context()["seccompProfile"].is_object());
    if silent.is_empty() {
        return None;
    }
    let silent = named(&silent);
    let detail = format!(
        "pod or {silent} must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\""
    );
    finding("seccompProfile", detail)
}

pub(super) fn seccomp_25(pod: Pod<'_>) -> Option<Finding> {
    if pod.is_windows() { None } else { seccomp(pod) }
}
