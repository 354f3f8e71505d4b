//! DefaultPreemption: pods of lower priority make room.

mod budgets;
mod candidates;
mod eviction;
mod groups;
mod hooks;
mod memory;

use crate::engine::Remembered;
use crate::{
    ActionType, ClusterEvent, Diagnosis, EnqueueExtensions, EventObject, EventResource,
    GroupPostFilter, Handle, Hint, NodeInfo, PodInfo, PostFilter, PostFilterVerdict, PreEnqueue,
    PreEnqueueVerdict, SchedulerPlugin, Snapshot, WhatIf,
};
use async_trait::async_trait;
use budgets::Budgets;
use candidates::{Candidate, Rank, best};
use eviction::Evictions;
use hooks::Hooks;
use memory::{Known, Memory};
use parking_lot::Mutex;
use std::{
    cmp::Ordering,
    collections::BTreeMap,
    sync::{Arc, OnceLock},
};

/// Deletes pods of lower priority where that lets a pod fit, and nominates the pod for the node.
///
/// Without a running scheduler (see [`SchedulerPlugin::start`]) it nominates, but deletes nothing.
#[derive(Debug)]
pub struct DefaultPreemption {
    min_percentage: usize,
    min_nodes: usize,
    hooks: Hooks,
    /// Whether room is made for groups as a whole.
    for_groups: bool,
    /// Whether groups may say where they are placed.
    in_places: bool,
    /// Whether victims are deleted while other pods are scheduled.
    aside: bool,
    evictions: OnceLock<Evictions>,
    /// Who would have to leave a node for pods alike, or why that does not help.
    known: Remembered<Known>,
    /// As they were last read.
    budgets: Mutex<Arc<Budgets>>,
}

impl Default for DefaultPreemption {
    fn default() -> Self {
        Self::new(10, 100)
    }
}

impl DefaultPreemption {
    /// Looks for at least this many candidates: a percentage of the nodes, and a number.
    #[must_use]
    pub fn new(min_candidate_nodes_percentage: usize, min_candidate_nodes_absolute: usize) -> Self {
        Self {
            min_percentage: min_candidate_nodes_percentage.min(100),
            min_nodes: min_candidate_nodes_absolute,
            hooks: Hooks::default(),
            for_groups: false,
            in_places: false,
            aside: true,
            evictions: OnceLock::new(),
            known: Remembered::default(),
            budgets: Mutex::default(),
        }
    }

    /// Makes room for groups of pods as a whole, and not for single pods of them (KEP-5710, behind the gate
    /// `WorkloadAwarePreemption`): so that enough of the group find nodes, pods of lower priority than the group's leave
    /// wherever they are, those of a group with the disruption mode `PodGroup` all or none.
    #[must_use]
    pub fn with_group_preemption(mut self, for_groups: bool) -> Self {
        self.for_groups = for_groups;
        self
    }

    /// Whether PodGroups may say where they are placed (KEP-5732, behind the gate `TopologyAwareWorkloadScheduling`): their
    /// pods make no room then for themselves, nor does a pod whose group is not there.
    #[must_use]
    pub fn with_group_placements(mut self, in_places: bool) -> Self {
        self.in_places = in_places;
        self
    }

    /// Whether the victims are deleted while other pods are scheduled (KEP-4832, the gate `SchedulerAsyncPreemption`), as
    /// without this call; else scheduling waits for their deletions, and a pod whose victim is not deleted is told why.
    #[must_use]
    pub fn with_async_preemption(mut self, aside: bool) -> Self {
        self.aside = aside;
        self
    }

    /// Asks also this about each pod of lower priority: whether on this node the pod given first may have to leave for the
    /// other. What is found out of nodes for one pod then does not serve the next.
    #[must_use]
    pub fn eligible_if(
        mut self,
        eligible: impl Fn(&NodeInfo, &PodInfo, &PodInfo) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.hooks.eligible = Some(Box::new(eligible));
        self
    }

    /// Compares by this the pods that may have to leave, `Less` for the one that is more important, in place of by priority
    /// and then by age: the important ones stay if they can. As of [`eligible_if`](Self::eligible_if), nothing is kept then.
    #[must_use]
    pub fn importance_by(
        mut self,
        compare: impl Fn(&PodInfo, &PodInfo) -> Ordering + Send + Sync + 'static,
    ) -> Self {
        self.hooks.importance = Some(Box::new(compare));
        self
    }

    fn wanted(&self, nodes: usize) -> usize {
        (nodes * self.min_percentage / 100).max(self.min_nodes).min(nodes)
    }

