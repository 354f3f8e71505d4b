//! What of this machine a container sees.

use crate::{
    Error, Result,
    env::expand::expand,
    spec,
    volumes::{Mounted, create_dir, sub_path},
};
use k8s_openapi::api::core::v1::{Container, Pod, VolumeMount};
use kubeplane_runtime_cri::v1;
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

const HOSTS: &str = "/etc/hosts";
/// Where a container may leave a message for its status, when it says nothing else.
const MESSAGE: &str = "/dev/termination-log";

/// The mounts of a container: its volumes, `/etc/hosts` and the file for its last message.
///
/// # Errors
/// When a volume or a part of one does not exist.
pub(crate) fn mounts(
    container: &Container,
    volumes: &Mounted,
    env: &[(String, String)],
    pod_dir: &Path,
    hosts: Option<PathBuf>,
) -> Result<Vec<v1::Mount>> {
    let mut mounts = Vec::new();
    let mut own_hosts = false;
    for mount in container.volume_mounts.iter().flatten() {
        let path = source(mount, volumes, env)?;
        own_hosts |= mount.mount_path == HOSTS;
        mounts.push(v1::Mount {
            container_path: absolute(&mount.mount_path),
            host_path: text(&path),
            readonly: mount.read_only.unwrap_or(false),
            propagation: match mount.mount_propagation.as_deref() {
                Some("HostToContainer") => v1::MountPropagation::PropagationHostToContainer.into(),
                Some("Bidirectional") => v1::MountPropagation::PropagationBidirectional.into(),
                _ => v1::MountPropagation::PropagationPrivate.into(),
            },
            ..Default::default()
        });
    }
    if let Some(hosts) = hosts.filter(|_| !own_hosts) {
        let read_only = container
            .security_context
            .as_ref()
            .and_then(|context| context.read_only_root_filesystem)
            .unwrap_or(false);
        mounts.push(v1::Mount {
            container_path: HOSTS.to_owned(),
            host_path: text(&hosts),
            readonly: read_only,
            ..Default::default()
        });
    }
    let wanted = container.termination_message_path.as_deref().unwrap_or(MESSAGE);
    if !wanted.is_empty() {
        mounts.push(v1::Mount {
            container_path: absolute(wanted),
            host_path: text(&message_file(pod_dir, &container.name)?),
            ..Default::default()
        });
    }
    Ok(mounts)
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn absolute(path: &str) -> String {
    if path.starts_with('/') { path.to_owned() } else { format!("/{path}") }
}

fn source(mount: &VolumeMount, volumes: &Mounted, env: &[(String, String)]) -> Result<PathBuf> {
    let volume = volumes.get(&mount.name).ok_or_else(|| {
        Error::pod(format!("cannot find volume {:?} to mount into container", mount.name))
    })?;
    let expression = mount.sub_path_expr.as_deref().filter(|text| !text.is_empty());
    let sub_path = match expression {
        Some(expression) => expanded(expression, env)?,
        None => mount.sub_path.clone().unwrap_or_default(),
    };
    if sub_path.is_empty() {
        return Ok(volume.clone());
    }
    sub_path::resolve(volume, &sub_path).map_err(|error| {
        Error::pod(format!("failed to prepare subPath for volumeMount {:?}: {error}", mount.name))
    })
}

fn expanded(expression: &str, env: &[(String, String)]) -> Result<String> {
    let missing = std::cell::RefCell::new(Vec::new());
    let text = expand(expression, |name| {
        let found = env.iter().rev().find(|(known, _)| known == name);
        if found.is_none() {
            missing.borrow_mut().push(name.to_owned());
        }
        found.map(|(_, value)| value.clone())
    });
    match missing.into_inner().first() {
        Some(name) => Err(Error::pod(format!("missing value for {name:?}"))),
        None => Ok(text),
    }
}

/// A fresh file for the last message of the next run of a container.
fn message_file(pod_dir: &Path, container: &str) -> Result<PathBuf> {
    let dir = pod_dir.join("containers").join(container);
    create_dir(&dir)?;
    let unique = uuid::Uuid::new_v4().simple().to_string();
    let path = dir.join(&unique[..8]);
    let make = || {
        fs::write(&path, "")?;
        // Any user of the container may write it.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666))
    };
    make().map_err(|error| Error::file(&path, error))?;
    Ok(path)
}

/// Whether a pod's containers get an `/etc/hosts` of the kubelet.
pub(crate) fn manages_hosts(pod: &Pod, pod_ips: &[String]) -> bool {
    spec::is_host_network(pod) || !pod_ips.is_empty()
}
