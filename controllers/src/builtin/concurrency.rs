/// How many objects a controller works on at once: each field is the flag `--concurrent-...-syncs` of the original's controller
/// that looks after these objects, with its default. With 0 nothing is worked on.
///
/// Controllers that have no such flag work on as many as their [`Controller::workers`](crate::Controller::workers) say.
///
/// ```
/// use kubeplane_controllers::Settings;
///
/// let mut settings = Settings::default();
/// settings.concurrency.jobs = 20;
/// assert_eq!(settings.concurrency.daemon_sets, 2);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Concurrency {
    /// `--concurrent-deployment-syncs`.
    pub deployments: usize,
    /// `--concurrent-replicaset-syncs`.
    pub replica_sets: usize,
    /// `--concurrent-rc-syncs`.
    pub replication_controllers: usize,
    /// `--concurrent-statefulset-syncs`.
    pub stateful_sets: usize,
    /// `--concurrent-daemonset-syncs`.
    pub daemon_sets: usize,
    /// `--concurrent-job-syncs`.
    pub jobs: usize,
    /// `--concurrent-cron-job-syncs`.
    pub cron_jobs: usize,
    /// `--concurrent-ttl-after-finished-syncs`.
    pub finished_jobs: usize,
    /// `--concurrent-horizontal-pod-autoscaler-syncs`.
    pub autoscalers: usize,
    /// `--concurrent-endpoint-syncs`.
    pub endpoints: usize,
    /// `--concurrent-service-endpoint-syncs`.
    pub endpoint_slices: usize,
    /// `--mirroring-concurrent-service-endpoint-syncs`.
    pub mirrored_endpoints: usize,
    /// `--concurrent-ephemeralvolume-syncs`.
    pub ephemeral_volumes: usize,
    /// `--concurrent-resourceclaim-syncs`.
    pub resource_claims: usize,
    /// `--concurrent-device-taint-eviction-syncs`.
    pub device_taints: usize,
    /// `--concurrent-gc-syncs`.
    pub garbage: usize,
    /// `--concurrent-namespace-syncs`.
    pub namespaces: usize,
    /// `--concurrent-resource-quota-syncs`.
    pub resource_quotas: usize,
    /// `--concurrent-serviceaccount-token-syncs`.
    pub account_tokens: usize,
}

impl Default for Concurrency {
    fn default() -> Self {
        Self {
            deployments: 5,
            replica_sets: 5,
            replication_controllers: 5,
            stateful_sets: 5,
            daemon_sets: 2,
            jobs: 5,
            cron_jobs: 5,
            finished_jobs: 5,
            autoscalers: 5,
            endpoints: 5,
            endpoint_slices: 5,
            mirrored_endpoints: 5,
            ephemeral_volumes: 5,
            resource_claims: 50,
            device_taints: 8,
            garbage: 20,
            namespaces: 10,
            resource_quotas: 5,
            account_tokens: 5,
        }
    }
}

impl Concurrency {
    /// What is said of the controller of this name, if anything.
    pub(super) fn of(&self, controller: &str) -> Option<usize> {
        Some(match controller {
            "deployment-controller" => self.deployments,
            "replicaset-controller" => self.replica_sets,
            "replicationcontroller-controller" => self.replication_controllers,
            "statefulset-controller" => self.stateful_sets,
            "daemonset-controller" => self.daemon_sets,
            "job-controller" => self.jobs,
            "cronjob-controller" => self.cron_jobs,
            "ttl-after-finished-controller" => self.finished_jobs,
            "horizontal-pod-autoscaler-controller" => self.autoscalers,
            "endpoints-controller" => self.endpoints,
            "endpointslice-controller" => self.endpoint_slices,
            "endpointslice-mirroring-controller" => self.mirrored_endpoints,
            "ephemeral-volume-controller" => self.ephemeral_volumes,
            "resourceclaim-controller" => self.resource_claims,
            "device-taint-eviction-controller" => self.device_taints,
            "garbage-collector-controller" => self.garbage,
            "namespace-controller" => self.namespaces,
            "resourcequota-controller" => self.resource_quotas,
            "serviceaccount-token-controller" => self.account_tokens,
            _ => return None,
        })
    }
}
