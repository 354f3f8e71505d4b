//! Ending the containers of a pod.

use super::{Desired, Next, Stage, Worker, hooks};
use crate::{
    Result,
    observed::{Observed, ObservedPod, POD_GRACE},
    resize,
    spec::{self, Role},
};
use futures::{StreamExt, stream::FuturesUnordered};
use k8s_openapi::api::core::v1::Pod;
use kubeplane_client::EventType;
use kubeplane_clock::{Clock, timeout};
use kubeplane_runtime_cri::ContainerId;
use std::{sync::Arc, time::Duration};
use tokio::sync::watch;

/// What every container gets to end, even when its grace is used up.
const LEAST_GRACE: i64 = 2;
/// How soon after its container a hook has to end.
const LAST_WORD: Duration = Duration::from_secs(2);

impl Worker {
    /// Ends everything of the pod, and says in its status how it ended.
    pub(super) async fn end(&mut self) -> Result<Next> {
        let Desired { pod, gone } = self.desired.borrow_and_update().clone();
        let pod = self.host.pods.allocated(&self.id.uid, pod);
        let observed = self.observe(&pod).await?;
        let done_before =
            spec::is_terminal(&spec::status(&pod)) && observed.running().next().is_none();
        if !done_before && !gone {
            self.publish(&pod, &observed, false);
        }
        let grace = spec::grace_seconds(&pod);
        let sooner = sooner(self.desired.clone(), grace);
        tokio::select! {
            biased;
            // Asked for a shorter grace: begin again with that one.
            () = sooner => return Ok(Next::Again),
            ended = self.kill_all(&pod, &observed, grace) => ended?,
        }
        self.prober.stop();
        if !done_before && !gone {
            let pod = self.pod();
            let observed = self.observe(&pod).await?;
            self.publish(&pod, &observed, true);
        }
        self.host.pods.set_ended(&self.id.uid);
        resize::retry(&self.host, "pod_terminated");
        self.stage = Stage::Ended;
        Ok(Next::Again)
    }

    /// Ends all running containers, the sidecars after the others and in turn, and stops the sandboxes.
    ///
    /// The status follows while containers end.
    pub(super) async fn kill_all(
        &mut self,
        pod: &Arc<Pod>,
        observed: &ObservedPod,
        grace: i64,
    ) -> Result<()> {
        let begun = self.host.clock.elapsed();
        let is_sidecar = |name: &str| {
            spec::container_named(pod, name).is_some_and(|(role, _)| role == Role::Sidecar)
        };
        let apps: Vec<Observed> =
            observed.running().filter(|found| !is_sidecar(&found.name)).cloned().collect();
        self.kill_some(pod, &apps, grace, observed).await?;
        for sidecar in spec::init_containers(pod).iter().rev() {
            let running: Vec<Observed> = observed
                .running()
                .filter(|found| found.name == sidecar.name && is_sidecar(&found.name))
                .cloned()
                .collect();
            let used = self.host.clock.elapsed().saturating_sub(begun).as_secs();
            let left = grace.saturating_sub(i64::try_from(used).unwrap_or(i64::MAX));
            self.kill_some(pod, &running, left.max(LEAST_GRACE), observed).await?;
        }
        for sandbox in &observed.sandboxes {
            self.host.runtime.stop_sandbox(&sandbox.id).await?;
        }
        Ok(())
    }

    async fn kill_some(
        &mut self,
        pod: &Arc<Pod>,
        containers: &[Observed],
        grace: i64,
        observed: &ObservedPod,
    ) -> Result<()> {
        let host = self.host.clone();
        let ip = observed.ips().first().cloned().unwrap_or_default();
        let mut ending = FuturesUnordered::new();
        for container in containers {
            let message = format!("Stopping container {}", container.name);
            let host = host.clone();
            let ip = ip.clone();
            ending.push(async move {
                stop(&host, pod, &container.id, &container.name, &message, grace, &ip).await
            });
        }
        loop {
            tokio::select! {
                ended = ending.next() => match ended {
                    None => return Ok(()),
                    Some(ended) => {
                        ended?;
                        if ending.is_empty() {
                            return Ok(());
                        }
                    }
                },
                // Something else changed, as readiness does while the container still serves.
                () = self.wake.notified() => {}
            }
            let pod = self.pod();
            let now = self.observe(&pod).await?;
            self.publish(&pod, &now, false);
        }
    }

