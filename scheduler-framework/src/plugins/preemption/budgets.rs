use crate::PodInfo;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kubeplane_core::selector::LabelSelector;
use std::sync::Arc;

/// The disruption budgets of the cluster, read once for all nodes.
pub(super) struct Budgets {
    all: Vec<(Arc<PodDisruptionBudget>, LabelSelector)>,
    state: Option<u128>,
}

type Pods = Vec<Arc<PodInfo>>;

impl Budgets {
    pub(super) fn new(all: &[Arc<PodDisruptionBudget>]) -> Self {
        let read = |budget: &Arc<PodDisruptionBudget>| {
            let spec = budget.spec.as_ref();
            let selector = LabelSelector::from_typed(spec.and_then(|spec| spec.selector.as_ref()));
            // One that selects everything, or nothing, protects none here.
            let selector = selector.ok().filter(|own| !own.is_everything() && !own.is_nothing())?;
            Some((budget.clone(), selector))
        };
        let mut bytes = Some(Vec::new());
        for budget in all {
            let (own, bytes) = (&budget.metadata, &mut bytes);
            match (&own.uid, &own.resource_version, bytes.as_mut()) {
                (Some(uid), Some(version), Some(bytes)) => {
                    bytes.extend_from_slice(format!("{uid}/{version}\n").as_bytes());
                }
                _ => *bytes = None,
            }
        }
        Self {
            all: all.iter().filter_map(read).collect(),
            state: bytes.map(|own| crate::info::digest(&own)),
        }
    }

    /// A number that no other budgets, or the same in another state, have; `None` where they have no versions.
    pub(super) fn state(&self) -> Option<u128> {
        self.state
    }

    /// Parts pods whose leaving would break a budget from the others, keeping the order.
    pub(super) fn part(&self, pods: &[Arc<PodInfo>]) -> (Pods, Pods) {
        let allowed = |budget: &PodDisruptionBudget| {
            budget.status.as_ref().and_then(|own| own.disruptions_allowed)
        };
        let mut allowed: Vec<i32> =
            self.all.iter().map(|(own, _)| allowed(own).unwrap_or_default()).collect();
        let mut parted = (Vec::new(), Vec::new());
        for pod in pods {
            let mut breaks = false;
            for ((budget, selector), allowed) in self.all.iter().zip(&mut allowed) {
                let own = budget.metadata.namespace.as_deref() == Some(pod.namespace())
                    && pod.labels().is_some_and(|labels| !labels.is_empty())
                    && selector.matches_labels(pod.labels());
                let disrupted = budget.status.as_ref().and_then(|own| own.disrupted_pods.as_ref());
                if !own || disrupted.is_some_and(|pods| pods.contains_key(pod.name())) {
                    continue;
                }
                *allowed -= 1;
                breaks |= *allowed < 0;
            }
            if breaks { parted.0.push(pod.clone()) } else { parted.1.push(pod.clone()) }
        }
        parted
    }
}
