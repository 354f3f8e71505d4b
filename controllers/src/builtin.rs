//! The original's controllers, one file each.

mod account_tokens;
mod attach_detach;
mod attributes_protection;
mod autoscaler;
mod bootstrap_tokens;
mod certificates;
mod claimed;
mod cluster_roles;
mod concurrency;
mod cronjob;
mod daemonset;
mod deployment;
mod device_taints;
mod discovery;
mod disruption;
mod endpoints;
mod endpointslices;
mod ephemeral_volumes;
mod figures;
mod garbage;
mod job;
mod job_ttl;
mod local_path;
mod mirroring;
mod monitors;
mod namespaces;
mod newest;
mod node_ttl;
mod nodes;
mod persistent_volumes;
mod pod_gc;
mod pod_groups;
mod pods;
mod replicas;
mod resource_claims;
mod resource_quota;
mod revisions;
mod root_ca;
mod service_accounts;
mod service_cidrs;
mod services;
mod settings;
mod statefulset;
mod trim;
mod unread;
mod volume_expansion;
mod volume_protection;
mod written;

pub use account_tokens::TokenSigner;
pub use concurrency::Concurrency;
pub use local_path::LOCAL_PATH_PROVISIONER;
pub use settings::Settings;
pub use trim::trim_pod;

use crate::{BoxController, Retry};
use ipnet::IpNet;
use kubeplane_clock::SharedClock;
use kubeplane_core::features::Features;
use kubeplane_pki::Authority;
use kubeplane_telemetry::Metrics;
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// After so many failures in a row the pauses do not get longer any more.
const MAX_RETRIES: u32 = 15;
/// How often what failed so often is tried again: nobody may tell when it would work.
const LATER: Duration = Duration::from_secs(60);

/// What follows a failure whose cause may go without anybody being told.
fn patient(failures: u32) -> Retry {
    if failures > MAX_RETRIES { Retry::After(LATER) } else { Retry::Backoff }
}

/// What the built-in controllers need to know.
#[derive(Debug, Clone)]
pub struct BuiltinOptions {
    /// The clock of the cluster.
    pub clock: SharedClock,
    /// The PEM of the authority that signs the API server's certificate, published into every namespace.
    pub root_ca: String,
    /// The ranges, one of a family, from which each node gets a part for its pods; without any nodes get none.
    pub cluster_cidrs: Vec<IpNet>,
    /// Signs the certificates that are asked for through the API; without it nobody does.
    pub authority: Option<Arc<Authority>>,
    /// Sign those of single signers instead, by the signer's name.
    pub signer_authorities: BTreeMap<String, Arc<Authority>>,
    /// Signs the tokens that are kept in Secrets; without it nobody does.
    pub token_signer: Option<Arc<dyn TokenSigner>>,
    /// The gates of the cluster.
    pub features: Features,
    /// Where controllers count what is theirs alone.
    pub metrics: Option<Metrics>,
}

impl BuiltinOptions {
    /// Options with the original's defaults.
    #[must_use]
    pub fn new(clock: SharedClock, root_ca: impl Into<String>) -> Self {
        Self {
            clock,
            root_ca: root_ca.into(),
            cluster_cidrs: Vec::new(),
            authority: None,
            signer_authorities: BTreeMap::new(),
            token_signer: None,
            features: Features::default(),
            metrics: None,
        }
    }

    /// Goes by these gates.
    #[must_use]
    pub fn with_features(self, features: Features) -> Self {
        Self { features, ..self }
    }

    /// Counts what single controllers tell of themselves here.
    #[must_use]
    pub fn with_metrics(self, metrics: Metrics) -> Self {
        Self { metrics: Some(metrics), ..self }
    }

    /// Gives each node a part of this range for its pods, as large as [`Settings`] say. Said twice, with a range of
    /// the other family, it gives each node a part of both.
    #[must_use]
    pub fn with_cluster_cidr(mut self, range: IpNet) -> Self {
        self.cluster_cidrs.push(range);
        self
    }

    /// Signs certificates that are asked for through the API with this authority.
    #[must_use]
    pub fn with_authority(self, authority: Arc<Authority>) -> Self {
        Self { authority: Some(authority), ..self }
    }

    /// Signs certificates that one of the cluster's own signers is asked for, as `kubernetes.io/kubelet-serving`, with this
    /// authority instead.
    #[must_use]
    pub fn with_signer_authority(
        mut self,
        signer: impl Into<String>,
        authority: Arc<Authority>,
    ) -> Self {
        self.signer_authorities.insert(signer.into(), authority);
        self
    }

    /// Fills Secrets of service accounts with tokens that this signs.
    #[must_use]
    pub fn with_token_signer(self, signer: Arc<dyn TokenSigner>) -> Self {
        Self { token_signer: Some(signer), ..self }
    }
}