    /// Ends one container.
    pub(super) async fn kill(
        &self,
        pod: &Arc<Pod>,
        id: &ContainerId,
        name: &str,
        message: &str,
        grace: i64,
        observed: &ObservedPod,
    ) -> Result<()> {
        let ip = observed.ips().first().cloned().unwrap_or_default();
        stop(&self.host, pod, id, name, message, grace, &ip).await
    }
}

async fn stop(
    host: &Arc<crate::host::Host>,
    pod: &Arc<Pod>,
    id: &ContainerId,
    name: &str,
    message: &str,
    grace: i64,
    pod_ip: &str,
) -> Result<()> {
    let found = spec::container_named(pod, name);
    let role = found.as_ref().map_or(Role::App, |(role, _)| *role);
    host.container_event(pod, role, name, EventType::Normal, "Killing", message);
    let begun = host.clock.elapsed();
    let container = found.map(|(_, container)| container.into_owned()).unwrap_or_default();
    let hook = container.lifecycle.as_ref().and_then(|lifecycle| lifecycle.pre_stop.as_ref());
    let container = &container;
    let hook = hook.filter(|_| grace > 0).map(|hook| async move {
        if let Err(why) = hooks::run(host, pod, container, id, hook, pod_ip).await {
            tracing::debug!(%why, "a hook before the end of a container failed");
            let (event, reason) = (EventType::Warning, "FailedPreStopHook");
            host.container_event(pod, role, name, event, reason, "PreStopHook failed");
        }
    });
    let mut going = None;
    if let Some(hook) = hook {
        let mut hook = Box::pin(hook);
        let limit = Duration::from_secs(u64::try_from(grace).unwrap_or(0));
        if timeout(host.clock.as_ref(), limit, hook.as_mut()).await.is_none() {
            tracing::debug!(container = name, "a hook took the whole grace");
            going = Some(hook);
        }
    }
    let used = host.clock.elapsed().saturating_sub(begun).as_secs();
    let left = grace.saturating_sub(i64::try_from(used).unwrap_or(i64::MAX)).max(LEAST_GRACE);
    let left = Duration::from_secs(u64::try_from(left).unwrap_or(0));
    let stopping = host.runtime.stop_container(id, left);
    let stopped = match going {
        None => stopping.await,
        Some(hook) => stop_beside(host.clock.as_ref(), hook, stopping).await,
    };
    match stopped {
        Err(error) if !error.is_not_found() => Err(error.into()),
        _ => Ok(()),
    }
}

/// Ends a container whose hook goes on; a command in the container ends with it, and that is told as its failure.
async fn stop_beside<T>(
    clock: &dyn Clock,
    mut hook: impl Future<Output = ()> + Unpin,
    stopping: impl Future<Output = T>,
) -> T {
    tokio::pin!(stopping);
    tokio::select! {
        biased;
        stopped = &mut stopping => {
            // A hook that is no command does not end with the container, and is given up.
            let _ = timeout(clock, LAST_WORD, hook).await;
            stopped
        }
        () = &mut hook => stopping.await,
    }
}

/// Resolves when the pod gets less time to end than it had.
async fn sooner(mut desired: watch::Receiver<Desired>, grace: i64) {
    let shorter = |desired: &Desired| {
        let left = if desired.gone { 1 } else { spec::grace_seconds(&desired.pod) };
        let forced = desired.pod.metadata.deletion_grace_period_seconds == Some(0);
        left < grace && (!desired.gone || forced)
    };
    if desired.wait_for(shorter).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// The grace a container was made with, for pods nobody knows any more.
pub(crate) fn recorded_grace(annotations: &std::collections::HashMap<String, String>) -> i64 {
    annotations.get(POD_GRACE).and_then(|text| text.parse().ok()).unwrap_or(30).clamp(1, 30)
}
