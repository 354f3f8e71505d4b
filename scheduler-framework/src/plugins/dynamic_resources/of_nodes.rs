//! Devices that take of the CPU, memory and huge pages of their node (KEP-5517), behind the gate
//! `DRANodeAllocatableResources`.
//!
//! What they take is not in the pod's spec. Filter adds it to what the pod requests, the pod counts so while it is assumed,
//! and its status says it before it is bound.

use super::{
    allocator::Allocator,
    claims::{allocation, claim_name},
    filtering::{Cycle, Found, refused},
};
use crate::{CycleState, FilterVerdict, Handle, NodeInfo, PodInfo, plugins::answers::said};
use k8s_openapi::api::{
    core::v1::{Container, NodeAllocatableResourceClaimStatus, Pod, PodSpec},
    resource::v1::{
        AllocationResult, DeviceRequestAllocationResult, NodeAllocatableResourceMapping,
        ResourceClaim,
    },
};
use kube::{
    Api, ResourceExt,
    api::{Patch, PatchParams},
};
use kubeplane_core::quantity::Quantity;
use kubeplane_workload::{
    Resources, node_selector_matches,
    resources::{requests_beside, taken_by_devices},
};
use serde_json::json;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, atomic::Ordering},
};

impl Cycle {
    /// What the devices found on a node take of it.
    fn shares(&self, node: &str) -> Vec<NodeAllocatableResourceClaimStatus> {
        self.found.lock().get(node).map(|own| own.shares.clone()).unwrap_or_default()
    }
}

/// The pod as it counts on the node that was chosen for it.
pub(crate) fn assumed(state: &CycleState, pod: &Arc<PodInfo>, node: &str) -> Arc<PodInfo> {
    let shares = state.value::<Cycle>().map(|own| own.shares(node)).unwrap_or_default();
    if shares.is_empty() { pod.clone() } else { Arc::new(placed(pod, node, shares)) }
}

/// The pod on a node of which its devices take so much.
fn placed(pod: &PodInfo, node: &str, shares: Vec<NodeAllocatableResourceClaimStatus>) -> PodInfo {
    let mut own = Pod::clone(pod.pod());
    own.spec.get_or_insert_default().node_name = Some(node.to_owned());
    own.status.get_or_insert_default().node_allocatable_resource_claim_statuses = Some(shares);
    PodInfo::new(Arc::new(own))
}

fn told(pod: &PodInfo) -> &[NodeAllocatableResourceClaimStatus] {
    let status = pod.pod().status.as_ref();
    let claims = status.and_then(|own| own.node_allocatable_resource_claim_statuses.as_deref());
    claims.unwrap_or_default()
}

/// Whether nobody else on the node uses an allocated claim by which it takes of the node.
pub(super) fn check_users(
    claims: &[Arc<ResourceClaim>],
    pod: &PodInfo,
    node: &NodeInfo,
) -> Result<(), FilterVerdict> {
    let here = |own: &AllocationResult| {
        own.node_selector.as_ref().is_none_or(|own| node_selector_matches(own, node.node()))
    };
    for claim in claims.iter().filter(|own| allocation(own).is_some_and(here)) {
        let name = claim.name_any();
        let uses = |other: &&Arc<PodInfo>| {
            other.namespace() == pod.namespace()
                && told(other).iter().any(|own| own.resource_claim_name == name)
        };
        let users: Vec<_> = node.pods().iter().filter(uses).map(|own| own.uid()).collect();
        let why = match *users.as_slice() {
            [] => continue,
            [only] if only == pod.uid() => continue,
            [_] => "is already used by another pod",
            _ => "shared by multiple pods",
        };
        return refused(format!("node allocatable resource claim {name} {why}"));
    }
    Ok(())
}

