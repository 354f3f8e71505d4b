//! What a pod's specification says, read the way the kubelet needs it.

use k8s_openapi::api::core::v1::{
    Container, ContainerStatus, EphemeralContainer, Pod, PodSpec, PodStatus,
};
use std::{
    borrow::Cow,
    fmt,
    hash::{Hash, Hasher},
};

/// The identity of one pod.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct PodId {
    pub(crate) uid: String,
    pub(crate) namespace: String,
    pub(crate) name: String,
}

impl PodId {
    pub(crate) fn of(pod: &Pod) -> Self {
        Self {
            uid: pod.metadata.uid.clone().unwrap_or_default(),
            namespace: pod.metadata.namespace.clone().unwrap_or_default(),
            name: pod.metadata.name.clone().unwrap_or_default(),
        }
    }
}

impl fmt::Display for PodId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}_{}({})", self.name, self.namespace, self.uid)
    }
}

/// Which list of the specification a container stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Role {
    Init,
    Sidecar,
    App,
    Ephemeral,
}

impl Role {
    /// The list in field paths of events, as in `spec.containers{web}`.
    pub(crate) fn list(self) -> &'static str {
        match self {
            Self::Init | Self::Sidecar => "initContainers",
            Self::App => "containers",
            Self::Ephemeral => "ephemeralContainers",
        }
    }
}

pub(crate) fn spec(pod: &Pod) -> Cow<'_, PodSpec> {
    pod.spec.as_ref().map_or_else(|| Cow::Owned(PodSpec::default()), Cow::Borrowed)
}

pub(crate) fn status(pod: &Pod) -> Cow<'_, PodStatus> {
    pod.status.as_ref().map_or_else(|| Cow::Owned(PodStatus::default()), Cow::Borrowed)
}

pub(crate) fn init_containers(pod: &Pod) -> &[Container] {
    pod.spec.as_ref().and_then(|spec| spec.init_containers.as_deref()).unwrap_or_default()
}

pub(crate) fn containers(pod: &Pod) -> &[Container] {
    pod.spec.as_ref().map(|spec| spec.containers.as_slice()).unwrap_or_default()
}

pub(crate) fn ephemeral_containers(pod: &Pod) -> &[EphemeralContainer] {
    pod.spec.as_ref().and_then(|spec| spec.ephemeral_containers.as_deref()).unwrap_or_default()
}

/// An ephemeral container in the form of the other containers.
pub(crate) fn as_container(ephemeral: &EphemeralContainer) -> Container {
    let e = ephemeral.clone();
    Container {
        name: e.name,
        image: e.image,
        command: e.command,
        args: e.args,
        working_dir: e.working_dir,
        ports: e.ports,
        env_from: e.env_from,
        env: e.env,
        resources: e.resources,
        volume_mounts: e.volume_mounts,
        volume_devices: e.volume_devices,
        lifecycle: e.lifecycle,
        termination_message_path: e.termination_message_path,
        termination_message_policy: e.termination_message_policy,
        image_pull_policy: e.image_pull_policy,
        security_context: e.security_context,
        stdin: e.stdin,
        stdin_once: e.stdin_once,
        tty: e.tty,
        ..Container::default()
    }
}

/// The container of this name, wherever it stands.
pub(crate) fn container_named<'a>(pod: &'a Pod, name: &str) -> Option<(Role, Cow<'a, Container>)> {
    if let Some(found) = containers(pod).iter().find(|c| c.name == name) {
        return Some((Role::App, Cow::Borrowed(found)));
    }
    if let Some(found) = init_containers(pod).iter().find(|c| c.name == name) {
        let role = if is_sidecar(found) { Role::Sidecar } else { Role::Init };
        return Some((role, Cow::Borrowed(found)));
    }
    ephemeral_containers(pod)
        .iter()
        .find(|c| c.name == name)
        .map(|found| (Role::Ephemeral, Cow::Owned(as_container(found))))
}

