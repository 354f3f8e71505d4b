//! One look at a running pod, and what follows from it.

use super::{LAST_RETRY, Next, Stage, Worker, start::Started};
use crate::{
    Result,
    actions::{self, Actions, KillReason},
    admit,
    allocation::Kept,
    observed::{ObservedPod, State},
    resize, sandbox, spec,
    volumes::{self, Facts, Mounted},
};
use k8s_openapi::api::core::v1::{Node, Pod};
use kubeplane_client::EventType;
use kubeplane_runtime_cri::{SandboxId, v1};
use std::{collections::HashMap, fs, sync::Arc, time::Duration};

/// How soon a pod that could not get its volumes or its network is tried again.
const SOON: Duration = Duration::from_secs(2);

impl Worker {
    /// Brings the pod closer to what is asked for.
    pub(super) async fn synchronize(&mut self) -> Result<Next> {
        let asked = self.pod();
        let mut observed = self.observe(&asked).await?;
        if !self.admitted {
            if !self.admit(&asked, &observed).await {
                self.stage = Stage::Ending;
                return Ok(Next::Again);
            }
            self.admitted = true;
            self.host.pods.fill(&self.id.uid, &mut observed);
        }
        self.keep();
        self.turn = self.host.pods.turn(&self.id.uid);
        let pod = self.pod();
        self.track(&pod, &observed);
        let status = self.publish(&pod, &observed, false);
        if spec::is_terminal(&status) {
            self.stage = Stage::Ending;
            return Ok(Next::Again);
        }
        if let Some(next) = self.wait_for_network(&pod) {
            return Ok(next);
        }
        let Some(mounted) = self.mount(&pod, &observed).await? else { return Ok(Next::Wait(SOON)) };
        let actions = actions::compute(&pod, &observed, &self.results);
        let idle = is_idle(&actions);
        let failed = self.perform(&pod, &observed, &mounted, actions).await?;
        let observed = if idle { observed } else { self.observe(&pod).await? };
        self.track(&pod, &observed);
        let status = self.publish(&pod, &observed, false);
        self.prune(&observed).await;
        if spec::is_terminal(&status) {
            self.stage = Stage::Ending;
            return Ok(Next::Again);
        }
        if self.host.pods.turn(&self.id.uid) != self.turn {
            return Ok(Next::Again);
        }
        Ok(Next::Wait(self.wait(&pod, &observed, failed)))
    }

    /// Whether the pod may run here; one that already runs is not asked again.
    async fn admit(&mut self, pod: &Arc<Pod>, observed: &ObservedPod) -> bool {
        let allocatable = self.host.machine.allocatable_amounts();
        let known = !observed.is_empty();
        let gates = admit::Gates::of(&self.host.config.features);
        let kept = Kept::read(&self.host.volumes.pod_dir(&self.id.uid), pod);
        let given = kept.allocated.apply(pod);
        let check = |node: Option<&Node>| {
            self.host.pods.admit(&self.id.uid, &kept, |others| match known {
                true => Ok(()),
                false => admit::check(&given, others, node, &allocatable, gates),
            })
        };
        let mut verdict = check(self.host.node().as_deref());
        if verdict.is_err() {
            // A pod that is refused has failed for good, and the cache may be older than what it was put here by.
            let nodes = kube::Api::<Node>::all(self.host.client.clone());
            if let Ok(node) = nodes.get(&self.host.config.node_name).await {
                verdict = check(Some(&node));
            }
        }
        match verdict {
            Ok(()) => {
                self.host.objects.forget(&self.id.namespace);
                resize::recall(&self.host, &self.id.uid);
                resize::asked(&self.host, &self.id.uid, "pods_added");
                true
            }
            Err(verdict) => {
                let message = verdict.message.trim_start_matches("Pod was rejected: ").to_owned();
                self.host.pod_event(pod, EventType::Warning, &verdict.reason, message);
                self.verdict = Some(verdict);
                false
            }
        }
    }

