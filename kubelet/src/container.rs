//! The configuration of a container for the runtime.

pub(crate) mod hosts;
pub(crate) mod mounts;
pub(crate) mod resources;
pub(crate) mod security;

use crate::{
    Result,
    env::expand::expand,
    observed::{CONTAINER_NAME, HASH, MESSAGE_PATH, MESSAGE_POLICY, POD_GRACE, RESTART_COUNT},
    sandbox,
    spec::{self, Role},
};
use k8s_openapi::api::core::v1::{Container, Pod};
use kubeplane_runtime_cri::{RESTART_POLICY_ANNOTATION, v1};
use std::collections::HashMap;

/// Everything a container configuration is made from.
#[derive(Debug)]
pub(crate) struct Parts<'a> {
    pub(crate) pod: &'a Pod,
    pub(crate) container: &'a Container,
    pub(crate) role: Role,
    pub(crate) restart_count: u32,
    pub(crate) image: v1::ImageSpec,
    pub(crate) image_user: security::ImageUser,
    pub(crate) env: Vec<(String, String)>,
    pub(crate) mounts: Vec<v1::Mount>,
    /// The memory of this machine in bytes.
    pub(crate) memory: u64,
    /// The container whose processes an ephemeral one sees.
    pub(crate) target: Option<String>,
}

/// Where a container logs, below the pod's log directory.
pub(crate) fn log_path(container: &str, restart_count: u32) -> String {
    format!("{container}/{restart_count}.log")
}

/// The configuration of a container.
///
/// # Errors
/// When it may not run as the user it would have.
pub(crate) fn config(parts: Parts<'_>) -> Result<v1::ContainerConfig> {
    let Parts { pod, container, restart_count, .. } = parts;
    security::check_non_root(pod, container, &parts.image_user)?;
    let lookup = |name: &str| {
        let found = parts.env.iter().rev().find(|(known, _)| known == name);
        found.map(|(_, value)| value.clone())
    };
    let expanded = |words: &Option<Vec<String>>| {
        words.iter().flatten().map(|word| expand(word, lookup)).collect::<Vec<_>>()
    };
    let mut labels = sandbox::identity_labels(&spec::PodId::of(pod));
    labels.insert(CONTAINER_NAME.to_owned(), container.name.clone());
    Ok(v1::ContainerConfig {
        metadata: Some(v1::ContainerMetadata {
            name: container.name.clone(),
            attempt: restart_count,
        }),
        image: Some(parts.image),
        command: expanded(&container.command),
        args: expanded(&container.args),
        working_dir: container.working_dir.clone().unwrap_or_default(),
        envs: parts
            .env
            .iter()
            .map(|(key, value)| v1::KeyValue {
                key: key.clone(),
                value: value.clone().into_bytes().into(),
            })
            .collect(),
        mounts: parts.mounts,
        labels,
        annotations: annotations(pod, container, parts.role, restart_count),
        log_path: log_path(&container.name, restart_count),
        stdin: container.stdin.unwrap_or(false),
        stdin_once: container.stdin_once.unwrap_or(false),
        tty: container.tty.unwrap_or(false),
        stop_signal: stop_signal(container).into(),
        linux: Some(v1::LinuxContainerConfig {
            resources: Some(resources::linux(pod, container, parts.memory)),
            security_context: Some(security::container(
                pod,
                container,
                &parts.image_user,
                parts.target.as_deref(),
            )),
        }),
        ..Default::default()
    })
}

fn annotations(
    pod: &Pod,
    container: &Container,
    role: Role,
    restart_count: u32,
) -> HashMap<String, String> {
    let path = container.termination_message_path.clone().unwrap_or_default();
    let policy = container.termination_message_policy.clone().unwrap_or_default();
    let mut annotations = HashMap::from([
        (HASH.to_owned(), format!("{:x}", spec::container_hash(container))),
        (RESTART_COUNT.to_owned(), restart_count.to_string()),
        (MESSAGE_PATH.to_owned(), path),
        (MESSAGE_POLICY.to_owned(), policy),
        (RESTART_POLICY_ANNOTATION.to_owned(), effective_policy(pod, container, role).to_owned()),
    ]);
    if let Some(grace) = spec::spec(pod).termination_grace_period_seconds {
        annotations.insert(POD_GRACE.to_owned(), grace.to_string());
    }
    annotations
}

/// The signal that asks the container to end.
fn stop_signal(container: &Container) -> v1::Signal {
    let name = container.lifecycle.as_ref().and_then(|lifecycle| lifecycle.stop_signal.as_deref());
    let name = name.map(|name| name.replace('+', "PLUS").replace('-', "MINUS"));
    name.and_then(|name| v1::Signal::from_str_name(&name)).unwrap_or(v1::Signal::RuntimeDefault)
}

/// Whether the container is expected to end by itself, which a simulated runtime has to be told.
fn effective_policy<'a>(pod: &'a Pod, container: &'a Container, role: Role) -> &'a str {
    match role {
        Role::Init => "OnFailure",
        Role::Sidecar | Role::Ephemeral => "Always",
        Role::App => {
            container.restart_policy.as_deref().unwrap_or_else(|| spec::restart_policy(pod))
        }
    }
}

#[cfg(test)]
mod tests;