/// What devices that claims would get take of the node, claim by claim, if there is room for that beside what the pod
/// requests.
pub(super) fn shares(
    allocator: &Allocator,
    claims: &[Arc<ResourceClaim>],
    found: &Found,
    pod: &PodInfo,
    node: &NodeInfo,
) -> Result<Vec<NodeAllocatableResourceClaimStatus>, FilterVerdict> {
    let mut all = BTreeMap::new();
    for (index, result) in &found.allocations {
        let claim = &claims[*index];
        let taken = taken(allocator, node.name(), claim, result).map_err(FilterVerdict::Error)?;
        if taken.is_empty() {
            continue;
        }
        let name = claim.name_any();
        let users = containers(pod, &name);
        if users.is_empty() {
            return refused(format!(
                "claim {name}: node-allocatable resource claim not referenced by any container within the pod"
            ));
        }
        let resources = taken.iter().map(|(name, amount)| (name.clone(), amount.to_api()));
        let share = NodeAllocatableResourceClaimStatus {
            containers: Some(users),
            resource_claim_name: name.clone(),
            resources: resources.collect(),
        };
        all.insert(name, share);
    }
    let shares: Vec<_> = all.into_values().collect();
    if !shares.is_empty() {
        let placed = placed(pod, node.name(), shares.clone());
        check_budget(&placed)?;
        check_room(&placed, node)?;
    }
    Ok(shares)
}

/// What the devices of one claim take of their node.
fn taken(
    allocator: &Allocator,
    node: &str,
    claim: &ResourceClaim,
    allocated: &AllocationResult,
) -> Result<Resources, String> {
    let results = allocated.devices.as_ref().and_then(|own| own.results.as_deref());
    let mut total = Resources::new();
    for result in results.unwrap_or_default() {
        let device = allocator.device(node, result);
        let mappings = device.and_then(|own| own.node_allocatable_resource_mappings.as_ref());
        for (name, mapping) in mappings.into_iter().flatten() {
            let amount = amount(mapping, result).map_err(|capacity| {
                let (claim, device) = (super::super::volumes::key(&claim.metadata), &result.device);
                format!(
                    "claim {claim}, device {device}: ConsumedCapacity is nil, but Capacity key '{capacity}' is set in NodeAllocatableResourceMappings for resource {name}"
                )
            })?;
            if let Some(amount) = amount {
                let entry = total.entry(name.clone());
                entry.and_modify(|own| own.add(&amount)).or_insert(amount);
            }
        }
    }
    Ok(total)
}

/// What a device takes by one of its mappings; `None` when the capacity that it goes by is not consumed.
///
/// # Errors
/// That capacity, when nothing is said of what is consumed.
fn amount<'a>(
    mapping: &'a NodeAllocatableResourceMapping,
    result: &DeviceRequestAllocationResult,
) -> Result<Option<Quantity>, &'a str> {
    let times = mapping.allocation_multiplier.as_ref().map(Quantity::from_api);
    let Some(capacity) = mapping.capacity_key.as_deref().filter(|own| !own.is_empty()) else {
        return Ok(Some(times.unwrap_or_default()));
    };
    let consumed = result.consumed_capacity.as_ref().ok_or(capacity)?;
    let base = consumed.get(capacity).map(Quantity::from_api);
    Ok(base.map(|base| match times {
        Some(times) => base.times(&times),
        None => base,
    }))
}

/// The containers of a pod that use a claim.
fn containers(pod: &PodInfo, claim: &str) -> Vec<String> {
    let spec = pod.spec();
    let names = |name: Result<Option<(&str, bool)>, String>| {
        name.is_ok_and(|own| own.is_some_and(|(name, _)| name == claim))
    };
    let entries = spec.resource_claims.iter().flatten();
    let entries = entries.filter(|own| names(claim_name(pod, own)));
    let entries: BTreeSet<_> = entries.map(|own| own.name.as_str()).collect();
    let uses = |container: &&Container| {
        let claims = container.resources.as_ref().and_then(|own| own.claims.as_ref());
        claims.into_iter().flatten().any(|own| entries.contains(own.name.as_str()))
    };
    let all = spec.init_containers.iter().flatten().chain(&spec.containers);
    all.filter(uses).map(|own| own.name.clone()).collect()
}

/// Whether what the pod requests as a whole is enough for its containers and its devices.
fn check_budget(placed: &PodInfo) -> Result<(), FilterVerdict> {
    let spec = placed.spec();
    if spec.resources.as_ref().is_none_or(|own| own.requests.is_none()) {
        return Ok(());
    }
    let shares = taken_by_devices(placed.pod());
    let parts = PodSpec { resources: None, ..spec.clone() };
    let (budget, needed) = (requests_beside(spec, &shares), requests_beside(&parts, &shares));
    let short = |(name, amount): &(&String, &Quantity)| {
        needed.get(*name).is_some_and(|needed| needed > *amount)
    };
    match budget.iter().find(short) {
        None => Ok(()),
        Some((name, _)) => refused(format!(
            "pod level request for {name} is insufficient to cover the aggregated container and node-allocatable DRA requests"
        )),
    }
}

