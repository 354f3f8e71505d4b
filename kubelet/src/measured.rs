//! The runtime, with every call counted and timed.

use crate::metrics::KubeletMetrics;
use async_trait::async_trait;
use kubeplane_clock::SharedClock;
use kubeplane_runtime_cri::{
    ContainerId, ContainerRuntime, Containers, EventStream, Forwarding, ImageRef, Images, Result,
    SandboxId, Sandboxes, Stats, Streaming, v1,
};
use std::{sync::Arc, time::Duration};

/// A runtime whose calls are counted and timed.
#[derive(Debug)]
pub(crate) struct Measured {
    pub(crate) runtime: Arc<dyn ContainerRuntime>,
    pub(crate) clock: SharedClock,
    pub(crate) metrics: KubeletMetrics,
}

impl Measured {
    async fn timed<T>(
        &self,
        operation: &'static str,
        call: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        let start = self.clock.elapsed();
        let result = call.await;
        let took = self.clock.elapsed().saturating_sub(start);
        self.metrics.operation(operation, result.is_err(), took);
        result
    }
}

#[async_trait]
impl ContainerRuntime for Measured {
    async fn version(&self) -> Result<v1::VersionResponse> {
        self.timed("version", self.runtime.version()).await
    }

    async fn status(&self, verbose: bool) -> Result<v1::StatusResponse> {
        self.timed("status", self.runtime.status(verbose)).await
    }

    async fn update_pod_cidr(&self, pod_cidr: &str) -> Result<()> {
        self.timed("update_runtime_config", self.runtime.update_pod_cidr(pod_cidr)).await
    }

    async fn runtime_config(&self) -> Result<v1::RuntimeConfigResponse> {
        self.timed("runtime_config", self.runtime.runtime_config()).await
    }

    async fn events(&self) -> Result<EventStream> {
        // Lasts as long as the stream, so there is nothing to time.
        self.runtime.events().await
    }

    fn network_is_real(&self) -> bool {
        self.runtime.network_is_real()
    }
}

#[async_trait]
impl Sandboxes for Measured {
    async fn run_sandbox(&self, config: v1::PodSandboxConfig, handler: &str) -> Result<SandboxId> {
        let start = self.clock.elapsed();
        let result = self.timed("run_podsandbox", self.runtime.run_sandbox(config, handler)).await;
        let took = self.clock.elapsed().saturating_sub(start);
        self.metrics.sandbox(handler, result.is_err(), took);
        result
    }

    async fn stop_sandbox(&self, id: &SandboxId) -> Result<()> {
        self.timed("stop_podsandbox", self.runtime.stop_sandbox(id)).await
    }

    async fn remove_sandbox(&self, id: &SandboxId) -> Result<()> {
        self.timed("remove_podsandbox", self.runtime.remove_sandbox(id)).await
    }

    async fn sandbox_status(&self, id: &SandboxId) -> Result<v1::PodSandboxStatus> {
        self.timed("podsandbox_status", self.runtime.sandbox_status(id)).await
    }

    async fn list_sandboxes(&self, filter: v1::PodSandboxFilter) -> Result<Vec<v1::PodSandbox>> {
        self.timed("list_podsandbox", self.runtime.list_sandboxes(filter)).await
    }

    async fn port_forward(&self, id: &SandboxId, ports: &[u16]) -> Result<Forwarding> {
        self.timed("port_forward", self.runtime.port_forward(id, ports)).await
    }
}

#[async_trait]
impl Containers for Measured {
    async fn create_container(
        &self,
        sandbox: &SandboxId,
        config: v1::ContainerConfig,
        sandbox_config: v1::PodSandboxConfig,
    ) -> Result<ContainerId> {
        let call = self.runtime.create_container(sandbox, config, sandbox_config);
        self.timed("create_container", call).await
    }

    async fn start_container(&self, id: &ContainerId) -> Result<()> {
        self.timed("start_container", self.runtime.start_container(id)).await
    }

    async fn stop_container(&self, id: &ContainerId, grace: Duration) -> Result<()> {
        self.timed("stop_container", self.runtime.stop_container(id, grace)).await
    }

    async fn remove_container(&self, id: &ContainerId) -> Result<()> {
        self.timed("remove_container", self.runtime.remove_container(id)).await
    }

    async fn container_status(&self, id: &ContainerId) -> Result<v1::ContainerStatus> {
        self.timed("container_status", self.runtime.container_status(id)).await
    }

    async fn list_containers(&self, filter: v1::ContainerFilter) -> Result<Vec<v1::Container>> {
        self.timed("list_containers", self.runtime.list_containers(filter)).await
    }

    async fn update_container_resources(
        &self,
        id: &ContainerId,
        resources: v1::LinuxContainerResources,
    ) -> Result<()> {
        let call = self.runtime.update_container_resources(id, resources);
        self.timed("update_container", call).await
    }

    async fn reopen_container_log(&self, id: &ContainerId) -> Result<()> {
        self.timed("reopen_container_log", self.runtime.reopen_container_log(id)).await
    }

    async fn exec_sync(
        &self,
        id: &ContainerId,
        command: &[String],
        timeout: Option<Duration>,
    ) -> Result<v1::ExecSyncResponse> {
        self.timed("exec_sync", self.runtime.exec_sync(id, command, timeout)).await
    }

    async fn exec(&self, request: v1::ExecRequest) -> Result<Streaming> {
        self.timed("exec", self.runtime.exec(request)).await
    }

    async fn attach(&self, request: v1::AttachRequest) -> Result<Streaming> {
        self.timed("attach", self.runtime.attach(request)).await
    }
}

#[async_trait]
impl Images for Measured {
    async fn pull_image(
        &self,
        image: &v1::ImageSpec,
        auth: Option<v1::AuthConfig>,
        sandbox: Option<v1::PodSandboxConfig>,
    ) -> Result<ImageRef> {
        self.timed("pull_image", self.runtime.pull_image(image, auth, sandbox)).await
    }

    async fn image_status(&self, image: &v1::ImageSpec) -> Result<Option<v1::Image>> {
        self.timed("image_status", self.runtime.image_status(image)).await
    }

    async fn list_images(&self, filter: v1::ImageFilter) -> Result<Vec<v1::Image>> {
        self.timed("list_images", self.runtime.list_images(filter)).await
    }

    async fn remove_image(&self, image: &v1::ImageSpec) -> Result<()> {
        self.timed("remove_image", self.runtime.remove_image(image)).await
    }

    async fn image_fs_info(&self) -> Result<v1::ImageFsInfoResponse> {
        self.timed("image_fs_info", self.runtime.image_fs_info()).await
    }
}

#[async_trait]
impl Stats for Measured {
    async fn container_stats(&self, id: &ContainerId) -> Result<v1::ContainerStats> {
        self.timed("container_stats", self.runtime.container_stats(id)).await
    }

    async fn list_container_stats(
        &self,
        filter: v1::ContainerStatsFilter,
    ) -> Result<Vec<v1::ContainerStats>> {
        self.timed("list_container_stats", self.runtime.list_container_stats(filter)).await
    }

    async fn sandbox_stats(&self, id: &SandboxId) -> Result<v1::PodSandboxStats> {
        self.timed("podsandbox_stats", self.runtime.sandbox_stats(id)).await
    }

    async fn list_sandbox_stats(
        &self,
        filter: v1::PodSandboxStatsFilter,
    ) -> Result<Vec<v1::PodSandboxStats>> {
        self.timed("list_podsandbox_stats", self.runtime.list_sandbox_stats(filter)).await
    }
}
