//! Flags of controllers and of their election, with the original's names.

mod checks;
mod concurrency;
mod ignored;
mod manager;
mod ranges;
mod signers;
mod syncs;

use super::duration;
use clap::Args;
use concurrency::ConcurrencyArgs;
use ipnet::IpNet;
use kubeplane::{client::LeaseConfig, controllers::Settings};
pub(crate) use manager::ManagerArgs;
use ranges::RangeArgs;
use std::time::Duration;
use syncs::SyncArgs;

/// What some controllers do otherwise.
#[derive(Debug, Clone, Args)]
pub(crate) struct SettingsArgs {
    #[command(flatten)]
    concurrency: ConcurrencyArgs,
    #[command(flatten)]
    syncs: SyncArgs,
    #[command(flatten)]
    ranges: RangeArgs,
    /// How many pods that have ended are kept; all, if it is not above zero.
    #[arg(long, value_name = "COUNT", default_value_t = 12_500, allow_negative_numbers = true)]
    terminated_pod_gc_threshold: i32,
    /// How long a node may be silent before nothing is known of it.
    #[arg(long, value_name = "DURATION", default_value = "50s", value_parser = duration)]
    node_monitor_grace_period: Duration,
    /// The same for a node that has never said whether it is ready.
    #[arg(long, value_name = "DURATION", default_value = "1m", value_parser = duration)]
    node_startup_grace_period: Duration,
    /// Nodes per second of a zone from which pods are evicted when they are not ready.
    #[arg(long, value_name = "RATE", default_value = "0.1", value_parser = rate)]
    node_eviction_rate: f64,
    /// The same in a large zone of which too many nodes are not ready; in a small one there is none.
    #[arg(long, value_name = "RATE", default_value = "0.01", value_parser = rate)]
    secondary_node_eviction_rate: f64,
    /// Which part of a zone's nodes is too many when it is not ready; three at least.
    #[arg(long, value_name = "SHARE", default_value = "0.55", value_parser = rate)]
    unhealthy_zone_threshold: f64,
    /// Zones of more nodes are large.
    #[arg(long, value_name = "COUNT", default_value_t = 50)]
    large_cluster_size_threshold: usize,
    /// How many endpoints an EndpointSlice has at most; 1 to 1000.
    #[arg(long, value_name = "COUNT", default_value_t = 100, allow_negative_numbers = true)]
    max_endpoints_per_slice: i32,
    /// How many addresses of a subset of Endpoints are copied to EndpointSlices at most; 1 to 1000.
    #[arg(long, value_name = "COUNT", default_value_t = 1000, allow_negative_numbers = true)]
    mirroring_max_endpoints_per_subset: i32,
    /// How often each autoscaler is looked at; with 0s without a pause.
    #[arg(long, value_name = "DURATION", default_value = "15s", value_parser = duration)]
    horizontal_pod_autoscaler_sync_period: Duration,
    /// How long the highest recommendation counts before an autoscaler scales down.
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = duration)]
    horizontal_pod_autoscaler_downscale_stabilization: Duration,
    /// How far a figure may be from its target without consequences, as a part of the target.
    #[arg(long, value_name = "SHARE", default_value = "0.1", value_parser = rate)]
    horizontal_pod_autoscaler_tolerance: f64,
    /// How long after its start a pod's use of the processor may be that of starting.
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = duration)]
    horizontal_pod_autoscaler_cpu_initialization_period: Duration,
    /// How long after its start a pod that says it is not ready has not been ready yet.
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration)]
    horizontal_pod_autoscaler_initial_readiness_delay: Duration,
    /// How long a token Secret that nobody uses is kept until it is declared invalid, and then again until it goes.
    #[arg(long, value_name = "DURATION", default_value = "8760h", value_parser = period)]
    legacy_service_account_token_clean_up_period: Duration,
    /// How long certificates that are asked for through the API are good at most.
    #[arg(long, value_name = "DURATION", default_value = "8760h", value_parser = duration)]
    cluster_signing_duration: Duration,
}

impl SettingsArgs {
    /// From which ranges each node gets a part.
    pub(crate) fn cluster_cidrs(&self) -> &[IpNet] {
        self.ranges.given()
    }

    /// What is said, or what is wrong with it.
    pub(crate) fn settings(&self) -> Result<Settings, String> {
        checks::joined(self.problems())?;
        let mut settings = Settings::default();
        settings.concurrency = self.concurrency.concurrency();
        self.syncs.note(&mut settings);
        self.ranges.note(&mut settings)?;
        settings.terminated_pod_gc_threshold = count(self.terminated_pod_gc_threshold);
        settings.node_monitor_grace_period = self.node_monitor_grace_period;
        settings.node_startup_grace_period = self.node_startup_grace_period;
        settings.node_eviction_rate = self.node_eviction_rate;
        settings.secondary_node_eviction_rate = self.secondary_node_eviction_rate;
        settings.unhealthy_zone_threshold = self.unhealthy_zone_threshold;
        settings.large_cluster_size_threshold = self.large_cluster_size_threshold;
        settings.max_endpoints_per_slice = count(self.max_endpoints_per_slice);
        settings.mirroring_max_endpoints_per_subset =
            count(self.mirroring_max_endpoints_per_subset);
        settings.cluster_signing_duration = self.cluster_signing_duration;
        settings.legacy_service_account_token_clean_up_period =
            self.legacy_service_account_token_clean_up_period;
        self.scaling(&mut settings);
        Ok(settings)
    }

