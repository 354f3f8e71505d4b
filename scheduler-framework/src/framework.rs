//! Runs the plugins of one profile at their extension points.

mod binding;
mod meter;
mod selection;
mod what_if;

use crate::metrics::SchedulerMetrics;
use crate::{
    CycleState, Diagnosis, Error, Nomination, PodInfo, PostFilterVerdict, PreEnqueueVerdict,
    PreFilterVerdict, Profile, SchedulerPlugin, Snapshot, WeightedPlugin,
};
pub(crate) use binding::Permission;
use binding::Waiting;
use kubeplane_clock::{Seed, SharedClock};
use kubeplane_telemetry::Metrics;
use meter::{Meter, status};
use parking_lot::Mutex;
use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, atomic::AtomicUsize},
};
pub use what_if::WhatIf;

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
    meter: Meter,
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
        let meter = Meter::new(clock.clone(), &name, SchedulerMetrics::new(&Metrics::new()));
        Ok(Self {
            meter,
            name,
            plugins,
            clock,
            seed,
            next_node: AtomicUsize::new(0),
            waiting: Mutex::default(),
        })
    }

    /// Counts and times there.
    pub(crate) fn measured(mut self, metrics: SchedulerMetrics) -> Self {
        self.meter.metrics = metrics;
        self
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
        const POINT: &str = "PreEnqueue";
        let (sampled, began) = (self.meter.is_sampled(), self.meter.begin());
        let held = self.plugins().find_map(|plugin| {
            let point = plugin.as_pre_enqueue()?;
            let began = self.meter.begin_plugin(sampled);
            let (status, held) = match point.pre_enqueue(pod) {
                PreEnqueueVerdict::Admit => (status::SUCCESS, None),
                PreEnqueueVerdict::Hold(reason) => {
                    (status::UNRESOLVABLE, Some((plugin.name(), reason)))
                }
            };
            self.meter.end_plugin(POINT, plugin.name(), status, began);
            held
        });
        let status = if held.is_some() { status::UNRESOLVABLE } else { status::SUCCESS };
        self.meter.end(POINT, status, began);
        held
    }

    /// Finds the best node for a pod: everything from PreFilter to Score.
    ///
    /// # Errors
    /// When it fits nowhere, or a plugin fails.
    ///
    /// # Cancellation
    /// Nothing is decided; what PostFilter began goes on.
    pub async fn schedule(&self, pod: &PodInfo, nodes: &Snapshot) -> Result<Placement, Failure> {
        let mut state = CycleState::of(nodes.clone());
        state.sampled = self.meter.is_sampled();
        let mut diagnosis = Diagnosis { nodes: nodes.nodes().len(), ..Diagnosis::default() };
        if nodes.nodes().is_empty() {
            return Err(Failure::Unschedulable(Box::new(Diagnosis {
                pre_filter: Some("no nodes available to schedule pods".into()),
                ..diagnosis
            })));
        }
        let began = self.meter.begin();
        let candidates = self.pre_filter(&mut state, pod, nodes, &mut diagnosis);
        let status = match &candidates {
            Ok(Some(_)) => status::SUCCESS,
            Ok(None) if diagnosis.resolvable.is_empty() => status::UNRESOLVABLE,
            Ok(None) => status::UNSCHEDULABLE,
            Err(_) => status::ERROR,
        };
        self.meter.end("PreFilter", status, began);
        let feasible = match candidates? {
            Some(candidates) => {
                let began = self.meter.begin();
                let found =
                    self.filter(&mut state, pod, nodes, candidates.as_ref(), &mut diagnosis);
                let status = if found.is_ok() { status::SUCCESS } else { status::ERROR };
                self.meter.end("Filter", status, began);
                found?
            }
            None => Vec::new(),
        };
        if feasible.is_empty() {
            return Err(self.post_filter(&mut state, pod, nodes, diagnosis).await);
        }
        let evaluated = feasible.len() + diagnosis.reasons.values().sum::<usize>();
        let node = self.select(&mut state, pod, &feasible)?;
        state.set_placed();
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
            let began = self.meter.begin_plugin(state.sampled);
            let verdict = point.pre_filter(state, pod, nodes);
            let status = match &verdict {
                PreFilterVerdict::Continue | PreFilterVerdict::Nodes(_) => status::SUCCESS,
                PreFilterVerdict::Skip => status::SKIP,
                PreFilterVerdict::Unschedulable(_) => status::UNSCHEDULABLE,
                PreFilterVerdict::Unresolvable(_) => status::UNRESOLVABLE,
                PreFilterVerdict::Error(_) => status::ERROR,
            };
            self.meter.end_plugin("PreFilter", plugin.name(), status, began);
            self.meter.evaluated("PreFilter", plugin.name(), 1);
            match verdict {
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
        const POINT: &str = "PostFilter";
        let mut messages = Vec::new();
        let (start, mut outcome) = (self.meter.begin(), status::UNSCHEDULABLE);
        for plugin in self.plugins() {
            let Some(point) = plugin.as_post_filter() else { continue };
            let sampled = state.sampled;
            let began = self.meter.begin_plugin(sampled);
            let mut what_if = WhatIf::new(self, state, pod, nodes);
            let verdict = point.post_filter(&mut what_if, &diagnosis).await;
            let status = match &verdict {
                PostFilterVerdict::Nominated(_) => status::SUCCESS,
                PostFilterVerdict::Unschedulable(_) | PostFilterVerdict::Unchanged(_) => {
                    status::UNSCHEDULABLE
                }
                PostFilterVerdict::Error(_) => status::ERROR,
            };
            self.meter.end_plugin(POINT, plugin.name(), status, began);
            match verdict {
                PostFilterVerdict::Nominated(node) => {
                    outcome = status::SUCCESS;
                    diagnosis.nomination = Nomination::Node(node);
                    messages.clear();
                    break;
                }
                PostFilterVerdict::Unschedulable(message) => {
                    diagnosis.nomination = Nomination::Clear;
                    messages.push(message);
                }
                PostFilterVerdict::Unchanged(message) => messages.push(message),
                PostFilterVerdict::Error(why) => {
                    self.meter.end(POINT, status::ERROR, start);
                    return failed(POINT, plugin.name(), &why);
                }
            }
        }
        self.meter.end(POINT, outcome, start);
        diagnosis.post_filter = (!messages.is_empty()).then(|| messages.join(", "));
        Failure::Unschedulable(Box::new(diagnosis))
    }
}

fn failed(point: &str, plugin: &str, why: &str) -> Failure {
    Failure::Error(format!("running {point:?} plugin {plugin:?}: {why}"))
}

#[cfg(test)]
mod tests;