    /// Why a pod may not preempt others now.
    fn objection(&self, what_if: &WhatIf<'_>, diagnosis: &Diagnosis) -> Option<&'static str> {
        let pod = what_if.pod();
        if self.in_places
            && let Some(key) = pod.group()
        {
            let name = key.split_once('/').map_or(key.as_str(), |(_, name)| name);
            let Some(group) = what_if.nodes().objects().pod_groups.find(pod.namespace(), name)
            else {
                return Some("pod group for pod not found");
            };
            if group.spec.scheduling_constraints.is_some() {
                return Some("not eligible due to placement-based pod group scheduling limitation");
            }
        }
        if self.for_groups && pod.group().is_some() {
            return Some("not eligible due to workload aware preemption enabled");
        }
        if pod.spec().preemption_policy.as_deref() == Some("Never") {
            return Some("not eligible due to preemptionPolicy=Never.");
        }
        let nodes = what_if.nodes();
        let index = nodes.index(pod.nominated_node()?)?;
        if !diagnosis.resolvable.contains(index) {
            return None;
        }
        let node = nodes.nodes().get(index)?;
        let leaving = |other: &Arc<PodInfo>| {
            self.hooks.may_leave(node, other, pod) && eviction::is_preempted(other.pod())
        };
        let busy = node.pods().iter().any(leaving);
        busy.then_some("not eligible due to a terminating pod on the nominated node.")
    }

    /// The disruption budgets of the cluster, read again only after one came, went or changed.
    fn budgets(&self, snapshot: &Snapshot) -> Arc<Budgets> {
        let all = snapshot.objects().budgets.all();
        let mut read = self.budgets.lock();
        if !read.is_of(&all) {
            *read = Arc::new(Budgets::new(all));
        }
        read.clone()
    }

    /// The nodes where room can be made, and why it cannot on others.
    fn candidates(
        &self,
        what_if: &mut WhatIf<'_>,
        diagnosis: &Diagnosis,
    ) -> Result<Found<'_>, String> {
        let (snapshot, nodes) = (what_if.nodes(), &diagnosis.resolvable);
        let count = nodes.len();
        let budgets = if count == 0 { Arc::default() } else { self.budgets(snapshot) };
        let (offset, wanted) = (what_if.chance(count), self.wanted(count));
        let (mut kind, mut violating) = (Vec::new(), Vec::new());
        let mut seen = 0;
        let mut failures = Vec::new();
        let mut memory = Memory::new(&self.known, &self.hooks, what_if, &budgets);
        for index in nodes.iter().skip(offset).chain(nodes.iter().take(offset)) {
            seen += 1;
            match memory.on_node(what_if, index, &budgets) {
                Ok(Some(rank)) if rank.violations == 0 => kind.push((index, rank)),
                // As many as are wanted will do: of more the original takes no notice either.
                Ok(Some(rank)) if violating.len() < wanted => violating.push((index, rank)),
                Ok(_) => {}
                Err(why) if failures.contains(&why) => {}
                Err(why) => failures.push(why),
            }
            if !kind.is_empty() && kind.len() + violating.len() >= wanted {
                break;
            }
        }
        kind.append(&mut violating);
        if kind.is_empty() && !failures.is_empty() {
            return Err(together(&failures));
        }
        let absent = snapshot.nodes().len().saturating_sub(seen);
        Ok(Found { ranked: kind, absent, memory })
    }
}

/// Different things that went wrong, as the original tells of several.
fn together(failures: &[String]) -> String {
    match failures {
        [only] => only.clone(),
        many => format!("[{}]", many.join(", ")),
    }
}

/// What came of looking for room.
struct Found<'a> {
    /// The indices of nodes where it can be made, those first where no disruption budget is broken.
    ranked: Vec<(usize, Rank)>,
    /// On how many nodes it was not looked for.
    absent: usize,
    memory: Memory<'a>,
}

impl Found<'_> {
    /// Why room can be made nowhere.
    fn refusal(&self, what_if: &WhatIf<'_>) -> Diagnosis {
        let nodes = what_if.nodes().nodes().len();
        let mut refused = Diagnosis { nodes, ..Diagnosis::default() };
        self.memory.tell(&mut refused);
        if self.absent > 0 {
            refused.count(&["Preemption is not helpful for scheduling".to_owned()], self.absent);
        }
        refused
    }

    /// With who would have to leave: the node where that hurts least, or all if somebody else is to choose.
    fn candidates(&self, what_if: &WhatIf<'_>, all: bool) -> Vec<Candidate> {
        // `min_by_key` keeps the first of equals.
        let best = self.ranked.iter().min_by_key(|(_, rank)| *rank).filter(|_| !all);
        let chosen = best.map_or(self.ranked.as_slice(), std::slice::from_ref);
        chosen.iter().filter_map(|(index, _)| self.memory.candidate(what_if, *index)).collect()
    }
}

