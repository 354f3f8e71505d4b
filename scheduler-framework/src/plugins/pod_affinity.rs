//! InterPodAffinity: pods that want, or must not, be where others are.

mod hints;
mod scoring;
mod tracking;

use crate::{
    ActionType, AffinityTerm, ClusterEvent, CycleState, EnqueueExtensions, EventResource, Filter,
    FilterVerdict, NodeInfo, PodInfo, PreFilter, PreFilterExtensions, PreFilterVerdict, PreScore,
    SchedulerPlugin, Score, Snapshot,
};
use kubeplane_core::selector::LabelSelector;
use std::{
    collections::{BTreeMap, HashMap},
    fmt::Write,
    sync::Arc,
};

/// Honours affinity and anti-affinity between pods, in both directions.
#[derive(Debug, Clone, Copy)]
pub struct InterPodAffinity {
    hard_weight: i64,
    ignore_preferred_of_others: bool,
}

impl Default for InterPodAffinity {
    fn default() -> Self {
        Self { hard_weight: 1, ignore_preferred_of_others: false }
    }
}

impl InterPodAffinity {
    /// With other arguments: what another pod's required affinity to this one counts when nodes are scored
    /// (0 to 100), and whether what others prefer is left out for pods that prefer nothing themselves.
    #[must_use]
    pub fn new(hard_pod_affinity_weight: i64, ignore_preferred_terms_of_existing: bool) -> Self {
        Self {
            hard_weight: hard_pod_affinity_weight.clamp(0, 100),
            ignore_preferred_of_others: ignore_preferred_terms_of_existing,
        }
    }
}

impl SchedulerPlugin for InterPodAffinity {
    fn name(&self) -> &'static str {
        "InterPodAffinity"
    }

    fn requeue_on(&self) -> Vec<ClusterEvent> {
        let pods = ActionType::ADD.or(ActionType::UPDATE_LABELS).or(ActionType::DELETE);
        let nodes = ActionType::ADD.or(ActionType::UPDATE_LABELS);
        vec![
            ClusterEvent::new(EventResource::AssignedPod, pods),
            ClusterEvent::new(EventResource::UnscheduledPod, pods),
            ClusterEvent::new(EventResource::Node, nodes),
            // Which the original does not wait for: a namespace may be seen, or get its labels, after its pods.
            ClusterEvent::new(
                EventResource::Namespace,
                ActionType::ADD.or(ActionType::UPDATE_OTHER),
            ),
        ]
    }

    fn as_track(&self) -> Option<&dyn crate::Track> {
        Some(self)
    }

    fn as_enqueue_extensions(&self) -> Option<&dyn EnqueueExtensions> {
        Some(self)
    }

    fn as_pre_filter(&self) -> Option<&dyn PreFilter> {
        Some(self)
    }

    fn as_filter(&self) -> Option<&dyn Filter> {
        Some(self)
    }

    fn as_pre_score(&self) -> Option<&dyn PreScore> {
        Some(self)
    }

    fn as_score(&self) -> Option<&dyn Score> {
        Some(self)
    }
}

/// Numbers by topology key and value.
type Pairs = HashMap<String, HashMap<String, i64>>;

fn number(pairs: &Pairs, node: &NodeInfo, key: &str) -> i64 {
    node.label(key).and_then(|value| pairs.get(key)?.get(value)).copied().unwrap_or_default()
}

fn add(pairs: &mut Pairs, key: &str, value: &str, amount: i64) {
    if amount == 0 {
        return;
    }
    let values = match pairs.get_mut(key) {
        Some(values) => values,
        None => pairs.entry(key.to_owned()).or_default(),
    };
    match values.get_mut(value) {
        Some(count) => {
            *count += amount;
            if *count == 0 {
                values.remove(value);
                if values.is_empty() {
                    pairs.remove(key);
                }
            }
        }
        None => drop(values.insert(value.to_owned(), amount)),
    }
}

/// The numbers of pods that matter, by where they are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Counts {
    /// Pods whose required anti-affinity means this pod.
    existing_anti: Pairs,
    /// Pods that all required terms mean.
    affinity: Pairs,
    /// Pods that a required anti-affinity term means.
    anti: Pairs,
}

