//! What the runtime has of one pod, and how it is read from the runtime.

use crate::{Result, allocation::Figures};
use kubeplane_runtime_cri::{ContainerId, ContainerRuntime, SandboxId, v1};
use std::collections::{BTreeMap, HashMap};

/// Labels by which a container is known to belong to a pod, also after a restart of the kubelet.
pub(crate) const POD_NAME: &str = "io.kubernetes.pod.name";
pub(crate) const POD_NAMESPACE: &str = "io.kubernetes.pod.namespace";
pub(crate) const POD_UID: &str = "io.kubernetes.pod.uid";
pub(crate) const CONTAINER_NAME: &str = "io.kubernetes.container.name";
/// Annotations with what must be known of a container when its specification is gone.
pub(crate) const HASH: &str = "io.kubernetes.container.hash";
pub(crate) const RESTART_COUNT: &str = "io.kubernetes.container.restartCount";
pub(crate) const MESSAGE_PATH: &str = "io.kubernetes.container.terminationMessagePath";
pub(crate) const MESSAGE_POLICY: &str = "io.kubernetes.container.terminationMessagePolicy";
pub(crate) const POD_GRACE: &str = "io.kubernetes.pod.terminationGracePeriod";

/// The state of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Created,
    Running,
    Exited,
    Unknown,
}

impl From<v1::ContainerState> for State {
    fn from(state: v1::ContainerState) -> Self {
        match state {
            v1::ContainerState::ContainerCreated => Self::Created,
            v1::ContainerState::ContainerRunning => Self::Running,
            v1::ContainerState::ContainerExited => Self::Exited,
            v1::ContainerState::ContainerUnknown => Self::Unknown,
        }
    }
}

/// One container the runtime has.
#[derive(Debug, Clone)]
pub(crate) struct Observed {
    pub(crate) id: ContainerId,
    pub(crate) name: String,
    pub(crate) state: State,
    /// Nanoseconds since 1970, as the two below; zero when it did not happen.
    pub(crate) created_at: i64,
    pub(crate) started_at: i64,
    pub(crate) finished_at: i64,
    pub(crate) exit_code: i32,
    pub(crate) reason: String,
    pub(crate) message: String,
    pub(crate) image: String,
    pub(crate) image_ref: String,
    pub(crate) hash: Option<u64>,
    pub(crate) restart_count: u32,
    pub(crate) log_path: String,
    pub(crate) mounts: Vec<v1::Mount>,
    pub(crate) user: Option<v1::LinuxContainerUser>,
    pub(crate) message_path: String,
    pub(crate) message_policy: String,
    /// What the runtime says it may use.
    pub(crate) resources: Option<v1::LinuxContainerResources>,
    /// What the runtime was last told that containers of this name may use, where that is known.
    pub(crate) actuated: Option<Figures>,
}

/// One sandbox the runtime has.
#[derive(Debug, Clone)]
pub(crate) struct ObservedSandbox {
    pub(crate) id: SandboxId,
    pub(crate) attempt: u32,
    pub(crate) ready: bool,
    pub(crate) created_at: i64,
    pub(crate) ips: Vec<String>,
    pub(crate) host_network: bool,
}

/// Everything the runtime has of one pod; newest first.
#[derive(Debug, Clone, Default)]
pub(crate) struct ObservedPod {
    pub(crate) sandboxes: Vec<ObservedSandbox>,
    pub(crate) containers: Vec<Observed>,
}

impl ObservedPod {
    /// The newest container of this name.
    pub(crate) fn container(&self, name: &str) -> Option<&Observed> {
        self.containers.iter().find(|container| container.name == name)
    }

    /// The addresses of the newest ready sandbox.
    pub(crate) fn ips(&self) -> &[String] {
        self.sandboxes
            .iter()
            .find(|sandbox| sandbox.ready)
            .map(|sandbox| sandbox.ips.as_slice())
            .unwrap_or_default()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.sandboxes.is_empty() && self.containers.is_empty()
    }

    pub(crate) fn running(&self) -> impl Iterator<Item = &Observed> {
        self.containers.iter().filter(|container| container.state == State::Running)
    }

    /// Whether a new sandbox is needed, its attempt, and the id of the present one if any.
    pub(crate) fn sandbox_change(&self, host_network: bool) -> (bool, u32, Option<SandboxId>) {
        let Some(newest) = self.sandboxes.first() else { return (true, 0, None) };
        let ready = self.sandboxes.iter().filter(|sandbox| sandbox.ready).count();
        let id = Some(newest.id.clone());
        if ready > 1 || !newest.ready || newest.host_network != host_network {
            return (true, newest.attempt + 1, id);
        }
        if !newest.host_network && newest.ips.is_empty() {
            return (true, newest.attempt + 1, id);
        }
        (false, newest.attempt, id)
    }
}