/// Whether an init container keeps running beside the containers of the pod.
pub(crate) fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

pub(crate) fn restart_policy(pod: &Pod) -> &str {
    pod.spec.as_ref().and_then(|spec| spec.restart_policy.as_deref()).unwrap_or("Always")
}

/// Whether a container that ended with `exit_code` is started again.
pub(crate) fn restarts_after(container: &Container, pod: &Pod, exit_code: i32) -> bool {
    for rule in container.restart_policy_rules.iter().flatten() {
        let Some(codes) = &rule.exit_codes else { continue };
        let listed = codes.values.iter().flatten().any(|value| *value == exit_code);
        let matches = match codes.operator.as_str() {
            "In" => listed,
            "NotIn" => !listed,
            _ => false,
        };
        if matches {
            return rule.action == "Restart";
        }
    }
    match container.restart_policy.as_deref().unwrap_or_else(|| restart_policy(pod)) {
        "Never" => false,
        "OnFailure" => exit_code != 0,
        _ => true,
    }
}

/// Whether a container may be started again after it failed, by policy alone.
pub(crate) fn restarts_on_failure(container: &Container, pod: &Pod) -> bool {
    container.restart_policy.as_deref().unwrap_or_else(|| restart_policy(pod)) != "Never"
}

pub(crate) fn is_host_network(pod: &Pod) -> bool {
    pod.spec.as_ref().and_then(|spec| spec.host_network).unwrap_or(false)
}

pub(crate) fn is_being_deleted(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}

pub(crate) fn phase(status: &PodStatus) -> &str {
    status.phase.as_deref().unwrap_or("")
}

pub(crate) fn is_terminal(status: &PodStatus) -> bool {
    matches!(phase(status), "Succeeded" | "Failed")
}

/// The grace a pod has to end, in seconds; at least one.
pub(crate) fn grace_seconds(pod: &Pod) -> i64 {
    pod.metadata
        .deletion_grace_period_seconds
        .or_else(|| pod.spec.as_ref().and_then(|spec| spec.termination_grace_period_seconds))
        .unwrap_or(30)
        .max(1)
}

pub(crate) fn status_named<'a>(
    statuses: &'a [ContainerStatus],
    name: &str,
) -> Option<&'a ContainerStatus> {
    statuses.iter().find(|status| status.name == name)
}

/// A number that changes when a container must be made anew: its name or image changed.
pub(crate) fn container_hash(container: &Container) -> u64 {
    let text = serde_json::json!({"name": container.name, "image": container.image}).to_string();
    let mut hasher = Fnv::default();
    text.hash(&mut hasher);
    hasher.finish()
}

/// FNV-1a, because the number is stored with the container and must be the same in every build.
struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hasher for Fnv {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn restart_rules_come_before_policies() {
        let pod: Pod = serde_json::from_value(json!({"spec": {"restartPolicy": "Never", "containers": [
            {"name": "a"},
            {"name": "b", "restartPolicy": "Never",
             "restartPolicyRules": [{"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}]},
            {"name": "c", "restartPolicy": "OnFailure"},
        ]}})).unwrap();
        let all = containers(&pod);
        assert!(!restarts_after(&all[0], &pod, 1));
        assert!(restarts_after(&all[1], &pod, 42));
        assert!(!restarts_after(&all[1], &pod, 1));
        assert!(restarts_after(&all[2], &pod, 1));
        assert!(!restarts_after(&all[2], &pod, 0));
    }

    #[test]
    fn a_changed_image_changes_the_hash() {
        let one = Container { name: "a".into(), image: Some("x:1".into()), ..Container::default() };
        let same = Container { command: Some(vec!["y".into()]), ..one.clone() };
        let other = Container { image: Some("x:2".into()), ..one.clone() };
        assert_eq!(container_hash(&one), container_hash(&same));
        assert_ne!(container_hash(&one), container_hash(&other));
    }
}
