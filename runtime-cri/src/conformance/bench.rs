use super::Factory;
use crate::{ContainerId, ContainerRuntime, LogLine, LogStream, SandboxId, v1};
use std::{future::Future, path::PathBuf, sync::Arc, time::Duration};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A runtime with what every case needs around it.
pub(super) struct Bench {
    pub(super) runtime: Arc<dyn ContainerRuntime>,
    pub(super) image: String,
    pub(super) directory: PathBuf,
}

impl Bench {
    pub(super) async fn new(factory: &dyn Factory) -> Self {
        let runtime = factory.runtime().await;
        let image = factory.image();
        let spec = image_spec(&image);
        if done(runtime.image_status(&spec)).await.is_none() {
            done(runtime.pull_image(&spec, None, None)).await;
        }
        Self { runtime, image, directory: factory.directory() }
    }

    pub(super) fn sandbox_config(&self, name: &str) -> v1::PodSandboxConfig {
        let options = v1::NamespaceOption {
            network: v1::NamespaceMode::Node.into(),
            pid: v1::NamespaceMode::Container.into(),
            ..Default::default()
        };
        v1::PodSandboxConfig {
            metadata: Some(v1::PodSandboxMetadata {
                name: name.to_owned(),
                uid: format!("uid-of-{name}"),
                namespace: "conformance".to_owned(),
                attempt: 0,
            }),
            log_directory: self.directory.join(name).display().to_string(),
            labels: [("app".to_owned(), name.to_owned())].into(),
            annotations: [("note".to_owned(), "kept".to_owned())].into(),
            linux: Some(v1::LinuxPodSandboxConfig {
                security_context: Some(v1::LinuxSandboxSecurityContext {
                    namespace_options: Some(options),
                    ..Default::default()
                }),
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    pub(super) async fn sandbox(&self, name: &str) -> SandboxId {
        let config = self.sandbox_config(name);
        std::fs::create_dir_all(&config.log_directory).expect("the directory of the log");
        done(self.runtime.run_sandbox(config, "")).await
    }

    pub(super) fn container_config(&self, name: &str, script: &str) -> v1::ContainerConfig {
        let options = v1::NamespaceOption {
            network: v1::NamespaceMode::Node.into(),
            pid: v1::NamespaceMode::Container.into(),
            ..Default::default()
        };
        v1::ContainerConfig {
            metadata: Some(v1::ContainerMetadata { name: name.to_owned(), attempt: 0 }),
            image: Some(image_spec(&self.image)),
            command: ["/bin/sh", "-c", script].map(str::to_owned).to_vec(),
            labels: [("part".to_owned(), name.to_owned())].into(),
            log_path: format!("{name}.log"),
            linux: Some(v1::LinuxContainerConfig {
                security_context: Some(v1::LinuxContainerSecurityContext {
                    namespace_options: Some(options),
                    ..Default::default()
                }),
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    pub(super) async fn create(
        &self,
        sandbox: &SandboxId,
        config: v1::ContainerConfig,
    ) -> ContainerId {
        let sandbox_config = self.config_of(sandbox).await;
        done(self.runtime.create_container(sandbox, config, sandbox_config)).await
    }

    /// A container that runs `script`.
    pub(super) async fn start(&self, sandbox: &SandboxId, name: &str, script: &str) -> ContainerId {
        let id = self.create(sandbox, self.container_config(name, script)).await;
        done(self.runtime.start_container(&id)).await;
        id
    }

    pub(super) async fn config_of(&self, sandbox: &SandboxId) -> v1::PodSandboxConfig {
        let status = done(self.runtime.sandbox_status(sandbox)).await;
        self.sandbox_config(&status.metadata.expect("metadata").name)
    }

    /// Waits until a container has ended.
    pub(super) async fn ended(&self, id: &ContainerId) -> v1::ContainerStatus {
        eventually("the container ends", async || {
            let status = done(self.runtime.container_status(id)).await;
            (status.state() == v1::ContainerState::ContainerExited).then_some(status)
        })
        .await
    }

    pub(super) fn log_path(&self, sandbox: &str, container: &str) -> PathBuf {
        self.directory.join(sandbox).join(format!("{container}.log"))
    }

    /// The lines of a log so far.
    pub(super) fn log(&self, sandbox: &str, container: &str) -> Vec<(LogStream, String)> {
        let bytes = std::fs::read(self.log_path(sandbox, container)).unwrap_or_default();
        let lines =
            bytes.split_inclusive(|byte| *byte == b'\n').filter(|line| line.ends_with(b"\n"));
        lines
            .map(|line| {
                let line = LogLine::parse(line).expect("a line of the log format");
                (line.stream, String::from_utf8_lossy(line.text).into_owned())
            })
            .collect()
    }

    /// Waits until a log has this many lines.
    pub(super) async fn logged(
        &self,
        sandbox: &str,
        container: &str,
        count: usize,
    ) -> Vec<(LogStream, String)> {
        eventually("the log is written", async || {
            let lines = self.log(sandbox, container);
            (lines.len() >= count).then_some(lines)
        })
        .await
    }

    /// Removes a sandbox, so that a shared machine stays clean.
    pub(super) async fn clean(&self, sandbox: &SandboxId) {
        done(self.runtime.stop_sandbox(sandbox)).await;
        done(self.runtime.remove_sandbox(sandbox)).await;
    }
}

pub(super) fn image_spec(image: &str) -> v1::ImageSpec {
    v1::ImageSpec { image: image.to_owned(), ..Default::default() }
}

/// The result of a call that must succeed in time.
pub(super) async fn done<T>(call: impl Future<Output = crate::Result<T>>) -> T {
    match in_time(call).await {
        Ok(value) => value,
        Err(error) => panic!("the call fails: {error:?}"),
    }
}

/// The error of a call that must fail in time.
pub(super) async fn refused<T>(call: impl Future<Output = crate::Result<T>>) -> crate::Error {
    match in_time(call).await {
        Ok(_) => panic!("the call succeeds"),
        Err(error) => error,
    }
}

pub(super) async fn in_time<T>(call: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, call).await {
        Ok(value) => value,
        Err(_) => panic!("the call does not return"),
    }
}

async fn eventually<T>(what: &str, probe: impl AsyncFn() -> Option<T>) -> T {
    let start = std::time::Instant::now();
    while start.elapsed() < PATIENCE {
        if let Some(value) = probe().await {
            return value;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("it does not come about that {what}")
}
