use crate::PodInfo;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kubeplane_core::selector::LabelSelector;
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

/// The disruption budgets of the cluster, read once for all nodes, and for all pods until one changes.
#[derive(Debug)]
pub(super) struct Budgets {
    /// What was read.
    all: Vec<Arc<PodDisruptionBudget>>,
    /// Those that protect pods.
    protecting: Vec<(Arc<PodDisruptionBudget>, LabelSelector)>,
    /// Which of them those of a namespace are.
    within: HashMap<String, Vec<usize>>,
    state: Option<u128>,
}

/// Where there are none.
impl Default for Budgets {
    fn default() -> Self {
        Self::new(Vec::new())
    }
}

impl Budgets {
    pub(super) fn new(all: Vec<Arc<PodDisruptionBudget>>) -> Self {
        let mut bytes = Some(Vec::new());
        for budget in &all {
            let (own, bytes) = (&budget.metadata, &mut bytes);
            match (&own.uid, &own.resource_version, bytes.as_mut()) {
                (Some(uid), Some(version), Some(bytes)) => {
                    bytes.extend_from_slice(format!("{uid}/{version}\n").as_bytes());
                }
                _ => *bytes = None,
            }
        }
        let state = bytes.map(|own| crate::info::digest(&own));
        let mut own = Self { all, protecting: Vec::new(), within: HashMap::new(), state };
        for budget in &own.all {
            let (spec, namespace) = (budget.spec.as_ref(), budget.metadata.namespace.as_deref());
            let selector = LabelSelector::from_typed(spec.and_then(|spec| spec.selector.as_ref()));
            // One that selects everything, or nothing, protects none here.
            let selector = selector.ok().filter(|own| !own.is_everything() && !own.is_nothing());
            if let (Some(selector), Some(namespace)) = (selector, namespace) {
                own.within.entry(namespace.to_owned()).or_default().push(own.protecting.len());
                own.protecting.push((budget.clone(), selector));
            }
        }
        own
    }

    /// Whether it is what one would read of these.
    pub(super) fn is_of(&self, all: &[Arc<PodDisruptionBudget>]) -> bool {
        self.all.len() == all.len()
            && self.all.iter().zip(all).all(|(own, now)| Arc::ptr_eq(own, now))
    }

    /// A number that no other budgets, or the same in another state, have; `None` where they have no versions.
    pub(super) fn state(&self) -> Option<u128> {
        self.state
    }

    /// Which of these pods, were all of them to leave in this order, would break a budget.
    pub(super) fn breaking(&self, pods: &[Arc<PodInfo>]) -> Vec<bool> {
        let mut left = BTreeMap::new();
        pods.iter().map(|pod| self.breaks(pod, &mut left)).collect()
    }

    /// As [`breaking`](Self::breaking), of pods that leave together: nobody is asked about after the first that would break
    /// one.
    pub(super) fn breaking_together<'a>(
        &self,
        units: impl Iterator<Item = &'a [Arc<PodInfo>]>,
    ) -> Vec<bool> {
        let mut left = BTreeMap::new();
        let mut breaks =
            |pod: &PodInfo| self.covering(pod).any(|index| self.takes(index, &mut left));
        units.map(|pods| pods.iter().any(|pod| breaks(pod))).collect()
    }

    /// Whether a pod's leaving breaks a budget, of which others have left so much.
    fn breaks(&self, pod: &PodInfo, left: &mut BTreeMap<usize, i32>) -> bool {
        // It counts against each of them.
        self.covering(pod).filter(|index| self.takes(*index, left)).count() > 0
    }

    /// The budgets that protect a pod.
    fn covering(&self, pod: &PodInfo) -> impl Iterator<Item = usize> {
        let within = self.within.get(pod.namespace()).into_iter().flatten().copied();
        within.filter(move |index| {
            let (budget, selector) = &self.protecting[*index];
            let status = budget.status.as_ref();
            let disrupted = status.and_then(|own| own.disrupted_pods.as_ref());
            pod.labels().is_some_and(|labels| !labels.is_empty())
                && selector.matches_labels(pod.labels())
                && disrupted.is_none_or(|pods| !pods.contains_key(pod.name()))
        })
    }

    /// Whether one more pod's leaving breaks a budget.
    fn takes(&self, index: usize, left: &mut BTreeMap<usize, i32>) -> bool {
        let status = self.protecting[index].0.status.as_ref();
        let allowed = || status.and_then(|own| own.disruptions_allowed).unwrap_or_default();
        let left = left.entry(index).or_insert_with(allowed);
        *left -= 1;
        *left < 0
    }
}
