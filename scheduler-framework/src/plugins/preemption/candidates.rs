use super::{budgets::Budgets, hooks::Hooks};
use crate::{NodeInfo, PodInfo, Trial, WhatIf};
use jiff::Timestamp;
use std::{
    cmp::{Ordering, Reverse},
    sync::Arc,
};

/// A node, and the pods that would have to leave it.
#[derive(Debug, Clone)]
pub(super) struct Candidate {
    pub(super) node: String,
    /// The most important first; never empty.
    pub(super) victims: Vec<Arc<PodInfo>>,
    /// How many of them a disruption budget protects.
    pub(super) violations: usize,
}

/// How bad it is that pods leave a node, by what counts first; less is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    /// How many of them a disruption budget protects.
    pub(super) violations: usize,
    highest: i64,
    sum: i64,
    count: usize,
    oldest: Reverse<Option<Timestamp>>,
}

impl Rank {
    /// Of these pods, the most important first.
    pub(super) fn of(victims: &[Arc<PodInfo>], violations: usize) -> Self {
        let priorities = || victims.iter().map(|pod| i64::from(pod.priority()));
        let highest = priorities().next().unwrap_or_default();
        // All above zero, so that fewer victims weigh less however low their priorities are.
        let sum: i64 = priorities().map(|priority| priority + i64::from(i32::MAX) + 1).sum();
        let most = victims.iter().filter(|pod| i64::from(pod.priority()) == highest);
        let oldest = Reverse(most.map(|pod| started(pod)).min());
        Self { violations, highest, sum, count: victims.len(), oldest }
    }
}

/// When a pod started; one that has not yet, last of all.
pub(super) fn started(pod: &PodInfo) -> Timestamp {
    let status = pod.pod().status.as_ref();
    status.and_then(|status| status.start_time.as_ref()).map_or(Timestamp::MAX, |time| time.0)
}

/// The more important pod first: higher priority, then running for longer.
pub(super) fn by_importance(a: &Arc<PodInfo>, b: &Arc<PodInfo>) -> Ordering {
    b.priority().cmp(&a.priority()).then_with(|| started(a).cmp(&started(b)))
}

/// The fewest and least important pods that must leave a node, or why that does not help.
pub(super) fn on_node(
    what_if: &mut WhatIf<'_>,
    node: &NodeInfo,
    budgets: &Budgets,
    hooks: &Hooks,
) -> Result<Result<Candidate, Vec<String>>, String> {
    let pod = what_if.pod();
    let others = node.pods().iter().filter(|other| hooks.may_leave(node, other, pod));
    let mut others: Vec<_> = others.cloned().collect();
    if others.is_empty() {
        return Ok(Err(vec!["No preemption victims found for incoming pod".into()]));
    }
    let mut trial = what_if.on(node);
    for other in &others {
        trial.remove(other);
    }
    if let Some(refusal) = trial.fits()? {
        return Ok(Err(refusal.reasons));
    }
    others.sort_by(|a, b| hooks.compare(a, b));
    let candidate = choose(&mut trial, &others, budgets, hooks)?;
    if candidate.victims.is_empty() {
        return Err(format!("expected at least one victim pod on node {:?}", node.name()));
    }
    Ok(Ok(candidate))
}

/// Lets as many pods stay as possible: first those a budget protects, and the important ones first.
fn choose(
    trial: &mut Trial<'_, '_>,
    others: &[Arc<PodInfo>],
    budgets: &Budgets,
    hooks: &Hooks,
) -> Result<Candidate, String> {
    let breaking = budgets.breaking(others);
    let mut victims = Vec::new();
    let mut violations = 0;
    for protected in [true, false] {
        let pods = others.iter().zip(&breaking).filter(|(_, breaks)| **breaks == protected);
        for (pod, _) in pods {
            trial.add(pod);
            if trial.fits()?.is_some() {
                trial.remove(pod);
                victims.push(pod.clone());
                violations += usize::from(protected);
            }
        }
    }
    victims.sort_by(|a, b| hooks.compare(a, b));
    Ok(Candidate { node: trial.node().name().to_owned(), victims, violations })
}

/// The node where leaving hurts least.
pub(super) fn best(candidates: Vec<Candidate>) -> Option<Candidate> {
    // `min_by_key` keeps the first of equals.
    candidates.into_iter().min_by_key(|own| Rank::of(&own.victims, own.violations))
}
