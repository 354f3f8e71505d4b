//! Runs the plugins of one profile at their extension points.

mod binding;
mod extending;
mod groups;
mod judging;
mod late;
mod meter;
mod preparing;
mod refusals;
mod requeueing;
mod selection;
mod trial;
mod what_if;

use crate::metrics::SchedulerMetrics;
use crate::{
    CycleState, Diagnosis, Error, Nomination, PodInfo, Point, PostFilterVerdict, PreEnqueueVerdict,
    PreFilterVerdict, Profile, SchedulerPlugin, Snapshot, WeightedPlugin,
};
use crate::{
    NodeInfo, NodeSet,
    engine::{Engine, Offers, Remembered},
    extender::Extender,
};
use binding::Waiting;
pub(crate) use binding::{Permission, Setback};
use kubeplane_clock::{Seed, SharedClock};
use kubeplane_telemetry::Metrics;
use late::Late;
use meter::{Meter, status};
use parking_lot::Mutex;
use refusals::Refusals;
use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, atomic::AtomicUsize},
};
use tokio::sync::oneshot;
pub use trial::Trial;
pub use what_if::WhatIf;

/// Stands in for a plugin's name where an extender refused: any event may help.
const EXTENDER: &str = "Extender";
/// Stands in for a plugin's name where there was no node at all: the first that comes helps.
const NO_NODES: &str = "Nodes";

/// Where a pod is to go.
#[derive(Debug)]
pub struct Placement {
    /// The node.
    pub node: String,
    /// How many nodes were looked at.
    pub evaluated: usize,
    /// On how many of them it fits; of a pod that a plugin follows as [`Late`](crate::Tracking::Late), on how many it is
    /// known to.
    pub feasible: usize,
    /// Whether it was found by what is kept for pods alike, without asking every plugin for every node.
    pub followed: bool,
    /// What the plugins keep for the rest of the cycle.
    pub state: CycleState,
}

