/// Implements parts of [`ContainerRuntime`](crate::ContainerRuntime) by handing every call to a field, so that a
/// runtime around another one writes only the parts it changes. The field is a runtime, or a pointer to one.
///
/// ```
/// use async_trait::async_trait;
/// use kubeplane_runtime_cri::{ContainerRuntime, Error, ImageRef, Images, Result, delegate, v1};
/// use std::sync::Arc;
///
/// /// Starts only what is there already.
/// #[derive(Debug)]
/// struct Offline {
///     inner: Arc<dyn ContainerRuntime>,
/// }
///
/// delegate!(Offline, inner: ContainerRuntime, Sandboxes, Containers, Stats);
///
/// #[async_trait]
/// impl Images for Offline {
///     async fn pull_image(
///         &self,
///         image: &v1::ImageSpec,
///         _auth: Option<v1::AuthConfig>,
///         _sandbox: Option<v1::PodSandboxConfig>,
///     ) -> Result<ImageRef> {
///         Err(Error::Unavailable { message: format!("{} is far away", image.image), source: None })
///     }
///     async fn image_status(&self, image: &v1::ImageSpec) -> Result<Option<v1::Image>> {
///         self.inner.image_status(image).await
///     }
///     async fn list_images(&self, filter: v1::ImageFilter) -> Result<Vec<v1::Image>> {
///         self.inner.list_images(filter).await
///     }
///     async fn remove_image(&self, image: &v1::ImageSpec) -> Result<()> {
///         self.inner.remove_image(image).await
///     }
///     async fn image_fs_info(&self) -> Result<v1::ImageFsInfoResponse> {
///         self.inner.image_fs_info().await
///     }
/// }
/// ```
#[macro_export]
macro_rules! delegate {
    ($type:ty, $field:ident: $($part:ident),+ $(,)?) => {
        $($crate::delegate!(@ $part $type, $field);)+
    };
    (@ ContainerRuntime $type:ty, $field:ident) => {
        $crate::delegate!(@ impl ContainerRuntime, $type, $field {
            version() -> $crate::v1::VersionResponse;
            status(verbose: bool) -> $crate::v1::StatusResponse;
            update_pod_cidr(pod_cidr: &str) -> ();
            runtime_config() -> $crate::v1::RuntimeConfigResponse;
            events() -> $crate::EventStream;
        } {
            fn network_is_real(&self) -> bool {
                use $crate::ContainerRuntime as _;
                self.$field.network_is_real()
            }
        });
    };
    (@ Sandboxes $type:ty, $field:ident) => {
        $crate::delegate!(@ impl Sandboxes, $type, $field {
            run_sandbox(config: $crate::v1::PodSandboxConfig, handler: &str) -> $crate::SandboxId;
            stop_sandbox(id: &$crate::SandboxId) -> ();
            remove_sandbox(id: &$crate::SandboxId) -> ();
            sandbox_status(id: &$crate::SandboxId) -> $crate::v1::PodSandboxStatus;
            list_sandboxes(filter: $crate::v1::PodSandboxFilter) -> Vec<$crate::v1::PodSandbox>;
            port_forward(id: &$crate::SandboxId, ports: &[u16]) -> $crate::Forwarding;
        } {});
    };
    (@ Containers $type:ty, $field:ident) => {
        $crate::delegate!(@ impl Containers, $type, $field {
            create_container(
                sandbox: &$crate::SandboxId,
                config: $crate::v1::ContainerConfig,
                sandbox_config: $crate::v1::PodSandboxConfig,
            ) -> $crate::ContainerId;
            start_container(id: &$crate::ContainerId) -> ();
            stop_container(id: &$crate::ContainerId, grace: ::std::time::Duration) -> ();
            remove_container(id: &$crate::ContainerId) -> ();
            container_status(id: &$crate::ContainerId) -> $crate::v1::ContainerStatus;
            list_containers(filter: $crate::v1::ContainerFilter) -> Vec<$crate::v1::Container>;
            update_container_resources(
                id: &$crate::ContainerId,
                resources: $crate::v1::LinuxContainerResources,
            ) -> ();
            reopen_container_log(id: &$crate::ContainerId) -> ();
            exec_sync(
                id: &$crate::ContainerId,
                command: &[String],
                timeout: Option<::std::time::Duration>,
            ) -> $crate::v1::ExecSyncResponse;
            exec(request: $crate::v1::ExecRequest) -> $crate::Streaming;
            attach(request: $crate::v1::AttachRequest) -> $crate::Streaming;
        } {});
    };
    (@ Images $type:ty, $field:ident) => {
        $crate::delegate!(@ impl Images, $type, $field {
            pull_image(
                image: &$crate::v1::ImageSpec,
                auth: Option<$crate::v1::AuthConfig>,
                sandbox: Option<$crate::v1::PodSandboxConfig>,
            ) -> $crate::ImageRef;
            image_status(image: &$crate::v1::ImageSpec) -> Option<$crate::v1::Image>;
            list_images(filter: $crate::v1::ImageFilter) -> Vec<$crate::v1::Image>;
            remove_image(image: &$crate::v1::ImageSpec) -> ();
            image_fs_info() -> $crate::v1::ImageFsInfoResponse;
        } {});
    };
    (@ Stats $type:ty, $field:ident) => {
        $crate::delegate!(@ impl Stats, $type, $field {
            container_stats(id: &$crate::ContainerId) -> $crate::v1::ContainerStats;
            list_container_stats(
                filter: $crate::v1::ContainerStatsFilter,
            ) -> Vec<$crate::v1::ContainerStats>;
            sandbox_stats(id: &$crate::SandboxId) -> $crate::v1::PodSandboxStats;
            list_sandbox_stats(
                filter: $crate::v1::PodSandboxStatsFilter,
            ) -> Vec<$crate::v1::PodSandboxStats>;
        } {});
    };
    (@ impl $part:ident, $type:ty, $field:ident {
        $($method:ident($($name:ident: $argument:ty),* $(,)?) -> $output:ty;)+
    } { $($other:item)* }) => {
        #[$crate::async_trait]
        impl $crate::$part for $type {
            $(async fn $method(&self, $($name: $argument),*) -> $crate::Result<$output> {
                use $crate::$part as _;
                self.$field.$method($($name),*).await
            })+
            $($other)*
        }
    };
}
