use super::{SimulatedRuntime, container, selects};
use crate::{Error, Forwarding, Result, SandboxId, Sandboxes, v1};
use async_trait::async_trait;

/// One sandbox in memory.
#[derive(Debug)]
pub(super) struct Sandbox {
    pub(super) config: v1::PodSandboxConfig,
    handler: String,
    ready: bool,
    created_at: i64,
    addresses: Vec<String>,
}

impl Sandbox {
    pub(super) fn is_ready(&self) -> bool {
        self.ready
    }

    fn state(&self) -> i32 {
        let state = if self.ready {
            v1::PodSandboxState::SandboxReady
        } else {
            v1::PodSandboxState::SandboxNotready
        };
        state.into()
    }

    fn listed(&self, id: &SandboxId) -> v1::PodSandbox {
        v1::PodSandbox {
            id: id.to_string(),
            metadata: self.config.metadata.clone(),
            state: self.state(),
            created_at: self.created_at,
            labels: self.config.labels.clone(),
            annotations: self.config.annotations.clone(),
            runtime_handler: self.handler.clone(),
        }
    }

    fn status(&self, id: &SandboxId) -> v1::PodSandboxStatus {
        let mut ips = self.addresses.iter().cloned();
        let network = v1::PodSandboxNetworkStatus {
            ip: ips.next().unwrap_or_default(),
            additional_ips: ips.map(|ip| v1::PodIp { ip }).collect(),
        };
        let options = namespaces(&self.config).cloned();
        v1::PodSandboxStatus {
            id: id.to_string(),
            metadata: self.config.metadata.clone(),
            state: self.state(),
            created_at: self.created_at,
            network: Some(network),
            linux: Some(v1::LinuxPodSandboxStatus { namespaces: Some(v1::Namespace { options }) }),
            labels: self.config.labels.clone(),
            annotations: self.config.annotations.clone(),
            runtime_handler: self.handler.clone(),
        }
    }

    fn matches(&self, id: &SandboxId, filter: &v1::PodSandboxFilter) -> bool {
        (filter.id.is_empty() || filter.id == id.as_str())
            && filter.state.as_ref().is_none_or(|wanted| wanted.state == self.state())
            && selects(&filter.label_selector, &self.config.labels)
    }
}

fn namespaces(config: &v1::PodSandboxConfig) -> Option<&v1::NamespaceOption> {
    config.linux.as_ref()?.security_context.as_ref()?.namespace_options.as_ref()
}

fn is_on_host_network(config: &v1::PodSandboxConfig) -> bool {
    namespaces(config).is_some_and(|options| options.network() == v1::NamespaceMode::Node)
}

#[async_trait]
impl Sandboxes for SimulatedRuntime {
    async fn run_sandbox(&self, config: v1::PodSandboxConfig, handler: &str) -> Result<SandboxId> {
        let Some(metadata) = &config.metadata else {
            return Err(Error::invalid("the sandbox has no metadata"));
        };
        let created_at = self.now();
        let id = SandboxId::from(self.fresh_id());
        let mut state = self.inner.state.lock();
        let taken =
            state.sandboxes.values().any(|one| one.config.metadata.as_ref() == Some(metadata));
        if taken {
            let message = format!(
                "sandbox {}_{}_{}_{} exists",
                metadata.name, metadata.namespace, metadata.uid, metadata.attempt
            );
            return Err(Error::AlreadyExists { message });
        }
        let addresses =
            if is_on_host_network(&config) { Vec::new() } else { state.addresses.take()? };
        let handler = handler.to_owned();
        let sandbox = Sandbox { config, handler, ready: true, created_at, addresses };
        state.sandboxes.insert(id.clone(), sandbox);
        Ok(id)
    }

    async fn stop_sandbox(&self, id: &SandboxId) -> Result<()> {
        for container in self.containers_of(id) {
            container::kill(&container).await;
        }
        let mut state = self.inner.state.lock();
        let addresses = state.sandboxes.get_mut(id).map(|sandbox| {
            sandbox.ready = false;
            std::mem::take(&mut sandbox.addresses)
        });
        if let Some(addresses) = addresses {
            state.addresses.give_back(&addresses);
        }
        Ok(())
    }

    async fn remove_sandbox(&self, id: &SandboxId) -> Result<()> {
        self.stop_sandbox(id).await?;
        for container in self.containers_of(id) {
            self.remove(&container).await;
        }
        self.inner.state.lock().sandboxes.remove(id);
        Ok(())
    }

    async fn sandbox_status(&self, id: &SandboxId) -> Result<v1::PodSandboxStatus> {
        let state = self.inner.state.lock();
        let sandbox = state.sandboxes.get(id);
        sandbox.map(|one| one.status(id)).ok_or_else(|| Error::not_found("sandbox", id.as_str()))
    }

    async fn list_sandboxes(&self, filter: v1::PodSandboxFilter) -> Result<Vec<v1::PodSandbox>> {
        let state = self.inner.state.lock();
        let matching = state.sandboxes.iter().filter(|(id, one)| one.matches(id, &filter));
        Ok(matching.map(|(id, one)| one.listed(id)).collect())
    }

    async fn port_forward(&self, id: &SandboxId, _ports: &[u16]) -> Result<Forwarding> {
        self.sandbox_status(id).await?;
        Err(Error::unimplemented(
            "the simulated runtime forwards no ports: nothing listens inside its containers",
        ))
    }
}
