//! Puts the parts of a test cluster together.

use super::{
    BoxError, Inner, LOOPBACK, Plane, TestCluster, TestClusterBuilder,
    builder::ClusterParts,
    clock::ClusterClock,
    faults::{ADMIN, Faults},
    gate::Gate,
    history::History,
    keys,
    nodes::NodeParts,
    server::ApiPart,
    store::TestStore,
};
use crate::{
    ControlPlane,
    credentials::{CONTROLLER_MANAGER, Credentials, SCHEDULER, component_user, controller_user},
    signing::controller_options,
};
use k8s_openapi::{
    api::core::v1::ServiceAccount,
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kubeplane_client::{ClientSource, Informers};
use kubeplane_clock::{OffsetClock, PausedClock, Seed, SharedClock, watch};
use kubeplane_controllers::{Manager, Selection, builtin};
use kubeplane_core::{
    auth::{GROUP_AUTHENTICATED, GROUP_MASTERS, UserInfo},
    component::Component,
};
use kubeplane_pki::PkiDir;
use kubeplane_scheduler_framework::Scheduler;
use kubeplane_simulated::{SimulatedNodes, Simulation};
use kubeplane_store_memory::MemoryStore;
use kubeplane_telemetry::{Health, Metrics};
use parking_lot::Mutex;
use std::{collections::BTreeSet, path::Path, sync::Arc, time::Duration};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

impl TestClusterBuilder {
    pub(super) async fn try_start(mut self) -> Result<TestCluster, BoxError> {
        let history = self.history.take().unwrap_or_default();
        let origin = self.clone();
        let directory = TempDir::new()?;
        // Clones of a builder are to share nothing.
        self.options.seed = Seed::new(self.seed.unwrap_or_else(|| match self.given {
            true => self.options.seed.value(),
            false => Seed::random().value(),
        }));
        if !self.given {
            (self.options.metrics, self.options.health) = (Metrics::new(), Health::new());
        }
        let paused = self.paused_clock();
        if let Some(paused) = &paused {
            self.options.clock = Arc::new(paused.clone());
        }
        self.options.listen = self.listen;
        let credentials = Arc::new(self.credentials(directory.path())?);
        let (restarts, asked) = mpsc::channel(1);
        let faults = Faults::default();
        let store = Arc::new(self.store(faults.clone(), history)?);
        let gate = Arc::new(Gate { server: watch::Sender::new(None), faults, store, restarts });
        let bound = watch::Sender::new(None);
        let api = ApiPart {
            gate: gate.clone(),
            credentials: credentials.clone(),
            options: self.options.clone(),
            local_storage: self.controllers.is_some(),
            restarts: asked,
            bound: bound.clone(),
        };
        let (plane, parts) = self.assemble(api, &gate, &credentials, &directory)?;
        let (stop, plane) = self.run(plane, parts).await?;
        self.define(gate.client(admin())).await?;
        self.await_account(gate.client(admin())).await?;
        let kubeconfig = match *bound.borrow() {
            Some(address) => {
                let admin = credentials.admin_kubeconfig(&format!("https://{address}"));
                let home = PkiDir::open(directory.path())?.volatile();
                home.write_private("kubeconfig", &admin.to_yaml()?)?;
                Some(home.file("kubeconfig"))
            }
            None => None,
        };
        Ok(TestCluster(Arc::new(Inner {
            clock: ClusterClock { shared: self.options.clock, paused, idle: self.idle },
            seed: self.options.seed,
            gate,
            kubeconfig,
            stop,
            plane: Mutex::new(Some(plane)),
            directory,
            origin,
        })))
    }

    fn credentials(&mut self, directory: &Path) -> Result<Credentials, BoxError> {
        let (pki, now) = (directory.join("pki"), self.options.clock.now());
        let pki = keys::prepare(&pki, self.seed, self.snapshot.as_ref(), now)?;
        let addresses = [LOOPBACK].into_iter().chain(self.listen.map(|address| address.ip()));
        let addresses = Vec::from_iter(addresses.collect::<BTreeSet<_>>());
        let mut credentials = Credentials::in_directory(pki, &[], &addresses, now)?;
        if let Some(identity) = self.serving.take() {
            credentials.serving = identity;
        }
        Ok(credentials)
    }

    fn paused_clock(&self) -> Option<PausedClock> {
        let start = self.paused?;
        let kept = self.snapshot.as_ref().and_then(|snapshot| snapshot.clock.as_ref());
        Some(kept.map_or_else(|| PausedClock::starting_at(start), PausedClock::fork))
    }

    fn store(&self, faults: Faults, history: History) -> Result<TestStore, BoxError> {
        let clock = self.options.clock.clone();
        // As long as a test runs its past can be read.
        let mut builder =
            MemoryStore::builder().clock(clock.clone()).history(Duration::MAX, 100_000, 256 << 20);
        if let Some(snapshot) = &self.snapshot {
            builder = builder.snapshot(&snapshot.store);
        }
        Ok(TestStore { inner: builder.open()?, clock, faults, history })
    }

    fn clock_of(&self, part: &str) -> SharedClock {
        let clock = self.options.clock.clone();
        match self.skews.get(part) {
            Some(offset) => Arc::new(OffsetClock::new(clock, *offset)),
            None => clock,
        }
    }

    /// All components, and how many.
    fn assemble(
        &self,
        api: ApiPart,
        gate: &Arc<Gate>,
        credentials: &Credentials,
        directory: &TempDir,
    ) -> Result<(ControlPlane, usize), BoxError> {
        let mut parts: Vec<Box<dyn Component>> = vec![Box::new(api)];
        if let Some(selection) = &self.controllers {
            parts.push(Box::new(self.manager(selection, gate, credentials)?));
        }
        if self.scheduler {
            parts.push(Box::new(self.scheduler_part(gate)?));
        }
        for number in 1..=self.nodes {
            let name = format!("node-{number}");
            let clock = self.clock_of(&name);
            let node = NodeParts { number, name, clock, seed: &self.options.seed };
            parts.push(Box::new(node.kubelet(gate, credentials, directory.path())?));
        }
        if self.simulation != Simulation::default() {
            parts.push(Box::new(self.simulated(gate)?));
        }
        if !self.own_controllers.is_empty() {
            parts.push(Box::new(self.own_manager(gate)?));
        }
        let own = ClusterParts {
            gate: gate.clone(),
            clock: self.options.clock.clone(),
            seed: self.options.seed.clone(),
        };
        for make in &self.components {
            parts.push(make(&own)?);
        }
        let count = parts.len();
        let plane = ControlPlane::new().clock(self.options.clock.clone());
        Ok((parts.into_iter().fold(plane, ControlPlane::with_boxed), count))
    }

    /// Informers whose retries depend on nobody else's chance.
    fn informers(&self, client: kube::Client, clock: &SharedClock) -> Informers {
        let seed = Seed::new(self.options.seed.value());
        Informers::from_source(Arc::new(ClientSource::new(client)), clock.clone(), seed)
    }

    fn manager(
        &self,
        selection: &Selection,
        gate: &Arc<Gate>,
        credentials: &Credentials,
    ) -> Result<Manager, BoxError> {
        let clock = self.clock_of("kube-controller-manager");
        let options = controller_options(credentials, &clock)
            .with_features(self.options.features.clone())
            .with_metrics(self.options.metrics.clone());
        let controllers = builtin(&options);
        let own = gate.clone();
        let client = gate.client(component_user(CONTROLLER_MANAGER));
        let manager = Manager::builder(client.clone())
            .informers(self.informers(client, &clock))
            .client_for(move |name| own.client(controller_user(name)))
            .clock(clock)
            .seed(self.options.seed.clone())
            .metrics(self.options.metrics.clone())
            .select(selection.clone())
            .add_all(controllers);
        Ok(manager.build()?)
    }

    fn simulated(&self, gate: &Arc<Gate>) -> Result<SimulatedNodes, BoxError> {
        let user = UserInfo::new("system:simulated-nodes", [GROUP_MASTERS, GROUP_AUTHENTICATED]);
        let nodes = SimulatedNodes::builder(gate.client(user), self.simulation.clone())
            .clock(self.clock_of("simulated-nodes"))
            .seed(self.options.seed.clone());
        Ok(nodes.build()?)
    }

    fn own_manager(&self, gate: &Arc<Gate>) -> Result<Manager, BoxError> {
        let user = UserInfo::new("system:test-controllers", [GROUP_MASTERS, GROUP_AUTHENTICATED]);
        let client = gate.client(user);
        let manager = Manager::builder(client.clone())
            .informers(self.informers(client, &self.options.clock))
            .clock(self.options.clock.clone())
            .seed(self.options.seed.clone())
            .add_all(self.own_controllers.iter().map(|make| make()));
        Ok(manager.build()?)
    }

    fn scheduler_part(&self, gate: &Arc<Gate>) -> Result<Scheduler, BoxError> {
        let client = gate.client(component_user(SCHEDULER));
        let clock = self.clock_of("kube-scheduler");
        let scheduler = Scheduler::builder(client.clone())
            .informers(self.informers(client, &clock))
            .clock(clock)
            .seed(self.options.seed.clone())
            .metrics(self.options.metrics.clone());
        let scheduler =
            self.profiles.iter().fold(scheduler, |scheduler, make| scheduler.profile(make()));
        Ok(scheduler.build()?)
    }

    /// Returns when all components are ready.
    async fn run(
        &self,
        plane: ControlPlane,
        parts: usize,
    ) -> Result<(CancellationToken, Plane), BoxError> {
        let stop = CancellationToken::new();
        let ready = watch::Sender::new(0);
        let mut all_ready = ready.subscribe();
        let plane = plane.on_ready(move |_| ready.send_modify(|count| *count += 1));
        let stopped = stop.clone().cancelled_owned();
        let plane = AbortOnDropHandle::new(tokio::spawn(plane.run_until(stopped)));
        if all_ready.wait_for(|count| *count == parts).await.is_err() {
            plane.await??;
            return Err("the control plane ended before it was ready".into());
        }
        Ok((stop, plane))
    }

    /// Makes the custom kinds and waits until they are served.
    async fn define(&self, client: kube::Client) -> Result<(), BoxError> {
        use kube::runtime::wait::{await_condition, conditions::is_crd_established};
        let crds: kube::Api<CustomResourceDefinition> = kube::Api::all(client);
        for crd in &self.crds {
            let name = crd.metadata.name.as_deref().unwrap_or_default();
            match crds.create(&kube::api::PostParams::default(), crd).await {
                // A snapshot may have brought it.
                Err(kube::Error::Api(status)) if status.reason == "AlreadyExists" => {}
                other => drop(other?),
            }
            await_condition(crds.clone(), name, is_crd_established()).await?;
        }
        Ok(())
    }

    /// Waits until pods can be made in the namespace `default`, where a controller sees to their account.
    async fn await_account(&self, client: kube::Client) -> Result<(), BoxError> {
        let controllers = self.controllers.as_ref();
        if controllers.is_some_and(|names| names.includes("serviceaccount-controller")) {
            let accounts: kube::Api<ServiceAccount> = kube::Api::namespaced(client, "default");
            let there = |account: Option<&ServiceAccount>| account.is_some();
            kube::runtime::wait::await_condition(accounts, "default", there).await?;
        }
        Ok(())
    }
}

/// The user a test is.
pub(super) fn admin() -> UserInfo {
    UserInfo::new(ADMIN, [GROUP_MASTERS, GROUP_AUTHENTICATED])
}
