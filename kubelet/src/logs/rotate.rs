//! Keeps logs from growing without end.

use crate::host::Host;
use kubeplane_runtime_cri::{ContainerId, v1};
use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

const LOOK: Duration = Duration::from_secs(10);
const MAX_SIZE: u64 = 10 << 20;
const MAX_FILES: usize = 5;

/// Moves logs away that have become too large, as long as it runs.
pub(crate) async fn keep(host: Arc<Host>) {
    loop {
        host.clock.sleep(LOOK).await;
        if let Err(error) = look(&host).await {
            tracing::debug!(%error, "failed to look after the logs of containers");
        }
    }
}

async fn look(host: &Host) -> crate::Result<()> {
    let running = v1::ContainerStateValue { state: v1::ContainerState::ContainerRunning.into() };
    let filter = v1::ContainerFilter { state: Some(running), ..Default::default() };
    for container in host.runtime.list_containers(filter).await? {
        let Some(pod) = crate::observed::pod_id(&container.labels) else { continue };
        let dir = crate::sandbox::log_dir(&host.config, &pod);
        let name = container.metadata.as_ref().map(|meta| (meta.name.as_str(), meta.attempt));
        let Some((name, attempt)) = name else { continue };
        let path = dir.join(crate::container::log_path(name, attempt));
        let large = fs::metadata(&path).is_ok_and(|meta| meta.len() > MAX_SIZE);
        if large {
            let stamp = host.clock.now().strftime("%Y%m%d-%H%M%S").to_string();
            rotate(&path, &stamp).map_err(|error| crate::Error::file(&path, error))?;
            host.runtime.reopen_container_log(&ContainerId::new(container.id)).await?;
        }
    }
    Ok(())
}

fn rotate(path: &Path, stamp: &str) -> std::io::Result<()> {
    let moved = PathBuf::from(format!("{}.{stamp}", path.display()));
    fs::rename(path, moved)?;
    let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else { return Ok(()) };
    let prefix = format!("{}.", name.to_string_lossy());
    let mut old: Vec<PathBuf> = fs::read_dir(dir)?
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(&prefix))
        .map(|entry| entry.path())
        .collect();
    // Their names sort by time.
    old.sort();
    let surplus = old.len().saturating_sub(MAX_FILES - 1);
    for path in old.into_iter().take(surplus) {
        fs::remove_file(path)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_newest_logs_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("0.log");
        for number in 0..7 {
            fs::write(&path, "x").unwrap();
            rotate(&path, &format!("2026010{number}-000000")).unwrap();
        }
        let mut names: Vec<String> = fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names.len(), MAX_FILES - 1);
        assert_eq!(names[0], "0.log.20260103-000000");
    }
}