/// Why a cycle did not place a pod.
#[derive(Debug)]
#[non_exhaustive]
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
    /// Which of them run at each point, in order.
    orders: [Vec<usize>; Point::ALL.len()],
    /// Those that have a say in where a pod goes.
    deciding: Vec<usize>,
    /// How much each one's scores of placements count.
    placement_weights: Vec<i64>,
    percentage: Option<u8>,
    clock: SharedClock,
    seed: Seed,
    /// Where the last search for nodes ended, so that the next looks at others first.
    next_node: AtomicUsize,
    waiting: Mutex<HashMap<String, Waiting>>,
    /// The pods that PreBind plugins work for, by uid, and what ends that.
    preparing: Mutex<HashMap<String, oneshot::Sender<&'static str>>>,
    meter: Meter,
    /// Decides for pods alike; `None` when a plugin does not let it.
    engine: Option<Engine>,
    /// Why nodes refuse pods alike.
    refusals: Remembered<Refusals>,
    /// Which nodes have what few have.
    offers: Mutex<Offers>,
    extenders: Vec<Arc<Extender>>,
    /// Whether pods of a group are placed in one go although no plugin asks for it.
    grouping: bool,
    /// Whether room is made for groups as a whole.
    group_preemption: bool,
    /// Whether pods say where they will be while binding takes a while.
    expecting: bool,
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
        let placement_weights = plugins.iter().map(|own| profile.placement_weight(own)).collect();
        let mut names = BTreeSet::new();
        if let Some(twice) = plugins.iter().find(|own| !names.insert(own.plugin.name())) {
            return Err(Error::DuplicatePlugin { profile: name, plugin: twice.plugin.name() });
        }
        let orders = Point::ALL.map(|point| profile.order(point));
        let found = orders[Point::QueueSort as usize].len();
        if found != 1 {
            return Err(Error::QueueSort { profile: name, found });
        }
        if orders[Point::Bind as usize].is_empty() {
            return Err(Error::NoBind { profile: name });
        }
        let meter = Meter::new(clock.clone(), &name, SchedulerMetrics::new(&Metrics::new()));
        let mut framework = Self {
            meter,
            name,
            plugins,
            orders,
            deciding: Vec::new(),
            placement_weights,
            percentage: profile.percentage(),
            engine: None,
            refusals: Remembered::default(),
            offers: Mutex::default(),
            extenders: Vec::new(),
            grouping: false,
            group_preemption: false,
            expecting: true,
            clock,
            seed,
            next_node: AtomicUsize::new(0),
            waiting: Mutex::default(),
            preparing: Mutex::default(),
        };
        let points = [Point::PreFilter, Point::Filter, Point::PreScore, Point::Score];
        framework.deciding = (0..framework.plugins.len())
            .filter(|index| {
                points.iter().any(|own| framework.orders[*own as usize].contains(index))
            })
            .collect();
        let followed = framework.deciding().all(|own| own.plugin.as_track().is_some());
        framework.engine = followed.then(Engine::default);
        Ok(framework)
    }

    /// The plugins that have a say in where a pod goes, once each.
    fn deciding(&self) -> impl Iterator<Item = &WeightedPlugin> {
        self.deciding.iter().map(|index| &self.plugins[*index])
    }

    /// What the engine says, if it can.
    fn decide(&self, pod: &PodInfo, nodes: &Snapshot) -> Option<Placement> {
        let engine = self.engine.as_ref()?;
        if self.extenders(pod).any(|own| own.decides()) {
            return None;
        }
        if pod.nominated_node().is_some() {
            // The node where room was made for it comes first.
            return None;
        }
        let began = self.meter.begin();
        let plugins: Vec<_> = self.deciding().collect();
        let mut late = Late::new(self, &plugins, pod, nodes);
        let mut ask = |asked: &[usize], node: usize| late.fits(asked, node);
        let choice = engine.decide(&plugins, pod, nodes, &self.seed, &mut ask)?;
        self.meter.end("Filter", status::SUCCESS, began);
        let node = nodes.nodes().get(choice.node)?.name().to_owned();
        let (evaluated, feasible) = (nodes.nodes().len(), choice.feasible);
        Some(Placement { node, evaluated, feasible, followed: true, state: late.into_state() })
    }

    /// Asks these too.
    #[must_use]
    pub fn with_extenders(mut self, extenders: Vec<Arc<Extender>>) -> Self {
        self.extenders = extenders;
        self
    }

    /// The extenders that have a say for a pod.
    pub(crate) fn extenders(&self, pod: &PodInfo) -> impl Iterator<Item = &Arc<Extender>> {
        self.extenders.iter().filter(|own| own.is_interested(pod))
    }

    /// Has pods say where they will be while binding takes a while, if `expecting`.
    pub(crate) fn expecting(mut self, expecting: bool) -> Self {
        self.expecting = expecting;
        self
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

    /// The plugins that run at an extension point, in order.
    pub fn at(&self, point: Point) -> impl DoubleEndedIterator<Item = &Arc<dyn SchedulerPlugin>> {
        self.orders[point as usize].iter().map(|index| &self.plugins[*index].plugin)
    }

    /// Whether a pod may enter the active queue; otherwise which plugin holds it back, and why.
    #[must_use]
    pub fn pre_enqueue(&self, pod: &PodInfo) -> Option<(&'static str, String)> {
        const POINT: &str = "PreEnqueue";
        let (sampled, began) = (self.meter.is_sampled(), self.meter.begin());
        let held = self.at(Point::PreEnqueue).find_map(|plugin| {
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
        if let Some(placement) = self.decide(pod, nodes) {
            return Ok(placement);
        }
        let mut state = CycleState::of(nodes.clone());
        state.sampled = self.meter.is_sampled();
        let mut diagnosis = Diagnosis { nodes: nodes.nodes().len(), ..Diagnosis::default() };
        if nodes.nodes().is_empty() {
            return Err(Failure::Unschedulable(Box::new(Diagnosis {
                plugins: BTreeSet::from([NO_NODES]),
                nomination: Nomination::Clear,
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
                let candidates = candidates.as_ref();
                self.feasible(&mut state, pod, nodes, candidates, &mut diagnosis).await?
            }
            None => Vec::new(),
        };
        if feasible.is_empty() {
            if nodes.group().is_some_and(|own| own.in_thought) {
                return Err(Failure::Unschedulable(Box::new(diagnosis)));
            }
            return Err(self.post_filter(&mut state, pod, nodes, diagnosis).await);
        }
        let evaluated = feasible.len() + diagnosis.reasons.values().sum::<usize>();
        let node = self.select(&mut state, pod, &feasible).await?;
        state.set_placed();
        Ok(Placement { node, evaluated, feasible: feasible.len(), followed: false, state })
    }

    /// The nodes that filters and extenders leave: the one where room was made for the pod, if it fits there, or as
    /// many as are enough.
    async fn feasible(
        &self,
        state: &mut CycleState,
        pod: &PodInfo,
        nodes: &Snapshot,
        candidates: Option<&BTreeSet<String>>,
        diagnosis: &mut Diagnosis,
    ) -> Result<Vec<Arc<NodeInfo>>, Failure> {
        let began = self.meter.begin();
        if let Some(node) = self.nominated(state, pod, nodes, candidates) {
            let mut unheard = Diagnosis::default();
            let left = self.filter_outside(pod, nodes, vec![node], &mut unheard).await;
            // One that fails is asked again about all nodes.
            if let Ok(left) = left
                && !left.is_empty()
            {
                self.meter.end("Filter", status::SUCCESS, began);
                return Ok(left);
            }
        }
        let found = self.filter(state, pod, nodes, candidates, diagnosis);
        let status = if found.is_ok() { status::SUCCESS } else { status::ERROR };
        self.meter.end("Filter", status, began);
        self.filter_outside(pod, nodes, found?, diagnosis).await
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
        for plugin in self.at(Point::PreFilter) {
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
                    diagnosis.narrowing.insert(plugin.name());
                    let left = match candidates {
                        None => names,
                        Some(others) => others.intersection(&names).cloned().collect(),
                    };
                    if left.is_empty() {
                        diagnosis.pre_filter = Some(diagnosis.narrowed_to_nothing());
                        return Ok(None);
                    }
                    candidates = Some(left);
                }
                PreFilterVerdict::Skip => state.skip_filter.insert(plugin.name()),
                PreFilterVerdict::Unschedulable(reason) => {
                    diagnosis.plugins.insert(plugin.name());
                    diagnosis.resolvable = NodeSet::all(nodes.nodes().len());
                    // Preemption may help, and needs what the other plugins compute.
                    diagnosis.pre_filter = Some(reason);
                }
                PreFilterVerdict::Unresolvable(reason) => {
                    diagnosis.resolvable = NodeSet::default();
                    diagnosis.plugins.insert(plugin.name());
                    diagnosis.pre_filter = Some(reason);
                    return Ok(None);
                }
                PreFilterVerdict::Error(why) => {
                    return Err(failed("PreFilter", plugin.name(), &why));
                }
            }
        }
        Ok(diagnosis.pre_filter.is_none().then_some(candidates))
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
        for plugin in self.at(Point::PostFilter) {
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
                PostFilterVerdict::Unresolvable(_) => status::UNRESOLVABLE,
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
                PostFilterVerdict::Unresolvable(message) => {
                    outcome = status::UNRESOLVABLE;
                    diagnosis.nomination = Nomination::Keep;
                    messages = vec![message];
                    break;
                }
                PostFilterVerdict::Error(why) => {
                    // The pod fits nowhere all the same.
                    outcome = status::ERROR;
                    diagnosis.nomination = Nomination::Keep;
                    messages = vec![why];
                    break;
                }
            }
        }
        self.meter.end(POINT, outcome, start);
        diagnosis.post_filter = (!messages.is_empty()).then(|| messages.join(", "));
        Failure::Unschedulable(Box::new(diagnosis))
    }
}

fn failed(point: &str, plugin: &str, why: &str) -> Failure {
    Failure::Error(match point {
        "Filter" => format!("running {plugin:?} filter plugin: {why}"),
        _ => format!("running {point} plugin {plugin:?}: {why}"),
    })
}

#[cfg(test)]
mod tests;
