//! Nodes and pods without machines: thousands of them, in one process, against any API server.
//!
//! ```text
//!   manifests ──> Simulation: groups of nodes, stages of pods
//!                     │
//!   kube::Client ──> SimulatedNodes ── makes nodes, renews their leases
//!                     └─ watches pods on them ──> starts, is ready, fails, ends, goes: patches of pods/status
//! ```
//!
//! What a pod uses and says stands in its annotations, written with its first status: kubeplane's API server answers
//! `kubectl top` and `kubectl logs` from them, for nodes that have no kubelet.
//!
//! There is no kubelet here and no container: a pod runs because its status says so. For containers that do what
//! they are told, in memory, see the kubelet on a simulated runtime.
//!
//! ```
//! use kubeplane_simulated::Simulation;
//!
//! let simulation: Simulation = "
//! kind: Nodes
//! metadata: {name: edge}
//! spec: {count: 1000, labels: {zone: edge}, capacity: {cpu: '4', memory: 8Gi, pods: '50'}}
//! ---
//! kind: PodStages
//! metadata: {name: slow}
//! spec:
//!   selector: {matchLabels: {app: slow}}
//!   startDelay: 2s
//!   readyDelay: 500ms
//!   failureRate: 0.1
//!   logs: {lines: [working], every: 10s, repeat: true}
//!   usage: {cpu: 250m, memory: 64Mi}
//! ".parse()?;
//! assert_eq!(simulation.node_count(), 1000);
//! # Ok::<(), kubeplane_simulated::Error>(())
//! ```

mod component;
mod logs;
mod manifest;
mod node;
mod pod;

pub use component::{SimulatedNodes, SimulatedNodesBuilder};
pub use logs::Logs;
pub use manifest::{NodeGroup, PodStages, Selector, Simulation, Usage};

/// Why a simulation cannot be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A manifest cannot be read.
    #[error("manifest {number}: {why}")]
    Manifest {
        /// Which, counted from one.
        number: usize,
        /// Why.
        why: String,
    },
    /// Two groups would make nodes of the same names.
    #[error("two groups of nodes are called {name:?}")]
    Duplicate {
        /// The name.
        name: String,
    },
}
