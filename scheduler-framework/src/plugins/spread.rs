//! PodTopologySpread: pods alike are spread over zones, hosts and the like (KEP-895, 3022, 3094, 3243).

mod by_default;
mod constraint;
mod domains;
mod scoring;
mod tracking;

use crate::{
    ActionType, ClusterEvent, CycleState, EnqueueExtensions, EventObject, EventResource, Filter,
    FilterVerdict, Handle, Hint, NodeInfo, PodInfo, PreFilter, PreFilterExtensions,
    PreFilterVerdict, PreScore, SchedulerPlugin, Score, Snapshot, objects::ClusterObjects,
};
use constraint::{Action, Constraint, has_all_keys};
use domains::{Domains, count};
use k8s_openapi::api::core::v1::{Node, Pod, TopologySpreadConstraint};
use std::{
    borrow::Cow,
    collections::BTreeMap,
    sync::{Arc, OnceLock},
};

/// Keeps the numbers of pods alike in each topology domain within `maxSkew` of each other, or tries to.
#[derive(Debug, Clone)]
pub struct PodTopologySpread {
    /// For pods that have no constraints of their own.
    defaults: Vec<TopologySpreadConstraint>,
    /// Whether the defaults are the system's, which nodes without a zone take part in too.
    system: bool,
    /// Whether tolerations may compare numbers.
    comparing: bool,
    /// Whether `matchLabelKeys` are not looked at.
    keyless: bool,
    /// Where default constraints find what pods belong to, in a running scheduler.
    objects: OnceLock<Arc<ClusterObjects>>,
}

impl Default for PodTopologySpread {
    /// With the system's defaults: over hosts (skew 3) and zones (skew 5), if possible.
    fn default() -> Self {
        let soft = |key: &str, max_skew| TopologySpreadConstraint {
            max_skew,
            topology_key: key.into(),
            when_unsatisfiable: "ScheduleAnyway".into(),
            ..TopologySpreadConstraint::default()
        };
        let defaults =
            vec![soft("kubernetes.io/hostname", 3), soft("topology.kubernetes.io/zone", 5)];
        let objects = OnceLock::new();
        Self { defaults, system: true, comparing: false, keyless: false, objects }
    }
}

impl PodTopologySpread {
    /// With these constraints (without selectors) for pods that have none and belong to a Service or a
    /// controller (`defaultingType: List`).
    #[must_use]
    pub fn with_defaults(constraints: Vec<TopologySpreadConstraint>) -> Self {
        Self { defaults: constraints, system: false, ..Self::default() }
    }

    /// Where taints decide which nodes take part, has tolerations compare numbers, as
    /// [`TaintToleration`](crate::TaintToleration::with_comparison) does.
    #[must_use]
    pub fn with_comparison(self, comparing: bool) -> Self {
        Self { comparing, ..self }
    }

    /// Whether `matchLabelKeys` of constraints count, as they do without this: what the gate
    /// `MatchLabelKeysInPodTopologySpread` is for (KEP-3243).
    #[must_use]
    pub fn with_match_label_keys(self, keys: bool) -> Self {
        Self { keyless: !keys, ..self }
    }

    /// The constraints of a pod, as far as they count.
    fn of<'a>(&self, pod: &'a PodInfo) -> Cow<'a, [TopologySpreadConstraint]> {
        let own = pod.spec().topology_spread_constraints.as_deref().unwrap_or_default();
        if !self.keyless {
            return Cow::Borrowed(own);
        }
        let keyless = |own: &TopologySpreadConstraint| TopologySpreadConstraint {
            match_label_keys: None,
            ..own.clone()
        };
        Cow::Owned(own.iter().map(keyless).collect())
    }

    /// Constraints that read tolerations so.
    fn reading(&self, mut constraints: Vec<Constraint>) -> Vec<Constraint> {
        constraints.iter_mut().for_each(|own| own.comparing = self.comparing);
        constraints
    }

    /// The pod's own constraints of a kind, or the defaults.
    fn constraints(
        &self,
        pod: &PodInfo,
        nodes: &Snapshot,
        action: Action,
    ) -> Result<Vec<Constraint>, String> {
        let all = match &*self.of(pod) {
            [] => self.default_constraints(pod, nodes.objects(), action)?,
            own => Constraint::all(own, pod, action)?,
        };
        Ok(self.reading(all))
    }

    fn default_constraints(
        &self,
        pod: &PodInfo,
        objects: &ClusterObjects,
        action: Action,
    ) -> Result<Vec<Constraint>, String> {
        let mut constraints = Constraint::all(&self.defaults, pod, action)?;
        if constraints.is_empty() {
            return Ok(constraints);
        }
        let selector = constraint::owners_selector(pod, objects);
        if selector.is_everything() {
            return Ok(Vec::new());
        }
        for constraint in &mut constraints {
            constraint.selector = selector.clone();
        }
        Ok(constraints)
    }

    /// The constraints that hint at events; `None` where they are not known.
    fn hinted(&self, pod: &PodInfo) -> Option<Vec<Constraint>> {
        let hard = Action::DoNotSchedule;
        match &*self.of(pod) {
            [] => self.default_constraints(pod, self.objects.get()?, hard).ok(),
            own => Constraint::all(own, pod, hard).ok(),
        }
    }
}

