use super::CriClient;
use crate::{ContainerId, Error, Result, SandboxId, Stats, v1};
use async_trait::async_trait;

#[async_trait]
impl Stats for CriClient {
    async fn container_stats(&self, id: &ContainerId) -> Result<v1::ContainerStats> {
        let request = self.request(v1::ContainerStatsRequest { container_id: id.to_string() });
        let answer = self.runtime().container_stats(request).await?.into_inner();
        answer.stats.ok_or_else(|| Error::not_found("container", id.as_str()))
    }

    async fn list_container_stats(
        &self,
        filter: v1::ContainerStatsFilter,
    ) -> Result<Vec<v1::ContainerStats>> {
        let request = self.request(v1::ListContainerStatsRequest { filter: Some(filter) });
        Ok(self.runtime().list_container_stats(request).await?.into_inner().stats)
    }

    async fn sandbox_stats(&self, id: &SandboxId) -> Result<v1::PodSandboxStats> {
        let request = self.request(v1::PodSandboxStatsRequest { pod_sandbox_id: id.to_string() });
        let answer = self.runtime().pod_sandbox_stats(request).await?.into_inner();
        answer.stats.ok_or_else(|| Error::not_found("sandbox", id.as_str()))
    }

    async fn list_sandbox_stats(
        &self,
        filter: v1::PodSandboxStatsFilter,
    ) -> Result<Vec<v1::PodSandboxStats>> {
        let request = self.request(v1::ListPodSandboxStatsRequest { filter: Some(filter) });
        Ok(self.runtime().list_pod_sandbox_stats(request).await?.into_inner().stats)
    }
}