    fn wait_for_network(&self, pod: &Pod) -> Option<Next> {
        if spec::is_host_network(pod) {
            return None;
        }
        let why = self.host.health.read().network.clone()?;
        let message = format!("network is not ready: {why}");
        self.host.pod_event(pod, EventType::Warning, "NetworkNotReady", message);
        Some(Next::Wait(SOON))
    }

    async fn mount(&self, pod: &Arc<Pod>, observed: &ObservedPod) -> Result<Option<Mounted>> {
        volumes::create_closed_dir(&self.host.volumes.pod_dir(&self.id.uid))?;
        let facts = Facts {
            pod,
            pod_ips: observed.ips(),
            host_ips: &self.host.config.node_ips,
            allocatable: &self.host.machine.allocatable,
        };
        match self.host.volumes.mount(&facts).await {
            Ok(mounted) => Ok(Some(mounted)),
            Err(failure) => {
                let message = format!(
                    "MountVolume.SetUp failed for volume {:?} : {}",
                    failure.volume, failure.error
                );
                self.host.pod_event(pod, EventType::Warning, "FailedMount", message);
                Ok(None)
            }
        }
    }

    /// Does what was found to be necessary; the time of the next try when something failed.
    async fn perform(
        &mut self,
        pod: &Arc<Pod>,
        observed: &ObservedPod,
        mounted: &Mounted,
        actions: Actions,
    ) -> Result<Option<Duration>> {
        if actions.kill_pod {
            if actions.create_sandbox && actions.sandbox.is_some() {
                let message = "Pod sandbox changed, it will be killed and re-created.";
                self.host.pod_event(pod, EventType::Normal, "SandboxChanged", message);
            }
            self.kill_all(pod, observed, spec::grace_seconds(pod)).await?;
        } else {
            for kill in &actions.kill {
                let grace = self.grace(pod, &kill.name, kill.reason);
                self.kill(pod, &kill.id, &kill.name, &kill.message, grace, observed).await?;
            }
        }
        if actions.kill_pod && !actions.create_sandbox {
            return Ok(None);
        }
        let config =
            sandbox::config(pod, actions.attempt, &self.host.config, self.host.cgroup_driver)?;
        let mut current = observed.clone();
        let sandbox = match actions.sandbox.clone().filter(|_| !actions.create_sandbox) {
            Some(sandbox) => sandbox,
            None => {
                let Some(sandbox) = self.create_sandbox(pod, config.clone()).await? else {
                    return Ok(Some(SOON));
                };
                current = self.observe(pod).await?;
                if actions.attempt > 0 {
                    self.purge_init(pod, &current).await?;
                }
                self.publish(pod, &current, false);
                sandbox
            }
        };
        let ips = self.pod_ips(pod, &current);
        let place = Started { sandbox, config, ips, mounted, observed: &current };
        Ok(self.start_all(pod, &place, &actions).await)
    }

    fn pod_ips(&self, pod: &Pod, observed: &ObservedPod) -> Vec<String> {
        if spec::is_host_network(pod) {
            self.host.config.node_ips.iter().map(ToString::to_string).collect()
        } else {
            observed.ips().to_vec()
        }
    }

    async fn create_sandbox(
        &self,
        pod: &Pod,
        config: v1::PodSandboxConfig,
    ) -> Result<Option<SandboxId>> {
        let logs = sandbox::log_dir(&self.host.config, &self.id);
        volumes::create_dir(&logs)?;
        let handler = match self.runtime_handler(pod).await {
            Ok(handler) => handler,
            Err(error) => {
                let message = format!("Failed to create pod sandbox: {error}");
                self.host.pod_event(pod, EventType::Warning, "FailedCreatePodSandBox", message);
                return Ok(None);
            }
        };
        match self.host.runtime.run_sandbox(config, &handler).await {
            Ok(sandbox) => Ok(Some(sandbox)),
            Err(error) => {
                let message = format!("Failed to create pod sandbox: {error}");
                tracing::warn!(pod = %self.id, %error, "failed to create a sandbox");
                self.host.pod_event(pod, EventType::Warning, "FailedCreatePodSandBox", message);
                Ok(None)
            }
        }
    }

