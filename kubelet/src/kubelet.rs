use crate::{
    Result,
    config::KubeletConfig,
    host::{Host, Seams},
    manager::Manager,
    measured::Measured,
    metrics::KubeletMetrics,
    node, runtime_watch, server,
};
use async_trait::async_trait;
use k8s_openapi::api::core::v1::{Node, Pod, Service};
use kubeplane_client::{EventType, Informers};
use kubeplane_clock::SharedClock;
use kubeplane_core::component::{Component, ComponentError, Lifecycle};
use kubeplane_runtime_cri::ContainerRuntime;
use kubeplane_telemetry::{Health, Metrics, Probe};
use std::{fmt, sync::Arc, time::Duration};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};

/// How many noticed changes of the runtime may wait.
const NOTICED: usize = 1024;

/// The agent of one node.
///
/// # Contract
/// It reaches the cluster only through its client, and containers only through its runtime. When it stops,
/// containers go on; when it starts again it takes them over by their labels and starts none twice.
pub struct Kubelet {
    client: kube::Client,
    runtime: Arc<dyn ContainerRuntime>,
    config: KubeletConfig,
    clock: SharedClock,
    metrics: Metrics,
    health: Health,
}

impl fmt::Debug for Kubelet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kubelet").field("node", &self.config.node_name).finish_non_exhaustive()
    }
}

/// Makes a [`Kubelet`].
#[derive(Debug)]
pub struct KubeletBuilder(Kubelet);

impl Kubelet {
    /// A kubelet that speaks to the API through `client`, with the rights of a node.
    #[must_use]
    pub fn builder(
        client: kube::Client,
        runtime: Arc<dyn ContainerRuntime>,
        config: KubeletConfig,
    ) -> KubeletBuilder {
        KubeletBuilder(Self {
            client,
            runtime,
            config,
            clock: kubeplane_clock::real(),
            metrics: Metrics::new(),
            health: Health::new(),
        })
    }

    /// The checks of this kubelet, as its server answers them.
    #[must_use]
    pub fn health(&self) -> Health {
        self.health.clone()
    }

    /// The metrics of this kubelet, as its server answers them.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        self.metrics.clone()
    }
}

impl KubeletBuilder {
    /// Takes time from this clock instead of the machine's.
    #[must_use]
    pub fn clock(mut self, clock: SharedClock) -> Self {
        self.0.clock = clock;
        self
    }

    /// Registers metrics here.
    #[must_use]
    pub fn metrics(mut self, metrics: Metrics) -> Self {
        self.0.metrics = metrics;
        self
    }

    /// Registers checks here.
    #[must_use]
    pub fn health(mut self, health: Health) -> Self {
        self.0.health = health;
        self
    }

    /// The kubelet, not running yet.
    ///
    /// # Errors
    /// When the configuration cannot work or its certificates are not usable.
    pub fn build(self) -> Result<Kubelet> {
        self.0.config.validate()?;
        server::check(&self.0.config)?;
        Ok(self.0)
    }
}

#[async_trait]
impl Component for Kubelet {
    fn name(&self) -> &str {
        "kubelet"
    }

    async fn run(self: Box<Self>, lifecycle: Lifecycle) -> Result<(), ComponentError> {
        let informers = Informers::new(self.client.clone(), self.clock.clone());
        let node_name = self.config.node_name.clone();
        let pods = informers.filtered::<Pod>(&format!("spec.nodeName={node_name}"), "");
        let metrics = KubeletMetrics::new(&self.metrics, &node_name);
        let (runtime, clock) = (self.runtime, self.clock.clone());
        let seams = Seams {
            client: self.client,
            runtime: Arc::new(Measured { runtime, clock, metrics: metrics.clone() }),
            clock: self.clock,
            services: informers.of::<Service>(),
            nodes: informers.filtered::<Node>(&format!("metadata.name={node_name}"), ""),
            metrics,
        };
        let mut config = self.config;
        let listener = server::bind(&config).await?;
        if let Some(bound) = listener.as_ref().and_then(|listener| listener.local_addr().ok()) {
            config.listen = bound;
        }
        let host = Arc::new(Host::new(config, seams).await?);
        let mut tasks = JoinSet::new();
        let (posted, mut is_posted) = watch::channel(false);
        add_checks(&self.health, &host);
        if let Some(listener) = listener {
            let telemetry = kubeplane_telemetry::router(self.health, self.metrics);
            tasks.spawn(server::serve(host.clone(), listener, telemetry));
        }
        let (noticed, changes) = mpsc::channel(NOTICED);
        let manager = Manager::new(host.clone(), pods.clone());
        let work = async {
            let starting = node::reference(&host);
            host.recorder.event(&starting, EventType::Normal, "Starting", "Starting kubelet.");
            node::status::check_runtime(&host).await;
            node::register::register(&host).await;
            tasks.spawn(node::lease::keep(host.clone()));
            tasks.spawn(node::status::keep(host.clone(), posted));
            tasks.spawn(node::network::keep(host.clone()));
            tasks.spawn(crate::volumes::local::keep(host.clone()));
            tasks.spawn(crate::logs::rotate::keep(host.clone()));
            tasks.spawn(runtime_watch::watch(host.clone(), noticed));
            pods.synced().await;
            let report = async {
                // The sender lives in a task of this component.
                let _ = is_posted.wait_for(|ready| *ready).await;
                lifecycle.ready();
                std::future::pending::<()>().await;
            };
            tokio::join!(report, manager.run(changes));
        };
        tokio::select! {
            () = lifecycle.stopping() => {}
            () = work => {}
        }
        tasks.shutdown().await;
        informers.stop();
        Ok(())
    }
}

/// How long the loop over all pods may be silent; it turns whenever the runtime was asked for its pods.
const STUCK: Duration = Duration::from_secs(300);

fn add_checks(health: &Health, host: &Arc<Host>) {
    health.add("ping", Probe::Both, || Ok(()));
    let of = Arc::downgrade(host);
    health.add("syncloop", Probe::Both, move || {
        let Some(host) = of.upgrade() else { return Err("stopped".to_owned()) };
        let Some(last) = host.metrics.last_loop() else { return Ok(()) };
        let idle = host.clock.elapsed().saturating_sub(last);
        if idle <= STUCK { Ok(()) } else { Err("sync loop took longer than expected".to_owned()) }
    });
    let of = Arc::downgrade(host);
    health.add("runtime", Probe::Ready, move || {
        let Some(host) = of.upgrade() else { return Err("stopped".to_owned()) };
        host.health.read().runtime.clone().map_or(Ok(()), Err)
    });
}