impl SchedulerPlugin for PodTopologySpread {
    fn name(&self) -> &'static str {
        "PodTopologySpread"
    }

    fn requeue_on(&self) -> Vec<ClusterEvent> {
        let pods = ActionType::ADD.or(ActionType::UPDATE_LABELS).or(ActionType::DELETE);
        let nodes = ActionType::ADD
            .or(ActionType::DELETE)
            .or(ActionType::UPDATE_LABELS)
            .or(ActionType::UPDATE_TAINTS);
        vec![
            ClusterEvent::new(EventResource::AssignedPod, pods),
            ClusterEvent::new(
                EventResource::UnscheduledPod,
                pods.or(ActionType::UPDATE_TOLERATIONS),
            ),
            ClusterEvent::new(EventResource::Node, nodes),
        ]
    }

    fn start(&self, handle: &Handle) {
        // Only one scheduler runs it.
        let _ = self.objects.set(handle.objects.clone());
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

/// What PreFilter computed: the pods in each domain of each constraint.
struct Hard {
    constraints: Vec<Constraint>,
    /// Whether the pod itself counts.
    counts_itself: Vec<bool>,
    domains: Arc<Vec<Domains>>,
}

/// What a node adds to the domains of each constraint; `None` when it is left out.
type Part = Vec<Option<(String, i64)>>;

fn part(node: &NodeInfo, pod: &PodInfo, constraints: &[Constraint]) -> Part {
    if !has_all_keys(node.labels(), constraints) {
        return Vec::new();
    }
    let own = |constraint: &Constraint| {
        let value = node.label(&constraint.key).filter(|_| constraint.includes(pod, node))?;
        Some((value.to_owned(), count(node, &constraint.selector, pod.namespace())))
    };
    constraints.iter().map(own).collect()
}

fn change(total: &mut Vec<Domains>, part: &Part, sign: i64) {
    if total.len() < part.len() {
        total.resize_with(part.len(), Domains::default);
    }
    for (domains, own) in total.iter_mut().zip(part) {
        if let Some((value, pods)) = own {
            domains.change(value, sign, sign * pods);
        }
    }
}

impl PreFilter for PodTopologySpread {
    fn pre_filter(
        &self,
        state: &mut CycleState,
        pod: &PodInfo,
        nodes: &Snapshot,
    ) -> PreFilterVerdict {
        let constraints = match self.constraints(pod, nodes, Action::DoNotSchedule) {
            Ok(constraints) if constraints.is_empty() => return PreFilterVerdict::Skip,
            Ok(constraints) => constraints,
            Err(why) => return PreFilterVerdict::Error(why),
        };
        let key = constraint::key(pod, &constraints);
        let mut domains = nodes.tally(&key, |node| part(node, pod, &constraints), change);
        if domains.len() < constraints.len() {
            Arc::make_mut(&mut domains).resize_with(constraints.len(), Domains::default);
        }
        let counts_itself =
            constraints.iter().map(|own| own.selector.matches_labels(pod.labels())).collect();
        state.insert_until_placed(Hard { constraints, counts_itself, domains });
        PreFilterVerdict::Continue
    }

    fn extensions(&self) -> Option<&dyn PreFilterExtensions> {
        Some(self)
    }
}

impl PreFilterExtensions for PodTopologySpread {
    fn add_pod(&self, state: &mut CycleState, pod: &PodInfo, added: &PodInfo, node: &NodeInfo) {
        update(state, pod, added, node, 1);
    }

    fn remove_pod(
        &self,
        state: &mut CycleState,
        pod: &PodInfo,
        removed: &PodInfo,
        node: &NodeInfo,
    ) {
        update(state, pod, removed, node, -1);
    }
}

fn update(state: &mut CycleState, pod: &PodInfo, other: &PodInfo, node: &NodeInfo, sign: i64) {
    let Some(hard) = state.value_mut::<Hard>() else { return };
    if other.namespace() != pod.namespace() || !has_all_keys(node.labels(), &hard.constraints) {
        return;
    }
    for (index, constraint) in hard.constraints.iter().enumerate() {
        if constraint.selector.matches_labels(other.labels())
            && constraint.includes(pod, node)
            && let Some(value) = node.label(&constraint.key)
        {
            Arc::make_mut(&mut hard.domains)[index].change(value, 0, sign);
        }
    }
}

impl Filter for PodTopologySpread {
    fn filter(&self, state: &CycleState, _: &PodInfo, node: &NodeInfo) -> FilterVerdict {
        let Some(hard) = state.value::<Hard>() else {
            return FilterVerdict::Error("PreFilter did not run".into());
        };
        for (index, constraint) in hard.constraints.iter().enumerate() {
            let Some(value) = node.label(&constraint.key) else {
                let reason =
                    "node(s) didn't match pod topology spread constraints (missing required label)";
                return FilterVerdict::Unresolvable(vec![reason.into()]);
            };
            let domains = &hard.domains[index];
            let skew = domains.pods(value) + i64::from(hard.counts_itself[index])
                - domains.least(constraint.min_domains);
            if skew > constraint.max_skew {
                let reason = "node(s) didn't match pod topology spread constraints";
                return FilterVerdict::Unschedulable(vec![reason.into()]);
            }
        }
        FilterVerdict::Fits
    }
}

impl EnqueueExtensions for PodTopologySpread {
    fn hint(&self, pod: &PodInfo, _: ClusterEvent, object: &EventObject) -> Hint {
        let Some(constraints) = self.hinted(pod) else { return Hint::Queue };
        let helps = match object {
            EventObject::Pod { old, new } => {
                pod_helps(pod, &constraints, old.as_deref(), new.as_deref())
            }
            EventObject::Node { old, new } => {
                node_helps(&constraints, old.as_deref(), new.as_deref())
            }
            _ => true,
        };
        if helps { Hint::Queue } else { Hint::Skip }
    }

    fn is_same_for_pods_alike(&self) -> bool {
        true
    }
}

/// Whether what happens to `other` can matter to how `pod` is spread.
fn is_involved(other: &Pod, pod: &PodInfo) -> bool {
    if other.metadata.uid.as_deref() == Some(pod.uid()) {
        return true;
    }
    let set = |name: Option<&String>| name.is_some_and(|name| !name.is_empty());
    let placed = set(other.spec.as_ref().and_then(|spec| spec.node_name.as_ref()))
        || set(other.status.as_ref().and_then(|status| status.nominated_node_name.as_ref()));
    placed && other.metadata.namespace.as_deref().unwrap_or_default() == pod.namespace()
}

fn pod_helps(
    pod: &PodInfo,
    constraints: &[Constraint],
    old: Option<&Pod>,
    new: Option<&Pod>,
) -> bool {
    if old.into_iter().chain(new).any(|other| !is_involved(other, pod)) {
        return false;
    }
    let matches = |constraint: &Constraint, other: &Pod| {
        constraint.selector.matches_labels(other.metadata.labels.as_ref())
    };
    let (Some(old), Some(new)) = (old, new) else {
        let other = old.or(new);
        return other.is_some_and(|other| constraints.iter().any(|own| matches(own, other)));
    };
    let tolerations = |pod: &Pod| pod.spec.as_ref().and_then(|spec| spec.tolerations.clone());
    if new.metadata.uid.as_deref() == Some(pod.uid())
        && tolerations(old) != tolerations(new)
        && constraints.iter().any(|own| own.honors_taints)
    {
        return true;
    }
    old.metadata.labels != new.metadata.labels
        && constraints.iter().any(|own| matches(own, old) != matches(own, new))
}

fn node_helps(constraints: &[Constraint], old: Option<&Node>, new: Option<&Node>) -> bool {
    fn labels(node: &Node) -> Option<&BTreeMap<String, String>> {
        node.metadata.labels.as_ref()
    }
    let takes_part = |node: &Node| has_all_keys(labels(node), constraints);
    let (Some(old), Some(new)) = (old, new) else {
        return old.or(new).is_some_and(takes_part);
    };
    if takes_part(old) != takes_part(new) {
        return true;
    }
    let value = |node: &Node, key: &str| labels(node).and_then(|own| own.get(key)).cloned();
    let taints = |node: &Node| node.spec.as_ref().and_then(|spec| spec.taints.clone());
    takes_part(new)
        && (taints(old) != taints(new)
            || constraints.iter().any(|own| value(old, &own.key) != value(new, &own.key)))
}

#[cfg(test)]
mod tests;
