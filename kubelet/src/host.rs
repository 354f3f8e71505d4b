//! What all parts of one kubelet share.

use crate::{
    api::{ApiObjects, Objects},
    backoff::Backoff,
    config::KubeletConfig,
    images::Images,
    metrics::KubeletMetrics,
    node::machine::Machine,
    pods::Pods,
    sandbox::CgroupDriver,
    spec::Role,
    usage::Rates,
    volumes::{Volumes, create_closed_dir},
};
use k8s_openapi::api::core::v1::{Node, ObjectReference, Pod, Service};
use kubeplane_client::{EventRecorder, EventType, Informer};
use kubeplane_clock::SharedClock;
use kubeplane_runtime_cri::ContainerRuntime;
use parking_lot::RwLock;
use std::{fmt, sync::Arc, time::Duration};

/// Back-off of containers that end again and again, by pod uid and container name.
pub(crate) type Restarts = Backoff<(String, String)>;

/// The longest wait between starts of a container that fails.
pub(crate) const MAX_RESTART_WAIT: Duration = Duration::from_secs(300);

/// What is known of the runtime's own health.
#[derive(Debug, Clone, Default)]
pub(crate) struct RuntimeHealth {
    /// Why no containers can run, if so.
    pub(crate) runtime: Option<String>,
    /// Why no pods with a network of their own can run, if so.
    pub(crate) network: Option<String>,
}

/// The shared parts.
pub(crate) struct Host {
    pub(crate) config: KubeletConfig,
    pub(crate) client: kube::Client,
    pub(crate) runtime: Arc<dyn ContainerRuntime>,
    pub(crate) runtime_name: String,
    pub(crate) runtime_version: String,
    pub(crate) cgroup_driver: CgroupDriver,
    pub(crate) clock: SharedClock,
    pub(crate) recorder: EventRecorder,
    pub(crate) objects: Arc<ApiObjects>,
    pub(crate) volumes: Volumes,
    pub(crate) images: Images,
    pub(crate) restarts: Restarts,
    pub(crate) services: Informer<Service>,
    pub(crate) nodes: Informer<Node>,
    pub(crate) machine: Machine,
    pub(crate) pods: Pods,
    pub(crate) health: RwLock<RuntimeHealth>,
    pub(crate) metrics: KubeletMetrics,
    pub(crate) rates: Rates,
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host").field("node", &self.config.node_name).finish_non_exhaustive()
    }
}

/// What a host is made from that is not made by itself.
pub(crate) struct Seams {
    pub(crate) client: kube::Client,
    pub(crate) runtime: Arc<dyn ContainerRuntime>,
    pub(crate) clock: SharedClock,
    pub(crate) services: Informer<Service>,
    pub(crate) nodes: Informer<Node>,
    pub(crate) metrics: KubeletMetrics,
}

impl Host {
    /// Asks the runtime for its name and version, and puts everything together.
    pub(crate) async fn new(config: KubeletConfig, seams: Seams) -> crate::Result<Self> {
        let Seams { client, runtime, clock, services, nodes, metrics } = seams;
        for dir in [&config.data_dir, &config.log_dir, &config.data_dir.join("pods")] {
            create_closed_dir(dir)?;
        }
        let version = runtime.version().await?;
        let driver = match runtime.runtime_config().await {
            Ok(told) => told.linux.map(|linux| linux.cgroup_driver()),
            Err(_) => None,
        };
        let cgroup_driver = match driver {
            Some(kubeplane_runtime_cri::v1::CgroupDriver::Systemd) => CgroupDriver::Systemd,
            _ => CgroupDriver::Cgroupfs,
        };
        let recorder =
            EventRecorder::new(client.clone(), clock.clone(), "kubelet", &config.node_name);
        let objects = Arc::new(ApiObjects::new(client.clone(), clock.clone()));
        let shared: Arc<dyn Objects> = objects.clone();
        let privileged = runtime.network_is_real() && rustix::process::geteuid().is_root();
        let volumes = Volumes::new(&config.data_dir, shared.clone(), clock.clone(), privileged);
        let images = Images::new(runtime.clone(), shared, recorder.clone(), clock.clone());
        Ok(Self {
            machine: Machine::read(&config),
            volumes,
            images,
            runtime_name: version.runtime_name,
            runtime_version: version.runtime_version,
            cgroup_driver,
            recorder,
            objects,
            restarts: Backoff::new(Duration::from_secs(10), MAX_RESTART_WAIT),
            pods: Pods::default(),
            health: RwLock::default(),
            config,
            client,
            runtime,
            clock,
            services,
            nodes,
            metrics,
            rates: Rates::default(),
        })
    }

    /// The node object as the API has it.
    pub(crate) fn node(&self) -> Option<Arc<Node>> {
        self.nodes.get("", &self.config.node_name)
    }

    /// Tells of a pod.
    pub(crate) fn pod_event(
        &self,
        pod: &Pod,
        kind: EventType,
        reason: &str,
        message: impl Into<String>,
    ) {
        self.recorder.event(&EventRecorder::reference(pod), kind, reason, message);
    }

    /// Tells of a container of a pod.
    pub(crate) fn container_event(
        &self,
        pod: &Pod,
        role: Role,
        container: &str,
        kind: EventType,
        reason: &str,
        message: impl Into<String>,
    ) {
        self.recorder.event(&container_reference(pod, role, container), kind, reason, message);
    }
}

/// What events of a container refer to.
pub(crate) fn container_reference(pod: &Pod, role: Role, container: &str) -> ObjectReference {
    let mut reference = EventRecorder::reference(pod);
    reference.field_path = Some(format!("spec.{}{{{container}}}", role.list()));
    reference
}
