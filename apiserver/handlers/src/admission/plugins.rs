//! Which steps run, in the original's order.

use super::{
    AlwaysPullImages, CertificateApproval, CertificateSigning, CertificateSubjectRestriction,
    DefaultIngressClass, DefaultStorageClass, DefaultTolerationSeconds, DenyServiceExternalIPs,
    EventLimit, EventRateLimit, LimitRanger, LimitedResources, NodeDeclaredFeatureValidator,
    NodeRestriction, OwnerReferencesPermissionEnforcement, PersistentVolumeClaimResize,
    PodResizeValidator, PodSecurity, PodSecurityOptions, PodTolerationRestriction,
    PodTopologyLabels, Priority, ResourceQuota, RuntimeClass, ServiceAccount,
    StorageObjectInUseProtection, TaintNodesByCondition, device_access::DeviceAccess,
    jobs::JobValidation, pod_groups::PodGroupProtection,
};
use kubeplane_apiserver::{Builder, admission::NamespaceLifecycle};
use kubeplane_clock::{Seed, SharedClock};
use kubeplane_core::features::Features;
use std::collections::BTreeSet;

/// All steps by the original's names, in its order; whether one runs unless it is switched off.
const ORDER: [(&str, bool); 33] = [
    ("NamespaceLifecycle", true),
    ("LimitRanger", true),
    ("ServiceAccount", true),
    // As kubeadm has it: without it, a node could speak for all.
    ("NodeRestriction", true),
    ("TaintNodesByCondition", true),
    ("AlwaysPullImages", false),
    ("PodSecurity", true),
    ("Priority", true),
    ("DefaultTolerationSeconds", true),
    ("PodTolerationRestriction", false),
    ("EventRateLimit", false),
    ("DefaultStorageClass", true),
    ("StorageObjectInUseProtection", true),
    ("PodGroupProtection", true),
    ("OwnerReferencesPermissionEnforcement", false),
    ("PersistentVolumeClaimResize", true),
    ("RuntimeClass", true),
    ("CertificateApproval", true),
    ("CertificateSigning", true),
    ("CertificateSubjectRestriction", true),
    ("DefaultIngressClass", true),
    ("DenyServiceExternalIPs", false),
    ("PodTopologyLabels", true),
    ("NodeDeclaredFeatureValidator", true),
    ("JobValidation", true),
    ("PodResizeValidator", true),
    (RBAC, true),
    (DEVICES, true),
    ("MutatingAdmissionPolicy", true),
    ("MutatingAdmissionWebhook", true),
    ("ValidatingAdmissionPolicy", true),
    ("ValidatingAdmissionWebhook", true),
    ("ResourceQuota", true),
];
/// No plug-ins of the original, whose storage of roles and of claims does it: nobody switches them off.
const RBAC: &str = "RbacEscalation";
const DEVICES: &str = "DeviceAccess";

/// Why a choice of steps makes no sense, in the original's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AdmissionPluginsError {
    /// No such step to switch on.
    #[error("enable-admission-plugins plugin {0:?} is unknown")]
    UnknownEnabled(String),
    /// No such step to switch off.
    #[error("disable-admission-plugins plugin {0:?} is unknown")]
    UnknownDisabled(String),
    /// Both switched on and off.
    #[error("[{}] in enable-admission-plugins and disable-admission-plugins overlapped", .0.join(" "))]
    Overlap(Vec<String>),
}

/// A choice of admission steps and their configuration.
///
/// ```
/// use kubeplane_handlers::admission::AdmissionPlugins;
///
/// let plugins = AdmissionPlugins::new().switch(&["AlwaysPullImages"], &["PodSecurity"])?;
/// assert!(plugins.is_on("AlwaysPullImages") && !plugins.is_on("PodSecurity"));
/// assert!(AdmissionPlugins::new().switch(&["Nonsense"], &[]).is_err());
/// # Ok::<(), kubeplane_handlers::admission::AdmissionPluginsError>(())
/// ```
#[derive(Debug, Clone)]
pub struct AdmissionPlugins {
    on: BTreeSet<&'static str>,
    pod_security: PodSecurityOptions,
    event_limits: Vec<EventLimit>,
    limited_resources: LimitedResources,
    features: Features,
}

impl Default for AdmissionPlugins {
    fn default() -> Self {
        Self {
            on: ORDER.iter().filter(|(_, on)| *on).map(|(name, _)| *name).collect(),
            pod_security: PodSecurityOptions::new(),
            event_limits: Vec::new(),
            limited_resources: LimitedResources::default(),
            features: Features::default(),
        }
    }
}

