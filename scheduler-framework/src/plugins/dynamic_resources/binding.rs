use super::{
    DynamicResources,
    claims::{allocation, has_conditions, is_late, is_ready, users},
    extended::{UNWRITTEN, is_unwritten},
    filtering::Cycle,
    freeing::{TRIES, api, is_conflict},
    reserving::add_finalizer,
};
use crate::{CycleState, Handle, PodInfo, PreBind, PreBindVerdict, plugins::volumes::key};
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
const SHOWN_POLL: Duration = Duration::from_millis(100);

#[async_trait]
impl PreBind for DynamicResources {
    fn preflight(&self, state: &CycleState, _: &PodInfo, _: &str) -> PreBindVerdict {
        match state.value::<Cycle>() {
            Some(_) => PreBindVerdict::Needed,
            None => PreBindVerdict::Skip,
        }
    }

    async fn pre_bind(&self, state: &CycleState, pod: &PodInfo, node: &str) -> Result<(), String> {
        let (Some(cycle), Some(handle)) = (state.value::<Cycle>(), self.handle.get()) else {
            return Err("claims are written by a running scheduler only".into());
        };
        let count = cycle.claims.lock().len();
        for index in 0..count {
            let claim = cycle.claims.lock()[index].clone();
            if !users(&claim).any(|own| own == pod.uid()) {
                self.bind_claim(handle, cycle, index, pod, node).await?;
            }
        }
        let waits = cycle.claims.lock().iter().any(|claim| has_conditions(claim));
        if !waits {
            return Ok(());
        }
        let message = format!("waiting for binding conditions for device on node {node}");
        let kind = "BindingConditionsPending";
        handle.recorder.event_for(&**pod.pod(), EventType::Normal, kind, message);
        let ready = async {
            while !self.are_ready(handle, cycle)? {
                handle.clock.sleep(POLL).await;
            }
            Ok::<(), String>(())
        };
        match kubeplane_clock::timeout(&*handle.clock, self.binding_timeout, ready).await {
            Some(result) => result,
            None => Err("device binding timeout: context deadline exceeded".to_owned()),
        }
    }
}

impl DynamicResources {
    /// Whether all devices that must be made ready are.
    fn are_ready(&self, handle: &Handle, cycle: &Cycle) -> Result<bool, String> {
        let mut claims = cycle.claims.lock();
        for claim in claims.iter_mut().filter(|own| !is_unwritten(own)) {
            let (namespace, name) = (claim.namespace().unwrap_or_default(), claim.name_any());
            let now = self.tracker.claim(&handle.objects, &namespace, &name);
            *claim = now.ok_or_else(|| format!("resourceclaim {name:?} not found"))?;
            if !is_ready(claim)? {
                if is_late(claim, self.binding_timeout, handle.clock.now()) {
                    return Err(format!("device binding timeout: claim={name}"));
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
                    self.tracker.end(&uid, Some(claim));
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
        let claim = Arc::new(update(handle, ResourceClaim::clone(&claim), pod, reserved).await?);
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
    let created = api(handle, &claim).create(&PostParams::default(), &claim).await;
    created.map_err(|error| {
        let key = key(&claim.metadata);
        format!("create claim for extended resources {key}: {error}")
    })
}

/// Until nobody else wrote meanwhile.
async fn update(
    handle: &Handle,
    mut claim: ResourceClaim,
    pod: &PodInfo,
    reserved: Option<&AllocationResult>,
) -> Result<ResourceClaim, String> {
    let (api, name) = (api(handle, &claim), claim.name_any());
    for attempt in 1.. {
        match update_once(handle, &api, &mut claim, pod, reserved).await {
            Ok(written) => return Ok(written),
            Err((Some(error), _)) if is_conflict(&error) && attempt < TRIES => {
                claim = api.get(&name).await.map_err(|error| {
                    format!("get updated claim {} after conflict: {error}", key(&claim.metadata))
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
    pod: &PodInfo,
    reserved: Option<&AllocationResult>,
) -> Result<ResourceClaim, Failed> {
    let (name, key) = (claim.name_any(), key(&claim.metadata));
    let parameters = PostParams::default();
    let failed = |what: &str| {
        let what = what.to_owned();
        move |error: kube::Error| {
            let why = format!("{what}: {error}");
            (Some(error), why)
        }
    };
    if claim.metadata.deletion_timestamp.is_some() {
        return Err((None, format!("claim {key} got deleted in the meantime")));
    }
    if let Some(result) = reserved {
        if allocation(claim).is_some() {
            return Err((None, format!("claim {key} got allocated elsewhere in the meantime")));
        }
        if add_finalizer(claim) {
            let written = api.replace(&name, &parameters, claim).await;
            *claim = written.map_err(failed(&format!("add finalizer to claim {key}")))?;
        }
        claim.status.get_or_insert_default().allocation = Some(result.clone());
    }
    let status = claim.status.get_or_insert_default();
    status.reserved_for.get_or_insert_default().push(ResourceClaimConsumerReference {
        api_group: None,
        resource: "pods".to_owned(),
        name: pod.name().to_owned(),
        uid: pod.uid().to_owned(),
    });
    let Some(allocation) = &mut status.allocation else {
        return Err((None, format!("claim {key} got deallocated elsewhere in the meantime")));
    };
    allocation.allocation_timestamp.get_or_insert_with(|| Time(handle.clock.now()));
    let what = if reserved.is_some() { "allocation and reservation" } else { "reservation" };
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
    written
        .map(|_| ())
        .map_err(|error| format!("update pod {} ExtendedResourceClaimStatus: {error}", pod.key()))
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
