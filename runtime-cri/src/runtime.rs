use crate::{ContainerId, Error, Forwarding, ImageRef, Result, SandboxId, Streaming, v1};
use async_trait::async_trait;
use futures::stream::BoxStream;
use std::{fmt::Debug, time::Duration};

/// What a runtime tells about its containers as it happens.
pub type EventStream = BoxStream<'static, Result<v1::ContainerEventResponse>>;

/// A container runtime: what a kubelet needs to run pods.
///
/// # Contract
/// Every method may be called from many tasks at once. What a successful call did is visible to every
/// later call. An id that a runtime gave stays valid, also after the runtime or its caller was started
/// anew, until the thing is removed. Times in messages are nanoseconds since 1970.
///
/// # Errors
/// Errors are classified by [`Error`]; `Unavailable` and `DeadlineExceeded` say nothing about whether the
/// request was carried out, so callers list again before they act on them.
#[async_trait]
pub trait ContainerRuntime: Sandboxes + Containers + Images + Stats {
    /// The names and versions of the runtime and of its interface.
    async fn version(&self) -> Result<v1::VersionResponse>;

    /// The conditions `RuntimeReady` and `NetworkReady`, and with `verbose` more text.
    async fn status(&self, verbose: bool) -> Result<v1::StatusResponse>;

    /// Tells the runtime the range of addresses pods of this node have; CIDR text, comma separated.
    async fn update_pod_cidr(&self, pod_cidr: &str) -> Result<()>;

    /// The cgroup driver; many runtimes answer `Unimplemented`.
    async fn runtime_config(&self) -> Result<v1::RuntimeConfigResponse> {
        Err(Error::unimplemented("the runtime does not tell its configuration"))
    }

    /// Events of all containers from now on; many runtimes answer `Unimplemented`.
    ///
    /// # Contract
    /// A slow reader loses events and sees one error, after which the stream ends; lists are the truth.
    async fn events(&self) -> Result<EventStream> {
        Err(Error::unimplemented("the runtime does not send events"))
    }

    /// Whether addresses of sandboxes answer: `false` when containers only exist in a simulation, so
    /// that probing and forwarding over the network can never work.
    fn network_is_real(&self) -> bool {
        true
    }
}

/// Pod sandboxes: what the containers of one pod share.
#[async_trait]
pub trait Sandboxes: Debug + Send + Sync + 'static {
    /// Makes and starts a sandbox; `handler` is the name of a runtime handler or empty.
    ///
    /// # Contract
    /// On return the sandbox is ready and has its addresses. `AlreadyExists` when one of the same name,
    /// namespace, uid and attempt exists.
    ///
    /// # Cancellation
    /// A dropped call may leave a sandbox behind; it is found by listing.
    async fn run_sandbox(&self, config: v1::PodSandboxConfig, handler: &str) -> Result<SandboxId>;

    /// Stops every container of a sandbox at once and gives its network back.
    ///
    /// # Contract
    /// Idempotent: succeeds for one that is stopped or does not exist.
    async fn stop_sandbox(&self, id: &SandboxId) -> Result<()>;

    /// Removes a sandbox with its containers, stopping them if need be.
    ///
    /// # Contract
    /// Idempotent: succeeds for one that does not exist.
    async fn remove_sandbox(&self, id: &SandboxId) -> Result<()>;

    /// The state of one sandbox; `NotFound` when there is none.
    async fn sandbox_status(&self, id: &SandboxId) -> Result<v1::PodSandboxStatus>;

    /// All sandboxes that `filter` lets through.
    async fn list_sandboxes(&self, filter: v1::PodSandboxFilter) -> Result<Vec<v1::PodSandbox>>;

    /// Where connections to `ports` of a sandbox are made.
    async fn port_forward(&self, id: &SandboxId, ports: &[u16]) -> Result<Forwarding>;
}

