use super::{Framework, meter::status};
use crate::{CycleState, FilterVerdict, PodInfo, PreFilterVerdict, Snapshot, WeightedPlugin};

/// Asks plugins that are asked for one node after the other.
pub(super) struct Late<'a> {
    framework: &'a Framework,
    plugins: &'a [&'a WeightedPlugin],
    pod: &'a PodInfo,
    nodes: &'a Snapshot,
    /// What they keep for the pod, once one was asked.
    state: Option<CycleState>,
    /// Whether only a full pass can tell.
    gave_up: bool,
}

impl<'a> Late<'a> {
    pub(super) fn new(
        framework: &'a Framework,
        plugins: &'a [&'a WeightedPlugin],
        pod: &'a PodInfo,
        nodes: &'a Snapshot,
    ) -> Self {
        Self { framework, plugins, pod, nodes, state: None, gave_up: false }
    }

    /// Whether the pod fits on a node as far as the plugins of these numbers go; `None` when only a full pass can tell.
    pub(super) fn fits(&mut self, asked: &[usize], node: usize) -> Option<bool> {
        let state = match self.state.take() {
            Some(state) => state,
            None => self.begin(asked),
        };
        let fits = if self.gave_up { None } else { self.filter(&state, asked, node) };
        self.state = Some(state);
        fits
    }

    /// What is kept for the rest of the cycle.
    pub(super) fn into_state(self) -> CycleState {
        let Some(mut state) = self.state else { return CycleState::new() };
        state.set_placed();
        state
    }

    /// Asks PreFilter: a plugin that refuses the pod, or leaves some nodes only, is heard in a full pass.
    fn begin(&mut self, asked: &[usize]) -> CycleState {
        const POINT: &str = "PreFilter";
        let meter = &self.framework.meter;
        let mut state = CycleState::of(self.nodes.clone());
        state.sampled = meter.is_sampled();
        for index in asked {
            let plugin = &self.plugins[*index].plugin;
            if let Some(point) = plugin.as_pre_filter() {
                let began = meter.begin_plugin(state.sampled);
                let verdict = point.pre_filter(&mut state, self.pod, self.nodes);
                let skips = verdict == PreFilterVerdict::Skip;
                let status = if skips { status::SKIP } else { status::SUCCESS };
                if skips {
                    state.skip_filter.insert(plugin.name());
                } else if verdict != PreFilterVerdict::Continue {
                    self.gave_up = true;
                    return state;
                }
                meter.end_plugin(POINT, plugin.name(), status, began);
                meter.evaluated(POINT, plugin.name(), 1);
            }
            self.gave_up |= !plugin.as_track().is_some_and(|own| own.is_level(&state, self.pod));
        }
        state
    }

    fn filter(&self, state: &CycleState, asked: &[usize], node: usize) -> Option<bool> {
        const POINT: &str = "Filter";
        let (meter, node) = (&self.framework.meter, self.nodes.nodes().get(node)?);
        let asked = asked.iter().map(|index| &*self.plugins[*index].plugin);
        for plugin in asked.filter(|own| !state.skip_filter.contains(own.name())) {
            let Some(point) = plugin.as_filter() else { continue };
            let began = meter.begin_plugin(state.sampled);
            let verdict = point.filter(state, self.pod, node);
            let status = match &verdict {
                FilterVerdict::Fits => status::SUCCESS,
                FilterVerdict::Unschedulable(_) => status::UNSCHEDULABLE,
                FilterVerdict::Unresolvable(_) => status::UNRESOLVABLE,
                // It is heard in a full pass.
                FilterVerdict::Error(_) => return None,
            };
            meter.end_plugin(POINT, plugin.name(), status, began);
            meter.evaluated(POINT, plugin.name(), 1);
            if verdict != FilterVerdict::Fits {
                return Some(false);
            }
        }
        Some(true)
    }
}
