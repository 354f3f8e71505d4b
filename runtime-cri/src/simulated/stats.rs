use super::{CPU_ANNOTATION, MEMORY_ANNOTATION, SimulatedRuntime, container::Container, selects};
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
        let used = Used::by(container, timestamp);
        v1::ContainerStats {
            attributes: Some(v1::ContainerAttributes {
                id: container.id.to_string(),
                metadata: container.config.metadata.clone(),
                labels: container.config.labels.clone(),
                annotations: container.config.annotations.clone(),
            }),
            cpu: Some(cpu(timestamp, used)),
            memory: Some(memory_usage(timestamp, used.memory)),
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
        let each = running.iter().map(|one| Used::by(one, timestamp));
        let used = each.fold(Used::default(), |sum, one| Used {
            nano_cores: sum.nano_cores.saturating_add(one.nano_cores),
            nanoseconds: sum.nanoseconds.saturating_add(one.nanoseconds),
            memory: sum.memory.saturating_add(one.memory),
        });
        v1::PodSandboxStats {
            attributes: Some(v1::PodSandboxAttributes {
                id: sandbox.id,
                metadata: sandbox.metadata,
                labels: sandbox.labels,
                annotations: sandbox.annotations,
            }),
            linux: Some(v1::LinuxPodSandboxStats {
                cpu: Some(cpu(timestamp, used)),
                memory: Some(memory_usage(timestamp, used.memory)),
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

/// What a container that only exists in memory is said to use.
#[derive(Debug, Clone, Copy, Default)]
struct Used {
    nano_cores: u64,
    nanoseconds: u64,
    memory: u64,
}

impl Used {
    fn by(container: &Container, now: i64) -> Self {
        if !container.is_running() {
            return Self::default();
        }
        let name = container.config.metadata.as_ref().map_or("", |known| known.name.as_str());
        let said = |key: &str| {
            let own = container.sandbox_config.annotations.get(&format!("{key}-{name}"));
            let text = own.or_else(|| container.sandbox_config.annotations.get(key))?;
            amount(text)
        };
        let cores = said(CPU_ANNOTATION).unwrap_or_default();
        let memory = said(MEMORY_ANNOTATION);
        let running = now.saturating_sub(container.started_at()).max(0);
        #[expect(clippy::cast_precision_loss, reason = "simulated figures need not be exact")]
        let nanoseconds = whole(cores * running as f64);
        Self { nano_cores: whole(cores * 1e9), nanoseconds, memory: memory.map_or(MEMORY, whole) }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the conversion saturates, which is wanted"
)]
fn whole(value: f64) -> u64 {
    value as u64
}

/// An amount as manifests have it; `None` for what is none.
fn amount(text: &str) -> Option<f64> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let factor = match &text[digits.len()..] {
        "" => 1.0,
        "n" => 1e-9,
        "u" => 1e-6,
        "m" => 1e-3,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "Ki" => 1024.0,
        "Mi" => 1_048_576.0,
        "Gi" => 1_073_741_824.0,
        _ => return None,
    };
    let number: f64 = digits.parse().ok()?;
    (number.is_finite() && number >= 0.0).then_some(number * factor)
}

fn cpu(timestamp: i64, used: Used) -> v1::CpuUsage {
    v1::CpuUsage {
        timestamp,
        usage_core_nano_seconds: number(used.nanoseconds),
        usage_nano_cores: number(used.nano_cores),
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
