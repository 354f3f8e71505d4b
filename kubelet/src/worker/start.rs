//! Starting containers.

use super::{Worker, hooks, sync::START_RETRY};
use crate::{
    Error, Result,
    actions::{Actions, KillReason},
    allocation::Figures,
    container::{self, Parts, hosts, mounts},
    env,
    host::container_reference,
    images::{Present, Wanted, go_duration},
    observed::{Observed, ObservedPod, State},
    sandbox,
    spec::{self, Role},
    status::Reason,
    volumes::{Mounted, create_dir},
};
use k8s_openapi::api::core::v1::{Container, Pod};
use kubeplane_client::EventType;
use kubeplane_runtime_cri::{ContainerId, SandboxId, v1};
use std::{fs, path::PathBuf, sync::Arc, time::Duration};

/// Where containers of a pod are started.
#[derive(Debug)]
pub(super) struct Started<'a> {
    pub(super) sandbox: SandboxId,
    pub(super) config: v1::PodSandboxConfig,
    pub(super) ips: Vec<String>,
    pub(super) mounted: &'a Mounted,
    pub(super) observed: &'a ObservedPod,
}

impl Worker {
    /// Starts containers, and changes those that run; how long to wait when some could not be started or changed.
    pub(super) async fn start_all(
        &mut self,
        pod: &Arc<Pod>,
        place: &Started<'_>,
        actions: &Actions,
    ) -> Option<Duration> {
        let mut failed = None;
        for index in &actions.ephemeral {
            let Some(found) = spec::ephemeral_containers(pod).get(*index) else { continue };
            let target = found.target_container_name.as_deref();
            let container = spec::as_container(found);
            let started = self.start(pod, place, Role::Ephemeral, &container, target).await;
            failed = failed.or_else(|| started.err());
        }
        for index in &actions.init {
            let Some(container) = spec::init_containers(pod).get(*index) else { continue };
            let sidecar = spec::is_sidecar(container);
            let role = if sidecar { Role::Sidecar } else { Role::Init };
            if let Err(wait) = self.start(pod, place, role, container, None).await {
                failed = Some(wait);
                if !sidecar {
                    return failed;
                }
            }
        }
        if !actions.resize.is_empty() && !self.resize(pod, &actions.resize).await {
            failed = failed.or(Some(START_RETRY));
        }
        for index in &actions.start {
            let Some(container) = spec::containers(pod).get(*index) else { continue };
            let started = self.start(pod, place, Role::App, container, None).await;
            failed = failed.or_else(|| started.err());
        }
        failed
    }

    /// Starts one container and remembers why when it cannot be started.
    async fn start(
        &mut self,
        pod: &Arc<Pod>,
        place: &Started<'_>,
        role: Role,
        container: &Container,
        target: Option<&str>,
    ) -> Result<(), Duration> {
        let now = self.host.clock.elapsed();
        let name = &container.name;
        let last = place.observed.container(name).filter(|last| last.state == State::Exited);
        if let Some(last) = last {
            if let Some(until) = self.backing_off(last, now) {
                let reason = self.back_off(pod, role, name);
                self.reasons.insert(name.clone(), reason);
                return Err(until.saturating_sub(now));
            }
            let ended = self.elapsed_at(last.finished_at);
            self.host.restarts.next((self.id.uid.clone(), name.clone()), ended);
        }
        match self.launch(pod, place, role, container, target).await {
            Ok(()) => {
                self.reasons.remove(name);
                Ok(())
            }
            Err(reason) => {
                let in_backoff = reason.reason == "ImagePullBackOff";
                self.reasons.insert(name.clone(), reason);
                let pull = self.host.images.next_try(&self.id.uid).filter(|_| in_backoff);
                Err(pull.map_or(START_RETRY, |until| until.saturating_sub(now)))
            }
        }
    }

    /// Until when a container that ended is not started again.
    pub(super) fn backing_off(&self, last: &Observed, now: Duration) -> Option<Duration> {
        let key = (self.id.uid.clone(), last.name.clone());
        self.host.restarts.until(&key, self.elapsed_at(last.finished_at), now)
    }

    /// A time the runtime told, on the scale of the clock's elapsed time.
    fn elapsed_at(&self, nanos: i64) -> Duration {
        let clock = &self.host.clock;
        let age = clock.now().as_nanosecond().saturating_sub(i128::from(nanos)).max(0);
        let age = Duration::from_nanos(u64::try_from(age).unwrap_or(u64::MAX));
        clock.elapsed().saturating_sub(age)
    }

    fn back_off(&self, pod: &Pod, role: Role, name: &str) -> Reason {
        let id = &self.id;
        let message = format!("Back-off restarting failed container {name} in pod {id}");
        self.host.container_event(pod, role, name, EventType::Warning, "BackOff", message);
        let wait = self.host.restarts.wait(&(id.uid.clone(), name.to_owned()));
        let wait = go_duration(wait);
        Reason {
            reason: "CrashLoopBackOff",
            message: format!("back-off {wait} restarting failed container={name} pod={id}"),
        }
    }

