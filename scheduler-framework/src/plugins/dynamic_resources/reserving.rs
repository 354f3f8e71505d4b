use super::{
    DynamicResources, FINALIZER,
    claims::{allocation, users},
    extended::is_unwritten,
    filtering::Cycle,
    freeing::{api, delete},
    of_nodes,
};
use crate::{CycleState, Handle, Objection, PodInfo, Reserve};
use k8s_openapi::api::{
    core::v1::Pod,
    resource::v1::{AllocationResult, ResourceClaim},
};
use kube::{
    Api, ResourceExt,
    api::{Patch, PatchParams},
};
use serde_json::json;
use std::sync::{Arc, atomic::Ordering};

impl Reserve for DynamicResources {
    fn reserve(&self, state: &mut CycleState, _: &PodInfo, node: &str) -> Result<(), Objection> {
        let Some(cycle) = state.value::<Cycle>() else { return Ok(()) };
        let found = cycle.found.lock();
        let claims = cycle.claims.lock();
        let wanting = |index: &usize| *index < cycle.users && allocation(&claims[*index]).is_none();
        let Some(found) = found.get(node) else {
            return match (0..claims.len()).any(|index| wanting(&index)) {
                true => Err("claim allocation not found for node".to_owned().into()),
                // What the pod wants of extended resources the node has itself.
                false => Ok(()),
            };
        };
        for (index, result) in &found.allocations {
            let own = found.extended.as_ref().filter(|_| *index >= cycle.users);
            let claim = own.unwrap_or(&claims[*index]);
            self.stock().tracker.begin(Arc::new(with_allocation(claim, result)));
            cycle.reserved.lock().insert(*index, result.clone());
            if let Some(group) = &cycle.group {
                let uid = claim.metadata.uid.clone().unwrap_or_default();
                group.claims.lock().insert(uid);
            }
        }
        Ok(())
    }

    fn unreserve(&self, state: &mut CycleState, pod: &PodInfo, _: &str) {
        let Some(cycle) = state.value::<Cycle>() else { return };
        let told = cycle.told.swap(false, Ordering::Relaxed);
        let claims = cycle.claims.lock();
        for index in std::mem::take(&mut *cycle.reserved.lock()).into_keys() {
            let uid = match index < cycle.users {
                true => claims[index].metadata.uid.clone().unwrap_or_default(),
                false => format!("{}/{}", pod.uid(), super::extended::UNWRITTEN),
            };
            self.stock().tracker.end(&uid, None);
        }
        let Some(handle) = self.handle.get() else { return };
        if told {
            self.spawn(of_nodes::take_back(handle.clone(), pod.pod().clone()));
        }
        for claim in claims.iter().take(cycle.users) {
            if allocation(claim).is_some() && users(claim).any(|own| own == pod.uid()) {
                self.spawn(leave_unbound(handle.clone(), claim.clone(), pod.pod().clone()));
            }
        }
        if let Some(claim) = claims.get(cycle.users).filter(|own| !is_unwritten(own)).cloned() {
            let handle = handle.clone();
            self.spawn(async move {
                if let Err(error) = delete(&handle, &claim).await {
                    tracing::warn!(claim = claim.name_any(), %error, "claim not deleted");
                }
            });
        }
    }
}

impl DynamicResources {
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.tasks.lock();
        while tasks.try_join_next().is_some() {}
        tasks.spawn(task);
    }
}

/// A pod that was not bound uses a claim no more. That of one that is gone is left to the controller of claims, which takes
/// the devices back, too: nobody would where the claim does not say any more that it was used.
async fn leave_unbound(handle: Handle, claim: Arc<ResourceClaim>, pod: Arc<Pod>) {
    let namespace = pod.namespace().unwrap_or_default();
    let pods: Api<Pod> = Api::namespaced(handle.client.clone(), &namespace);
    let is_gone = |now: &Pod| {
        now.metadata.uid != pod.metadata.uid || now.metadata.deletion_timestamp.is_some()
    };
    let found = pods.get_opt(&pod.name_any()).await;
    if found.is_ok_and(|now| now.as_ref().is_none_or(is_gone)) {
        return;
    }
    if let Err(error) = leave(&handle, &claim, &pod.uid().unwrap_or_default()).await {
        tracing::warn!(claim = claim.name_any(), %error, "claim stays reserved");
    }
}

/// The claim as it will be.
pub(super) fn with_allocation(claim: &ResourceClaim, result: &AllocationResult) -> ResourceClaim {
    let mut claim = claim.clone();
    add_finalizer(&mut claim);
    claim.status.get_or_insert_default().allocation = Some(result.clone());
    claim
}

/// Whether it was not there.
pub(super) fn add_finalizer(claim: &mut ResourceClaim) -> bool {
    let all = claim.finalizers_mut();
    let missing = !all.iter().any(|own| own == FINALIZER);
    if missing {
        all.push(FINALIZER.to_owned());
    }
    missing
}

/// One of its users, a pod or a group, uses the claim no more.
pub(super) async fn leave(
    handle: &Handle,
    claim: &ResourceClaim,
    user: &str,
) -> Result<(), kube::Error> {
    let uid = claim.metadata.uid.as_deref().unwrap_or_default();
    let users = json!([{"$patch": "delete", "uid": user}]);
    let patch = json!({"metadata": {"uid": uid}, "status": {"reservedFor": users}});
    let (api, patch) = (api(handle, claim), Patch::Strategic(patch));
    api.patch_status(&claim.name_any(), &PatchParams::default(), &patch).await.map(|_| ())
}
