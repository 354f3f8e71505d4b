use async_trait::async_trait;
use kubeplane_runtime_cri::{
    ContainerRuntime, CriClient,
    conformance::Factory,
    testing::{BUSYBOX_IMAGE, Containerd},
};
use std::{path::PathBuf, sync::Arc};

struct Real {
    containerd: Containerd,
}

#[async_trait]
impl Factory for Real {
    async fn runtime(&self) -> Arc<dyn ContainerRuntime> {
        Arc::new(CriClient::connect(self.containerd.socket()).await.unwrap())
    }

    fn image(&self) -> String {
        BUSYBOX_IMAGE.to_owned()
    }

    fn directory(&self) -> PathBuf {
        self.containerd.directory().join("files")
    }
}

kubeplane_runtime_cri::conformance!(Real { containerd: Containerd::start().unwrap() });