/// Containers inside sandboxes.
#[async_trait]
pub trait Containers: Debug + Send + Sync + 'static {
    /// Makes a container that does not run yet, in a ready sandbox, of an image that is present.
    ///
    /// # Cancellation
    /// A dropped call may leave a container behind; it is found by listing.
    async fn create_container(
        &self,
        sandbox: &SandboxId,
        config: v1::ContainerConfig,
        sandbox_config: v1::PodSandboxConfig,
    ) -> Result<ContainerId>;

    /// Starts a created container; `FailedPrecondition` or `Internal` when it was started before.
    async fn start_container(&self, id: &ContainerId) -> Result<()>;

    /// Asks a container to end and kills it after `grace`; returns when it has ended.
    ///
    /// # Contract
    /// Idempotent: succeeds for one that has ended or does not exist. A zero `grace` kills at once.
    ///
    /// # Cancellation
    /// A dropped call leaves open whether the container ends.
    async fn stop_container(&self, id: &ContainerId, grace: Duration) -> Result<()>;

    /// Removes a container, killing it if it runs; its log stays.
    ///
    /// # Contract
    /// Idempotent: succeeds for one that does not exist.
    async fn remove_container(&self, id: &ContainerId) -> Result<()>;

    /// The state of one container; `NotFound` when there is none.
    async fn container_status(&self, id: &ContainerId) -> Result<v1::ContainerStatus>;

    /// All containers that `filter` lets through.
    async fn list_containers(&self, filter: v1::ContainerFilter) -> Result<Vec<v1::Container>>;

    /// Changes the limits of a container.
    async fn update_container_resources(
        &self,
        id: &ContainerId,
        resources: v1::LinuxContainerResources,
    ) -> Result<()>;

    /// Opens the log file anew, after it was moved away.
    async fn reopen_container_log(&self, id: &ContainerId) -> Result<()>;

    /// Runs a command in a running container and waits for its end.
    ///
    /// # Errors
    /// `DeadlineExceeded` after `timeout`, when the command is killed; no timeout waits for ever. A
    /// non-zero exit code is no error.
    async fn exec_sync(
        &self,
        id: &ContainerId,
        command: &[String],
        timeout: Option<Duration>,
    ) -> Result<v1::ExecSyncResponse>;

    /// Runs a command in a running container, with streams.
    async fn exec(&self, request: v1::ExecRequest) -> Result<Streaming>;

    /// The streams of the main process of a running container, from now on.
    async fn attach(&self, request: v1::AttachRequest) -> Result<Streaming>;
}

/// Images on this machine.
#[async_trait]
pub trait Images: Debug + Send + Sync + 'static {
    /// Fetches an image and returns what containers are created from.
    ///
    /// # Cancellation
    /// A dropped call may or may not leave the image.
    async fn pull_image(
        &self,
        image: &v1::ImageSpec,
        auth: Option<v1::AuthConfig>,
        sandbox: Option<v1::PodSandboxConfig>,
    ) -> Result<ImageRef>;

    /// What is known of an image; `None` when it is not on this machine.
    async fn image_status(&self, image: &v1::ImageSpec) -> Result<Option<v1::Image>>;

    /// All images on this machine, or those of one name.
    async fn list_images(&self, filter: v1::ImageFilter) -> Result<Vec<v1::Image>>;

    /// Removes an image with all its names; succeeds when there is none.
    async fn remove_image(&self, image: &v1::ImageSpec) -> Result<()>;

    /// How full the file systems of images and of containers are.
    async fn image_fs_info(&self) -> Result<v1::ImageFsInfoResponse>;
}

/// What containers and sandboxes use.
#[async_trait]
pub trait Stats: Debug + Send + Sync + 'static {
    /// The use of one container; `NotFound` when there is none.
    async fn container_stats(&self, id: &ContainerId) -> Result<v1::ContainerStats>;

    /// The use of all running containers that `filter` lets through.
    async fn list_container_stats(
        &self,
        filter: v1::ContainerStatsFilter,
    ) -> Result<Vec<v1::ContainerStats>>;

    /// The use of one sandbox; `NotFound` when there is none, often `Unimplemented`.
    async fn sandbox_stats(&self, id: &SandboxId) -> Result<v1::PodSandboxStats>;

    /// The use of all ready sandboxes that `filter` lets through, often `Unimplemented`.
    async fn list_sandbox_stats(
        &self,
        filter: v1::PodSandboxStatsFilter,
    ) -> Result<Vec<v1::PodSandboxStats>>;
}
