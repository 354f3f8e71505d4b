use super::Concurrency;
use ipnet::IpNet;
use std::time::Duration;

/// What controllers do unless they are told otherwise: each field is the original's flag of that name, with its default.
///
/// ```
/// use kubeplane_controllers::Settings;
///
/// let mut settings = Settings::default();
/// settings.terminated_pod_gc_threshold = 100;
/// assert_eq!(settings.node_cidr_mask_size_ipv4, 24);
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Settings {
    /// How many objects each controller works on at once.
    pub concurrency: Concurrency,
    /// How many pods that have ended are kept; 0 for all.
    pub terminated_pod_gc_threshold: usize,
    /// How often nodes that are not well, and zones, are looked at; with 0 without a pause.
    pub node_monitor_period: Duration,
    /// How long a node may be silent before nothing is known of it.
    pub node_monitor_grace_period: Duration,
    /// The same for a node that has never said whether it is ready.
    pub node_startup_grace_period: Duration,
    /// Nodes per second of a zone that may be tainted for eviction.
    pub node_eviction_rate: f64,
    /// The same in a large zone of which too many nodes are not ready; in a small one there is none.
    pub secondary_node_eviction_rate: f64,
    /// Which part of a zone's nodes, from 0 to 1, is too many when it is not ready; three nodes at least.
    pub unhealthy_zone_threshold: f64,
    /// Zones of more nodes are large.
    pub large_cluster_size_threshold: usize,
    /// Whether a volume stays attached to a node that is not well for as long as it is mounted there, unless the node is
    /// tainted as out of service; otherwise it is taken away after six minutes.
    pub disable_force_detach_on_timeout: bool,
    /// How many endpoints an EndpointSlice has at most; above 0.
    pub max_endpoints_per_slice: usize,
    /// How many addresses of a subset of Endpoints are copied to EndpointSlices at most; above 0.
    pub mirroring_max_endpoints_per_subset: usize,
    /// How long after a change of a pod its Services' Endpoints are written, with all that happens meanwhile.
    pub endpoint_updates_batch_period: Duration,
    /// The same of their EndpointSlices.
    pub endpointslice_updates_batch_period: Duration,
    /// How long after a change of EndpointSlices that were copied from Endpoints they are compared with these.
    pub mirroring_endpointslice_updates_batch_period: Duration,
    /// How many bits of an IPv4 address are those of a node's range.
    pub node_cidr_mask_size_ipv4: u8,
    /// How many bits of an IPv6 address are.
    pub node_cidr_mask_size_ipv6: u8,
    /// Ranges of which no node gets a part, beside those of ServiceCIDRs: `--service-cluster-ip-range`.
    pub service_cluster_ip_ranges: Vec<IpNet>,
    /// How often each autoscaler is looked at; with 0 without a pause.
    pub horizontal_pod_autoscaler_sync_period: Duration,
    /// How long the highest recommendation counts before an autoscaler whose rules say nothing of it scales down.
    pub horizontal_pod_autoscaler_downscale_stabilization: Duration,
    /// How far a figure may be from its target without consequences, as a part of the target; 0 at least.
    pub horizontal_pod_autoscaler_tolerance: f64,
    /// How long after its start a pod's use of the processor may be that of starting.
    pub horizontal_pod_autoscaler_cpu_initialization_period: Duration,
    /// How long after its start a pod that says it is not ready has not been ready yet.
    pub horizontal_pod_autoscaler_initial_readiness_delay: Duration,
    /// How long a token Secret that nobody uses is kept until it is declared invalid, and then again until it goes;
    /// above 0.
    pub legacy_service_account_token_clean_up_period: Duration,
    /// Whether the garbage collector runs: objects go when all of their owners are gone.
    pub enable_garbage_collector: bool,
    /// How often namespaces that are being deleted are looked at, a second at least, whatever is told of them; 0 for never.
    pub namespace_sync_period: Duration,
    /// How often each quota is counted anew, whatever is seen; 0 for never.
    pub resource_quota_sync_period: Duration,
    /// How soon claims and volumes that are not settled are looked at again, if nothing changes.
    pub pvclaimbinder_sync_period: Duration,
    /// Whether provisioners are asked for volumes.
    pub enable_dynamic_provisioning: bool,
    /// How long a pod that removes what is in a volume of the host's disk may run at least.
    pub pv_recycler_minimum_timeout_hostpath: Duration,
    /// How long it may run for each GiB of the volume.
    pub pv_recycler_timeout_increment_hostpath: Duration,
    /// The first of an NFS server's disk.
    pub pv_recycler_minimum_timeout_nfs: Duration,
    /// The second of it.
    pub pv_recycler_increment_timeout_nfs: Duration,
    /// How long certificates that are asked for through the API are good at most.
    pub cluster_signing_duration: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            concurrency: Concurrency::default(),
            terminated_pod_gc_threshold: 12_500,
            node_monitor_period: Duration::from_secs(5),
            node_monitor_grace_period: Duration::from_secs(50),
            node_startup_grace_period: Duration::from_secs(60),
            node_eviction_rate: 0.1,
            secondary_node_eviction_rate: 0.01,
            unhealthy_zone_threshold: 0.55,
            large_cluster_size_threshold: 50,
            disable_force_detach_on_timeout: false,
            max_endpoints_per_slice: 100,
            mirroring_max_endpoints_per_subset: 1000,
            endpoint_updates_batch_period: Duration::ZERO,
            endpointslice_updates_batch_period: Duration::ZERO,
            mirroring_endpointslice_updates_batch_period: Duration::ZERO,
            node_cidr_mask_size_ipv4: 24,
            node_cidr_mask_size_ipv6: 64,
            service_cluster_ip_ranges: Vec::new(),
            horizontal_pod_autoscaler_sync_period: Duration::from_secs(15),
            horizontal_pod_autoscaler_downscale_stabilization: Duration::from_secs(300),
            horizontal_pod_autoscaler_tolerance: 0.1,
            horizontal_pod_autoscaler_cpu_initialization_period: Duration::from_secs(300),
            horizontal_pod_autoscaler_initial_readiness_delay: Duration::from_secs(30),
            legacy_service_account_token_clean_up_period: Duration::from_secs(365 * 24 * 3600),
            enable_garbage_collector: true,
            namespace_sync_period: Duration::from_secs(300),
            resource_quota_sync_period: Duration::from_secs(300),
            pvclaimbinder_sync_period: Duration::from_secs(15),
            enable_dynamic_provisioning: true,
            pv_recycler_minimum_timeout_hostpath: Duration::from_secs(60),
            pv_recycler_timeout_increment_hostpath: Duration::from_secs(30),
            pv_recycler_minimum_timeout_nfs: Duration::from_secs(300),
            pv_recycler_increment_timeout_nfs: Duration::from_secs(30),
            cluster_signing_duration: Duration::from_secs(365 * 24 * 3600),
        }
    }
}
