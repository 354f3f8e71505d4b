use super::resource_claims::{self, Named};
use crate::{Action, Context, Controller, Error, Sources, error::unless_gone};
use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    api::{
        core::v1::Pod,
        resource::v1::{
            Device, DeviceRequestAllocationResult, DeviceTaint, ResourceClaim, ResourceSlice,
        },
    },
    apimachinery::pkg::apis::meta::v1::Time,
};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, Patch, PatchParams, Preconditions},
};
use kubeplane_client::{EventType, Informer, ObjectKey};
use kubeplane_workload::{phase::node_name, tolerates_device_taint};
use parking_lot::Mutex;
use serde_json::json;
use std::{collections::BTreeSet, sync::Arc, time::Duration};

const NO_EXECUTE: &str = "NoExecute";
const REASON: &str = "DeviceTaintManagerEviction";
/// The index of slices by their pool.
const SLICES: &str = "device-pool";
/// The index of claims by the pools of the devices they were given.
const CLAIMS: &str = "allocated-pool";

/// Deletes pods whose devices have NoExecute taints, after as long as their claims tolerate them (KEP-5055).
pub(super) struct DeviceTaints {
    /// The pods that are to be deleted, so that it can be told when they are not after all.
    planned: Mutex<BTreeSet<(String, String)>>,
}

impl DeviceTaints {
    pub(super) fn new() -> Self {
        Self { planned: Mutex::default() }
    }

    fn plan(&self, key: &ObjectKey) {
        self.planned.lock().insert((key.namespace.clone(), key.name.clone()));
    }

    /// Forgets a deletion that was planned; whether there was one.
    fn forget(&self, key: &ObjectKey) -> bool {
        self.planned.lock().remove(&(key.namespace.clone(), key.name.clone()))
    }
}

fn pool_key(driver: &str, pool: &str) -> String {
    format!("{driver}/{pool}")
}

fn pool_of(slice: &ResourceSlice) -> String {
    pool_key(&slice.spec.driver, &slice.spec.pool.name)
}

fn given(claim: &ResourceClaim) -> &[DeviceRequestAllocationResult] {
    let allocation = claim.status.as_ref().and_then(|status| status.allocation.as_ref());
    let devices = allocation.and_then(|allocation| allocation.devices.as_ref());
    devices.and_then(|devices| devices.results.as_deref()).unwrap_or_default()
}

fn pools_of(claim: &ResourceClaim) -> Vec<String> {
    let pools = given(claim).iter().map(|own| pool_key(&own.driver, &own.pool));
    pools.collect::<BTreeSet<_>>().into_iter().collect()
}

fn devices(slice: &ResourceSlice) -> impl Iterator<Item = &Device> {
    slice.spec.devices.iter().flatten()
}

fn drives_out(taint: &&DeviceTaint) -> bool {
    taint.effect == NO_EXECUTE
}

fn is_tainted(slice: &ResourceSlice) -> bool {
    devices(slice).any(|device| device.taints.iter().flatten().any(|taint| drives_out(&taint)))
}

/// The pods that a claim is reserved for.
fn consumers(claim: &ResourceClaim) -> Vec<ObjectKey> {
    let namespace = claim.namespace().unwrap_or_default();
    let all = claim.status.iter().flat_map(|status| status.reserved_for.iter().flatten());
    let pods = all.filter(|own| {
        own.resource == "pods" && own.api_group.as_deref().unwrap_or_default().is_empty()
    });
    pods.map(|own| ObjectKey::new(namespace.clone(), own.name.clone())).collect()
}