/// The terms of the pod to be placed, with namespace selectors resolved.
#[derive(Debug, Clone, Default)]
struct Own {
    required: Vec<AffinityTerm>,
    required_anti: Vec<AffinityTerm>,
    preferred: Vec<AffinityTerm>,
    preferred_anti: Vec<AffinityTerm>,
    /// The labels of its namespace.
    namespace_labels: Option<BTreeMap<String, String>>,
}

impl Own {
    fn new(pod: &PodInfo, nodes: &Snapshot) -> Self {
        let resolved = |terms: &[AffinityTerm]| {
            terms.iter().map(|term| resolve(term, nodes)).collect::<Vec<_>>()
        };
        let (terms, namespaces) = (pod.affinity(), &nodes.objects().namespaces);
        Self {
            required: resolved(&terms.required),
            required_anti: resolved(&terms.required_anti),
            preferred: resolved(&terms.preferred),
            preferred_anti: resolved(&terms.preferred_anti),
            namespace_labels: namespaces
                .find("", pod.namespace())
                .and_then(|own| own.metadata.labels.clone()),
        }
    }

    /// Names what the numbers of a node depend on, besides the node.
    fn key(&self, pod: &PodInfo) -> String {
        let mut key =
            format!("{}\n{:?}\n{:?}", pod.namespace(), pod.labels(), self.namespace_labels);
        let kinds = [&self.required, &self.required_anti, &self.preferred, &self.preferred_anti];
        for (kind, terms) in kinds.into_iter().enumerate() {
            for term in terms {
                // Writing to a string does not fail.
                let _ = write!(
                    key,
                    "\n{kind}\0{}\0{:?}\0{}\0{}\0{}\0{}",
                    term.topology_key,
                    term.namespaces,
                    term.namespace_selector.is_everything(),
                    term.selector.is_nothing(),
                    term.selector,
                    term.weight
                );
            }
        }
        key
    }
}

/// Turns a namespace selector into the namespaces it picks now, but for one that picks all.
fn resolve(term: &AffinityTerm, nodes: &Snapshot) -> AffinityTerm {
    let mut term = term.clone();
    if term.namespace_selector.is_everything() {
        return term;
    }
    if !term.namespace_selector.is_nothing() {
        for namespace in nodes.objects().namespaces.all() {
            if term.namespace_selector.matches_labels(namespace.metadata.labels.as_ref()) {
                term.namespaces.extend(namespace.metadata.name.clone());
            }
        }
    }
    term.namespace_selector = LabelSelector::nothing();
    term
}

fn all_match(terms: &[AffinityTerm], pod: &PodInfo) -> bool {
    !terms.is_empty() && terms.iter().all(|term| term.matches(pod, None))
}

/// How many pods of all nodes say something of others.
#[derive(Debug, Clone, Copy, Default)]
struct Voices {
    any: usize,
    required_anti: usize,
}

fn voices(nodes: &Snapshot) -> Voices {
    let part = |node: &NodeInfo| {
        let all = node.pods_with_affinity();
        let anti = all.iter().filter(|pod| !pod.affinity().required_anti.is_empty());
        Voices { any: all.len(), required_anti: anti.count() }
    };
    let change = |total: &mut Voices, part: &Voices, sign| {
        if sign > 0 {
            total.any += part.any;
            total.required_anti += part.required_anti;
        } else {
            total.any -= part.any;
            total.required_anti -= part.required_anti;
        }
    };
    *nodes.tally("affinity", part, change)
}

/// What PreFilter computed.
struct Hard {
    own: Own,
    counts: Arc<Counts>,
}

/// Adds what one pod on a node means for another that is to be placed.
fn tally_pod(
    counts: &mut Counts,
    own: &Own,
    pod: &PodInfo,
    other: &PodInfo,
    node: &NodeInfo,
    sign: i64,
) {
    for term in &other.affinity().required_anti {
        if let Some(value) = node.label(&term.topology_key)
            && term.matches(pod, own.namespace_labels.as_ref())
        {
            add(&mut counts.existing_anti, &term.topology_key, value, sign);
        }
    }
    if all_match(&own.required, other) {
        for term in &own.required {
            if let Some(value) = node.label(&term.topology_key) {
                add(&mut counts.affinity, &term.topology_key, value, sign);
            }
        }
    }
    for term in &own.required_anti {
        if let Some(value) = node.label(&term.topology_key)
            && term.matches(other, None)
        {
            add(&mut counts.anti, &term.topology_key, value, sign);
        }
    }
}

