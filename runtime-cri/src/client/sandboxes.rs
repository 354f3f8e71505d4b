use super::{CriClient, limited};
use crate::{Error, Forwarding, Result, SandboxId, Sandboxes, v1};
use async_trait::async_trait;

#[async_trait]
impl Sandboxes for CriClient {
    async fn run_sandbox(&self, config: v1::PodSandboxConfig, handler: &str) -> Result<SandboxId> {
        let message =
            v1::RunPodSandboxRequest { config: Some(config), runtime_handler: handler.to_owned() };
        let request = limited(message, self.timeout * 2);
        let id = self.runtime().run_pod_sandbox(request).await?.into_inner().pod_sandbox_id;
        if id.is_empty() {
            return Err(Error::internal("the runtime gave the sandbox no id"));
        }
        Ok(id.into())
    }

    async fn stop_sandbox(&self, id: &SandboxId) -> Result<()> {
        let message = v1::StopPodSandboxRequest { pod_sandbox_id: id.to_string() };
        absent_is_done(self.runtime().stop_pod_sandbox(limited(message, self.timeout * 2)).await)
    }

    async fn remove_sandbox(&self, id: &SandboxId) -> Result<()> {
        let message = v1::RemovePodSandboxRequest { pod_sandbox_id: id.to_string() };
        absent_is_done(self.runtime().remove_pod_sandbox(self.request(message)).await)
    }

    async fn sandbox_status(&self, id: &SandboxId) -> Result<v1::PodSandboxStatus> {
        let message =
            v1::PodSandboxStatusRequest { pod_sandbox_id: id.to_string(), verbose: false };
        let answer = self.runtime().pod_sandbox_status(self.request(message)).await?.into_inner();
        answer.status.ok_or_else(|| Error::internal("the runtime gave no status of the sandbox"))
    }

    async fn list_sandboxes(&self, filter: v1::PodSandboxFilter) -> Result<Vec<v1::PodSandbox>> {
        let request = self.request(v1::ListPodSandboxRequest { filter: Some(filter) });
        Ok(self.runtime().list_pod_sandbox(request).await?.into_inner().items)
    }

    async fn port_forward(&self, id: &SandboxId, ports: &[u16]) -> Result<Forwarding> {
        let request = self.request(v1::PortForwardRequest {
            pod_sandbox_id: id.to_string(),
            port: ports.iter().map(|port| i32::from(*port)).collect(),
        });
        Ok(Forwarding::Url(self.runtime().port_forward(request).await?.into_inner().url))
    }
}

/// Some runtimes answer `NotFound` where the interface asks for success.
pub(super) fn absent_is_done<T>(answer: Result<T, tonic::Status>) -> Result<()> {
    match answer {
        Ok(_) => Ok(()),
        Err(status) if status.code() == tonic::Code::NotFound => Ok(()),
        Err(status) => Err(status.into()),
    }
}
