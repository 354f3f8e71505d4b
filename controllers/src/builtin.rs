//! The original's controllers, one file each.

mod cluster_roles;
mod cronjob;
mod daemonset;
mod deployment;
mod discovery;
mod disruption;
mod endpoints;
mod endpointslices;
mod garbage;
mod job;
mod job_ttl;
mod mirroring;
mod namespaces;
mod nodes;
mod pod_gc;
mod pods;
mod replicas;
mod revisions;
mod root_ca;
mod service_accounts;
mod services;
mod statefulset;
mod volume_protection;
mod written;

use crate::BoxController;
use ipnet::IpNet;
use kubeplane_clock::SharedClock;

/// What the built-in controllers need to know.
#[derive(Debug, Clone)]
pub struct BuiltinOptions {
    /// The clock of the cluster.
    pub clock: SharedClock,
    /// The PEM of the authority that signs the API server's certificate, published into every namespace.
    pub root_ca: String,
    /// The range from which each node gets a part for its pods; without it nodes get none.
    pub cluster_cidr: Option<IpNet>,
}

impl BuiltinOptions {
    /// Options with the original's defaults.
    #[must_use]
    pub fn new(clock: SharedClock, root_ca: impl Into<String>) -> Self {
        Self { clock, root_ca: root_ca.into(), cluster_cidr: None }
    }

    /// Gives each node a part of this range (a /24, or a /64 of IPv6) for its pods.
    #[must_use]
    pub fn with_cluster_cidr(self, range: IpNet) -> Self {
        Self { cluster_cidr: Some(range), ..self }
    }
}

/// All built-in controllers.
#[must_use]
pub fn builtin(options: &BuiltinOptions) -> Vec<BoxController> {
    let clock = || options.clock.clone();
    let mut all = vec![
        BoxController::new(replicas::replica_sets(clock())),
        BoxController::new(replicas::replication_controllers(clock())),
        BoxController::new(deployment::DeploymentController::new(clock())),
        BoxController::new(endpoints::EndpointsController::new(clock())),
        BoxController::new(endpointslices::EndpointSlices::new(clock())),
        BoxController::new(mirroring::Mirroring::new(clock())),
        BoxController::new(namespaces::Namespaces),
        BoxController::new(service_accounts::ServiceAccounts),
        BoxController::new(root_ca::RootCa::new(options.root_ca.clone())),
        BoxController::new(cluster_roles::ClusterRoles),
        BoxController::new(garbage::Garbage::new()),
        BoxController::new(job::Jobs::new(clock())),
        BoxController::new(job_ttl::JobTtl),
        BoxController::new(cronjob::CronJobs::new(clock())),
        BoxController::new(statefulset::StatefulSets::new(clock())),
        BoxController::new(daemonset::DaemonSets::new(clock())),
        BoxController::new(disruption::Disruption),
        BoxController::new(volume_protection::ClaimProtection),
        BoxController::new(volume_protection::VolumeProtection),
        BoxController::new(nodes::NodeLifecycle::new()),
        BoxController::new(nodes::TaintEviction::new()),
        BoxController::new(pod_gc::PodGc::new()),
    ];
    if let Some(range) = options.cluster_cidr {
        all.push(BoxController::new(nodes::NodeIpam::new(range)));
    }
    all
}