fn merge(total: &mut Pairs, part: &Pairs, sign: i64) {
    for (key, values) in part {
        for (value, count) in values {
            add(total, key, value, sign * count);
        }
    }
}

impl PreFilter for InterPodAffinity {
    fn pre_filter(
        &self,
        state: &mut CycleState,
        pod: &PodInfo,
        nodes: &Snapshot,
    ) -> PreFilterVerdict {
        let terms = pod.affinity();
        let asks = !terms.required.is_empty() || !terms.required_anti.is_empty();
        if !asks && voices(nodes).required_anti == 0 {
            return PreFilterVerdict::Skip;
        }
        let own = Own::new(pod, nodes);
        let part = |node: &NodeInfo| {
            let mut counts = Counts::default();
            let others = if asks { node.pods() } else { node.pods_with_affinity() };
            for other in others {
                tally_pod(&mut counts, &own, pod, other, node, 1);
            }
            counts
        };
        let change = |total: &mut Counts, part: &Counts, sign| {
            merge(&mut total.existing_anti, &part.existing_anti, sign);
            merge(&mut total.affinity, &part.affinity, sign);
            merge(&mut total.anti, &part.anti, sign);
        };
        let counts = nodes.tally(&own.key(pod), part, change);
        if counts.existing_anti.is_empty() && !asks {
            return PreFilterVerdict::Skip;
        }
        state.insert_until_placed(Hard { own, counts });
        PreFilterVerdict::Continue
    }

    fn extensions(&self) -> Option<&dyn PreFilterExtensions> {
        Some(self)
    }
}

impl PreFilterExtensions for InterPodAffinity {
    fn add_pod(&self, state: &mut CycleState, pod: &PodInfo, added: &PodInfo, node: &NodeInfo) {
        if let Some(Hard { own, counts }) = state.value_mut() {
            tally_pod(Arc::make_mut(counts), own, pod, added, node, 1);
        }
    }

    fn remove_pod(
        &self,
        state: &mut CycleState,
        pod: &PodInfo,
        removed: &PodInfo,
        node: &NodeInfo,
    ) {
        if let Some(Hard { own, counts }) = state.value_mut() {
            tally_pod(Arc::make_mut(counts), own, pod, removed, node, -1);
        }
    }
}

impl Hard {
    fn affinity_fits(&self, pod: &PodInfo, node: &NodeInfo) -> bool {
        let required = &self.own.required;
        if required.iter().any(|term| node.label(&term.topology_key).is_none()) {
            return false;
        }
        let there =
            |term: &AffinityTerm| number(&self.counts.affinity, node, &term.topology_key) > 0;
        // The first of pods that want to be with their like may go anywhere.
        required.iter().all(there) || self.counts.affinity.is_empty() && all_match(required, pod)
    }

    fn anti_fits(&self, node: &NodeInfo) -> bool {
        let free = |term: &AffinityTerm| number(&self.counts.anti, node, &term.topology_key) <= 0;
        self.own.required_anti.iter().all(free)
    }

    fn existing_anti_fits(&self, node: &NodeInfo) -> bool {
        let existing = &self.counts.existing_anti;
        existing.keys().all(|key| number(existing, node, key) <= 0)
    }
}

impl Filter for InterPodAffinity {
    fn filter(&self, state: &CycleState, pod: &PodInfo, node: &NodeInfo) -> FilterVerdict {
        let Some(hard) = state.value::<Hard>() else {
            return FilterVerdict::Error("PreFilter did not run".into());
        };
        if !hard.affinity_fits(pod, node) {
            let reason = "node(s) didn't match pod affinity rules";
            return FilterVerdict::Unresolvable(vec![reason.into()]);
        }
        if !hard.anti_fits(node) {
            let reason = "node(s) didn't match pod anti-affinity rules";
            return FilterVerdict::Unschedulable(vec![reason.into()]);
        }
        if !hard.existing_anti_fits(node) {
            let reason = "node(s) didn't satisfy existing pods anti-affinity rules";
            return FilterVerdict::Unschedulable(vec![reason.into()]);
        }
        FilterVerdict::Fits
    }
}

#[cfg(test)]
mod tests;
