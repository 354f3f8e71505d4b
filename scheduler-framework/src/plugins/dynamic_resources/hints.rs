use super::{DynamicResources, claims::allocation};
use crate::{ClusterEvent, EnqueueExtensions, EventObject, Hint, PodInfo};
use std::sync::Arc;

impl EnqueueExtensions for DynamicResources {
    fn hint(&self, pod: &PodInfo, _: ClusterEvent, object: &EventObject) -> Hint {
        let Some(handle) = self.handle.get() else { return Hint::Queue };
        let helps = match object {
            EventObject::ResourceClaim { old, new: Some(new) } => {
                let Ok(claims) = self.claims(&handle.objects, pod) else { return Hint::Skip };
                let freed = |old: &Arc<_>| allocation(old).is_some() && allocation(new).is_none();
                let used = claims.iter().any(|own| own.metadata.uid == new.metadata.uid);
                old.as_ref().is_some_and(freed)
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
}
