//! The original's controllers, one file each.

mod deployment;
mod pods;
mod replicas;

use crate::BoxController;
use kubeplane_clock::SharedClock;

/// What the built-in controllers need to know.
#[derive(Debug, Clone)]
pub struct BuiltinOptions {
    /// The clock of the cluster.
    pub clock: SharedClock,
    /// The PEM of the authority that signs the API server's certificate, published into every namespace.
    pub root_ca: String,
}

impl BuiltinOptions {
    /// Options with the original's defaults.
    #[must_use]
    pub fn new(clock: SharedClock, root_ca: impl Into<String>) -> Self {
        Self { clock, root_ca: root_ca.into() }
    }
}

/// All built-in controllers.
#[must_use]
pub fn builtin(options: &BuiltinOptions) -> Vec<BoxController> {
    let clock = || options.clock.clone();
    vec![
        BoxController::new(replicas::replica_sets(clock())),
        BoxController::new(replicas::replication_controllers(clock())),
        BoxController::new(deployment::DeploymentController),
    ]
}
