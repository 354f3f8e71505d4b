//! The component that simulates.

mod builder;
mod lines;
mod nodes;
mod pods;
mod writer;

pub use builder::SimulatedNodesBuilder;

use crate::{NodeGroup, PodStages, Simulation, pod::Pod};
use async_trait::async_trait;
use futures::FutureExt;
use jiff::Timestamp;
use kubeplane_client::{Informers, QueueOptions, WorkQueue};
use kubeplane_clock::{Seed, SharedClock};
use kubeplane_core::component::{Component, ComponentError, Lifecycle};
use lines::Lines;
use parking_lot::Mutex;
use pods::Pods;
use std::{sync::Arc, time::Duration};
use tokio::task::JoinSet;
use writer::Writer;

/// How many requests are under way at most, of nodes and of pods.
const AT_ONCE: usize = 32;
/// After how long at most a pod is tried to be written again: what its node could not say for a while is to be said soon
/// after that.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// The clock that each node has of its own, by its name.
type ClockOf = Box<dyn Fn(&str) -> SharedClock + Send + Sync>;

/// Simulated nodes, not running yet. Ready when all nodes are there, which is tried until it is done; what the API
/// server refuses for good (400, 404, 422) ends it. Pods that run already, for another who looked after them, run on.
///
/// Its nodes stay when it ends, as those of any kubelet do; their leases run out.
#[derive(Debug)]
pub struct SimulatedNodes {
    shared: Arc<Shared>,
    informers: Informers,
}

struct Shared {
    writer: Writer,
    simulation: Simulation,
    clock: SharedClock,
    clock_of: Option<ClockOf>,
    seed: Seed,
    default: PodStages,
    pods: Mutex<Pods>,
    lines: Lines,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("simulation", &self.simulation).finish_non_exhaustive()
    }
}

#[async_trait]
impl Component for SimulatedNodes {
    fn name(&self) -> &str {
        "simulated nodes"
    }

    async fn run(self: Box<Self>, lifecycle: Lifecycle) -> Result<(), ComponentError> {
        let pods = self.informers.filtered::<Pod>("spec.nodeName!=", "");
        let options =
            QueueOptions { longest_pause: LONGEST_WAIT, ..QueueOptions::named("simulated-pods") };
        let queue = WorkQueue::new(self.shared.clock.clone(), &options);
        let mut tasks = JoinSet::new();
        let (shared, filled) = (self.shared.clone(), pods.clone());
        let made = async move {
            shared.make_nodes().await?;
            filled.synced().await;
            Ok::<_, ComponentError>(())
        };
        tokio::select! {
            biased;
            () = lifecycle.stopping() => return Ok(()),
            made = made.boxed() => made?,
        }
        self.shared.spare(&pods.list());
        tasks.spawn(pods::feed(self.shared.clone(), pods.clone(), queue.clone()));
        for _ in 0..AT_ONCE {
            tasks.spawn(pods::work(self.shared.clone(), pods.clone(), queue.clone()));
        }
        tasks.spawn(nodes::renew(self.shared.clone()).boxed());
        tasks.spawn(nodes::ready_late(self.shared.clone()).boxed());
        lifecycle.ready();
        lifecycle.stopping().await;
        queue.shut_down();
        tasks.shutdown().await;
        Ok(())
    }
}

impl Shared {
    /// What time it is on this node.
    fn now(&self, node: &str) -> Timestamp {
        self.clock_of.as_ref().map_or_else(|| self.clock.now(), |make| make(node).now())
    }

    fn nodes(&self) -> Vec<(&NodeGroup, u32)> {
        let all = self.simulation.nodes.iter();
        all.flat_map(|group| (1..=group.count).map(move |number| (group, number))).collect()
    }
}

/// Something a later try may do.
fn retry(error: &kube::Error) -> bool {
    !matches!(error, kube::Error::Api(status) if matches!(status.code, 400 | 404 | 422))
}
