//! The API server of a test cluster, which can stop and start again without its clients being made anew.

use super::{
    BoxError,
    gate::{Gate, Restart, Server},
    ways::NodeWays,
};
use crate::{
    ControlPlane,
    api::{ApiOptions, standard_aggregation, standard_api_server_dialing, standard_bootstrap},
    credentials::Credentials,
    local_storage::LocalStorage,
};
use async_trait::async_trait;
use kubeplane_clock::watch;
use kubeplane_core::component::{Component, ComponentError, Lifecycle};
use kubeplane_extensions::CustomResources;
use kubeplane_simulated::Simulation;
use kubeplane_telemetry::{Health, Metrics};
use kubeplane_webhooks::PolicyTypeChecking;
use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};
use tokio::sync::mpsc;

/// Where the API server is said to be when it does not listen.
const NOWHERE: SocketAddr = SocketAddr::new(super::LOOPBACK, 6443);

/// An API server with its bootstrap objects and custom resources, as one component.
#[derive(Debug)]
pub(super) struct ApiPart {
    pub(super) gate: Arc<Gate>,
    pub(super) credentials: Arc<Credentials>,
    pub(super) options: ApiOptions,
    pub(super) local_storage: bool,
    /// The nodes without kubelets.
    pub(super) simulation: Simulation,
    pub(super) restarts: mpsc::Receiver<Restart>,
    /// Where it listens, once it does.
    pub(super) bound: watch::Sender<Option<SocketAddr>>,
}

impl ApiPart {
    /// A server, not running yet.
    fn assemble(&self, lifecycle: &Lifecycle, number: u64) -> Result<ControlPlane, BoxError> {
        let mut options = self.options.clone();
        // A server that starts again is found where the first was.
        options.listen = options.listen.map(|address| self.bound.borrow().unwrap_or(address));
        let store = self.gate.store.clone();
        let (faults, simulation) = (self.gate.faults.clone(), self.simulation.clone());
        let ways = Arc::new(NodeWays { faults, simulation });
        let api = standard_api_server_dialing(store, &self.credentials, &options, ways)?;
        let address = options.listen.unwrap_or(NOWHERE);
        let bootstrap = standard_bootstrap(&api, &self.credentials, &options, address)?;
        let custom = CustomResources::new(api.api());
        let aggregation = standard_aggregation(&api, &self.credentials)?;
        // As in the original, which has it among its controllers.
        let checking = self.local_storage.then(|| PolicyTypeChecking::new(api.api()));
        let storage = self.local_storage.then(|| LocalStorage::new(api.api()));
        let server = Server { number, clients: api.clients(), reader: api.reader() };
        let (listening, bound) = (api.bound(), self.bound.clone());
        let left = AtomicUsize::new(4 + 2 * usize::from(self.local_storage));
        let (gate, ready) = (self.gate.clone(), lifecycle.clone());
        let plane = ControlPlane::new().clock(options.clock).on_ready(move |_| {
            if left.fetch_sub(1, Ordering::Relaxed) == 1 {
                if let Some(address) = *listening.borrow() {
                    bound.send_replace(Some(address));
                }
                gate.server.send_replace(Some(server.clone()));
                ready.ready();
            }
        });
        let plane = plane.with(api).with(bootstrap).with(custom).with(aggregation);
        Ok(match (storage, checking) {
            (Some(storage), Some(checking)) => plane.with(storage).with(checking),
            _ => plane,
        })
    }
}

#[async_trait]
impl Component for ApiPart {
    fn name(&self) -> &str {
        "kube-apiserver"
    }

    async fn run(mut self: Box<Self>, lifecycle: Lifecycle) -> Result<(), ComponentError> {
        let mut asked: Option<Restart> = None;
        let mut number = 0;
        while !lifecycle.is_stopping() {
            let plane = self.assemble(&lifecycle, number)?;
            number += 1;
            let (gate, restarts) = (self.gate.clone(), &mut self.restarts);
            let mut next = None;
            let until = async {
                if let Some(done) = asked.take() {
                    // Whoever asked hears of it when there is a server again.
                    let mut server = gate.server.subscribe();
                    tokio::select! {
                        biased;
                        () = lifecycle.stopping() => return,
                        _ = server.wait_for(Option::is_some) => {}
                    }
                    let _ = done.send(());
                }
                tokio::select! {
                    biased;
                    () = lifecycle.stopping() => {}
                    restart = restarts.recv() => next = restart,
                }
                match &next {
                    Some(_) => gate.close(),
                    // A stop in order leaves what is under way its time.
                    None => drop(gate.server.send_replace(None)),
                }
            };
            plane.run_until(until).await?;
            asked = next;
            // What is there of these is taken: a second server would be counted beside the first.
            (self.options.metrics, self.options.health) = (Metrics::new(), Health::new());
        }
        Ok(())
    }
}