    async fn runtime_handler(&self, pod: &Pod) -> Result<String> {
        use k8s_openapi::api::node::v1::RuntimeClass;
        let class = spec::spec(pod).runtime_class_name.clone().filter(|name| !name.is_empty());
        let Some(class) = class else { return Ok(String::new()) };
        let api = kube::Api::<RuntimeClass>::all(self.host.client.clone());
        Ok(api.get(&class).await?.handler)
    }

    /// Init containers run again in a new sandbox, so those of the old one must not count.
    async fn purge_init(&self, pod: &Pod, observed: &ObservedPod) -> Result<()> {
        for container in spec::init_containers(pod) {
            let old = observed.containers.iter().filter(|found| found.name == container.name);
            for found in old {
                self.host.runtime.remove_container(&found.id).await?;
            }
        }
        Ok(())
    }

    pub(super) fn grace(&self, pod: &Pod, name: &str, reason: KillReason) -> i64 {
        let own = spec::container_named(pod, name).and_then(|(_, container)| match reason {
            KillReason::Liveness => {
                container.liveness_probe.as_ref()?.termination_grace_period_seconds
            }
            KillReason::Startup => {
                container.startup_probe.as_ref()?.termination_grace_period_seconds
            }
            KillReason::Other => None,
        });
        own.unwrap_or_else(|| spec::grace_seconds(pod))
    }

    /// Removes what ended long ago, keeping the present and the previous run of each container.
    async fn prune(&self, observed: &ObservedPod) {
        let mut seen: HashMap<&str, u32> = HashMap::new();
        let logs = sandbox::log_dir(&self.host.config, &self.id);
        for container in &observed.containers {
            let count = seen.entry(&container.name).or_default();
            *count += 1;
            if *count <= 2 || container.state == State::Running {
                continue;
            }
            if let Err(error) = self.host.runtime.remove_container(&container.id).await {
                tracing::debug!(pod = %self.id, %error, "failed to remove a dead container");
                continue;
            }
            let path =
                logs.join(crate::container::log_path(&container.name, container.restart_count));
            // A log that is not there need not be removed.
            let _ = fs::remove_file(path);
        }
        let old = observed.sandboxes.iter().skip(1).filter(|sandbox| !sandbox.ready);
        for sandbox in old {
            if let Err(error) = self.host.runtime.remove_sandbox(&sandbox.id).await {
                tracing::debug!(pod = %self.id, %error, "failed to remove a dead sandbox");
            }
        }
    }

    /// How long nothing need be done, unless something happens.
    fn wait(&self, pod: &Pod, observed: &ObservedPod, failed: Option<Duration>) -> Duration {
        let mut wait = self.host.config.sync_period;
        if let Some(failed) = failed {
            wait = wait.min(failed);
        }
        if let Some(left) = self.deadline(pod) {
            wait = wait.min(left.max(Duration::from_millis(100)));
        }
        let now = self.host.clock.elapsed();
        if let Some(until) = self.host.images.next_try(&self.id.uid) {
            wait = wait.min(until.saturating_sub(now));
        }
        for container in observed.containers.iter().filter(|c| c.state == State::Exited) {
            if let Some(until) = self.backing_off(container, now) {
                wait = wait.min(until.saturating_sub(now));
            }
        }
        wait.max(Duration::from_millis(10))
    }
}

fn is_idle(actions: &Actions) -> bool {
    !actions.kill_pod
        && !actions.create_sandbox
        && actions.init.is_empty()
        && actions.start.is_empty()
        && actions.ephemeral.is_empty()
        && actions.kill.is_empty()
        && actions.resize.is_empty()
}

/// How soon a container that could not be started is tried again.
pub(super) const START_RETRY: Duration = LAST_RETRY;