impl AdmissionPlugins {
    /// Those the original switches on by default, and NodeRestriction.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The names that can be switched, in the order the steps run.
    pub fn names() -> impl Iterator<Item = &'static str> {
        ORDER.iter().map(|(name, _)| *name).filter(|name| ![RBAC, DEVICES].contains(name))
    }

    /// Switches steps on and off, by name.
    ///
    /// # Errors
    /// When there is no such step, or one is in both lists.
    pub fn switch<T: AsRef<str>>(
        mut self,
        on: &[T],
        off: &[T],
    ) -> Result<Self, AdmissionPluginsError> {
        let known = |name: &str| Self::names().find(|known| *known == name);
        for name in on.iter().map(AsRef::as_ref) {
            let unknown = || AdmissionPluginsError::UnknownEnabled(name.to_owned());
            self.on.insert(known(name).ok_or_else(unknown)?);
        }
        let both =
            on.iter().map(AsRef::as_ref).filter(|name| off.iter().any(|off| off.as_ref() == *name));
        let both: BTreeSet<_> = both.map(str::to_owned).collect();
        if !both.is_empty() {
            return Err(AdmissionPluginsError::Overlap(both.into_iter().collect()));
        }
        for name in off.iter().map(AsRef::as_ref) {
            let unknown = || AdmissionPluginsError::UnknownDisabled(name.to_owned());
            self.on.remove(known(name).ok_or_else(unknown)?);
        }
        Ok(self)
    }

    /// Configures PodSecurity.
    #[must_use]
    pub fn pod_security(mut self, options: PodSecurityOptions) -> Self {
        self.pod_security = options;
        self
    }

    /// Configures EventRateLimit, which limits nothing without.
    #[must_use]
    pub fn event_limits(mut self, limits: Vec<EventLimit>) -> Self {
        self.event_limits = limits;
        self
    }

    /// Configures ResourceQuota, which lets everything be taken where there is no quota without.
    #[must_use]
    pub fn limited_resources(mut self, limited: LimitedResources) -> Self {
        self.limited_resources = limited;
        self
    }

    /// The gates that some steps look at.
    #[must_use]
    pub fn features(mut self, features: Features) -> Self {
        self.features = features;
        self
    }

    /// Whether a step runs.
    #[must_use]
    pub fn is_on(&self, name: &str) -> bool {
        self.on.contains(name)
    }

    /// Adds the steps to a server, in order. `others` is asked to add those of other crates (policies,
    /// webhooks, `RbacEscalation`) where their turn is.
    #[must_use]
    pub fn install(
        &self,
        mut builder: Builder,
        clock: &SharedClock,
        seed: &Seed,
        mut others: impl FnMut(&str, Builder) -> Builder,
    ) -> Builder {
        for name in ORDER.iter().map(|(name, _)| *name).filter(|name| self.on.contains(name)) {
            builder = match name {
                "NamespaceLifecycle" => builder.admit(NamespaceLifecycle),
                "LimitRanger" => builder.admit(LimitRanger),
                "ServiceAccount" => builder.admit(ServiceAccount::new(seed.clone())),
                "NodeRestriction" => builder.admit(NodeRestriction::new(&self.features)),
                "TaintNodesByCondition" => builder.admit(TaintNodesByCondition),
                "AlwaysPullImages" => builder.admit(AlwaysPullImages),
                "PodSecurity" => builder.admit(PodSecurity::new(self.pod_security.clone())),
                "Priority" => builder.admit(Priority::new(&self.features)),
                "DefaultTolerationSeconds" => builder.admit(DefaultTolerationSeconds::default()),
                "PodTolerationRestriction" => builder.admit(PodTolerationRestriction),
                "EventRateLimit" => {
                    let limits = self.event_limits.clone();
                    builder.admit(EventRateLimit::new(clock.clone(), limits))
                }
                "DefaultStorageClass" => builder.admit(DefaultStorageClass),
                "StorageObjectInUseProtection" => builder.admit(StorageObjectInUseProtection),
                "PodGroupProtection" if !self.features.is_on("GenericWorkload") => builder,
                "PodGroupProtection" => builder.admit(PodGroupProtection),
                "OwnerReferencesPermissionEnforcement" => {
                    builder.admit(OwnerReferencesPermissionEnforcement)
                }
                "PersistentVolumeClaimResize" => builder.admit(PersistentVolumeClaimResize),
                "RuntimeClass" => builder.admit(RuntimeClass),
                "CertificateApproval" => builder.admit(CertificateApproval),
                "CertificateSigning" => builder.admit(CertificateSigning),
                "CertificateSubjectRestriction" => builder.admit(CertificateSubjectRestriction),
                "DefaultIngressClass" => builder.admit(DefaultIngressClass),
                "DenyServiceExternalIPs" => builder.admit(DenyServiceExternalIPs),
                "PodTopologyLabels" if !self.features.is_on("PodTopologyLabelsAdmission") => {
                    builder
                }
                "PodTopologyLabels" => builder.admit(PodTopologyLabels),
                "NodeDeclaredFeatureValidator" => {
                    builder.admit(NodeDeclaredFeatureValidator::new(self.features.clone()))
                }
                "JobValidation" if !self.features.is_on("GenericWorkload") => builder,
                "JobValidation" => builder.admit(JobValidation),
                "PodResizeValidator" => builder.admit(PodResizeValidator),
                DEVICES => builder.admit(DeviceAccess::new(&self.features)),
                "ResourceQuota" => {
                    let limited = self.limited_resources.clone();
                    builder.admit(ResourceQuota::new(clock.clone()).limiting(limited))
                }
                other => others(other, builder),
            };
        }
        builder
    }
}
