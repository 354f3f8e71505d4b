//! When devices drive their holders out, and because of which rules.

use super::{SLICES, holders::Holders, pool_key};
use crate::{
    Context,
    builtin::resource_claims::{self, Named},
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::{
    core::v1::Pod,
    resource::v1::{
        Device, DeviceRequestAllocationResult, DeviceTaint, ResourceClaim, ResourceSlice,
    },
};
use kube::ResourceExt;
use kubeplane_client::{Informer, ObjectKey};
use kubeplane_workload::{DeviceTaintRule, phase::node_name, tolerates_device_taint};
use std::{collections::BTreeSet, sync::Arc};

pub(super) const NO_EXECUTE: &str = "NoExecute";

/// When a pod is to go, and the names and uids of the rules among the reasons.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Due {
    pub(super) at: Timestamp,
    pub(super) rules: BTreeSet<(String, String)>,
}

impl Due {
    /// For both reasons.
    fn and(self, other: Self) -> Self {
        let rules = self.rules.into_iter().chain(other.rules).collect();
        Self { at: self.at.min(other.at), rules }
    }
}

pub(super) fn id(rule: &DeviceTaintRule) -> (String, String) {
    (rule.name_any(), rule.uid().unwrap_or_default())
}

pub(super) fn given(claim: &ResourceClaim) -> &[DeviceRequestAllocationResult] {
    let allocation = claim.status.as_ref().and_then(|status| status.allocation.as_ref());
    let devices = allocation.and_then(|allocation| allocation.devices.as_ref());
    devices.and_then(|devices| devices.results.as_deref()).unwrap_or_default()
}

pub(super) fn devices(slice: &ResourceSlice) -> impl Iterator<Item = &Device> {
    slice.spec.devices.iter().flatten()
}

pub(super) fn drives_out(taint: &&DeviceTaint) -> bool {
    taint.effect == NO_EXECUTE
}

/// `groups` where it may be for a PodGroup, too, of which pods know the name alone.
fn is_reserved_for(claim: &ResourceClaim, pod: &Pod, groups: bool) -> bool {
    let mut all = claim.status.iter().flat_map(|status| status.reserved_for.iter().flatten());
    let group = resource_claims::group_name(pod).filter(|_| groups);
    all.any(|own| {
        Some(&own.uid) == pod.metadata.uid.as_ref()
            || resource_claims::is_group(own) && group == Some(own.name.as_str())
    })
}

/// When the taint drives the holder of a device out; never where it is tolerated for good.
fn leaves_at(own: &DeviceRequestAllocationResult, taint: &DeviceTaint) -> Option<Timestamp> {
    let added = taint.time_added.as_ref()?.0;
    let covering = own.tolerations.iter().flatten().filter(|toleration| {
        toleration.effect.as_deref() == Some(NO_EXECUTE)
            && tolerates_device_taint(toleration, taint)
    });
    let mut shortest: Option<i64> = None;
    for toleration in covering {
        let seconds = toleration.toleration_seconds?.max(0);
        shortest = Some(shortest.map_or(seconds, |other| other.min(seconds)));
    }
    let wait = SignedDuration::from_secs(shortest.unwrap_or_default());
    Some(added.saturating_add(wait).unwrap_or(added))
}

/// What a taint of its driver does to the holder of a device.
fn by_slices(
    slices: &Informer<ResourceSlice>,
    own: &DeviceRequestAllocationResult,
) -> Option<Timestamp> {
    let pool = slices.by_index(SLICES, &pool_key(&own.driver, &own.pool));
    // What is left of an earlier generation of the pool says nothing any more.
    let newest = pool.iter().map(|slice| slice.spec.pool.generation).max()?;
    let current = pool.iter().filter(|slice| slice.spec.pool.generation == newest);
    let mut present = current.flat_map(|slice| devices(slice));
    let device = present.find(|device| device.name == own.device)?;
    let taints = device.taints.iter().flatten().filter(drives_out);
    taints.filter_map(|taint| leaves_at(own, taint)).min()
}

