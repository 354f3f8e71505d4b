//! Taking away what is left of a pod.

use super::{Desired, Next, Worker};
use crate::{
    Result,
    host::Host,
    observed,
    sandbox::{self, CgroupDriver},
    spec::{self, PodId},
};
use k8s_openapi::api::core::v1::Pod;
use std::{fs, path::Path, time::Duration};

impl Worker {
    /// A pod of which nothing runs: kept for its logs until it is deleted.
    pub(super) async fn ended(&mut self) -> Result<Next> {
        let Desired { pod, gone } = self.desired.borrow_and_update().clone();
        self.host.volumes.remove(&self.id.uid).await?;
        if gone {
            remove(&self.host, &self.id, Some(&pod)).await?;
            return Ok(Next::Finished);
        }
        if !spec::is_being_deleted(&pod) {
            return Ok(Next::Wait(self.host.config.sync_period));
        }
        let changed = self.desired.clone();
        tokio::select! {
            () = self.writer.flush() => {}
            () = is_gone(changed) => return Ok(Next::Again),
        }
        remove_from_runtime(&self.host, &self.id.uid).await?;
        self.host.objects.delete_pod(&self.id.namespace, &self.id.name, &self.id.uid).await?;
        // What is left to do follows when the API says that the pod is gone.
        Ok(Next::Wait(Duration::from_secs(2)))
    }
}

async fn is_gone(mut desired: tokio::sync::watch::Receiver<Desired>) {
    if desired.wait_for(|desired| desired.gone).await.is_err() {
        std::future::pending::<()>().await;
    }
}

async fn remove_from_runtime(host: &Host, uid: &str) -> Result<()> {
    let observed = observed::observe(host.runtime.as_ref(), uid).await?;
    for container in &observed.containers {
        host.runtime.remove_container(&container.id).await?;
    }
    for sandbox in &observed.sandboxes {
        host.runtime.stop_sandbox(&sandbox.id).await?;
        host.runtime.remove_sandbox(&sandbox.id).await?;
    }
    Ok(())
}

/// Removes containers, sandboxes, volumes, logs and cgroups of a pod.
pub(crate) async fn remove(host: &Host, id: &PodId, pod: Option<&Pod>) -> Result<()> {
    remove_from_runtime(host, &id.uid).await?;
    host.volumes.remove(&id.uid).await?;
    let logs = sandbox::log_dir(&host.config, id);
    match fs::remove_dir_all(&logs) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            tracing::warn!(pod = %id, %error, "failed to remove the logs of a pod");
        }
        _ => {}
    }
    if let Some(pod) = pod.filter(|_| host.runtime.network_is_real()) {
        remove_cgroups(&sandbox::cgroup_parent(pod, host.cgroup_driver), host.cgroup_driver);
    }
    host.images.forget(&id.uid);
    host.restarts.retain(|(uid, _)| *uid != id.uid);
    Ok(())
}

/// Runtimes leave the cgroup above their containers behind.
fn remove_cgroups(parent: &str, driver: CgroupDriver) {
    if driver == CgroupDriver::Systemd {
        return;
    }
    let root = Path::new("/sys/fs/cgroup");
    let relative = parent.trim_start_matches('/');
    let hierarchies = fs::read_dir(root).into_iter().flatten().flatten().map(|entry| entry.path());
    for hierarchy in std::iter::once(root.to_path_buf()).chain(hierarchies) {
        // Only empty ones can be removed, and only where they exist.
        let _ = fs::remove_dir(hierarchy.join(relative));
    }
}