/// Whether the node has room for the pod with what its devices take.
fn check_room(placed: &PodInfo, node: &NodeInfo) -> Result<(), FilterVerdict> {
    let (wants, has, used) = (placed.requests(), node.allocatable(), node.requested());
    let pages = wants.scalars.keys().map(String::as_str);
    let pages = pages.filter(|name| name.starts_with("hugepages-"));
    let all = ["cpu", "memory", "ephemeral-storage"].into_iter().chain(pages);
    let lacks = |name: &&str| {
        let wanted = wants.amount(name);
        wanted > 0 && wanted > has.amount(name) - used.amount(name)
    };
    let lacking: Vec<_> = all.filter(lacks).collect();
    if lacking.is_empty() {
        return Ok(());
    }
    let reasons = lacking.iter().map(|name| format!("Insufficient {name}")).collect();
    match lacking.iter().any(|name| wants.amount(name) > has.amount(name)) {
        true => Err(FilterVerdict::Unresolvable(reasons)),
        false => Err(FilterVerdict::Unschedulable(reasons)),
    }
}

/// Says in the pod what its devices take of the node.
pub(super) async fn tell(
    handle: &Handle,
    cycle: &Cycle,
    pod: &PodInfo,
    node: &str,
) -> Result<(), String> {
    let shares = cycle.shares(node);
    if shares.is_empty() {
        return Ok(());
    }
    // The answer may be lost.
    cycle.told.store(true, Ordering::Relaxed);
    let written = write(handle, pod.pod(), Some(shares.as_slice())).await;
    written.map_err(|error| {
        let why = said(&error);
        format!("updating pod {} NodeAllocatableResourceClaimStatuses: {why}", pod.key())
    })
}

/// The pod has no node after all.
pub(super) async fn take_back(handle: Handle, pod: Arc<Pod>) {
    if let Err(error) = write(&handle, &pod, None).await {
        tracing::warn!(pod = pod.name_any(), %error, "pod still says what it takes of a node");
    }
}

async fn write(
    handle: &Handle,
    pod: &Pod,
    shares: Option<&[NodeAllocatableResourceClaimStatus]>,
) -> Result<(), kube::Error> {
    let patch = json!({"metadata": {"uid": pod.uid()},
        "status": {"nodeAllocatableResourceClaimStatuses": shares}});
    let namespace = pod.namespace().unwrap_or_default();
    let pods: Api<Pod> = Api::namespaced(handle.client.clone(), &namespace);
    let patch = Patch::Strategic(patch);
    pods.patch_status(&pod.name_any(), &PatchParams::default(), &patch).await.map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn milli(mapping: Value, consumed: Value) -> Result<Option<i64>, String> {
        let mapping = serde_json::from_value(mapping).unwrap();
        let result = json!({"request": "r", "driver": "drv", "pool": "p", "device": "d",
            "consumedCapacity": consumed});
        let amount = amount(&mapping, &serde_json::from_value(result).unwrap());
        amount.map(|own| own.map(|own| own.milli_value())).map_err(str::to_owned)
    }

    #[test]
    fn a_device_takes_by_number_or_by_what_is_consumed_of_it() {
        let each = json!({"allocationMultiplier": "2500m"});
        assert_eq!(milli(each, Value::Null), Ok(Some(2500)));
        let cores = json!({"capacityKey": "cores", "allocationMultiplier": "2"});
        assert_eq!(milli(cores.clone(), json!({"cores": "8"})), Ok(Some(16_000)));
        assert_eq!(milli(cores.clone(), json!({"other": "8"})), Ok(None));
        assert_eq!(milli(cores, Value::Null), Err("cores".to_owned()));
        let as_is = json!({"capacityKey": "memory"});
        assert_eq!(milli(as_is, json!({"memory": "1Ki"})), Ok(Some(1_024_000)));
    }
}
