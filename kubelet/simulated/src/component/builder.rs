//! How the component is put together.

use super::{
    ClockOf, Shared, SimulatedNodes,
    lines::Lines,
    writer::{Identify, Writer},
};
use crate::{Error, PodStages, Simulation};
use http::request::Parts;
use kubeplane_client::{ClientSource, Informers};
use kubeplane_clock::{Seed, SharedClock};
use parking_lot::Mutex;
use std::sync::Arc;

/// Makes [`SimulatedNodes`].
#[must_use]
pub struct SimulatedNodesBuilder {
    client: kube::Client,
    identify: Option<Identify>,
    simulation: Simulation,
    clock: SharedClock,
    clock_of: Option<ClockOf>,
    seed: Option<Seed>,
    informers: Option<Informers>,
}

impl std::fmt::Debug for SimulatedNodesBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SimulatedNodesBuilder")
            .field("simulation", &self.simulation)
            .finish_non_exhaustive()
    }
}

impl SimulatedNodes {
    /// Simulates this through a client that may write nodes, leases and the status of pods, and delete pods.
    pub fn builder(client: kube::Client, simulation: Simulation) -> SimulatedNodesBuilder {
        SimulatedNodesBuilder {
            client,
            identify: None,
            simulation,
            clock: kubeplane_clock::real(),
            clock_of: None,
            seed: None,
            informers: None,
        }
    }
}

impl SimulatedNodesBuilder {
    /// Has this say in each request by which a node writes, which node that is, by its name: itself, its lease, and the
    /// status and the end of its pods. All go through the one client, so that thousands of nodes cost no more than one;
    /// pods are watched by that client as it is.
    ///
    /// A client in the same process may look for an extension. A server that lets the client act as others takes a
    /// header:
    ///
    /// ```
    /// # fn example(client: kube::Client, simulation: kubeplane_simulated::Simulation) {
    /// use http::HeaderValue;
    /// use kubeplane_simulated::SimulatedNodes;
    ///
    /// let builder = SimulatedNodes::builder(client, simulation).identify(|node, head| {
    ///     if let Ok(user) = HeaderValue::from_str(&format!("simulated:{node}")) {
    ///         head.headers.insert("impersonate-user", user);
    ///     }
    /// });
    /// # drop(builder);
    /// # }
    /// ```
    pub fn identify(mut self, say: impl Fn(&str, &mut Parts) + Send + Sync + 'static) -> Self {
        self.identify = Some(Box::new(say));
        self
    }

    /// Takes time from this clock instead of the machine's.
    pub fn clock(mut self, clock: SharedClock) -> Self {
        self.clock = clock;
        self
    }

    /// Takes the times that a node tells, of itself and its pods, from the clock of its own that this makes from its name,
    /// each time anew. When something is done goes by the [`clock`](Self::clock) of all.
    pub fn clock_for(mut self, make: impl Fn(&str) -> SharedClock + Send + Sync + 'static) -> Self {
        self.clock_of = Some(Box::new(make));
        self
    }

    /// Takes chance from this seed instead of one nobody can predict.
    pub fn seed(mut self, seed: Seed) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Shares these informers instead of making its own. What it keeps of pods, which is little, it has to itself.
    pub fn informers(mut self, informers: Informers) -> Self {
        self.informers = Some(informers);
        self
    }

    /// The component.
    ///
    /// # Errors
    /// When two groups of nodes have one name.
    pub fn build(self) -> Result<SimulatedNodes, Error> {
        self.simulation.check()?;
        let seed = self.seed.unwrap_or_else(Seed::random);
        let informers = self.informers.unwrap_or_else(|| {
            let source = Arc::new(ClientSource::new(self.client.clone()));
            Informers::from_source(source, self.clock.clone(), Seed::new(seed.value()))
        });
        let shared = Shared {
            writer: Writer::new(self.client, self.identify),
            simulation: self.simulation,
            clock: self.clock,
            clock_of: self.clock_of,
            seed,
            default: PodStages::default(),
            pods: Mutex::default(),
            lines: Lines::default(),
        };
        Ok(SimulatedNodes { shared: Arc::new(shared), informers })
    }
}