fn is_reserved_for(claim: &ResourceClaim, pod: &Pod) -> bool {
    let mut all = claim.status.iter().flat_map(|status| status.reserved_for.iter().flatten());
    all.any(|own| Some(&own.uid) == pod.metadata.uid.as_ref())
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

/// When the first of a claim's devices drives its holder out.
fn due(slices: &Informer<ResourceSlice>, claim: &ResourceClaim) -> Option<Timestamp> {
    let times = given(claim).iter().filter_map(|own| {
        let pool = slices.by_index(SLICES, &pool_key(&own.driver, &own.pool));
        // What is left of an earlier generation of the pool says nothing any more.
        let newest = pool.iter().map(|slice| slice.spec.pool.generation).max()?;
        let current = pool.iter().filter(|slice| slice.spec.pool.generation == newest);
        let mut present = current.flat_map(|slice| devices(slice));
        let device = present.find(|device| device.name == own.device)?;
        let taints = device.taints.iter().flatten().filter(drives_out);
        taints.filter_map(|taint| leaves_at(own, taint)).min()
    });
    times.min()
}

/// When a pod is to go, if it is.
fn due_of(context: &Context, pod: &Pod) -> Option<Timestamp> {
    node_name(pod)?;
    let (informers, namespace) = (context.informers(), pod.namespace().unwrap_or_default());
    let (slices, claims) = (informers.of::<ResourceSlice>(), informers.of::<ResourceClaim>());
    let held = resource_claims::entries(pod).iter().filter_map(|entry| {
        let named = resource_claims::named(pod, entry);
        let claim = claims.get(&namespace, named.name()?)?;
        let theirs = !matches!(named, Named::Made(_))
            || resource_claims::owner(&claim).map(|(_, uid)| uid) == pod.metadata.uid.as_deref();
        (theirs && is_reserved_for(&claim, pod)).then_some(claim)
    });
    held.filter_map(|claim| due(&slices, &claim)).min()
}

#[async_trait]
impl Controller for DeviceTaints {
    type Request = ObjectKey;
    type Error = Error;

    fn name(&self) -> &'static str {
        "device-taint-eviction-controller"
    }

    fn watches(&self, sources: &mut Sources<ObjectKey>) {
        let slices = sources.informer::<ResourceSlice>();
        slices.add_index(SLICES, |slice| vec![pool_of(slice)]);
        let claims = sources.informer::<ResourceClaim>();
        claims.add_index(CLAIMS, pools_of);
        sources.watch::<Pod>(|change| {
            let pod = change.object();
            let parts = |pod: &Pod| {
                let status = pod.status.as_ref();
                let told = status.and_then(|status| status.resource_claim_statuses.clone());
                (node_name(pod).map(str::to_owned), told)
            };
            let same = change.old().is_some_and(|old| parts(old) == parts(pod));
            let concerned = !resource_claims::entries(pod).is_empty();
            let asks = concerned && (change.is_deleted() || !same);
            asks.then(|| ObjectKey::of(&**pod)).into_iter().collect()
        });
        sources.watch::<ResourceClaim>(|change| {
            let states = change.old().into_iter().chain([change.object()]);
            let mut pods: Vec<_> = states.flat_map(|claim| consumers(claim)).collect();
            pods.dedup();
            pods
        });
        sources.watch::<ResourceSlice>(move |change| {
            let slice = change.object();
            let pool = pool_of(slice);
            // Also one without taints: by its generation it may put others of the pool out of use, or into it.
            let matters = change.old().is_some_and(|old| is_tainted(old))
                || is_tainted(slice)
                || slices.by_index(SLICES, &pool).iter().any(|other| is_tainted(other));
            if !matters {
                return Vec::new();
            }
            let held: Vec<Arc<ResourceClaim>> = claims.by_index(CLAIMS, &pool);
            held.iter().flat_map(|claim| consumers(claim)).collect()
        });
    }

    async fn reconcile(&self, request: &ObjectKey, context: &Context) -> Result<Action, Error> {
        let found = context.informers().of::<Pod>().get(&request.namespace, &request.name);
        let Some(pod) = found.filter(|pod| pod.metadata.deletion_timestamp.is_none()) else {
            self.forget(request);
            return Ok(Action::Done);
        };
        let Some(due) = due_of(context, &pod) else {
            if self.forget(request) {
                let (recorder, message) = (context.recorder(), "Cancelling deletion");
                recorder.event_for(&*pod, EventType::Normal, REASON, message);
            }
            return Ok(Action::Done);
        };
        let left = Duration::try_from(due.duration_since(context.now())).unwrap_or_default();
        if !left.is_zero() {
            self.plan(request);
            return Ok(Action::RequeueAfter(left));
        }
        evict(context, request, pod.metadata.uid.as_deref()).await?;
        self.forget(request);
        Ok(Action::Done)
    }
}

/// Deletes this pod, unless it is going already: the cache may be late.
async fn evict(context: &Context, key: &ObjectKey, uid: Option<&str>) -> Result<(), Error> {
    let api: Api<Pod> = Api::namespaced(context.client(), &key.namespace);
    let present = api.get_opt(&key.name).await?.filter(|pod| {
        pod.metadata.uid.as_deref() == uid && pod.metadata.deletion_timestamp.is_none()
    });
    let Some(pod) = present else { return Ok(()) };
    context.recorder().event_for(&pod, EventType::Normal, REASON, "Marking for deletion");
    let patch = json!({
        "metadata": {"uid": uid},
        "status": {"conditions": [{
            "type": "DisruptionTarget", "status": "True", "reason": "DeletionByDeviceTaintManager",
            "message": "Device Taint manager: deleting due to NoExecute taint",
            "lastTransitionTime": Time(context.now()), "observedGeneration": pod.metadata.generation,
        }]},
    });
    unless_gone(
        api.patch_status(&key.name, &PatchParams::default(), &Patch::Strategic(patch)).await,
    )?;
    let preconditions = Preconditions { uid: pod.metadata.uid.clone(), resource_version: None };
    let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
    unless_gone(api.delete(&key.name, &params).await)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

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