    fn scaling(&self, settings: &mut Settings) {
        settings.horizontal_pod_autoscaler_sync_period = self.horizontal_pod_autoscaler_sync_period;
        settings.horizontal_pod_autoscaler_downscale_stabilization =
            self.horizontal_pod_autoscaler_downscale_stabilization;
        settings.horizontal_pod_autoscaler_tolerance = self.horizontal_pod_autoscaler_tolerance;
        settings.horizontal_pod_autoscaler_cpu_initialization_period =
            self.horizontal_pod_autoscaler_cpu_initialization_period;
        settings.horizontal_pod_autoscaler_initial_readiness_delay =
            self.horizontal_pod_autoscaler_initial_readiness_delay;
    }
}

/// What is not above zero is none.
fn count(said: i32) -> usize {
    usize::try_from(said).unwrap_or_default()
}

fn period(text: &str) -> Result<Duration, String> {
    let period = duration(text)?;
    if period.is_zero() { Err("must be above zero".to_owned()) } else { Ok(period) }
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate.is_finite() && rate >= 0.0 => Ok(rate),
        _ => Err("must be a number that is not negative".to_owned()),
    }
}

/// How it is agreed on who works.
#[derive(Debug, Clone, Args)]
pub(crate) struct ElectionArgs {
    /// How long others leave one alone that works and does not say so.
    #[arg(long, value_name = "DURATION", default_value = "15s", value_parser = duration)]
    leader_elect_lease_duration: Duration,
    /// How long one goes on to work that cannot say so.
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration)]
    leader_elect_renew_deadline: Duration,
    /// How often it is tried.
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = duration)]
    leader_elect_retry_period: Duration,
    /// The lease's name.
    #[arg(long, value_name = "NAME", default_value = "kube-controller-manager")]
    leader_elect_resource_name: String,
    /// The lease's namespace.
    #[arg(long, value_name = "NAME", default_value = "kube-system")]
    leader_elect_resource_namespace: String,
}