/// The candidates that extenders leave, with the victims they want.
async fn ask_extenders(
    what_if: &WhatIf<'_>,
    candidates: Vec<Candidate>,
) -> Result<Vec<Candidate>, String> {
    let extenders = what_if.extenders();
    if extenders.is_empty() || candidates.is_empty() {
        return Ok(candidates);
    }
    let mut victims: BTreeMap<_, _> =
        candidates.into_iter().map(|own| (own.node, (own.victims, own.violations))).collect();
    for extender in extenders {
        match extender.preempt(what_if.pod(), &victims, what_if.nodes()).await {
            Ok(left) => victims = left,
            Err(error) if extender.is_ignorable() => {
                tracing::info!(extender = extender.url(), error, "extender skipped");
                continue;
            }
            Err(error) => return Err(error),
        }
        if let Some((node, _)) = victims.iter().find(|(_, (pods, _))| pods.is_empty())
            && !extender.is_ignorable()
        {
            return Err(format!("expected at least one victim pod on node {node:?}"));
        }
        victims.retain(|_, (pods, _)| !pods.is_empty());
        if victims.is_empty() {
            break;
        }
    }
    let all = victims.into_iter();
    Ok(all.map(|(node, (victims, violations))| Candidate { node, victims, violations }).collect())
}

impl SchedulerPlugin for DefaultPreemption {
    fn name(&self) -> &'static str {
        "DefaultPreemption"
    }

    fn requeue_on(&self) -> Vec<ClusterEvent> {
        match self.aside {
            true => vec![ClusterEvent::new(EventResource::AssignedPod, ActionType::DELETE)],
            // Nothing waits for it then.
            false => Vec::new(),
        }
    }

    fn start(&self, handle: &Handle) {
        // Only one scheduler runs it.
        let _ = self.evictions.set(Evictions::new(handle.clone(), !self.aside));
    }

    fn as_pre_enqueue(&self) -> Option<&dyn PreEnqueue> {
        Some(self)
    }

    fn as_enqueue_extensions(&self) -> Option<&dyn EnqueueExtensions> {
        Some(self)
    }

    fn as_post_filter(&self) -> Option<&dyn PostFilter> {
        Some(self)
    }

    fn as_group_post_filter(&self) -> Option<&dyn GroupPostFilter> {
        if self.for_groups { Some(self) } else { None }
    }
}

impl PreEnqueue for DefaultPreemption {
    fn pre_enqueue(&self, pod: &PodInfo) -> PreEnqueueVerdict {
        let Some(evictions) = self.evictions.get() else { return PreEnqueueVerdict::Admit };
        let (running, whose) = match self.for_groups && pod.group().is_some() {
            true => (evictions.is_running_for_group(pod), "pod group"),
            false => (evictions.is_running(pod.uid()), "pod"),
        };
        match running {
            true => PreEnqueueVerdict::Hold(format!(
                "waiting for the preemption for this {whose} to be finished"
            )),
            false => PreEnqueueVerdict::Admit,
        }
    }
}

impl EnqueueExtensions for DefaultPreemption {
    /// The plugins that refused the pod know better what helps it.
    fn hint(&self, _: &PodInfo, _: ClusterEvent, _: &EventObject) -> Hint {
        Hint::Skip
    }

    fn is_same_for_pods_alike(&self) -> bool {
        true
    }
}

#[async_trait]
impl PostFilter for DefaultPreemption {
    async fn post_filter(
        &self,
        what_if: &mut WhatIf<'_>,
        diagnosis: &Diagnosis,
    ) -> PostFilterVerdict {
        if let Some(evictions) = self.evictions.get() {
            evictions.attempted();
        }
        if let Some(why) = self.objection(what_if, diagnosis) {
            return PostFilterVerdict::Unchanged(format!("preemption: {why}"));
        }
        let candidates = match self.candidates(what_if, diagnosis) {
            Ok(found) if found.ranked.is_empty() => {
                let refused = found.refusal(what_if);
                return PostFilterVerdict::Unschedulable(format!("preemption: {refused}"));
            }
            Ok(found) => found.candidates(what_if, !what_if.extenders().is_empty()),
            Err(why) => return PostFilterVerdict::Error(format!("preemption: {why}")),
        };
        let candidates = match ask_extenders(what_if, candidates).await {
            Ok(left) => left,
            Err(why) => return PostFilterVerdict::Error(format!("preemption: {why}")),
        };
        let Some(candidate) = best(candidates) else {
            let why = "preemption: no candidate node for preemption";
            return PostFilterVerdict::Unchanged(why.into());
        };
        let node = candidate.node.clone();
        if let Some(evictions) = self.evictions.get() {
            let pod = what_if.pod();
            let lower = what_if.nodes().nominated(&node).iter();
            let lower = lower.filter(|other| other.priority() < pod.priority()).cloned().collect();
            if let Err(why) = evictions.start(pod, candidate, lower).await {
                return PostFilterVerdict::Error(format!("preemption: {why}"));
            }
        }
        PostFilterVerdict::Nominated(node)
    }
}

#[cfg(test)]
mod tests;
