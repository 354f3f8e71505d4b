//! Pods of lower priority make room for a whole group (KEP-5710).

use super::{DefaultPreemption, budgets::Budgets, candidates::started};
use crate::{
    GroupMisfit, GroupPostFilter, GroupPostFilterVerdict, GroupWhatIf, PodGroupObject, PodInfo,
    Snapshot,
};
use async_trait::async_trait;
use jiff::Timestamp;
use std::{cmp::Ordering, collections::BTreeMap, sync::Arc};

/// Pods that leave together or stay together; never empty.
#[derive(Debug)]
struct Unit {
    /// The key of the group, or of the pod.
    key: String,
    pods: Vec<Arc<PodInfo>>,
    priority: i32,
    /// When the first of them that was seen started.
    started: Timestamp,
}

impl Unit {
    fn new(key: String, first: &PodInfo, priority: i32) -> Self {
        Self { key, pods: Vec::new(), priority, started: started(first) }
    }

    /// Whether it is of a group, be it one of several pods that leave each for itself.
    fn is_of_group(&self) -> bool {
        self.pods.first().is_some_and(|pod| pod.spec().scheduling_group.is_some())
    }

    /// The more important first: of higher priority, of a group, of more pods, started earlier.
    fn by_importance(&self, other: &Self) -> Ordering {
        let rank = |own: &Self| (own.priority, own.is_of_group(), own.pods.len());
        rank(other)
            .cmp(&rank(self))
            .then_with(|| self.started.cmp(&other.started))
            .then_with(|| self.key.cmp(&other.key))
    }

    fn leave(&self, what_if: &mut dyn GroupWhatIf) {
        self.pods.iter().for_each(|pod| what_if.remove_pod(pod.uid()));
    }

    fn stay(&self, what_if: &mut dyn GroupWhatIf) {
        self.pods.iter().for_each(|pod| what_if.restore_pod(pod.uid()));
    }
}

/// What a group is worth.
fn priority_of(group: &PodGroupObject) -> i32 {
    group.spec.priority.unwrap_or_default()
}

/// The group with which a pod has to leave, if it may not leave alone.
fn bound_to(pod: &PodInfo, nodes: &Snapshot) -> Option<(String, Arc<PodGroupObject>)> {
    let key = pod.group()?;
    let (_, name) = key.split_once('/')?;
    let group = nodes.objects().pod_groups.find(pod.namespace(), name)?;
    let together = group.spec.disruption_mode.as_deref() == Some("PodGroup");
    together.then_some((key, group))
}

/// All that may have to leave for whoever is worth so much.
fn units(nodes: &Snapshot, worth: i32) -> Vec<Unit> {
    let (mut all, mut groups) = (Vec::new(), BTreeMap::new());
    for pod in nodes.nodes().iter().flat_map(|node| node.pods()) {
        match bound_to(pod, nodes) {
            Some((key, group)) => {
                let anew = || Unit::new(key.clone(), pod, priority_of(&group));
                groups.entry(key.clone()).or_insert_with(anew).pods.push(pod.clone());
            }
            None => {
                let mut unit = Unit::new(pod.key().to_owned(), pod, pod.priority());
                unit.pods.push(pod.clone());
                all.push(unit);
            }
        }
    }
    all.extend(groups.into_values());
    all.retain(|unit| unit.priority < worth);
    all
}

/// Who has to leave so that there is room for a group: as few as possible of what is protected by budgets, then of what
/// is important. The most important first.
///
/// # Errors
/// Nobody's leaving helps, or it cannot be said.
async fn victims(
    group: &PodGroupObject,
    budgets: &Budgets,
    what_if: &mut dyn GroupWhatIf,
) -> Result<Vec<Arc<PodInfo>>, GroupMisfit> {
    let mut units = units(&what_if.nodes(), priority_of(group));
    if units.is_empty() {
        let why = "No preemption victims found for incoming preemptor";
        return Err(GroupMisfit::Unschedulable(why.to_owned()));
    }
    for unit in &units {
        unit.leave(what_if);
    }
    what_if.fits().await?;
    units.sort_by(Unit::by_importance);
    let breaking = budgets.breaking_together(units.iter().map(|unit| unit.pods.as_slice()));
    let (protected, others): (Vec<_>, Vec<_>) =
        units.into_iter().zip(breaking).partition(|(_, breaks)| *breaks);
    let mut leaving = Vec::new();
    for (unit, _) in protected.into_iter().chain(others) {
        unit.stay(what_if);
        if what_if.fits().await.is_err() {
            unit.leave(what_if);
            leaving.push(unit);
        }
    }
    leaving.sort_by(Unit::by_importance);
    Ok(leaving.into_iter().flat_map(|unit| unit.pods).collect())
}

#[async_trait]
impl GroupPostFilter for DefaultPreemption {
    async fn make_room(
        &self,
        group: &PodGroupObject,
        pods: &[Arc<PodInfo>],
        what_if: &mut dyn GroupWhatIf,
    ) -> GroupPostFilterVerdict {
        let never = |pod: &Arc<PodInfo>| pod.spec().preemption_policy.as_deref() == Some("Never");
        if pods.iter().any(never) {
            let why = "not eligible due to preemptionPolicy=Never.";
            return GroupPostFilterVerdict::Unschedulable(why.to_owned());
        }
        let budgets = self.budgets(&what_if.nodes());
        match victims(group, &budgets, what_if).await {
            Ok(victims) => {
                if let Some(evictions) = self.evictions.get()
                    && let Err(why) = evictions.start_for_group(group, pods, victims).await
                {
                    return GroupPostFilterVerdict::Error(why);
                }
                GroupPostFilterVerdict::Preempting
            }
            Err(GroupMisfit::Unschedulable(why)) => GroupPostFilterVerdict::Unschedulable(why),
            Err(GroupMisfit::Error(why)) => GroupPostFilterVerdict::Error(why),
        }
    }
}

#[cfg(test)]
mod tests;
