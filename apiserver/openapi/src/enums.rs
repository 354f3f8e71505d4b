//! The fields that take one of a few values, which their types in the schema table do not say.

use serde_json::{Map, Value, json};

const PACKAGE: &str = "io.k8s.";

/// Names the values that a field takes, or that the items of a list or the values of a map do.
pub(crate) fn complete(definition: &str, field: &str, property: &mut Map<String, Value>) {
    let Some(short) = definition.strip_prefix(PACKAGE) else { return };
    let found = ENUMS.binary_search_by(|(name, of, _)| (*name, *of).cmp(&(short, field)));
    let Some((_, _, values)) = found.ok().map(|index| ENUMS[index]) else { return };
    let values: Vec<_> = values.split('|').collect();
    for inner in ["items", "additionalProperties"] {
        if let Some(Value::Object(inner)) = property.get_mut(inner) {
            inner.insert("enum".to_owned(), json!(values));
            return;
        }
    }
    property.insert("enum".to_owned(), json!(values));
}

/// The definition without its package, the field, and the values; sorted.
#[rustfmt::skip]
static ENUMS: [(&str, &str, &str); 98] = [
    ("api.admissionregistration.v1.MatchResources", "matchPolicy", "Equivalent|Exact"),
    ("api.admissionregistration.v1.MutatingAdmissionPolicySpec", "failurePolicy", "Fail|Ignore"),
    ("api.admissionregistration.v1.MutatingAdmissionPolicySpec", "reinvocationPolicy", "IfNeeded|Never"),
    ("api.admissionregistration.v1.MutatingWebhook", "failurePolicy", "Fail|Ignore"),
    ("api.admissionregistration.v1.MutatingWebhook", "matchPolicy", "Equivalent|Exact"),
    ("api.admissionregistration.v1.MutatingWebhook", "reinvocationPolicy", "IfNeeded|Never"),
    ("api.admissionregistration.v1.MutatingWebhook", "sideEffects", "None|NoneOnDryRun|Some|Unknown"),
    ("api.admissionregistration.v1.Mutation", "patchType", "ApplyConfiguration|JSONPatch"),
    ("api.admissionregistration.v1.NamedRuleWithOperations", "operations", "*|CONNECT|CREATE|DELETE|UPDATE"),
    ("api.admissionregistration.v1.NamedRuleWithOperations", "scope", "*|Cluster|Namespaced"),
    ("api.admissionregistration.v1.RuleWithOperations", "operations", "*|CONNECT|CREATE|DELETE|UPDATE"),
    ("api.admissionregistration.v1.RuleWithOperations", "scope", "*|Cluster|Namespaced"),
    ("api.admissionregistration.v1.ValidatingAdmissionPolicyBindingSpec", "validationActions", "Audit|Deny|Warn"),
    ("api.admissionregistration.v1.ValidatingAdmissionPolicySpec", "failurePolicy", "Fail|Ignore"),
    ("api.admissionregistration.v1.ValidatingWebhook", "failurePolicy", "Fail|Ignore"),
    ("api.admissionregistration.v1.ValidatingWebhook", "matchPolicy", "Equivalent|Exact"),
    ("api.admissionregistration.v1.ValidatingWebhook", "sideEffects", "None|NoneOnDryRun|Some|Unknown"),
    ("api.apps.v1.DaemonSetUpdateStrategy", "type", "OnDelete|RollingUpdate"),
    ("api.apps.v1.DeploymentStrategy", "type", "Recreate|RollingUpdate"),
    ("api.apps.v1.StatefulSetSpec", "podManagementPolicy", "OrderedReady|Parallel"),
    ("api.apps.v1.StatefulSetUpdateStrategy", "type", "OnDelete|RollingUpdate"),
    ("api.batch.v1.CronJobSpec", "concurrencyPolicy", "Allow|Forbid|Replace"),
    ("api.batch.v1.JobSpec", "completionMode", "Indexed|NonIndexed"),
    ("api.batch.v1.JobSpec", "podReplacementPolicy", "Failed|TerminatingOrFailed"),
    ("api.batch.v1.PodFailurePolicyOnExitCodesRequirement", "operator", "In|NotIn"),
    ("api.batch.v1.PodFailurePolicyRule", "action", "Count|FailIndex|FailJob|Ignore"),
    ("api.certificates.v1.CertificateSigningRequestSpec", "usages", "any|cert sign|client auth|code signing|content commitment|crl sign|data encipherment|decipher only|digital signature|email protection|encipher only|ipsec end system|ipsec tunnel|ipsec user|key agreement|key encipherment|microsoft sgc|netscape sgc|ocsp signing|s/mime|server auth|signing|timestamping"),
    ("api.core.v1.AppArmorProfile", "type", "Localhost|RuntimeDefault|Unconfined"),
    ("api.core.v1.AzureDiskVolumeSource", "cachingMode", "None|ReadOnly|ReadWrite"),
    ("api.core.v1.AzureDiskVolumeSource", "kind", "Dedicated|Managed|Shared"),
    ("api.core.v1.Container", "imagePullPolicy", "Always|IfNotPresent|Never"),
    ("api.core.v1.Container", "terminationMessagePolicy", "FallbackToLogsOnError|File"),
    ("api.core.v1.ContainerPort", "protocol", "SCTP|TCP|UDP"),
    ("api.core.v1.ContainerStatus", "stopSignal", "SIGABRT|SIGALRM|SIGBUS|SIGCHLD|SIGCLD|SIGCONT|SIGFPE|SIGHUP|SIGILL|SIGINT|SIGIO|SIGIOT|SIGKILL|SIGPIPE|SIGPOLL|SIGPROF|SIGPWR|SIGQUIT|SIGRTMAX|SIGRTMAX-1|SIGRTMAX-10|SIGRTMAX-11|SIGRTMAX-12|SIGRTMAX-13|SIGRTMAX-14|SIGRTMAX-2|SIGRTMAX-3|SIGRTMAX-4|SIGRTMAX-5|SIGRTMAX-6|SIGRTMAX-7|SIGRTMAX-8|SIGRTMAX-9|SIGRTMIN|SIGRTMIN+1|SIGRTMIN+10|SIGRTMIN+11|SIGRTMIN+12|SIGRTMIN+13|SIGRTMIN+14|SIGRTMIN+15|SIGRTMIN+2|SIGRTMIN+3|SIGRTMIN+4|SIGRTMIN+5|SIGRTMIN+6|SIGRTMIN+7|SIGRTMIN+8|SIGRTMIN+9|SIGSEGV|SIGSTKFLT|SIGSTOP|SIGSYS|SIGTERM|SIGTRAP|SIGTSTP|SIGTTIN|SIGTTOU|SIGURG|SIGUSR1|SIGUSR2|SIGVTALRM|SIGWINCH|SIGXCPU|SIGXFSZ"),
    ("api.core.v1.EndpointPort", "protocol", "SCTP|TCP|UDP"),
    ("api.core.v1.EphemeralContainer", "imagePullPolicy", "Always|IfNotPresent|Never"),
    ("api.core.v1.EphemeralContainer", "terminationMessagePolicy", "FallbackToLogsOnError|File"),
    ("api.core.v1.HTTPGetAction", "scheme", "HTTP|HTTPS"),
    ("api.core.v1.HostPathVolumeSource", "type", "|BlockDevice|CharDevice|Directory|DirectoryOrCreate|File|FileOrCreate|Socket"),
    ("api.core.v1.ImageVolumeSource", "pullPolicy", "Always|IfNotPresent|Never"),
    ("api.core.v1.Lifecycle", "stopSignal", "SIGABRT|SIGALRM|SIGBUS|SIGCHLD|SIGCLD|SIGCONT|SIGFPE|SIGHUP|SIGILL|SIGINT|SIGIO|SIGIOT|SIGKILL|SIGPIPE|SIGPOLL|SIGPROF|SIGPWR|SIGQUIT|SIGRTMAX|SIGRTMAX-1|SIGRTMAX-10|SIGRTMAX-11|SIGRTMAX-12|SIGRTMAX-13|SIGRTMAX-14|SIGRTMAX-2|SIGRTMAX-3|SIGRTMAX-4|SIGRTMAX-5|SIGRTMAX-6|SIGRTMAX-7|SIGRTMAX-8|SIGRTMAX-9|SIGRTMIN|SIGRTMIN+1|SIGRTMIN+10|SIGRTMIN+11|SIGRTMIN+12|SIGRTMIN+13|SIGRTMIN+14|SIGRTMIN+15|SIGRTMIN+2|SIGRTMIN+3|SIGRTMIN+4|SIGRTMIN+5|SIGRTMIN+6|SIGRTMIN+7|SIGRTMIN+8|SIGRTMIN+9|SIGSEGV|SIGSTKFLT|SIGSTOP|SIGSYS|SIGTERM|SIGTRAP|SIGTSTP|SIGTTIN|SIGTTOU|SIGURG|SIGUSR1|SIGUSR2|SIGVTALRM|SIGWINCH|SIGXCPU|SIGXFSZ"),
    ("api.core.v1.ModifyVolumeStatus", "status", "InProgress|Infeasible|Pending"),
    ("api.core.v1.NamespaceStatus", "phase", "Active|Terminating"),
    ("api.core.v1.NodeSelectorRequirement", "operator", "DoesNotExist|Exists|Gt|In|Lt|NotIn"),
    ("api.core.v1.NodeStatus", "phase", "Pending|Running|Terminated"),
    ("api.core.v1.PersistentVolumeClaimSpec", "accessModes", "ReadOnlyMany|ReadWriteMany|ReadWriteOnce|ReadWriteOncePod"),
    ("api.core.v1.PersistentVolumeClaimSpec", "volumeMode", "Block|Filesystem"),
    ("api.core.v1.PersistentVolumeClaimStatus", "accessModes", "ReadOnlyMany|ReadWriteMany|ReadWriteOnce|ReadWriteOncePod"),
    ("api.core.v1.PersistentVolumeClaimStatus", "allocatedResourceStatuses", "ControllerResizeInProgress|ControllerResizeInfeasible|NodeResizeInProgress|NodeResizeInfeasible|NodeResizePending"),
    ("api.core.v1.PersistentVolumeClaimStatus", "phase", "Bound|Lost|Pending"),
    ("api.core.v1.PersistentVolumeSpec", "accessModes", "ReadOnlyMany|ReadWriteMany|ReadWriteOnce|ReadWriteOncePod"),
    ("api.core.v1.PersistentVolumeSpec", "persistentVolumeReclaimPolicy", "Delete|Recycle|Retain"),
    ("api.core.v1.PersistentVolumeSpec", "volumeMode", "Block|Filesystem"),
    ("api.core.v1.PersistentVolumeStatus", "phase", "Available|Bound|Failed|Pending|Released"),
    ("api.core.v1.PodSecurityContext", "fsGroupChangePolicy", "Always|OnRootMismatch"),
    ("api.core.v1.PodSecurityContext", "supplementalGroupsPolicy", "Merge|Strict"),
    ("api.core.v1.PodSpec", "dnsPolicy", "ClusterFirst|ClusterFirstWithHostNet|Default|None"),
    ("api.core.v1.PodSpec", "preemptionPolicy", "Never|PreemptLowerPriority"),
    ("api.core.v1.PodSpec", "restartPolicy", "Always|Never|OnFailure"),
    ("api.core.v1.PodStatus", "phase", "Failed|Pending|Running|Succeeded|Unknown"),
    ("api.core.v1.PodStatus", "qosClass", "BestEffort|Burstable|Guaranteed"),
    ("api.core.v1.PortStatus", "protocol", "SCTP|TCP|UDP"),
    ("api.core.v1.ResourceQuotaSpec", "scopes", "BestEffort|CrossNamespacePodAffinity|NotBestEffort|NotTerminating|PriorityClass|Terminating|VolumeAttributesClass"),
    ("api.core.v1.ScopedResourceSelectorRequirement", "operator", "DoesNotExist|Exists|In|NotIn"),
    ("api.core.v1.ScopedResourceSelectorRequirement", "scopeName", "BestEffort|CrossNamespacePodAffinity|NotBestEffort|NotTerminating|PriorityClass|Terminating|VolumeAttributesClass"),
    ("api.core.v1.SeccompProfile", "type", "Localhost|RuntimeDefault|Unconfined"),
    ("api.core.v1.SecurityContext", "procMount", "Default|Unmasked"),
    ("api.core.v1.ServicePort", "protocol", "SCTP|TCP|UDP"),
    ("api.core.v1.ServiceSpec", "externalTrafficPolicy", "Cluster|Local"),
    ("api.core.v1.ServiceSpec", "internalTrafficPolicy", "Cluster|Local"),
    ("api.core.v1.ServiceSpec", "ipFamilies", "|IPv4|IPv6"),
    ("api.core.v1.ServiceSpec", "ipFamilyPolicy", "PreferDualStack|RequireDualStack|SingleStack"),
    ("api.core.v1.ServiceSpec", "sessionAffinity", "ClientIP|None"),
    ("api.core.v1.ServiceSpec", "type", "ClusterIP|ExternalName|LoadBalancer|NodePort"),
    ("api.core.v1.Taint", "effect", "NoExecute|NoSchedule|PreferNoSchedule"),
    ("api.core.v1.Toleration", "effect", "NoExecute|NoSchedule|PreferNoSchedule"),
    ("api.core.v1.Toleration", "operator", "Equal|Exists|Gt|Lt"),
    ("api.core.v1.TopologySpreadConstraint", "nodeAffinityPolicy", "Honor|Ignore"),
    ("api.core.v1.TopologySpreadConstraint", "nodeTaintsPolicy", "Honor|Ignore"),
    ("api.core.v1.TopologySpreadConstraint", "whenUnsatisfiable", "DoNotSchedule|ScheduleAnyway"),
    ("api.core.v1.VolumeMount", "mountPropagation", "Bidirectional|HostToContainer|None"),
    ("api.discovery.v1.EndpointPort", "protocol", "SCTP|TCP|UDP"),
    ("api.discovery.v1.EndpointSlice", "addressType", "FQDN|IPv4|IPv6"),
    ("api.networking.v1.HTTPIngressPath", "pathType", "Exact|ImplementationSpecific|Prefix"),
    ("api.networking.v1.IngressPortStatus", "protocol", "SCTP|TCP|UDP"),
    ("api.networking.v1.NetworkPolicyPort", "protocol", "SCTP|TCP|UDP"),
    ("api.networking.v1.NetworkPolicySpec", "policyTypes", "Egress|Ingress"),
    ("api.policy.v1.PodDisruptionBudgetSpec", "unhealthyPodEvictionPolicy", "AlwaysAllow|IfHealthyBudget"),
    ("api.resource.v1.DeviceAllocationConfiguration", "source", "FromClaim|FromClass"),
    ("api.resource.v1.DeviceSubRequest", "allocationMode", "All|ExactCount"),
    ("api.resource.v1.DeviceTaint", "effect", "NoExecute|NoSchedule|None"),
    ("api.resource.v1.DeviceToleration", "effect", "NoExecute|NoSchedule|None"),
    ("api.resource.v1.DeviceToleration", "operator", "Equal|Exists"),
    ("api.resource.v1.ExactDeviceRequest", "allocationMode", "All|ExactCount"),
    ("api.scheduling.v1.PriorityClass", "preemptionPolicy", "Never|PreemptLowerPriority"),
    ("api.storage.v1.StorageClass", "reclaimPolicy", "Delete|Recycle|Retain"),
    ("api.storage.v1.StorageClass", "volumeBindingMode", "Immediate|WaitForFirstConsumer"),
    ("apiextensions-apiserver.pkg.apis.apiextensions.v1.ValidationRule", "reason", "FieldValueDuplicate|FieldValueForbidden|FieldValueInvalid|FieldValueRequired"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use kubeplane_core::schema::builtin;

    #[test]
    fn the_table_names_fields_there_are() {
        assert!(ENUMS.is_sorted());
        for (definition, field, values) in ENUMS {
            let schema = builtin(&format!("{PACKAGE}{definition}"));
            assert!(
                schema.is_none_or(|schema| schema.field(field).is_some()),
                "{definition}.{field}"
            );
            assert!(values.split('|').is_sorted_by(|a, b| a < b), "{definition}.{field}");
        }
    }
}
