use super::{DynamicResources, claims::allocation};
use crate::{ClusterEvent, EnqueueExtensions, EventObject, Hint, PodInfo};
use k8s_openapi::api::{core::v1::PodResourceClaim, resource::v1::ResourceClaim};
use kubeplane_client::controller_of;
use std::sync::Arc;

/// Whether a claim had devices and has none now.
fn is_freed(old: Option<&Arc<ResourceClaim>>, new: &ResourceClaim) -> bool {
    old.is_some_and(|old| allocation(old).is_some()) && allocation(new).is_none()
}

impl EnqueueExtensions for DynamicResources {
    fn hint(&self, pod: &PodInfo, _: ClusterEvent, object: &EventObject) -> Hint {
        let Some(handle) = self.handle.get() else { return Hint::Queue };
        let helps = match object {
            EventObject::ResourceClaim { old, new: Some(new) } => {
                let Ok(claims) = self.claims(&handle.objects, pod) else { return Hint::Skip };
                let used = claims.iter().any(|own| own.metadata.uid == new.metadata.uid);
                is_freed(old.as_ref(), new)
                    || used && old.as_ref().is_none_or(|old| old.status != new.status)
            }
            EventObject::Pod { new: Some(new), .. } => {
                new.metadata.uid.as_deref() == Some(pod.uid())
                    && self.claims(&handle.objects, &PodInfo::new(new.clone())).is_ok()
            }
            _ => true,
        };
        if helps { Hint::Queue } else { Hint::Skip }
    }

    /// What is written into a pod helps that pod. A claim that was made for one is used by no other but one that names it;
    /// only where it frees devices may it help others.
    fn only_for(&self, pod: &PodInfo, object: &EventObject) -> Option<String> {
        let (old, new) = match object {
            EventObject::ResourceClaim { old, new: Some(new) } => (old, new),
            EventObject::Pod { new: Some(new), .. } => return new.metadata.uid.clone(),
            _ => return None,
        };
        let named = |own: &PodResourceClaim| own.resource_claim_name.is_some();
        if is_freed(old.as_ref(), new) || pod.spec().resource_claims.iter().flatten().any(named) {
            return None;
        }
        let maker = controller_of(&**new).filter(|own| own.kind == "Pod");
        maker.map(|own| own.uid.clone())
    }
}
