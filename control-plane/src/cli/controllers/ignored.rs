//! Flags of the original that change nothing here.

use super::super::duration;
use clap::Args;
use std::time::Duration;

/// What is taken so that the flags of a distribution need no change, and told of when it is said.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Flags of kube-controller-manager that have no effect")]
pub(crate) struct IgnoredArgs {
    /// Load balancers and routes that have it in their names are for the controllers of a cloud.
    #[arg(long, value_name = "NAME")]
    cluster_name: Option<String>,
    /// There is no cloud to be configured.
    #[arg(long, value_name = "FILE")]
    cloud_config: Option<String>,
    /// Routes are for the controllers of a cloud.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    configure_cloud_routes: Option<bool>,
    /// The same.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    route_reconciliation_period: Option<Duration>,
    /// Load balancers are for the controllers of a cloud.
    #[arg(long, value_name = "COUNT", allow_negative_numbers = true)]
    concurrent_service_syncs: Option<i32>,
    /// The API server itself says what is wrong with ValidatingAdmissionPolicies.
    #[arg(long, value_name = "COUNT", allow_negative_numbers = true)]
    concurrent_validating_admission_policy_status_syncs: Option<i32>,
    /// There are no plugins of a cloud.
    #[arg(long, value_name = "NAME")]
    external_cloud_volume_plugin: Option<String>,
    /// VolumeAttachments are watched, so that there is nothing to find out.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    disable_attach_detach_reconcile_sync: Option<bool>,
    /// There are no flex volumes.
    #[arg(long, value_name = "DIRECTORY")]
    flex_volume_plugin_dir: Option<String>,
    /// Requests are not held back.
    #[arg(long, value_name = "RATE", allow_negative_numbers = true)]
    kube_api_qps: Option<f32>,
    /// The same.
    #[arg(long, value_name = "COUNT", allow_negative_numbers = true)]
    kube_api_burst: Option<i32>,
    /// Objects are sent as JSON.
    #[arg(long, value_name = "TYPE")]
    kube_api_content_type: Option<String>,
    /// Tokens are reviewed, and rights asked for, whatever the cluster says of front proxies.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    authentication_skip_lookup: Option<bool>,
    /// The same.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    authentication_tolerate_lookup_failure: Option<bool>,
    /// What is in caches is not gone through again.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    min_resync_period: Option<Duration>,
    /// All controllers start at once.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    controller_start_interval: Option<Duration>,
    /// Leases are all that is locked.
    #[arg(long, value_name = "KIND", value_parser = ["leases"])]
    leader_elect_resource_lock: Option<String>,
    /// What a proxy says of users is not believed.
    #[arg(long, value_name = "FILE")]
    requestheader_client_ca_file: Option<String>,
    /// The same.
    #[arg(long, value_name = "NAMES")]
    requestheader_allowed_names: Option<String>,
    /// The same.
    #[arg(long, value_name = "PREFIXES")]
    requestheader_extra_headers_prefix: Option<String>,
    /// The same.
    #[arg(long, value_name = "NAMES")]
    requestheader_group_headers: Option<String>,
    /// The same.
    #[arg(long, value_name = "NAMES")]
    requestheader_uid_headers: Option<String>,
    /// The same.
    #[arg(long, value_name = "NAMES")]
    requestheader_username_headers: Option<String>,
    /// No profiles are served.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    profiling: Option<bool>,
    /// The same.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    contention_profiling: Option<bool>,
    /// What is logged is for --log to say.
    #[arg(short, long, value_name = "LEVEL", allow_negative_numbers = true)]
    v: Option<i32>,
    /// The same.
    #[arg(long, value_name = "LEVELS")]
    vmodule: Option<String>,
    /// What is logged is text.
    #[arg(long, value_name = "FORMAT", value_parser = ["text"])]
    logging_format: Option<String>,
    /// It is written at once.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    log_flush_frequency: Option<Duration>,
}

impl IgnoredArgs {
    /// The flags that are said.
    pub(super) fn said(&self) -> Vec<&'static str> {
        let all = [
            ("cluster-name", self.cluster_name.is_some()),
            ("cloud-config", self.cloud_config.is_some()),
            ("configure-cloud-routes", self.configure_cloud_routes.is_some()),
            ("route-reconciliation-period", self.route_reconciliation_period.is_some()),
            ("concurrent-service-syncs", self.concurrent_service_syncs.is_some()),
            (
                "concurrent-validating-admission-policy-status-syncs",
                self.concurrent_validating_admission_policy_status_syncs.is_some(),
            ),
            ("external-cloud-volume-plugin", self.external_cloud_volume_plugin.is_some()),
            (
                "disable-attach-detach-reconcile-sync",
                self.disable_attach_detach_reconcile_sync.is_some(),
            ),
            ("flex-volume-plugin-dir", self.flex_volume_plugin_dir.is_some()),
            ("kube-api-qps", self.kube_api_qps.is_some()),
            ("kube-api-burst", self.kube_api_burst.is_some()),
            ("kube-api-content-type", self.kube_api_content_type.is_some()),
            ("authentication-skip-lookup", self.authentication_skip_lookup.is_some()),
            (
                "authentication-tolerate-lookup-failure",
                self.authentication_tolerate_lookup_failure.is_some(),
            ),
            ("min-resync-period", self.min_resync_period.is_some()),
            ("controller-start-interval", self.controller_start_interval.is_some()),
            ("leader-elect-resource-lock", self.leader_elect_resource_lock.is_some()),
            ("requestheader-client-ca-file", self.requestheader_client_ca_file.is_some()),
            ("requestheader-allowed-names", self.requestheader_allowed_names.is_some()),
            (
                "requestheader-extra-headers-prefix",
                self.requestheader_extra_headers_prefix.is_some(),
            ),
            ("requestheader-group-headers", self.requestheader_group_headers.is_some()),
            ("requestheader-uid-headers", self.requestheader_uid_headers.is_some()),
            ("requestheader-username-headers", self.requestheader_username_headers.is_some()),
            ("profiling", self.profiling.is_some()),
            ("contention-profiling", self.contention_profiling.is_some()),
            ("v", self.v.is_some()),
            ("vmodule", self.vmodule.is_some()),
            ("logging-format", self.logging_format.is_some()),
            ("log-flush-frequency", self.log_flush_frequency.is_some()),
        ];
        all.into_iter().filter(|(_, said)| *said).map(|(name, _)| name).collect()
    }
}
