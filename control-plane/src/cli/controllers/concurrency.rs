//! Flags that say how many objects a controller works on at once, with the original's names and defaults.

use super::count;
use clap::Args;
use kubeplane::controllers::Concurrency;

/// How many objects each controller works on at once; on none, where 0 is not refused.
#[derive(Debug, Clone, Args)]
pub(crate) struct ConcurrencyArgs {
    /// How many Deployments are worked on at once.
    #[arg(long, value_name = "COUNT", default_value_t = 5, allow_negative_numbers = true)]
    pub(super) concurrent_deployment_syncs: i32,
    /// How many ReplicaSets are.
    #[arg(long, value_name = "COUNT", default_value_t = 5, allow_negative_numbers = true)]
    pub(super) concurrent_replicaset_syncs: i32,
    /// How many ReplicationControllers are.
    #[arg(long, value_name = "COUNT", default_value_t = 5, allow_negative_numbers = true)]
    pub(super) concurrent_rc_syncs: i32,
    /// How many StatefulSets are.
    #[arg(long, value_name = "COUNT", default_value_t = 5, allow_negative_numbers = true)]
    pub(super) concurrent_statefulset_syncs: i32,
    /// How many DaemonSets are.
    #[arg(long, value_name = "COUNT", default_value_t = 2, allow_negative_numbers = true)]
    pub(super) concurrent_daemonset_syncs: i32,
    /// How many Jobs are.
    #[arg(long, value_name = "COUNT", default_value_t = 5, allow_negative_numbers = true)]
    pub(super) concurrent_job_syncs: i32,
    /// How many CronJobs are.
    #[arg(long, value_name = "COUNT", default_value_t = 5, allow_negative_numbers = true)]
    pub(super) concurrent_cron_job_syncs: i32,
    /// How many Jobs that have ended are looked at once for whether their time is over.
    #[arg(long, value_name = "COUNT", default_value_t = 5, allow_negative_numbers = true)]
    pub(super) concurrent_ttl_after_finished_syncs: i32,
    /// How many autoscalers are worked on at once.
    #[arg(long, value_name = "COUNT", default_value_t = 5, allow_negative_numbers = true)]
    pub(super) concurrent_horizontal_pod_autoscaler_syncs: i32,
    /// How many Services are, to write their Endpoints.
    #[arg(long, value_name = "COUNT", default_value_t = 5, allow_negative_numbers = true)]
    pub(super) concurrent_endpoint_syncs: i32,
    /// How many Services are, to write their EndpointSlices; 1 to 50.
    #[arg(long, value_name = "COUNT", default_value_t = 5, allow_negative_numbers = true)]
    pub(super) concurrent_service_endpoint_syncs: i32,
    /// How many Endpoints are, to copy them to EndpointSlices; 1 to 50.
    #[arg(long, value_name = "COUNT", default_value_t = 5, allow_negative_numbers = true)]
    pub(super) mirroring_concurrent_service_endpoint_syncs: i32,
    /// How many pods are, to make the claims of their ephemeral volumes.
    #[arg(long, value_name = "COUNT", default_value_t = 5, allow_negative_numbers = true)]
    pub(super) concurrent_ephemeralvolume_syncs: i32,
    /// How many pods and ResourceClaims are, to make and to free claims.
    #[arg(long, value_name = "COUNT", default_value_t = 50, allow_negative_numbers = true)]
    pub(super) concurrent_resourceclaim_syncs: i32,
    /// How many pods and DeviceTaintRules are, to evict the pods of tainted devices.
    #[arg(long, value_name = "COUNT", default_value_t = 8, allow_negative_numbers = true)]
    pub(super) concurrent_device_taint_eviction_syncs: i32,
    /// How many objects the garbage collector works on at once.
    #[arg(long, value_name = "COUNT", default_value_t = 20, allow_negative_numbers = true)]
    pub(super) concurrent_gc_syncs: i32,
    /// How many namespaces are emptied at once.
    #[arg(long, value_name = "COUNT", default_value_t = 10, allow_negative_numbers = true)]
    pub(super) concurrent_namespace_syncs: i32,
    /// How many ResourceQuotas are counted at once.
    #[arg(long, value_name = "COUNT", default_value_t = 5, allow_negative_numbers = true)]
    pub(super) concurrent_resource_quota_syncs: i32,
    /// How many token Secrets are filled at once.
    #[arg(long, value_name = "COUNT", default_value_t = 5, allow_negative_numbers = true)]
    pub(super) concurrent_serviceaccount_token_syncs: i32,
}

impl ConcurrencyArgs {
    pub(super) fn concurrency(&self) -> Concurrency {
        let mut own = Concurrency::default();
        own.deployments = count(self.concurrent_deployment_syncs);
        own.replica_sets = count(self.concurrent_replicaset_syncs);
        own.replication_controllers = count(self.concurrent_rc_syncs);
        own.stateful_sets = count(self.concurrent_statefulset_syncs);
        own.daemon_sets = count(self.concurrent_daemonset_syncs);
        own.jobs = count(self.concurrent_job_syncs);
        own.cron_jobs = count(self.concurrent_cron_job_syncs);
        own.finished_jobs = count(self.concurrent_ttl_after_finished_syncs);
        own.autoscalers = count(self.concurrent_horizontal_pod_autoscaler_syncs);
        own.endpoints = count(self.concurrent_endpoint_syncs);
        own.endpoint_slices = count(self.concurrent_service_endpoint_syncs);
        own.mirrored_endpoints = count(self.mirroring_concurrent_service_endpoint_syncs);
        own.ephemeral_volumes = count(self.concurrent_ephemeralvolume_syncs);
        own.resource_claims = count(self.concurrent_resourceclaim_syncs);
        own.device_taints = count(self.concurrent_device_taint_eviction_syncs);
        own.garbage = count(self.concurrent_gc_syncs);
        own.namespaces = count(self.concurrent_namespace_syncs);
        own.resource_quotas = count(self.concurrent_resource_quota_syncs);
        own.account_tokens = count(self.concurrent_serviceaccount_token_syncs);
        own
    }
}
