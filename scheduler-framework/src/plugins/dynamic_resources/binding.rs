use super::{
    DynamicResources,
    claims::{allocation, has_conditions, is_late, is_ready, users},
    devices::results,
    extended::{UNWRITTEN, is_unwritten},
    filtering::Cycle,
    freeing::{TRIES, api, is_conflict},
    of_nodes,
    reserving::add_finalizer,
};
use crate::{
    CycleState, Handle, Objection, PodInfo, PreBind, PreBindVerdict,
    plugins::{answers::said, volumes::key},
};
use async_trait::async_trait;
use k8s_openapi::{
    api::{
        core::v1::Pod,
        resource::v1::{AllocationResult, ResourceClaim, ResourceClaimConsumerReference},
    },
    apimachinery::pkg::apis::meta::v1::Time,
};
use kube::{
    Api, ResourceExt,
    api::{Patch, PatchParams, PostParams},
};
use kubeplane_client::EventType;
use serde_json::json;
use std::{sync::Arc, time::Duration};

/// How often it is looked whether devices are ready.
const POLL: Duration = Duration::from_secs(5);
/// How long, and how often, a claim that was made is waited for in informers.
const SHOWN_WITHIN: Duration = Duration::from_secs(120);
const SHOWN_POLL: Duration = Duration::from_millis(20);

#[async_trait]
impl PreBind for DynamicResources {
    fn preflight(&self, state: &CycleState, _: &PodInfo, _: &str) -> PreBindVerdict {
        match state.value::<Cycle>() {
            Some(_) => PreBindVerdict::Needed,
            None => PreBindVerdict::Skip,
        }
    }

    fn allows_parallel(&self, _: &CycleState, _: &PodInfo, _: &str) -> bool {
        true
    }

    async fn pre_bind(
        &self,
        state: &CycleState,
        pod: &PodInfo,
        node: &str,
    ) -> Result<(), Objection> {
        let (Some(cycle), Some(handle)) = (state.value::<Cycle>(), self.handle.get()) else {
            return Err("claims are written by a running scheduler only".to_owned().into());
        };
        let count = cycle.claims.lock().len();
        for index in 0..count {
            let claim = cycle.claims.lock()[index].clone();
            if !self.is_reserved(&claim, pod) {
                self.bind_claim(handle, cycle, index, pod, node).await?;
            }
        }
        if self.gates.of_nodes {
            of_nodes::tell(handle, cycle, pod, node).await?;
        }
        let waits =
            self.gates.conditions && cycle.claims.lock().iter().any(|claim| has_conditions(claim));
        if !waits {
            return Ok(());
        }
        let message = format!("waiting for binding conditions for device on node {node}");
        let (reason, action) = ("BindingConditionsPending", "Scheduling");
        handle.recorder.event_for(&**pod.pod(), EventType::Normal, reason, action, message);
        let ready = async {
            while !self.are_ready(handle, cycle)? {
                handle.clock.sleep(POLL).await;
            }
            Ok::<(), Unready>(())
        };
        let began = handle.clock.elapsed();
        let ended = kubeplane_clock::timeout(&*handle.clock, self.binding_timeout, ready).await;
        let late =
            || Err((TIMEOUT, "device binding timeout: context deadline exceeded".to_owned()));
        let ended = ended.unwrap_or_else(late);
        let status = ended.as_ref().map_or_else(|(status, _)| *status, |()| "success");
        note(handle, cycle, pod, status, handle.clock.elapsed().saturating_sub(began));
        ended.map_err(|(_, why)| Objection::from(why))
    }
}

