//! Flags that say how often and whether controllers do something, with the original's names and defaults.

use super::super::duration;
use clap::{ArgAction, Args};
use kubeplane::controllers::Settings;
use std::time::Duration;

/// How often controllers look, and what they leave alone.
#[derive(Debug, Clone, Args)]
pub(crate) struct SyncArgs {
    /// How often nodes that are not well, and zones, are looked at; with 0s without a pause.
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = duration)]
    node_monitor_period: Duration,
    /// How long after a change of a pod its Services' Endpoints are written, with all that happens meanwhile.
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = duration)]
    endpoint_updates_batch_period: Duration,
    /// The same of their EndpointSlices.
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = duration)]
    endpointslice_updates_batch_period: Duration,
    /// How long after a change of EndpointSlices that were copied from Endpoints they are compared with these.
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = duration)]
    mirroring_endpointslice_updates_batch_period: Duration,
    /// How often namespaces that are being deleted are looked at, a second at least, whatever is told of them; 0s for never.
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = duration)]
    namespace_sync_period: Duration,
    /// How often each ResourceQuota is counted anew, whatever is seen; 0s for never.
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = duration)]
    resource_quota_sync_period: Duration,
    /// How soon claims and volumes that are not settled are looked at again, if nothing changes.
    #[arg(long, value_name = "DURATION", default_value = "15s", value_parser = duration)]
    pvclaimbinder_sync_period: Duration,
    /// Whether provisioners are asked for volumes.
    #[arg(long, value_name = "BOOL", default_value_t = true, action = ArgAction::Set,
        num_args = 0..=1, default_missing_value = "true")]
    enable_dynamic_provisioning: bool,
    /// Whether objects go when all of their owners are gone; to be the same as for the API server.
    #[arg(long, value_name = "BOOL", default_value_t = true, action = ArgAction::Set,
        num_args = 0..=1, default_missing_value = "true")]
    enable_garbage_collector: bool,
    /// How many seconds a pod that removes what is in a volume of the host's disk may run at least.
    #[arg(long, value_name = "SECONDS", default_value_t = 60, allow_negative_numbers = true)]
    pv_recycler_minimum_timeout_hostpath: i32,
    /// How many seconds it may run for each GiB of the volume.
    #[arg(long, value_name = "SECONDS", default_value_t = 30, allow_negative_numbers = true)]
    pv_recycler_timeout_increment_hostpath: i32,
    /// The first of an NFS server's disk.
    #[arg(long, value_name = "SECONDS", default_value_t = 300, allow_negative_numbers = true)]
    pv_recycler_minimum_timeout_nfs: i32,
    /// The second of it.
    #[arg(long, value_name = "SECONDS", default_value_t = 30, allow_negative_numbers = true)]
    pv_recycler_increment_timeout_nfs: i32,
    /// Whether a volume stays on a node that is not well for as long as the node has not let it go, instead of six minutes;
    /// not on one that is out of service.
    #[arg(long, value_name = "BOOL", default_value_t = false, action = ArgAction::Set,
        num_args = 0..=1, default_missing_value = "true")]
    disable_force_detach_on_timeout: bool,
    /// No effect, but a second at least: VolumeAttachments are watched, so that there is nothing to find out.
    #[arg(long, value_name = "DURATION", default_value = "1m", value_parser = duration)]
    pub(super) attach_detach_reconcile_sync_period: Duration,
}

fn seconds(said: i32) -> Duration {
    Duration::from_secs(u64::try_from(said).unwrap_or_default())
}

impl SyncArgs {
    pub(super) fn note(&self, settings: &mut Settings) {
        settings.node_monitor_period = self.node_monitor_period;
        settings.endpoint_updates_batch_period = self.endpoint_updates_batch_period;
        settings.endpointslice_updates_batch_period = self.endpointslice_updates_batch_period;
        settings.mirroring_endpointslice_updates_batch_period =
            self.mirroring_endpointslice_updates_batch_period;
        settings.namespace_sync_period = self.namespace_sync_period;
        settings.resource_quota_sync_period = self.resource_quota_sync_period;
        settings.pvclaimbinder_sync_period = self.pvclaimbinder_sync_period;
        settings.pv_recycler_minimum_timeout_hostpath =
            seconds(self.pv_recycler_minimum_timeout_hostpath);
        settings.pv_recycler_timeout_increment_hostpath =
            seconds(self.pv_recycler_timeout_increment_hostpath);
        settings.pv_recycler_minimum_timeout_nfs = seconds(self.pv_recycler_minimum_timeout_nfs);
        settings.pv_recycler_increment_timeout_nfs =
            seconds(self.pv_recycler_increment_timeout_nfs);
        settings.enable_dynamic_provisioning = self.enable_dynamic_provisioning;
        settings.enable_garbage_collector = self.enable_garbage_collector;
        settings.disable_force_detach_on_timeout = self.disable_force_detach_on_timeout;
    }
}
