use super::PodInfo;
use k8s_openapi::api::core::v1::{Pod, PodAffinityTerm, WeightedPodAffinityTerm};
use kubeplane_core::selector::LabelSelector;
use std::collections::{BTreeMap, BTreeSet};

/// One term of a pod's affinity or anti-affinity to other pods, ready to be matched.
#[derive(Debug, Clone)]
pub struct AffinityTerm {
    /// The namespaces named; the pod's own when the term says nothing of namespaces.
    pub namespaces: BTreeSet<String>,
    /// Picks more namespaces by their labels.
    pub namespace_selector: LabelSelector,
    /// Picks pods.
    pub selector: LabelSelector,
    /// The node label whose value is the place shared or avoided.
    pub topology_key: String,
    /// How much a preferred term counts, from 1 to 100; zero for a required one.
    pub weight: i64,
}

impl AffinityTerm {
    fn new(pod: &Pod, term: &PodAffinityTerm, weight: i64) -> Self {
        let mut namespaces: BTreeSet<_> = term.namespaces.iter().flatten().cloned().collect();
        if namespaces.is_empty() && term.namespace_selector.is_none() {
            namespaces.insert(pod.metadata.namespace.clone().unwrap_or_default());
        }
        // The API server lets no selector in that cannot be read.
        let selector =
            |own| LabelSelector::from_typed(own).unwrap_or_else(|_| LabelSelector::nothing());
        Self {
            namespaces,
            namespace_selector: selector(term.namespace_selector.as_ref()),
            selector: selector(term.label_selector.as_ref()),
            topology_key: term.topology_key.clone(),
            weight,
        }
    }

    /// Whether it means a pod; `namespace_labels` are those of the pod's namespace.
    #[must_use]
    pub fn matches(
        &self,
        pod: &PodInfo,
        namespace_labels: Option<&BTreeMap<String, String>>,
    ) -> bool {
        (self.namespaces.contains(pod.namespace())
            || self.namespace_selector.matches_labels(namespace_labels))
            && self.selector.matches_labels(pod.labels())
    }
}

/// What a pod says of other pods.
#[derive(Debug, Clone, Default)]
pub struct AffinityTerms {
    /// It must be where such pods are.
    pub required: Vec<AffinityTerm>,
    /// It must not be where such pods are.
    pub required_anti: Vec<AffinityTerm>,
    /// It would like to be where such pods are.
    pub preferred: Vec<AffinityTerm>,
    /// It would like to be where such pods are not.
    pub preferred_anti: Vec<AffinityTerm>,
}

impl AffinityTerms {
    /// Reads them from a pod.
    #[must_use]
    pub fn of(pod: &Pod) -> Self {
        let Some(affinity) = pod.spec.as_ref().and_then(|spec| spec.affinity.as_ref()) else {
            return Self::default();
        };
        let hard = |terms: Option<&Vec<PodAffinityTerm>>| {
            let terms = terms.into_iter().flatten();
            terms.map(|term| AffinityTerm::new(pod, term, 0)).collect()
        };
        let soft = |terms: Option<&Vec<WeightedPodAffinityTerm>>| {
            let terms = terms.into_iter().flatten();
            let term = |own: &WeightedPodAffinityTerm| {
                AffinityTerm::new(pod, &own.pod_affinity_term, i64::from(own.weight))
            };
            terms.map(term).collect()
        };
        let (with, anti) = (affinity.pod_affinity.as_ref(), affinity.pod_anti_affinity.as_ref());
        Self {
            required: hard(
                with.and_then(|own| {
                    own.required_during_scheduling_ignored_during_execution.as_ref()
                }),
            ),
            required_anti: hard(
                anti.and_then(|own| {
                    own.required_during_scheduling_ignored_during_execution.as_ref()
                }),
            ),
            preferred: soft(
                with.and_then(|own| {
                    own.preferred_during_scheduling_ignored_during_execution.as_ref()
                }),
            ),
            preferred_anti: soft(
                anti.and_then(|own| {
                    own.preferred_during_scheduling_ignored_during_execution.as_ref()
                }),
            ),
        }
    }

    /// Whether the pod says nothing of others.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.required.is_empty()
            && self.required_anti.is_empty()
            && self.preferred.is_empty()
            && self.preferred_anti.is_empty()
    }
}