/// Why devices do not get ready: what that counts as, and in words.
type Unready = (&'static str, String);

/// What counts as waited for too long.
const TIMEOUT: &str = "timeout";

/// Counts how the waiting for the devices of a pod ended.
fn note(handle: &Handle, cycle: &Cycle, pod: &PodInfo, status: &'static str, took: Duration) {
    let profile = pod.spec().scheduler_name.as_deref().unwrap_or("default-scheduler");
    for claim in cycle.claims.lock().iter() {
        for own in results(claim) {
            let waits = own.binding_conditions.as_ref().is_some_and(|own| !own.is_empty());
            handle.metrics.devices.waited(profile, &own.driver, status, took, waits);
        }
    }
}

impl DynamicResources {
    /// Whether all devices that must be made ready are.
    fn are_ready(&self, handle: &Handle, cycle: &Cycle) -> Result<bool, Unready> {
        let mut claims = cycle.claims.lock();
        for claim in claims.iter_mut().filter(|own| !is_unwritten(own)) {
            let (namespace, name) = (claim.namespace().unwrap_or_default(), claim.name_any());
            let now = self.claim(&handle.objects, &namespace, &name);
            *claim = now.map_err(|why| ("error", why))?;
            if !is_ready(claim).map_err(|why| ("failure", why))? {
                if is_late(claim, self.binding_timeout, handle.clock.now()) {
                    return Err((TIMEOUT, format!("device binding timeout: claim={name}")));
                }
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Writes into a claim what was reserved, and that the pod uses it.
    async fn bind_claim(
        &self,
        handle: &Handle,
        cycle: &Cycle,
        index: usize,
        pod: &PodInfo,
        node: &str,
    ) -> Result<(), String> {
        let reserved = cycle.reserved.lock().get(&index).cloned();
        let extended = index >= cycle.users;
        if extended && reserved.is_none() {
            // The node has itself what the claim would be for.
            return Ok(());
        }
        let uid = match extended {
            true => format!("{}/{UNWRITTEN}", pod.uid()),
            false => cycle.claims.lock()[index].metadata.uid.clone().unwrap_or_default(),
        };
        let written = self.written(handle, cycle, index, pod, node, reserved.as_ref()).await;
        match written {
            Ok(claim) => {
                if reserved.is_some() {
                    self.stock().tracker.end(&uid, Some(claim));
                    cycle.reserved.lock().remove(&index);
                }
                Ok(())
            }
            Err(why) => Err(why),
        }
    }

    async fn written(
        &self,
        handle: &Handle,
        cycle: &Cycle,
        index: usize,
        pod: &PodInfo,
        node: &str,
        reserved: Option<&AllocationResult>,
    ) -> Result<Arc<ResourceClaim>, String> {
        let extended = index >= cycle.users;
        let mut claim = cycle.claims.lock()[index].clone();
        if is_unwritten(&claim) {
            claim = Arc::new(create(handle, cycle, node).await?);
            // It is deleted again if the pod is not bound.
            cycle.claims.lock()[index] = claim.clone();
        }
        let (namespace, name) = (claim.namespace().unwrap_or_default(), claim.name_any());
        let together = cycle.group.is_some() && !extended;
        let now = together.then(|| self.stock().tracker.claim(&handle.objects, &namespace, &name));
        if let Some(now) = now.flatten().filter(|now| now.metadata.uid == claim.metadata.uid) {
            // Another pod of the group may have written it meanwhile.
            claim = now;
        }
        let (user, stamped) = (cycle.consumer(index, pod), self.gates.conditions);
        let entry = Entry { user, reserved, together, stamped };
        let claim = Arc::new(update(handle, ResourceClaim::clone(&claim), &entry).await?);
        cycle.claims.lock()[index] = claim.clone();
        if extended {
            tell_pod(handle, cycle, pod, node, &claim).await?;
            shown(handle, &claim).await;
        }
        Ok(claim)
    }
}

async fn create(handle: &Handle, cycle: &Cycle, node: &str) -> Result<ResourceClaim, String> {
    let found = cycle.found.lock().get(node).and_then(|own| own.extended.clone());
    let mut claim =
        found.ok_or_else(|| format!("extended resource claim not found for node {node}"))?;
    (claim.metadata.name, claim.metadata.uid, claim.status) = (None, None, None);
    // It gets its devices in a moment, which needs that: a write less than adding it then.
    add_finalizer(&mut claim);
    let created = api(handle, &claim).create(&PostParams::default(), &claim).await;
    handle.metrics.devices.created(created.is_ok());
    created.map_err(|error| {
        let key = key(&claim.metadata);
        format!("create claim for extended resources {key}: {}", said(&error))
    })
}

/// What is to be written into a claim.
struct Entry<'a> {
    user: ResourceClaimConsumerReference,
    /// The devices, unless it has them.
    reserved: Option<&'a AllocationResult>,
    /// Whether others write the same devices into it.
    together: bool,
    /// Whether it says since when it has them.
    stamped: bool,
}

/// Whether a claim has these very devices.
fn has_same(claim: &ResourceClaim, wanted: &AllocationResult) -> bool {
    let wanted = wanted.devices.as_ref().and_then(|own| own.results.as_deref());
    let (own, wanted) = (results(claim), wanted.unwrap_or_default());
    own.len() == wanted.len()
        && own.iter().zip(wanted).all(|(a, b)| {
            (&a.request, &a.driver, &a.pool, &a.device, &a.share_id)
                == (&b.request, &b.driver, &b.pool, &b.device, &b.share_id)
        })
}

/// Until nobody else wrote meanwhile.
async fn update(
    handle: &Handle,
    mut claim: ResourceClaim,
    entry: &Entry<'_>,
) -> Result<ResourceClaim, String> {
    let (api, name) = (api(handle, &claim), claim.name_any());
    for attempt in 1.. {
        match update_once(handle, &api, &mut claim, entry).await {
            Ok(written) => return Ok(written),
            Err((Some(error), _)) if is_conflict(&error) && attempt < TRIES => {
                claim = api.get(&name).await.map_err(|error| {
                    let (key, why) = (key(&claim.metadata), said(&error));
                    format!("get updated claim {key} after conflict: {why}")
                })?;
            }
            Err((_, why)) => return Err(why),
        }
    }
    Ok(claim)
}

type Failed = (Option<kube::Error>, String);

async fn update_once(
    handle: &Handle,
    api: &Api<ResourceClaim>,
    claim: &mut ResourceClaim,
    entry: &Entry<'_>,
) -> Result<ResourceClaim, Failed> {
    let (name, key) = (claim.name_any(), key(&claim.metadata));
    let parameters = PostParams::default();
    let failed = |what: &str| {
        let what = what.to_owned();
        move |error: kube::Error| {
            let why = format!("{what}: {}", said(&error));
            (Some(error), why)
        }
    };
    if claim.metadata.deletion_timestamp.is_some() {
        return Err((None, format!("claim {key} got deleted in the meantime")));
    }
    let is_there = allocation(claim).is_some();
    let others = |own: &AllocationResult| !(entry.together && has_same(claim, own));
    if is_there && entry.reserved.is_some_and(others) {
        return Err((None, format!("claim {key} got allocated elsewhere in the meantime")));
    }
    if is_there && users(claim).any(|own| own == entry.user.uid) {
        return Ok(claim.clone());
    }
    if let Some(result) = entry.reserved.filter(|_| !is_there) {
        if add_finalizer(claim) {
            let written = api.replace(&name, &parameters, claim).await;
            *claim = written.map_err(failed(&format!("add finalizer to claim {key}")))?;
        }
        claim.status.get_or_insert_default().allocation = Some(result.clone());
    }
    let status = claim.status.get_or_insert_default();
    status.reserved_for.get_or_insert_default().push(entry.user.clone());
    if entry.stamped {
        let Some(allocation) = &mut status.allocation else {
            return Err((None, format!("claim {key} got deallocated elsewhere in the meantime")));
        };
        allocation.allocation_timestamp.get_or_insert_with(|| Time(handle.clock.now()));
    }
    let what = if entry.reserved.is_some() { "allocation and reservation" } else { "reservation" };
    let written = api.replace_status(&name, &parameters, claim).await;
    written.map_err(failed(&format!("add {what} to claim {key}")))
}

/// Says in the pod which claim was made for it.
async fn tell_pod(
    handle: &Handle,
    cycle: &Cycle,
    pod: &PodInfo,
    node: &str,
    claim: &ResourceClaim,
) -> Result<(), String> {
    let mappings = cycle.found.lock().get(node).map(|own| own.mappings.clone());
    let status = json!({"extendedResourceClaimStatus": {
        "requestMappings": mappings.unwrap_or_default(),
        "resourceClaimName": claim.name_any(),
    }});
    let patch = json!({"metadata": {"uid": pod.uid()}, "status": status});
    let pods: Api<Pod> = Api::namespaced(handle.client.clone(), pod.namespace());
    let patch = Patch::Strategic(patch);
    let written = pods.patch_status(pod.name(), &PatchParams::default(), &patch).await;
    written.map(|_| ()).map_err(|error| {
        format!("update pod {} ExtendedResourceClaimStatus: {}", pod.key(), said(&error))
    })
}

/// Waits until informers show a claim, lest its devices look free meanwhile.
async fn shown(handle: &Handle, claim: &ResourceClaim) {
    let (namespace, name) = (claim.namespace().unwrap_or_default(), claim.name_any());
    let seen = async {
        while handle.objects.resource_claims.find(&namespace, &name).is_none() {
            handle.clock.sleep(SHOWN_POLL).await;
        }
    };
    if kubeplane_clock::timeout(&*handle.clock, SHOWN_WITHIN, seen).await.is_none() {
        tracing::debug!(namespace, name, "claim not seen");
    }
}
