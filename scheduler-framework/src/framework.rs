//! Runs the plugins of one profile at their extension points.

mod binding;
mod selection;

use crate::{
    CycleState, Diagnosis, Error, PodInfo, PostFilterVerdict, PreEnqueueVerdict, PreFilterVerdict,
    Profile, SchedulerPlugin, Snapshot, WeightedPlugin,
};
pub(crate) use binding::Permission;
use binding::Waiting;
use kubeplane_clock::{Seed, SharedClock};
use parking_lot::Mutex;
use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, atomic::AtomicUsize},
};

/// Where a pod is to go.
#[derive(Debug)]
pub struct Placement {
    /// The node.
    pub node: String,
    /// How many nodes were looked at.
    pub evaluated: usize,
    /// On how many of them it fits.
    pub feasible: usize,
    /// What the plugins keep for the rest of the cycle.
    pub state: CycleState,
}

/// Why a cycle did not place a pod.
#[derive(Debug)]
pub enum Failure {
    /// It fits nowhere.
    Unschedulable(Box<Diagnosis>),
    /// A plugin failed.
    Error(String),
}

/// The plugins of one profile.
#[derive(Debug)]
pub struct Framework {
    name: String,
    plugins: Vec<WeightedPlugin>,
    clock: SharedClock,
    seed: Seed,
    /// Where the last search for nodes ended, so that the next looks at others first.
    next_node: AtomicUsize,
    waiting: Mutex<HashMap<String, Waiting>>,
}

impl Framework {
    /// Checks a profile and makes it run.
    ///
    /// # Errors
    /// When a plugin is there twice, or the profile does not have exactly one that sorts the queue and at
    /// least one that binds.
    pub fn new(profile: Profile, clock: SharedClock, seed: Seed) -> Result<Self, Error> {
        let name = profile.scheduler_name().to_owned();
        let plugins = profile.plugins().to_vec();
        let mut names = BTreeSet::new();
        if let Some(twice) = plugins.iter().find(|own| !names.insert(own.plugin.name())) {
            return Err(Error::DuplicatePlugin { profile: name, plugin: twice.plugin.name() });
        }
        let found = plugins.iter().filter(|own| own.plugin.as_queue_sort().is_some()).count();
        if found != 1 {
            return Err(Error::QueueSort { profile: name, found });
        }
        if !plugins.iter().any(|own| own.plugin.as_bind().is_some()) {
            return Err(Error::NoBind { profile: name });
        }
        Ok(Self {
            name,
            plugins,
            clock,
            seed,
            next_node: AtomicUsize::new(0),
            waiting: Mutex::default(),
        })
    }

    /// The `schedulerName` of the pods it serves.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The plugins in order.
    pub fn plugins(&self) -> impl Iterator<Item = &Arc<dyn SchedulerPlugin>> {
        self.plugins.iter().map(|own| &own.plugin)
    }

    /// Whether a pod may enter the active queue; otherwise which plugin holds it back, and why.
    #[must_use]
    pub fn pre_enqueue(&self, pod: &PodInfo) -> Option<(&'static str, String)> {
        self.plugins().find_map(|plugin| match plugin.as_pre_enqueue()?.pre_enqueue(pod) {
            PreEnqueueVerdict::Admit => None,
            PreEnqueueVerdict::Hold(reason) => Some((plugin.name(), reason)),
        })
    }

    /// Finds the best node for a pod: everything from PreFilter to Score.
    ///
    /// # Errors
    /// When it fits nowhere, or a plugin fails.
    ///
    /// # Cancellation
    /// Nothing is decided; what PostFilter began goes on.
    pub async fn schedule(&self, pod: &PodInfo, nodes: &Snapshot) -> Result<Placement, Failure> {
        let mut state = CycleState::new();
        let mut diagnosis = Diagnosis { nodes: nodes.nodes().len(), ..Diagnosis::default() };
        if nodes.nodes().is_empty() {
            return Err(Failure::Unschedulable(Box::new(Diagnosis {
                pre_filter: Some("no nodes available to schedule pods".into()),
                ..diagnosis
            })));
        }
        let feasible = match self.pre_filter(&mut state, pod, nodes, &mut diagnosis)? {
            Some(candidates) => {
                self.filter(&state, pod, nodes, candidates.as_ref(), &mut diagnosis)?
            }
            None => Vec::new(),
        };
        if feasible.is_empty() {
            return Err(self.post_filter(&mut state, pod, nodes, diagnosis).await);
        }
        let evaluated = feasible.len() + diagnosis.reasons.values().sum::<usize>();
        let node = self.select(&mut state, pod, &feasible)?;
        Ok(Placement { node, evaluated, feasible: feasible.len(), state })
    }

    /// The nodes to look at (all, if that is `Some(None)`), or `None` when the pod fits nowhere.
    fn pre_filter(
        &self,
        state: &mut CycleState,
        pod: &PodInfo,
        nodes: &Snapshot,
        diagnosis: &mut Diagnosis,
    ) -> Result<Option<Option<BTreeSet<String>>>, Failure> {
        let mut candidates: Option<BTreeSet<String>> = None;
        for plugin in self.plugins() {
            let Some(point) = plugin.as_pre_filter() else { continue };
            match point.pre_filter(state, pod, nodes) {
                PreFilterVerdict::Continue => {}
                PreFilterVerdict::Nodes(names) => {
                    diagnosis.plugins.insert(plugin.name());
                    candidates = Some(match candidates {
                        None => names,
                        Some(others) => others.intersection(&names).cloned().collect(),
                    });
                }
                PreFilterVerdict::Skip => drop(state.skip_filter.insert(plugin.name())),
                PreFilterVerdict::Unschedulable(reason) => {
                    diagnosis.plugins.insert(plugin.name());
                    diagnosis.resolvable =
                        nodes.nodes().iter().map(|node| node.name().to_owned()).collect();
                    diagnosis.pre_filter = Some(reason);
                    return Ok(None);
                }
                PreFilterVerdict::Unresolvable(reason) => {
                    diagnosis.plugins.insert(plugin.name());
                    diagnosis.pre_filter = Some(reason);
                    return Ok(None);
                }
                PreFilterVerdict::Error(why) => {
                    return Err(failed("PreFilter", plugin.name(), &why));
                }
            }
        }
        Ok(Some(candidates))
    }

    async fn post_filter(
        &self,
        state: &mut CycleState,
        pod: &PodInfo,
        nodes: &Snapshot,
        mut diagnosis: Diagnosis,
    ) -> Failure {
        let mut messages = Vec::new();
        for plugin in self.plugins() {
            let Some(point) = plugin.as_post_filter() else { continue };
            match point.post_filter(state, pod, nodes, &diagnosis).await {
                PostFilterVerdict::Nominated(_) => break,
                PostFilterVerdict::Unschedulable(message) => messages.push(message),
                PostFilterVerdict::Error(why) => return failed("PostFilter", plugin.name(), &why),
            }
        }
        diagnosis.post_filter = (!messages.is_empty()).then(|| messages.join(", "));
        Failure::Unschedulable(Box::new(diagnosis))
    }
}

fn failed(point: &str, plugin: &str, why: &str) -> Failure {
    Failure::Error(format!("running {point:?} plugin {plugin:?}: {why}"))
}

#[cfg(test)]
mod tests;
