//! The CRI client against a containerd that each test starts for itself.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod conformance;
mod connecting;
mod streaming;

use kubeplane_runtime_cri::{
    ContainerId, Containers, CriClient, SandboxId, Sandboxes,
    testing::{BUSYBOX_IMAGE, Containerd},
    v1,
};
use std::{future::Future, time::Duration};

/// A containerd with one sandbox on the host's network.
struct Bench {
    client: CriClient,
    sandbox: SandboxId,
    config: v1::PodSandboxConfig,
    _containerd: Containerd,
}

impl Bench {
    async fn new() -> Self {
        let containerd = Containerd::start().unwrap();
        let client = CriClient::connect(containerd.socket()).await.unwrap();
        let security_context = Some(v1::LinuxSandboxSecurityContext {
            namespace_options: Some(host_network()),
            ..Default::default()
        });
        let config = v1::PodSandboxConfig {
            metadata: Some(v1::PodSandboxMetadata {
                name: "pod".to_owned(),
                uid: "uid".to_owned(),
                namespace: "default".to_owned(),
                attempt: 0,
            }),
            log_directory: containerd.directory().join("logs").display().to_string(),
            linux: Some(v1::LinuxPodSandboxConfig { security_context, ..Default::default() }),
            ..Default::default()
        };
        std::fs::create_dir_all(&config.log_directory).unwrap();
        let sandbox = client.run_sandbox(config.clone(), "").await.unwrap();
        Self { client, sandbox, config, _containerd: containerd }
    }

    async fn start(
        &self,
        script: &str,
        change: impl FnOnce(&mut v1::ContainerConfig),
    ) -> ContainerId {
        let security_context = Some(v1::LinuxContainerSecurityContext {
            namespace_options: Some(host_network()),
            ..Default::default()
        });
        let mut config = v1::ContainerConfig {
            metadata: Some(v1::ContainerMetadata { name: "main".to_owned(), attempt: 0 }),
            image: Some(v1::ImageSpec { image: BUSYBOX_IMAGE.to_owned(), ..Default::default() }),
            command: ["sh", "-c", script].map(str::to_owned).to_vec(),
            log_path: "main.log".to_owned(),
            linux: Some(v1::LinuxContainerConfig { security_context, ..Default::default() }),
            ..Default::default()
        };
        change(&mut config);
        let created = self.client.create_container(&self.sandbox, config, self.config.clone());
        let id = created.await.unwrap();
        self.client.start_container(&id).await.unwrap();
        id
    }
}

fn host_network() -> v1::NamespaceOption {
    v1::NamespaceOption {
        network: v1::NamespaceMode::Node.into(),
        pid: v1::NamespaceMode::Container.into(),
        ..Default::default()
    }
}

/// A deadline far beyond what anything here needs.
async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(60), future).await.expect("it hangs")
}
