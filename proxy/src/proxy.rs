//! The proxy as a component.

use crate::{
    Error, ProxyConfig, Result,
    compile::compile,
    health::Progress,
    metrics::ProxyMetrics,
    nft,
    ruleset::Family,
    service::{HEADLESS_LABEL, PROXY_NAME_LABEL},
    syncer::Syncer,
};
use async_trait::async_trait;
use futures::{Stream, StreamExt, stream};
use k8s_openapi::api::{
    core::v1::{Node, Service},
    discovery::v1::EndpointSlice,
};
use kubeplane_client::{Backoff, Informer, Informers};
use kubeplane_clock::{Seed, SharedClock};
use kubeplane_core::component::{Component, ComponentError, Lifecycle};
use kubeplane_telemetry::{Health, Metrics};
use std::{pin::Pin, time::Duration};

const ZONE_LABEL: &str = "topology.kubernetes.io/zone";
const FIRST_RETRY: Duration = Duration::from_secs(1);

/// Keeps the node's nftables rules in step with Services and EndpointSlices.
#[derive(Debug)]
pub struct Proxy {
    config: ProxyConfig,
    informers: Informers,
    clock: SharedClock,
    seed: Seed,
    metrics: ProxyMetrics,
    progress: Progress,
}

/// Assembles a [`Proxy`].
#[derive(Debug)]
pub struct ProxyBuilder {
    config: ProxyConfig,
    client: ClientSlot,
    informers: Option<Informers>,
    clock: Option<SharedClock>,
    seed: Option<Seed>,
    health: Health,
    metrics: Metrics,
}

/// `kube::Client` says nothing about itself.
struct ClientSlot(kube::Client);

impl std::fmt::Debug for ClientSlot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Client")
    }
}

impl ProxyBuilder {
    /// Shares informers with others of the process.
    #[must_use]
    pub fn informers(mut self, informers: Informers) -> Self {
        self.informers = Some(informers);
        self
    }

    /// Takes time from this clock.
    #[must_use]
    pub fn clock(mut self, clock: SharedClock) -> Self {
        self.clock = Some(clock);
        self
    }

    /// Spreads retries by this seed.
    #[must_use]
    pub fn seed(mut self, seed: Seed) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Adds the proxy's checks here: `ping` and `proxy-rules` (both probes) and `proxy-synced` (ready).
    #[must_use]
    pub fn health(mut self, health: Health) -> Self {
        self.health = health;
        self
    }

    /// Adds the proxy's metrics here.
    #[must_use]
    pub fn metrics(mut self, metrics: Metrics) -> Self {
        self.metrics = metrics;
        self
    }

    /// The proxy. Needs no rights and no nft yet.
    ///
    /// # Errors
    /// When the configuration makes no sense.
    pub fn build(self) -> Result<Proxy> {
        self.config.check()?;
        let clock = self.clock.unwrap_or_else(kubeplane_clock::real);
        let informers =
            self.informers.unwrap_or_else(|| Informers::new(self.client.0, clock.clone()));
        let patience = self.config.sync_period * 2;
        Ok(Proxy {
            config: self.config,
            informers,
            seed: self.seed.unwrap_or_else(Seed::random),
            metrics: ProxyMetrics::register(&self.metrics),
            progress: Progress::register(&self.health, clock.clone(), patience),
            clock,
        })
    }
}

/// What changed.
enum Event {
    Service,
    Endpoints,
    Node,
}

type Events = Pin<Box<dyn Stream<Item = Vec<Event>> + Send>>;

/// The objects rules are made from.
struct Sources {
    services: Informer<Service>,
    slices: Informer<EndpointSlice>,
    node: Informer<Node>,
    name: String,
}

impl Sources {
    fn new(informers: &Informers, node: &str) -> Self {
        let proxied = format!("!{HEADLESS_LABEL},!{PROXY_NAME_LABEL}");
        Self {
            services: informers.filtered("", &format!("!{PROXY_NAME_LABEL}")),
            slices: informers.filtered("", &proxied),
            node: informers.filtered(&format!("metadata.name={node}"), ""),
            name: node.to_owned(),
        }
    }

    fn events(&self) -> Events {
        let all = [
            self.services.subscribe().map(|_| Event::Service).boxed(),
            self.slices.subscribe().map(|_| Event::Endpoints).boxed(),
            self.node.subscribe().map(|_| Event::Node).boxed(),
        ];
        // An informer that ends ends the stream; `select_all` alone would wait for the last of them.
        let ended = all.map(|one| one.map(Some).chain(stream::iter([None])));
        stream::select_all(ended.map(StreamExt::boxed))
            .take_while(|event| std::future::ready(event.is_some()))
            .filter_map(std::future::ready)
            .ready_chunks(1024)
            .boxed()
    }

