use super::{CriClient, limited, sandboxes::absent_is_done};
use crate::{ContainerId, Containers, Error, Result, SandboxId, Streaming, v1};
use async_trait::async_trait;
use std::time::Duration;
use tonic::Request;

#[async_trait]
impl Containers for CriClient {
    async fn create_container(
        &self,
        sandbox: &SandboxId,
        config: v1::ContainerConfig,
        sandbox_config: v1::PodSandboxConfig,
    ) -> Result<ContainerId> {
        let request = self.request(v1::CreateContainerRequest {
            pod_sandbox_id: sandbox.to_string(),
            config: Some(config),
            sandbox_config: Some(sandbox_config),
        });
        let id = self.runtime().create_container(request).await?.into_inner().container_id;
        if id.is_empty() {
            return Err(Error::internal("the runtime gave the container no id"));
        }
        Ok(id.into())
    }

    async fn start_container(&self, id: &ContainerId) -> Result<()> {
        let request = self.request(v1::StartContainerRequest { container_id: id.to_string() });
        self.runtime().start_container(request).await?;
        Ok(())
    }

    async fn stop_container(&self, id: &ContainerId, grace: Duration) -> Result<()> {
        let message = v1::StopContainerRequest {
            container_id: id.to_string(),
            timeout: whole_seconds(grace),
        };
        absent_is_done(
            self.runtime()
                .stop_container(limited(message, self.timeout.saturating_add(grace)))
                .await,
        )
    }

    async fn remove_container(&self, id: &ContainerId) -> Result<()> {
        let request = self.request(v1::RemoveContainerRequest { container_id: id.to_string() });
        absent_is_done(self.runtime().remove_container(request).await)
    }

    async fn container_status(&self, id: &ContainerId) -> Result<v1::ContainerStatus> {
        let message = v1::ContainerStatusRequest { container_id: id.to_string(), verbose: false };
        let answer = self.runtime().container_status(self.request(message)).await?.into_inner();
        answer.status.ok_or_else(|| Error::internal("the runtime gave no status of the container"))
    }

    async fn list_containers(&self, filter: v1::ContainerFilter) -> Result<Vec<v1::Container>> {
        let request = self.request(v1::ListContainersRequest { filter: Some(filter) });
        Ok(self.runtime().list_containers(request).await?.into_inner().containers)
    }

    async fn update_container_resources(
        &self,
        id: &ContainerId,
        resources: v1::LinuxContainerResources,
    ) -> Result<()> {
        let request = self.request(v1::UpdateContainerResourcesRequest {
            container_id: id.to_string(),
            linux: Some(resources),
            ..Default::default()
        });
        self.runtime().update_container_resources(request).await?;
        Ok(())
    }

    async fn reopen_container_log(&self, id: &ContainerId) -> Result<()> {
        let request = self.request(v1::ReopenContainerLogRequest { container_id: id.to_string() });
        self.runtime().reopen_container_log(request).await?;
        Ok(())
    }

    async fn exec_sync(
        &self,
        id: &ContainerId,
        command: &[String],
        timeout: Option<Duration>,
    ) -> Result<v1::ExecSyncResponse> {
        let message = v1::ExecSyncRequest {
            container_id: id.to_string(),
            cmd: command.to_vec(),
            timeout: timeout.map_or(0, |limit| whole_seconds(limit).max(1)),
        };
        let request = match timeout {
            Some(limit) => limited(message, self.timeout.saturating_add(limit)),
            None => Request::new(message),
        };
        Ok(self.runtime().exec_sync(request).await?.into_inner())
    }

    async fn exec(&self, request: v1::ExecRequest) -> Result<Streaming> {
        let request = self.request(request);
        Ok(Streaming::Url(self.runtime().exec(request).await?.into_inner().url))
    }

    async fn attach(&self, request: v1::AttachRequest) -> Result<Streaming> {
        let request = self.request(request);
        Ok(Streaming::Url(self.runtime().attach(request).await?.into_inner().url))
    }
}

/// The interface counts whole seconds; a part of one counts as one, so that no grace becomes none.
fn whole_seconds(duration: Duration) -> i64 {
    let seconds = duration.as_secs().saturating_add(u64::from(duration.subsec_nanos() > 0));
    i64::try_from(seconds).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_seconds_count_as_whole_ones() {
        assert_eq!(whole_seconds(Duration::ZERO), 0);
        assert_eq!(whole_seconds(Duration::from_millis(1)), 1);
        assert_eq!(whole_seconds(Duration::from_secs(30)), 30);
        assert_eq!(whole_seconds(Duration::MAX), i64::MAX);
    }
}