/// All built-in controllers. A manager that runs nothing but them may keep of pods what they read and no more:
/// [`trim_pod`].
#[must_use]
pub fn builtin(options: &BuiltinOptions) -> Vec<BoxController> {
    builtin_with(options, &Settings::default())
}

/// All built-in controllers, with settings that are not the original's defaults.
#[must_use]
pub fn builtin_with(options: &BuiltinOptions, settings: &Settings) -> Vec<BoxController> {
    let clock = || options.clock.clone();
    let metrics = options.metrics.as_ref();
    let ages = replicas::ages(metrics);
    let mut all = vec![
        BoxController::new(replicas::replica_sets(clock(), &options.features, ages.clone())),
        BoxController::new(replicas::replication_controllers(clock(), ages)),
        BoxController::new(deployment::DeploymentController::new(clock(), &options.features)),
        BoxController::new(endpoints::EndpointsController::new(
            clock(),
            settings.endpoint_updates_batch_period,
        )),
        BoxController::new(endpointslices::EndpointSlices::new(clock(), settings, metrics)),
        BoxController::new(mirroring::Mirroring::new(clock(), settings, metrics)),
        BoxController::new(namespaces::Namespaces::new(settings.namespace_sync_period)),
        BoxController::new(service_accounts::ServiceAccounts),
        BoxController::new(root_ca::RootCa::new(options.root_ca.clone(), metrics)),
        BoxController::new(cluster_roles::ClusterRoles),
        BoxController::new(job::Jobs::new(clock(), &options.features, metrics)),
        BoxController::new(job_ttl::JobTtl::new(metrics)),
        BoxController::new(cronjob::CronJobs::new(clock(), metrics)),
        BoxController::new(statefulset::StatefulSets::new(clock(), &options.features, metrics)),
        BoxController::new(daemonset::DaemonSets::new(clock(), &options.features, metrics)),
        BoxController::new(disruption::Disruption),
        BoxController::new(volume_protection::ClaimProtection::new(&options.features)),
        BoxController::new(volume_protection::VolumeProtection),
        BoxController::new(attributes_protection::AttributesProtection),
        BoxController::new(persistent_volumes::PersistentVolumes::new(clock(), settings, metrics)),
        BoxController::new(ephemeral_volumes::EphemeralVolumes::new(metrics)),
        BoxController::new(volume_expansion::VolumeExpansion),
        BoxController::new(local_path::LocalPath),
        BoxController::new(attach_detach::AttachDetach::new(clock(), settings, metrics)),
        BoxController::new(resource_claims::ResourceClaims::new(
            clock(),
            &options.features,
            metrics,
        )),
        BoxController::new(nodes::NodeLifecycle::new(settings, metrics)),
        BoxController::new(nodes::TaintEviction::new(&options.features, metrics)),
        BoxController::new(pod_gc::PodGc::new(settings.terminated_pod_gc_threshold, metrics)),
        BoxController::new(resource_quota::ResourceQuotas::new(
            settings.resource_quota_sync_period,
        )),
        BoxController::new(certificates::CertificateApproving),
        BoxController::new(certificates::CertificateCleaning),
        BoxController::new(autoscaler::Autoscaler::new(&options.features, settings, metrics)),
        BoxController::new(bootstrap_tokens::BootstrapSigner),
        BoxController::new(bootstrap_tokens::TokenCleaner),
        BoxController::new(account_tokens::UnusedTokens::new(
            settings.legacy_service_account_token_clean_up_period,
        )),
        BoxController::new(node_ttl::NodeTtl::new()),
        BoxController::new(service_cidrs::ServiceCidrs),
    ];
    if settings.enable_garbage_collector {
        all.push(BoxController::new(garbage::Garbage::new(metrics)));
    }
    if options.authority.is_some() || !options.signer_authorities.is_empty() {
        let longest = settings.cluster_signing_duration;
        all.push(BoxController::new(certificates::CertificateSigning::new(options, longest)));
    }
    if let Some(signer) = &options.token_signer {
        let root_ca = options.root_ca.clone();
        all.push(BoxController::new(account_tokens::AccountTokens::new(signer.clone(), root_ca)));
    }
    if options.features.is_on("DRADeviceTaints") {
        all.push(BoxController::new(device_taints::DeviceTaints::new(
            options.features.is_on("DRADeviceTaintRules"),
            options.features.is_on("DRAWorkloadResourceClaims"),
            metrics,
        )));
    }
    if options.features.is_on("GenericWorkload") {
        all.push(BoxController::new(pod_groups::PodGroupProtection));
    }
    if !options.cluster_cidrs.is_empty() {
        let ranges = &options.cluster_cidrs;
        all.push(BoxController::new(nodes::NodeIpam::new(ranges, settings, metrics)));
    }
    let several = |controller: BoxController| match settings.concurrency.of(controller.name()) {
        Some(workers) => controller.with_workers(workers),
        None => controller,
    };
    all.into_iter().map(several).collect()
}