/// Reads what the runtime has of the pod with this uid.
pub(crate) async fn observe(runtime: &dyn ContainerRuntime, uid: &str) -> Result<ObservedPod> {
    let label_selector = HashMap::from([(POD_UID.to_owned(), uid.to_owned())]);
    let sandboxes = runtime.list_sandboxes(v1::PodSandboxFilter {
        label_selector: label_selector.clone(),
        ..Default::default()
    });
    let containers =
        runtime.list_containers(v1::ContainerFilter { label_selector, ..Default::default() });
    let (sandboxes, containers) = tokio::try_join!(sandboxes, containers)?;
    let mut pod = ObservedPod::default();
    for sandbox in sandboxes {
        match runtime.sandbox_status(&SandboxId::new(sandbox.id)).await {
            Ok(status) => pod.sandboxes.push(sandbox_of(status)),
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error.into()),
        }
    }
    for container in containers {
        match runtime.container_status(&ContainerId::new(container.id)).await {
            Ok(status) => pod.containers.push(container_of(status)),
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error.into()),
        }
    }
    pod.sandboxes.sort_by_key(|s| std::cmp::Reverse((s.created_at, s.attempt)));
    pod.containers.sort_by_key(|c| std::cmp::Reverse((c.created_at, c.restart_count)));
    Ok(pod)
}

fn sandbox_of(status: v1::PodSandboxStatus) -> ObservedSandbox {
    let ready = status.state() == v1::PodSandboxState::SandboxReady;
    let host_network = status
        .linux
        .and_then(|linux| linux.namespaces)
        .and_then(|namespaces| namespaces.options)
        .is_some_and(|options| options.network() == v1::NamespaceMode::Node);
    let mut ips = Vec::new();
    if let Some(network) = status.network.filter(|network| !network.ip.is_empty()) {
        ips.push(network.ip);
        ips.extend(network.additional_ips.into_iter().map(|ip| ip.ip));
    }
    ObservedSandbox {
        id: SandboxId::new(status.id),
        attempt: status.metadata.map_or(0, |metadata| metadata.attempt),
        ready,
        created_at: status.created_at,
        ips,
        host_network,
    }
}

pub(crate) fn container_of(status: v1::ContainerStatus) -> Observed {
    let state = State::from(status.state());
    let annotation = |name: &str| status.annotations.get(name).cloned().unwrap_or_default();
    let attempt = status.metadata.as_ref().map_or(0, |metadata| metadata.attempt);
    let name = status
        .labels
        .get(CONTAINER_NAME)
        .cloned()
        .or_else(|| status.metadata.as_ref().map(|metadata| metadata.name.clone()));
    Observed {
        name: name.unwrap_or_default(),
        state,
        created_at: status.created_at,
        started_at: status.started_at,
        finished_at: status.finished_at,
        exit_code: status.exit_code,
        hash: u64::from_str_radix(&annotation(HASH), 16).ok(),
        restart_count: annotation(RESTART_COUNT).parse().unwrap_or(attempt),
        message_path: annotation(MESSAGE_PATH),
        message_policy: annotation(MESSAGE_POLICY),
        image: status.image.map(|image| image.image).unwrap_or_default(),
        image_ref: status.image_ref,
        reason: status.reason,
        message: status.message,
        log_path: status.log_path,
        mounts: status.mounts,
        user: status.user.and_then(|user| user.linux),
        resources: status.resources.and_then(|resources| resources.linux),
        actuated: None,
        id: ContainerId::new(status.id),
    }
}

/// The identity of a pod as labels of a sandbox or container tell it.
pub(crate) fn pod_id(labels: &HashMap<String, String>) -> Option<crate::spec::PodId> {
    Some(crate::spec::PodId {
        uid: labels.get(POD_UID)?.clone(),
        namespace: labels.get(POD_NAMESPACE)?.clone(),
        name: labels.get(POD_NAME)?.clone(),
    })
}

/// A digest of the states of all pods of the runtime, to notice changes by comparing two of them.
pub(crate) type Digest = BTreeMap<String, BTreeMap<String, i32>>;

/// What is added to the states of containers in a [`Digest`], to tell them from those of sandboxes.
const CONTAINER: i32 = 10;

/// How many containers are in each state.
pub(crate) fn container_states(digest: &Digest) -> [(State, usize); 4] {
    let all = [State::Created, State::Running, State::Exited, State::Unknown];
    let mut counts = all.map(|state| (state, 0));
    for state in digest.values().flat_map(|pod| pod.values()) {
        let Ok(state) = v1::ContainerState::try_from(state - CONTAINER) else { continue };
        let state = State::from(state);
        if let Some((_, count)) = counts.iter_mut().find(|(own, _)| *own == state) {
            *count += 1;
        }
    }
    counts
}

/// The states of everything the runtime has, by pod uid, and who the pods are.
pub(crate) async fn digest(
    runtime: &dyn ContainerRuntime,
) -> Result<(Digest, HashMap<String, crate::spec::PodId>)> {
    let sandboxes = runtime.list_sandboxes(v1::PodSandboxFilter::default());
    let containers = runtime.list_containers(v1::ContainerFilter::default());
    let (sandboxes, containers) = tokio::try_join!(sandboxes, containers)?;
    let mut digest = Digest::new();
    let mut pods = HashMap::new();
    let states = sandboxes
        .into_iter()
        .map(|sandbox| (sandbox.labels, sandbox.id, sandbox.state))
        .chain(containers.into_iter().map(|c| (c.labels, c.id, c.state + CONTAINER)));
    for (labels, id, state) in states {
        let Some(pod) = pod_id(&labels) else { continue };
        digest.entry(pod.uid.clone()).or_default().insert(id, state);
        pods.insert(pod.uid.clone(), pod);
    }
    Ok((digest, pods))
}