    async fn launch(
        &mut self,
        pod: &Arc<Pod>,
        place: &Started<'_>,
        role: Role,
        container: &Container,
        target: Option<&str>,
    ) -> Result<(), Reason> {
        let host = self.host.clone();
        let warn = |message: &str| {
            let text = format!("Error: {message}");
            host.container_event(pod, role, &container.name, EventType::Warning, "Failed", text);
        };
        let reference = container_reference(pod, role, &container.name);
        let wanted = Wanted { pod, container, reference: &reference, sandbox: &place.config };
        let image = host.images.ensure(&wanted).await.inspect_err(|reason| warn(reason.reason))?;
        let target = target.and_then(|name| place.observed.container(name));
        let target = target.map(|found| found.id.as_str().to_owned());
        let built = self.build(pod, place, role, container, image, target).await;
        let config = built.map_err(|error| {
            warn(&error.to_string());
            host.metrics.failed_container(role, "CreateContainerConfigError");
            Reason { reason: "CreateContainerConfigError", message: error.to_string() }
        })?;
        if role != Role::Ephemeral {
            let figures = Figures::of(container.resources.as_ref());
            host.pods.set_actuated(&self.id.uid, &container.name, figures);
            self.keep();
        }
        let created =
            host.runtime.create_container(&place.sandbox, config, place.config.clone()).await;
        let id = created.map_err(|error| {
            warn(&error.to_string());
            host.metrics.failed_container(role, "CreateContainerError");
            Reason { reason: "CreateContainerError", message: error.to_string() }
        })?;
        let tell = |reason: &str, message: &str| {
            host.container_event(pod, role, &container.name, EventType::Normal, reason, message);
        };
        tell("Created", "Container created");
        host.runtime.start_container(&id).await.map_err(|error| {
            warn(&error.to_string());
            host.metrics.failed_container(role, "RunContainerError");
            Reason { reason: "RunContainerError", message: error.to_string() }
        })?;
        tell("Started", "Container started");
        host.metrics.started_container(role);
        self.after_start(pod, place, role, container, &id).await
    }

    async fn after_start(
        &mut self,
        pod: &Arc<Pod>,
        place: &Started<'_>,
        role: Role,
        container: &Container,
        id: &ContainerId,
    ) -> Result<(), Reason> {
        let hook = container.lifecycle.as_ref().and_then(|lifecycle| lifecycle.post_start.as_ref());
        let Some(hook) = hook else { return Ok(()) };
        let ip = place.ips.first().map(String::as_str).unwrap_or_default();
        let host = self.host.clone();
        let Err(message) = hooks::run(&host, pod, container, id, hook, ip).await else {
            return Ok(());
        };
        let name = &container.name;
        let event = EventType::Warning;
        host.container_event(pod, role, name, event, "FailedPostStartHook", "PostStartHook failed");
        let grace = self.grace(pod, name, KillReason::Other);
        let why = "FailedPostStartHook";
        if let Err(error) = self.kill(pod, id, name, why, grace, place.observed).await {
            tracing::warn!(pod = %self.id, %error, "failed to end a container whose hook failed");
        }
        Err(Reason { reason: "PostStartHookError", message })
    }

    async fn build(
        &self,
        pod: &Arc<Pod>,
        place: &Started<'_>,
        role: Role,
        container: &Container,
        image: Present,
        target: Option<String>,
    ) -> Result<v1::ContainerConfig> {
        let host = &self.host;
        if !host.services.has_synced() {
            let message = "services have not yet been read at least once, cannot construct envvars";
            return Err(Error::pod(message));
        }
        let links = spec::spec(pod).enable_service_links.unwrap_or(true);
        let input = env::Input {
            pod,
            container,
            pod_ips: &place.ips,
            host_ips: &host.config.node_ips,
            services: env::services::variables(&host.services.list(), &self.id.namespace, links),
            allocatable: &host.machine.allocatable,
        };
        let env = env::environment(&input, host.objects.as_ref()).await?;
        let dir = host.volumes.pod_dir(&self.id.uid);
        let hosts = if mounts::manages_hosts(pod, &place.ips) {
            Some(hosts::write(&dir, pod, &place.ips, &host.config.cluster_domain)?)
        } else {
            None
        };
        let mounts = mounts::mounts(container, place.mounted, &env, &dir, hosts)?;
        let restart_count = self.restart_count(place.observed, &container.name)?;
        container::config(Parts {
            pod,
            container,
            role,
            restart_count,
            image: image.spec,
            image_user: image.user,
            env,
            mounts,
            memory: host.machine.memory,
            target,
        })
    }

    /// The number of this run, by the last one or, when the runtime has lost it, by its logs.
    fn restart_count(&self, observed: &ObservedPod, name: &str) -> Result<u32> {
        let dir = sandbox::log_dir(&self.host.config, &self.id).join(name);
        create_dir(&dir)?;
        if let Some(last) = observed.container(name) {
            return Ok(last.restart_count + 1);
        }
        let known = self
            .status
            .container_statuses
            .iter()
            .chain(&self.status.init_container_statuses)
            .flatten()
            .find(|status| status.name == name && status.container_id.is_some());
        let by_status = known.map(|status| u32::try_from(status.restart_count).unwrap_or(0) + 1);
        Ok(by_status.unwrap_or(0).max(next_log(&dir)))
    }
}

fn next_log(dir: &PathBuf) -> u32 {
    let Ok(entries) = fs::read_dir(dir) else { return 0 };
    let numbers = entries.flatten().filter_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        name.split('.').next()?.parse::<u32>().ok()
    });
    numbers.max().map_or(0, |last| last + 1)
}
