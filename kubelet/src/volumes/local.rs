//! Volumes that are directories of this node: made when first mounted, removed when the provisioner asks.

use crate::{Error, Result, host::Host};
use futures::StreamExt;
use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, Patch, PatchParams};
use kubeplane_workload::storage::{LOCAL_VOLUME, REMOVED};
use serde_json::json;
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

/// How soon a directory that could not be removed is tried again.
const RETRY: Duration = Duration::from_secs(30);

/// The directory of all such volumes.
pub(crate) fn root(data_dir: &Path) -> PathBuf {
    data_dir.join("local-volumes")
}

/// Checks that the directory or device of a volume is there; one right below `root` is made.
pub(super) fn prepare(root: &Path, path: &str) -> Result<PathBuf> {
    let target = PathBuf::from(path);
    if target.parent() == Some(root) && !target.exists() {
        fs::create_dir_all(&target)
            .and_then(|()| fs::set_permissions(&target, fs::Permissions::from_mode(0o777)))
            .map_err(|error| Error::file(&target, error))?;
    }
    if target.exists() {
        Ok(target)
    } else {
        Err(Error::pod(format!("path {path:?} does not exist")))
    }
}

/// Removes the directories that the annotations of the node name, and says so there.
pub(crate) async fn keep(host: Arc<Host>) {
    let mut changes = host.nodes.subscribe();
    loop {
        let failed = remove_all(&host).await;
        let again = async {
            match failed {
                true => host.clock.sleep(RETRY).await,
                false => std::future::pending().await,
            }
        };
        tokio::select! {
            change = changes.next() => if change.is_none() { return },
            () = again => {}
        }
    }
}

/// Whether something is to be tried again.
async fn remove_all(host: &Host) -> bool {
    let Some(node) = host.node() else { return false };
    let root = root(&host.config.data_dir);
    let mut failed = false;
    for (key, value) in node.metadata.annotations.iter().flatten() {
        let Some(name) = key.strip_prefix(LOCAL_VOLUME).filter(|_| value != REMOVED) else {
            continue;
        };
        let directory = root.join(name);
        let work = tokio::task::spawn_blocking(move || remove(&directory)).await;
        let answer = match work {
            Ok(Ok(())) => REMOVED.to_owned(),
            Ok(Err(error)) => format!("failed to remove the directory: {error}"),
            Err(error) => format!("failed to remove the directory: {error}"),
        };
        failed |= answer != REMOVED;
        if *value != answer
            && let Err(error) = tell(host, key, &answer).await
        {
            tracing::warn!(%error, volume = name, "failed to tell that a volume is removed");
            failed = true;
        }
    }
    failed
}

fn remove(directory: &Path) -> std::io::Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

async fn tell(host: &Host, key: &str, answer: &str) -> Result<()> {
    let api = Api::<Node>::all(host.client.clone());
    let patch = json!({"metadata": {"annotations": {key: answer}}});
    let name = &host.config.node_name;
    api.patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await?;
    Ok(())
}