/// When the first of a claim's devices drives its holder out.
fn of_claim(
    slices: &Informer<ResourceSlice>,
    rules: &[Arc<DeviceTaintRule>],
    claim: &ResourceClaim,
) -> Option<Due> {
    let reasons = given(claim).iter().flat_map(|own| {
        let published = by_slices(slices, own).map(|at| Due { at, rules: BTreeSet::new() });
        let ruling = rules.iter().filter(|rule| rule.selects(&own.driver, &own.pool, &own.device));
        let ruled = ruling.filter_map(|rule| {
            let at = leaves_at(own, &rule.spec.taint)?;
            Some(Due { at, rules: BTreeSet::from([id(rule)]) })
        });
        published.into_iter().chain(ruled).collect::<Vec<_>>()
    });
    reasons.reduce(Due::and)
}

/// When a pod is to go by the taints of its devices and these rules, if it is; `groups` where it may have claims of its
/// PodGroup.
pub(super) fn of_pod(
    context: &Context,
    rules: &[Arc<DeviceTaintRule>],
    pod: &Pod,
    groups: bool,
) -> Option<Due> {
    node_name(pod)?;
    let (informers, namespace) = (context.informers(), pod.namespace().unwrap_or_default());
    let (slices, claims) = (informers.of::<ResourceSlice>(), informers.of::<ResourceClaim>());
    let held = resource_claims::entries(pod).iter().filter_map(|entry| {
        let named = resource_claims::named(pod, entry);
        let claim = claims.get(&namespace, named.name()?)?;
        let theirs = !matches!(named, Named::Made(_))
            || resource_claims::owner(&claim).map(|(_, uid)| uid) == pod.metadata.uid.as_deref()
            || groups && resource_claims::group_owns(pod, &claim);
        (theirs && is_reserved_for(&claim, pod, groups)).then_some(claim)
    });
    held.filter_map(|claim| of_claim(&slices, rules, &claim)).reduce(Due::and)
}

/// The pods that hold a device which one of these rules is about.
pub(super) fn holders<'a>(
    claims: &Informer<ResourceClaim>,
    holders: &Holders,
    rules: impl Iterator<Item = &'a DeviceTaintRule> + Clone,
) -> Vec<ObjectKey> {
    let concerned = |claim: &ResourceClaim| {
        given(claim)
            .iter()
            .any(|own| rules.clone().any(|rule| rule.selects(&own.driver, &own.pool, &own.device)))
    };
    let claims = claims.list();
    claims.iter().filter(|claim| concerned(claim)).flat_map(|claim| holders.of(claim)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn a_taint_drives_out_when_the_shortest_toleration_ends() {
        let taint = json!({"key": "broken", "value": "yes", "effect": "NoExecute",
            "timeAdded": "2026-01-01T00:00:00Z"});
        let taint: DeviceTaint = serde_json::from_value(taint).unwrap();
        let exists = |more: Value| {
            let mut toleration = json!({"operator": "Exists", "effect": "NoExecute"});
            for (key, value) in more.as_object().unwrap() {
                toleration[key] = value.clone();
            }
            toleration
        };
        let table = [
            (json!([]), Some("2026-01-01T00:00:00Z")),
            (json!([exists(json!({}))]), None),
            (json!([exists(json!({"key": "other"}))]), Some("2026-01-01T00:00:00Z")),
            // One without an effect only lets pods come.
            (json!([{"operator": "Exists"}]), Some("2026-01-01T00:00:00Z")),
            (json!([exists(json!({"tolerationSeconds": -5}))]), Some("2026-01-01T00:00:00Z")),
            (
                json!([exists(json!({"tolerationSeconds": 300})),
                    {"key": "broken", "value": "yes", "effect": "NoExecute", "tolerationSeconds": 60}]),
                Some("2026-01-01T00:01:00Z"),
            ),
        ];
        for (tolerations, expected) in table {
            let own = json!({"request": "one", "driver": "d", "pool": "p", "device": "x",
                "tolerations": tolerations});
            let own: DeviceRequestAllocationResult = serde_json::from_value(own).unwrap();
            let expected = expected.map(|at| at.parse::<Timestamp>().unwrap());
            assert_eq!(leaves_at(&own, &taint), expected, "{:?}", own.tolerations);
        }
    }
}
