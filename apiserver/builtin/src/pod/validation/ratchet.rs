//! Faults of pods that the original began to refuse in some version: what was stored with one of them may be changed
//! without being rid of it.

use super::{metadata_and_spec, pod_template};
use crate::{
    gates::{is_comparison, restarts_all},
    look::At,
};
use kubeplane_core::{
    Object,
    field::{Error, Errors},
};

/// Any number of faults of a kind is let pass where there was one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    HugePages,
    PodAffinityValues,
    NodeAffinityValues,
    SpreadSelector,
    TokenPath,
    HostSysctls,
    RestartingInit,
    BlockDevicesOfUsers,
    DeletionCost,
    Comparison,
    HostNetworkOfUsers,
    SelinuxChange,
    RestartOfAll,
}

impl Fault {
    fn of(error: &Error) -> Option<Self> {
        let (path, detail) = (error.path.as_str(), error.detail.as_str());
        let value = path.contains(".values[");
        Some(match detail {
            "must be a 32bit integer" => Self::DeletionCost,
            "may not be specified when 'hostNetwork' is true"
            | "may not be specified when 'hostIPC' is true" => Self::HostSysctls,
            "must not be set to 'RestartContainer' for non-sidecar initContainers" => {
                Self::RestartingInit
            }
            "when `hostUsers` is false" if path.ends_with(".volumeDevices") => {
                Self::BlockDevicesOfUsers
            }
            "when `hostUsers` is false" if path.ends_with(".hostNetwork") => {
                Self::HostNetworkOfUsers
            }
            _ if is_comparison(error) => Self::Comparison,
            _ if restarts_all(error) => Self::RestartOfAll,
            _ if path.ends_with(".seLinuxChangePolicy") && error.value == "MountOption" => {
                Self::SelinuxChange
            }
            _ if detail.contains(" is not positive integer multiple of ") => Self::HugePages,
            _ if path.ends_with(".projected.path") && !detail.is_empty() => Self::TokenPath,
            _ if path.contains("topologySpreadConstraints[") && path.contains(".labelSelector") => {
                Self::SpreadSelector
            }
            _ if value
                && path
                    .contains(".nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.") =>
            {
                Self::NodeAffinityValues
            }
            _ if value
                && (path.contains(".podAffinity.") || path.contains(".podAntiAffinity.")) =>
            {
                Self::PodAffinityValues
            }
            _ => return None,
        })
    }
}

/// Takes out what is wrong in a way in which the stored pod, or template of pods, was wrong already.
fn forgive(errors: &mut Errors, spec: &At<'_>, old: impl FnOnce(&mut Errors)) {
    if !errors.iter().any(|error| Fault::of(error).is_some()) {
        return;
    }
    let mut before = Errors::new();
    old(&mut before);
    let mut had: Vec<_> = before.iter().filter_map(Fault::of).collect();
    // Whoever has said one way may say the other.
    if spec.get("securityContext").get("seLinuxChangePolicy").is_set() {
        had.push(Fault::SelinuxChange);
    }
    errors.retain(|error| Fault::of(error).is_none_or(|fault| !had.contains(&fault)));
}

/// The same for a pod.
pub(super) fn forgive_pod(errors: &mut Errors, old: &Object) {
    let spec = At::top(old.map(), "spec");
    forgive(errors, &spec, |before| metadata_and_spec(old, before));
}

/// The same for a kind whose pods come from a template.
pub(crate) fn forgive_template(errors: &mut Errors, old: &At<'_>) {
    forgive(errors, &old.get("spec"), |before| pod_template(old, before));
}
