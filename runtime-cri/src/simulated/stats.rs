use super::{SimulatedRuntime, container::Container, selects};
use crate::{ContainerId, Error, Result, SandboxId, Sandboxes, Stats, v1};
use async_trait::async_trait;

/// What every running container is said to hold in memory, in bytes.
const MEMORY: u64 = 1 << 20;

fn number(value: u64) -> Option<v1::UInt64Value> {
    Some(v1::UInt64Value { value })
}

impl SimulatedRuntime {
    fn stats_of(&self, container: &Container) -> v1::ContainerStats {
        let timestamp = self.now();
        let memory = if container.is_running() { MEMORY } else { 0 };
        v1::ContainerStats {
            attributes: Some(v1::ContainerAttributes {
                id: container.id.to_string(),
                metadata: container.config.metadata.clone(),
                labels: container.config.labels.clone(),
                annotations: container.config.annotations.clone(),
            }),
            cpu: Some(cpu(timestamp)),
            memory: Some(memory_usage(timestamp, memory)),
            writable_layer: Some(v1::FilesystemUsage {
                timestamp,
                fs_id: Some(v1::FilesystemIdentifier { mountpoint: "/".to_owned() }),
                used_bytes: number(0),
                inodes_used: number(0),
            }),
            ..Default::default()
        }
    }

    fn sandbox_stats_of(&self, sandbox: v1::PodSandbox) -> v1::PodSandboxStats {
        let timestamp = self.now();
        let id = SandboxId::from(sandbox.id.clone());
        let running: Vec<_> =
            self.containers_of(&id).into_iter().filter(|one| one.is_running()).collect();
        v1::PodSandboxStats {
            attributes: Some(v1::PodSandboxAttributes {
                id: sandbox.id,
                metadata: sandbox.metadata,
                labels: sandbox.labels,
                annotations: sandbox.annotations,
            }),
            linux: Some(v1::LinuxPodSandboxStats {
                cpu: Some(cpu(timestamp)),
                memory: Some(memory_usage(timestamp, MEMORY * running.len() as u64)),
                process: Some(v1::ProcessUsage {
                    timestamp,
                    process_count: number(running.len() as u64),
                }),
                containers: running.iter().map(|one| self.stats_of(one)).collect(),
                ..Default::default()
            }),
        }
    }
}

/// Containers that only exist in memory use no processor.
fn cpu(timestamp: i64) -> v1::CpuUsage {
    v1::CpuUsage {
        timestamp,
        usage_core_nano_seconds: number(0),
        usage_nano_cores: number(0),
        psi: None,
    }
}

fn memory_usage(timestamp: i64, bytes: u64) -> v1::MemoryUsage {
    v1::MemoryUsage {
        timestamp,
        working_set_bytes: number(bytes),
        usage_bytes: number(bytes),
        rss_bytes: number(bytes),
        ..Default::default()
    }
}

#[async_trait]
impl Stats for SimulatedRuntime {
    async fn container_stats(&self, id: &ContainerId) -> Result<v1::ContainerStats> {
        Ok(self.stats_of(&*self.container(id)?))
    }

    async fn list_container_stats(
        &self,
        filter: v1::ContainerStatsFilter,
    ) -> Result<Vec<v1::ContainerStats>> {
        let all: Vec<_> = self.inner.state.lock().containers.values().cloned().collect();
        let matching = all.iter().filter(|one| {
            one.is_running()
                && (filter.id.is_empty() || filter.id == one.id.as_str())
                && (filter.pod_sandbox_id.is_empty()
                    || filter.pod_sandbox_id == one.sandbox.as_str())
                && selects(&filter.label_selector, &one.config.labels)
        });
        Ok(matching.map(|one| self.stats_of(one)).collect())
    }

    async fn sandbox_stats(&self, id: &SandboxId) -> Result<v1::PodSandboxStats> {
        let filter = v1::PodSandboxFilter { id: id.to_string(), ..Default::default() };
        let found = self.list_sandboxes(filter).await?.into_iter().next();
        let sandbox = found.ok_or_else(|| Error::not_found("sandbox", id.as_str()))?;
        Ok(self.sandbox_stats_of(sandbox))
    }

    async fn list_sandbox_stats(
        &self,
        filter: v1::PodSandboxStatsFilter,
    ) -> Result<Vec<v1::PodSandboxStats>> {
        let ready = v1::PodSandboxState::SandboxReady.into();
        let filter = v1::PodSandboxFilter {
            id: filter.id,
            state: Some(v1::PodSandboxStateValue { state: ready }),
            label_selector: filter.label_selector,
        };
        let sandboxes = self.list_sandboxes(filter).await?;
        Ok(sandboxes.into_iter().map(|sandbox| self.sandbox_stats_of(sandbox)).collect())
    }
}
