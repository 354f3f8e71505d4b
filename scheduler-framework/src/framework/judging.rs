mod outside;

use super::{EXTENDER, Failure, Framework};
use crate::{
    CycleState, Diagnosis, FilterVerdict, MAX_SCORE, NodeInfo, NodeTrace, PluginRemark,
    PluginScore, PodInfo, Point, PreFilterVerdict, PreScoreVerdict, Refusal, Snapshot, Trace,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// What plugins made of every node, before they are scored.
struct Judged {
    state: CycleState,
    trace: Trace,
    diagnosis: Diagnosis,
    /// What keeps the pod from being decided on at all.
    failure: Option<String>,
}

impl Judged {
    /// With the best nodes named, or why there is none.
    fn concluded(self) -> Trace {
        let Self { mut trace, diagnosis, failure, .. } = self;
        let most = trace.nodes.iter().filter_map(|node| node.total).max();
        if let Some(most) = most {
            let best = trace.nodes.iter().filter(|node| node.total == Some(most));
            trace.best = best.map(|node| node.node.clone()).collect();
        }
        if trace.best.is_empty() {
            trace.message = Some(failure.unwrap_or_else(|| diagnosis.to_string()));
        }
        trace
    }
}

impl Framework {
    /// What every plugin says of every node for a pod: each filter is asked, where scheduling stops at the first
    /// that refuses, and each node left is scored. Nothing is placed and nobody preempted. Extenders are not asked, as
    /// [`trace_asking_extenders`](Self::trace_asking_extenders) does.
    ///
    /// # Errors
    /// When a plugin fails.
    pub fn trace(&self, pod: &PodInfo, nodes: &Snapshot) -> Result<Trace, String> {
        let mut judged = self.judged(pod, nodes)?;
        self.score_traced(&mut judged.state, pod, nodes, &mut judged.trace)?;
        Ok(judged.concluded())
    }

    fn judged(&self, pod: &PodInfo, nodes: &Snapshot) -> Result<Judged, String> {
        let mut state = CycleState::of(nodes.clone());
        let mut trace = Trace {
            pod: pod.key().to_owned(),
            scheduler_name: self.name.clone(),
            ..Trace::default()
        };
        let mut diagnosis = Diagnosis { nodes: nodes.nodes().len(), ..Diagnosis::default() };
        let candidates = self
            .pre_filter(&mut state, pod, nodes, &mut diagnosis)
            .map_err(|failure| failure.to_string())?;
        trace.pre_filter = self.remarks(pod, nodes, &diagnosis);
        if let Some(candidates) = &candidates {
            for node in nodes.nodes().iter().enumerate() {
                let own = self.judge(&mut state, pod, node, candidates.as_ref(), &mut diagnosis)?;
                trace.nodes.push(own);
            }
        }
        Ok(Judged { state, trace, diagnosis, failure: None })
    }

    /// What PreFilter plugins say that narrows the search.
    fn remarks(&self, pod: &PodInfo, nodes: &Snapshot, diagnosis: &Diagnosis) -> Vec<PluginRemark> {
        let asked = self.at(Point::PreFilter).filter(|own| diagnosis.plugins.contains(own.name()));
        let says = |plugin: &Arc<dyn crate::SchedulerPlugin>| {
            let mut state = CycleState::of(nodes.clone());
            match plugin.as_pre_filter()?.pre_filter(&mut state, pod, nodes) {
                PreFilterVerdict::Nodes(names) => {
                    Some(format!("only {}", names.into_iter().collect::<Vec<_>>().join(", ")))
                }
                PreFilterVerdict::Unschedulable(why) | PreFilterVerdict::Unresolvable(why) => {
                    Some(why)
                }
                _ => None,
            }
        };
        asked
            .filter_map(|plugin| Some(PluginRemark { plugin: plugin.name(), says: says(plugin)? }))
            .collect()
    }

    fn judge(
        &self,
        state: &mut CycleState,
        pod: &PodInfo,
        (index, node): (usize, &Arc<NodeInfo>),
        candidates: Option<&BTreeSet<String>>,
        diagnosis: &mut Diagnosis,
    ) -> Result<NodeTrace, String> {
        let mut own = NodeTrace { node: node.name().to_owned(), ..NodeTrace::default() };
        if candidates.is_some_and(|names| !names.contains(node.name())) {
            let reason = diagnosis.leave_out(1);
            own.refusals.push(PluginRemark { plugin: "PreFilter", says: reason });
            return Ok(own);
        }
        let mut asked = vec![0; self.orders[Point::Filter as usize].len()];
        let refusal =
            self.fits(state, pod, node, &mut asked).map_err(|failure| failure.to_string())?;
        own.fits = refusal.is_none();
        for plugin in self.at(Point::Filter) {
            let Some(point) = plugin.as_filter() else { continue };
            if state.skip_filter.contains(plugin.name()) {
                continue;
            }
            if let FilterVerdict::Unschedulable(reasons) | FilterVerdict::Unresolvable(reasons) =
                point.filter(state, pod, node)
            {
                let says = reasons.join(", ");
                own.refusals.push(PluginRemark { plugin: plugin.name(), says });
            }
        }
        if let Some(refusal) = refusal {
            if own.refusals.is_empty() {
                own.refusals.push(beside_nominated(&refusal));
            }
            diagnosis.refuse(Some(index), &refusal);
        }
        Ok(own)
    }

    fn score_traced(
        &self,
        state: &mut CycleState,
        pod: &PodInfo,
        nodes: &Snapshot,
        trace: &mut Trace,
    ) -> Result<(), String> {
        let left: Vec<_> =
            trace.nodes.iter().filter(|own| own.fits).map(|own| own.node.clone()).collect();
        let feasible: Vec<_> = left.iter().filter_map(|name| nodes.node(name)).cloned().collect();
        for plugin in self.at(Point::PreScore) {
            match plugin.as_pre_score().map(|point| point.pre_score(state, pod, &feasible)) {
                Some(PreScoreVerdict::Skip) => state.skip_score.insert(plugin.name()),
                Some(PreScoreVerdict::Error(why)) => return Err(why),
                Some(PreScoreVerdict::Continue) | None => {}
            }
        }
        let mut scores = vec![BTreeMap::new(); feasible.len()];
        for index in &self.orders[Point::Score as usize] {
            let own = &self.plugins[*index];
            let name = own.plugin.name();
            let Some(point) = own.plugin.as_score().filter(|_| !state.skip_score.contains(name))
            else {
                continue;
            };
            let raw = feasible.iter().map(|node| point.try_score(state, pod, node));
            let raw = raw.collect::<Result<Vec<_>, _>>()?;
            let mut ranged = raw.clone();
            point.try_normalize(state, pod, &mut ranged)?;
            for ((raw, score), scores) in raw.into_iter().zip(ranged).zip(&mut scores) {
                let score = score.clamp(0, MAX_SCORE);
                scores.insert(name, PluginScore { raw, score, weight: own.weight });
            }
        }
        let mut scores = scores.into_iter();
        for own in trace.nodes.iter_mut().filter(|own| own.fits) {
            own.scores = scores.next().unwrap_or_default();
            own.total = Some(own.scores.values().map(|own| own.score * own.weight).sum());
        }
        Ok(())
    }
}

/// It would fit, were there not pods for which room is being made.
fn beside_nominated(refusal: &Refusal) -> PluginRemark {
    let says = format!("{} (beside nominated pods)", refusal.reasons.join(", "));
    PluginRemark { plugin: refusal.plugin, says }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unschedulable(diagnosis) => diagnosis.fmt(f),
            Self::Error(why) => f.write_str(why),
        }
    }
}
