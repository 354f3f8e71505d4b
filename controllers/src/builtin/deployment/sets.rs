//! What a deployment and its replica sets say, read.

use super::{
    hash, revision,
    steps::{self, Fence, Size},
};
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use std::{cmp::Reverse, sync::Arc};

/// How many pods a deployment wants.
pub(super) fn replicas(deployment: &Deployment) -> i32 {
    deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)
}

/// Whether pods are replaced gradually.
pub(super) fn is_rolling(deployment: &Deployment) -> bool {
    let strategy =
        deployment.spec.as_ref().and_then(|spec| spec.strategy.as_ref()?.type_.as_deref());
    strategy.is_none_or(|strategy| strategy == "RollingUpdate")
}

/// How far a rolling update may go; zero on both sides for other strategies.
pub(super) fn fence(deployment: &Deployment) -> Fence {
    if !is_rolling(deployment) {
        return Fence { surge: 0, unavailable: 0 };
    }
    let rolling =
        deployment.spec.as_ref().and_then(|spec| spec.strategy.as_ref()?.rolling_update.as_ref());
    let surge = rolling.and_then(|rolling| rolling.max_surge.as_ref());
    let unavailable = rolling.and_then(|rolling| rolling.max_unavailable.as_ref());
    let wanted = replicas(deployment);
    let fence = steps::fence(surge, unavailable, wanted);
    Fence { unavailable: fence.unavailable.min(wanted), ..fence }
}

/// How many pods a replica set wants.
pub(super) fn set_replicas(set: &ReplicaSet) -> i32 {
    set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)
}

/// How many pods a replica set has, or will have: one that was made smaller has more, until it says that they are gone.
pub(super) fn pods(set: &ReplicaSet) -> i32 {
    set_replicas(set).max(set.status.as_ref().map_or(0, |status| status.replicas))
}

/// Its size and how much of it is available.
pub(super) fn size(set: &ReplicaSet) -> Size {
    let available =
        set.status.as_ref().and_then(|status| status.available_replicas).unwrap_or_default();
    Size { replicas: set_replicas(set), available }
}

/// Oldest first, by name among those of one second.
pub(super) fn sort_by_age(sets: &mut [Arc<ReplicaSet>]) {
    sets.sort_by(|a, b| {
        let key =
            |set: &ReplicaSet| (set.metadata.creation_timestamp.clone(), set.metadata.name.clone());
        key(a).cmp(&key(b))
    });
}

/// The replica set (the oldest, if several) that has the deployment's template.
pub(super) fn find_new(
    deployment: &Deployment,
    sets: &[Arc<ReplicaSet>],
) -> Option<Arc<ReplicaSet>> {
    let template = &deployment.spec.as_ref()?.template;
    let same = |set: &ReplicaSet| {
        set.spec
            .as_ref()
            .and_then(|spec| spec.template.as_ref())
            .is_some_and(|other| hash::is_same(template, other))
    };
    sets.iter().find(|set| same(set)).cloned()
}

/// All but the new one.
pub(super) fn old<'a>(
    sets: &'a [Arc<ReplicaSet>],
    new: Option<&ReplicaSet>,
) -> Vec<&'a Arc<ReplicaSet>> {
    let uid = new.map(|new| &new.metadata.uid);
    sets.iter().filter(|set| uid.is_none_or(|uid| set.metadata.uid != *uid)).collect()
}

/// Those that want pods.
pub(super) fn active<'a>(
    sets: impl IntoIterator<Item = &'a Arc<ReplicaSet>>,
) -> Vec<&'a Arc<ReplicaSet>> {
    sets.into_iter().filter(|set| set_replicas(set) > 0).collect()
}

/// The only active set, or the newest when none is; `None` when several are active (or there is none).
pub(super) fn active_or_latest(
    sets: &[Arc<ReplicaSet>],
    new: Option<&Arc<ReplicaSet>>,
) -> Option<Arc<ReplicaSet>> {
    match active(sets).as_slice() {
        [] => new.or(sets.last()).cloned(),
        [only] => Some((*only).clone()),
        _ => None,
    }
}

/// Whether the new set has all wanted pods, and they are available.
pub(super) fn is_saturated(deployment: &Deployment, new: Option<&ReplicaSet>) -> bool {
    let wanted = replicas(deployment);
    new.is_some_and(|new| {
        let size = size(new);
        size.replicas == wanted
            && revision::desired(new) == Some(wanted)
            && size.available == wanted
    })
}

/// The largest first; of equal ones the newer when growing, the older when shrinking.
pub(super) fn sort_by_size(sets: &mut [Arc<ReplicaSet>], growing: bool) {
    sort_by_age(sets);
    if growing {
        sets.reverse();
    }
    sets.sort_by_key(|set| Reverse(set_replicas(set)));
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_set_that_was_made_smaller_has_its_pods_until_it_says_that_they_are_gone() {
        for (wanted, present, expected) in [(10, 10, 10), (7, 10, 10), (7, 7, 7), (12, 10, 12)] {
            let set: ReplicaSet = serde_json::from_value(json!({
                "metadata": {"name": "web-1"},
                "spec": {"replicas": wanted, "selector": {}},
                "status": {"replicas": present},
            }))
            .unwrap();
            assert_eq!(pods(&set), expected, "{wanted} wanted, {present} there");
        }
        assert_eq!(pods(&ReplicaSet::default()), 1, "one is wanted if nothing is said");
    }
}