impl ElectionArgs {
    /// The election in which this is the candidate.
    pub(crate) fn lease(&self, identity: &str) -> Result<LeaseConfig, String> {
        let (lease, renew, retry) = (
            self.leader_elect_lease_duration,
            self.leader_elect_renew_deadline,
            self.leader_elect_retry_period,
        );
        if retry.is_zero() {
            return Err("leaderElection.retryPeriod must be greater than zero".to_owned());
        }
        if lease <= renew {
            return Err("leaseDuration must be greater than renewDeadline".to_owned());
        }
        // It is tried up to a fifth later.
        if renew <= retry.mul_f64(1.2) {
            return Err("renewDeadline must be greater than retryPeriod*JitterFactor".to_owned());
        }
        let (namespace, name) =
            (&self.leader_elect_resource_namespace, &self.leader_elect_resource_name);
        Ok(LeaseConfig {
            lease_duration: lease,
            renew_deadline: renew,
            retry_period: retry,
            ..LeaseConfig::new(namespace, name, identity)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        settings: SettingsArgs,
        #[command(flatten)]
        election: ElectionArgs,
    }

    fn line(flags: &[&str]) -> Result<Line, String> {
        let line = ["kubeplane"].iter().chain(flags);
        Line::try_parse_from(line).map_err(|error| error.to_string())
    }

    #[test]
    fn nothing_said_is_the_original() {
        let line = line(&[]).unwrap();
        assert_eq!(line.settings.settings().unwrap(), Settings::default());
        let (lease, usual) = (
            line.election.lease("me").unwrap(),
            LeaseConfig::new("kube-system", "kube-controller-manager", "me"),
        );
        assert_eq!((&lease.namespace, &lease.name), (&usual.namespace, &usual.name));
        let times = |own: &LeaseConfig| (own.lease_duration, own.renew_deadline, own.retry_period);
        assert_eq!(times(&lease), times(&usual));
    }

    #[test]
    fn what_is_said_counts_and_nonsense_is_refused() {
        let flags = [
            "--terminated-pod-gc-threshold=-1",
            "--node-monitor-grace-period=1m30s",
            "--node-eviction-rate=2.5",
            "--disable-force-detach-on-timeout",
            "--node-cidr-mask-size-ipv4=26",
            "--leader-elect-lease-duration=60s",
            "--horizontal-pod-autoscaler-sync-period=5s",
            "--horizontal-pod-autoscaler-downscale-stabilization=0s",
        ];
        let said = line(&flags).unwrap();
        let settings = said.settings.settings().unwrap();
        assert_eq!(settings.terminated_pod_gc_threshold, 0);
        assert_eq!(settings.node_monitor_grace_period, Duration::from_secs(90));
        assert!(settings.disable_force_detach_on_timeout);
        assert_eq!(settings.node_cidr_mask_size_ipv4, 26);
        assert_eq!(settings.horizontal_pod_autoscaler_sync_period, Duration::from_secs(5));
        assert!(settings.horizontal_pod_autoscaler_downscale_stabilization.is_zero());
        assert!((settings.node_eviction_rate - 2.5).abs() < f64::EPSILON);
        assert_eq!(said.election.lease("me").unwrap().lease_duration, Duration::from_secs(60));
        let wrong = [
            "--node-eviction-rate=-1",
            "--node-cidr-mask-size-ipv4=33",
            "--legacy-service-account-token-clean-up-period=0s",
            "--horizontal-pod-autoscaler-tolerance=-0.1",
        ];
        for wrong in wrong {
            assert!(line(&[wrong]).is_err(), "{wrong}");
        }
        let late = line(&["--leader-elect-renew-deadline=15s"]).unwrap().election.lease("me");
        assert_eq!(late.unwrap_err(), "leaseDuration must be greater than renewDeadline");
        let often = line(&["--leader-elect-retry-period=9s"]).unwrap().election.lease("me");
        assert!(often.unwrap_err().starts_with("renewDeadline must be greater than"));
    }

    fn refused(flags: &[&str]) -> String {
        line(flags).unwrap().settings.settings().unwrap_err()
    }

    #[test]
    fn how_many_are_worked_on_at_once_is_said_by_flags() {
        let said = line(&["--concurrent-gc-syncs=40", "--concurrent-deployment-syncs=-1"]);
        let concurrency = said.unwrap().settings.settings().unwrap().concurrency;
        assert_eq!((concurrency.garbage, concurrency.deployments), (40, 0));
        assert_eq!(concurrency.resource_claims, 50);
    }

    #[test]
    fn how_often_and_whether_something_is_done_is_said_by_flags() {
        let flags = [
            "--enable-garbage-collector=false",
            "--disable-force-detach-on-timeout",
            "--enable-dynamic-provisioning=false",
            "--namespace-sync-period=0s",
            "--resource-quota-sync-period=1m",
            "--pv-recycler-minimum-timeout-nfs=400",
            "--endpointslice-updates-batch-period=500ms",
            "--horizontal-pod-autoscaler-sync-period=0s",
        ];
        let settings = line(&flags).unwrap().settings.settings().unwrap();
        assert!(!settings.enable_garbage_collector && !settings.enable_dynamic_provisioning);
        assert!(settings.disable_force_detach_on_timeout);
        assert!(settings.namespace_sync_period.is_zero());
        assert_eq!(settings.resource_quota_sync_period, Duration::from_secs(60));
        assert_eq!(settings.endpointslice_updates_batch_period, Duration::from_millis(500));
        assert!(settings.endpoint_updates_batch_period.is_zero());
        assert_eq!(settings.pv_recycler_minimum_timeout_nfs, Duration::from_secs(400));
        assert!(settings.horizontal_pod_autoscaler_sync_period.is_zero());
    }

    #[test]
    fn what_is_refused_is_told_in_the_words_of_the_original() {
        for (flag, error) in [
            (
                "max-endpoints-per-slice=0",
                "max-endpoints-per-slice must not be less than 1, but got 0",
            ),
            (
                "mirroring-max-endpoints-per-subset=1001",
                "mirroring-max-endpoints-per-subset must not be more than 1000, but got 1001",
            ),
            ("concurrent-job-syncs=-2", "concurrent-job-syncs must be greater than 0, but got -2"),
            (
                "concurrent-device-taint-eviction-syncs=0",
                "concurrent-device-taint-eviction-syncs must be greater than zero, got 0",
            ),
            (
                "service-cluster-ip-range=10.1.0.0/16,10.2.0.0/16,10.3.0.0/16",
                "--service-cluster-ip-range can not contain more than two entries",
            ),
            (
                "cidr-allocator-type=CloudAllocator",
                "built-in cloud providers are disabled. The ipam CloudAllocator is not available",
            ),
            (
                "attach-detach-reconcile-sync-period=999ms",
                "duration time must be greater than one second as set via command line option \
                 reconcile-sync-loop-period",
            ),
            (
                "concurrent-resourceclaim-syncs=0",
                "concurrent-resourceclaim-syncs must be larger than 0, got 0",
            ),
        ] {
            assert_eq!(refused(&[&format!("--{flag}")]), error);
        }
        let several =
            refused(&["--concurrent-job-syncs=0", "--concurrent-service-endpoint-syncs=51"]);
        assert_eq!(
            several,
            "[concurrent-service-endpoint-syncs must not be more than 50, but got 51, \
             concurrent-job-syncs must be greater than 0, but got 0]"
        );
    }
}
