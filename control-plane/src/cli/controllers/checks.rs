//! What is wrong with flags of controllers, in the original's words and order.

use super::SettingsArgs;
use std::time::Duration;

/// Of `--attach-detach-reconcile-sync-period`.
const TOO_SHORT: &str = "duration time must be greater than one second as set via command line option reconcile-sync-loop-period";

/// Counts that the original refuses below one, as it says so.
fn too_few(name: &str, said: &str, value: i32) -> Option<String> {
    (value < 1).then(|| format!("{name} must be {said} {value}"))
}

/// The same of counts with an upper bound.
fn beyond(name: &str, value: i32, most: i32) -> Option<String> {
    match value {
        ..1 => Some(format!("{name} must not be less than 1, but got {value}")),
        _ if value > most => Some(format!("{name} must not be more than {most}, but got {value}")),
        _ => None,
    }
}

/// Several errors as one, as the original joins them.
pub(super) fn joined(mut all: Vec<String>) -> Result<(), String> {
    match all.len() {
        0 => Ok(()),
        1 => Err(all.remove(0)),
        _ => Err(format!("[{}]", all.join(", "))),
    }
}

impl SettingsArgs {
    pub(super) fn problems(&self) -> Vec<String> {
        let own = &self.concurrency;
        let greater = "greater than 0, but got";
        let too_short = self.syncs.attach_detach_reconcile_sync_period < Duration::from_secs(1);
        let found = [
            too_short.then(|| TOO_SHORT.to_owned()),
            too_few("concurrent-daemonset-syncs", greater, own.concurrent_daemonset_syncs),
            too_few(
                "concurrent-device-taint-eviction-syncs",
                "greater than zero, got",
                own.concurrent_device_taint_eviction_syncs,
            ),
            too_few(
                "concurrent-resourceclaim-syncs",
                "larger than 0, got",
                own.concurrent_resourceclaim_syncs,
            ),
            too_few("concurrent-statefulset-syncs", greater, own.concurrent_statefulset_syncs),
            beyond("concurrent-service-endpoint-syncs", own.concurrent_service_endpoint_syncs, 50),
            beyond("max-endpoints-per-slice", self.max_endpoints_per_slice, 1000),
            beyond(
                "mirroring-concurrent-service-endpoint-syncs",
                own.mirroring_concurrent_service_endpoint_syncs,
                50,
            ),
            beyond(
                "mirroring-max-endpoints-per-subset",
                self.mirroring_max_endpoints_per_subset,
                1000,
            ),
            too_few(
                "concurrent-ephemeralvolume-syncs",
                greater,
                own.concurrent_ephemeralvolume_syncs,
            ),
            too_few(
                "concurrent-horizontal-pod-autoscaler-syncs",
                greater,
                own.concurrent_horizontal_pod_autoscaler_syncs,
            ),
            too_few("concurrent-job-syncs", greater, own.concurrent_job_syncs),
            too_few("concurrent-cron-job-syncs", greater, own.concurrent_cron_job_syncs),
            self.ranges.problem_of_services(),
            self.ranges.problem_of_allocator(),
        ];
        found.into_iter().flatten().collect()
    }
}