    /// Empty when the node says none.
    fn zone(&self) -> String {
        let node = self.node.get("", &self.name);
        let labels = node.as_ref().and_then(|node| node.metadata.labels.as_ref());
        labels.and_then(|labels| labels.get(ZONE_LABEL)).cloned().unwrap_or_default()
    }
}

impl Proxy {
    /// Starts an assembly.
    #[must_use]
    pub fn builder(client: kube::Client, config: ProxyConfig) -> ProxyBuilder {
        ProxyBuilder {
            config,
            client: ClientSlot(client),
            informers: None,
            clock: None,
            seed: None,
            health: Health::new(),
            metrics: Metrics::new(),
        }
    }

    /// Whether this process can change nftables rules in its network namespace; changes nothing.
    ///
    /// # Errors
    /// Why not: no nft program, no right, no support in the kernel.
    pub async fn available() -> Result<(), String> {
        nft::check().await
    }

    async fn sync(&self, sources: &Sources, syncers: &mut [Syncer]) -> Result<()> {
        let (services, slices) = (sources.services.list(), sources.slices.list());
        let zone = sources.zone();
        for syncer in syncers {
            let compiled = compile(&services, &slices, &self.config, &zone, syncer.family());
            syncer.apply(compiled).await?;
        }
        self.progress.updated();
        Ok(())
    }

    /// Follows changes until an informer ends.
    async fn follow(
        &self,
        sources: &Sources,
        syncers: &mut [Syncer],
        lifecycle: &Lifecycle,
    ) -> Result<()> {
        let mut events = sources.events();
        let mut retry = Backoff::new(
            self.clock.clone(),
            self.seed.clone(),
            FIRST_RETRY,
            self.config.sync_period,
        );
        self.queued();
        loop {
            match self.sync(sources, syncers).await {
                Ok(()) => {
                    retry.reset();
                    lifecycle.ready();
                    self.wait(&mut events, syncers).await?;
                }
                Err(error) => {
                    tracing::error!(%error, "the rules could not be written");
                    retry.wait().await;
                }
            }
        }
    }

    /// Waits for a change, or until the rules are gone.
    async fn wait(&self, events: &mut Events, syncers: &mut [Syncer]) -> Result<()> {
        let since = self.clock.elapsed();
        tokio::select! {
            changed = events.next() => self.note(changed.ok_or(Error::InformersStopped)?),
            () = self.clock.sleep(self.config.sync_period) => {
                for syncer in syncers {
                    syncer.verify().await;
                }
                return Ok(());
            }
        }
        let spent = self.clock.elapsed().saturating_sub(since);
        let pause = self.clock.sleep(self.config.min_sync_period.saturating_sub(spent));
        tokio::pin!(pause);
        loop {
            tokio::select! {
                biased;
                () = &mut pause => return Ok(()),
                changed = events.next() => self.note(changed.ok_or(Error::InformersStopped)?),
            }
        }
    }

    fn queued(&self) {
        self.progress.queued();
        self.metrics.queued(self.clock.now().as_millisecond() as f64 / 1000.0);
    }

    fn note(&self, changed: Vec<Event>) {
        let services = changed.iter().filter(|event| matches!(event, Event::Service)).count();
        let endpoints = changed.iter().filter(|event| matches!(event, Event::Endpoints)).count();
        self.metrics.changed(services, endpoints);
        self.queued();
    }
}

#[async_trait]
impl Component for Proxy {
    fn name(&self) -> &str {
        "kube-proxy"
    }

    async fn run(self: Box<Self>, lifecycle: Lifecycle) -> Result<(), ComponentError> {
        nft::check().await.map_err(|reason| Error::Unavailable { reason })?;
        let sources = Sources::new(&self.informers, &self.config.node_name);
        let mut syncers =
            Family::ALL.map(|family| Syncer::new(family, self.clock.clone(), self.metrics.clone()));
        let work = async {
            // Rules from half of the objects would cut traffic that worked before a restart.
            sources.services.synced().await;
            sources.slices.synced().await;
            self.follow(&sources, &mut syncers, &lifecycle).await
        };
        let ended = tokio::select! {
            ended = work => ended,
            () = lifecycle.stopping() => Ok(()),
        };
        if self.config.remove_on_stop {
            for syncer in &mut syncers {
                // Without a table of this family there is nothing to remove.
                let _ = syncer.remove().await;
            }
        }
        ended.map_err(ComponentError::from)
    }
}
