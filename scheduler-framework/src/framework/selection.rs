use super::{Failure, Framework, failed, meter::status, refusals::Tally};
use crate::{
    CycleState, Diagnosis, FilterVerdict, NodeInfo, NodeSet, PodInfo, Point, PreScoreVerdict,
    Refusal, SchedulerPlugin, Snapshot, engine,
};
use std::{
    collections::BTreeSet,
    sync::{Arc, atomic::Ordering},
};

/// With fewer nodes than this all are looked at.
const ALL_BELOW: usize = 100;

/// How many fitting nodes are enough: all of a small cluster, half of a middling one, a twentieth of a
/// large one, but never fewer than a hundred.
fn enough(nodes: usize, percentage: Option<u8>) -> usize {
    if nodes < ALL_BELOW {
        return nodes;
    }
    let percentage = match percentage {
        None | Some(0) => 50usize.saturating_sub(nodes / 125).max(5),
        Some(set) => usize::from(set),
    };
    (nodes * percentage / 100).max(ALL_BELOW)
}

impl Framework {
    /// The node where room was made for a pod, if it fits there.
    pub(super) fn nominated(
        &self,
        state: &mut CycleState,
        pod: &PodInfo,
        nodes: &Snapshot,
        candidates: Option<&BTreeSet<String>>,
    ) -> Option<Arc<NodeInfo>> {
        let node = nodes.node(pod.nominated_node()?)?;
        if candidates.is_some_and(|names| !names.contains(node.name())) {
            return None;
        }
        let mut asked = vec![0; self.orders[Point::Filter as usize].len()];
        let fits = self.fits(state, pod, node, &mut asked);
        self.count_asked(asked);
        matches!(fits, Ok(None)).then(|| node.clone())
    }

    pub(super) fn filter(
        &self,
        state: &mut CycleState,
        pod: &PodInfo,
        nodes: &Snapshot,
        candidates: Option<&BTreeSet<String>>,
        diagnosis: &mut Diagnosis,
    ) -> Result<Vec<Arc<NodeInfo>>, Failure> {
        let mut asked = vec![0; self.orders[Point::Filter as usize].len()];
        let all = nodes.nodes();
        let limit = match self.prefers(pod) {
            true => enough(candidates.map_or(all.len(), BTreeSet::len), self.percentage),
            false => 1,
        };
        if let Some(names) = candidates.filter(|names| names.len() <= limit) {
            // All of the few are looked at, and none of the others.
            let (mut feasible, mut there) = (Vec::new(), 0);
            for index in names.iter().filter_map(|name| nodes.index(name)) {
                there += 1;
                match self.fits(state, pod, &all[index], &mut asked)? {
                    None => feasible.push(all[index].clone()),
                    Some(refusal) => diagnosis.refuse(Some(index), &refusal),
                }
            }
            if feasible.is_empty() {
                diagnosis.leave_out(all.len() - there);
            }
            self.count_asked(asked);
            return Ok(feasible);
        }
        if candidates.is_none() {
            let feasible = self.of_few(state, pod, nodes, limit, &mut asked)?;
            if !feasible.is_empty() {
                self.count_asked(asked);
                return Ok(feasible);
            }
        }
        let class = self.kind(state, pod, nodes);
        state.kind = Some(class);
        let kind = class.map(|class| (class, pod.priority()));
        let known = kind.and_then(|kind| self.refusals.take(kind));
        let (keeps, mut known) = (known.is_some(), known.unwrap_or_default());
        let mut tally = Tally::new(pod, nodes, &mut known, keeps);
        let feasible = match self.resume(state, pod, nodes, candidates, &mut tally, &mut asked) {
            Ok(true) => Ok(Vec::new()),
            Ok(false) => self.search(state, pod, nodes, candidates, limit, &mut tally, &mut asked),
            Err(failure) => Err(failure),
        };
        tally.tell(diagnosis, feasible.as_ref().is_ok_and(Vec::is_empty));
        if let Some(kind) = kind.filter(|_| keeps && !known.is_stale(all.len())) {
            self.refusals.keep(kind, known);
        }
        self.count_asked(asked);
        feasible
    }

    /// The nodes that fit, where only few can: they alone offer a resource that a filter [needs](crate::Filter::needs). They
    /// are what [`search`](Self::search) would find among all, in the same order. None also where there are no such few, or
    /// none of them fits: then all are looked at, to say why.
    fn of_few(
        &self,
        state: &mut CycleState,
        pod: &PodInfo,
        nodes: &Snapshot,
        limit: usize,
        asked: &mut [u64],
    ) -> Result<Vec<Arc<NodeInfo>>, Failure> {
        let mut needs = Vec::new();
        for plugin in self.at(Point::Filter) {
            if let Some(point) = plugin.as_filter()
                && !state.skip_filter.contains(plugin.name())
            {
                needs.extend(point.needs(state, pod));
            }
        }
        let few = self.offers.lock().fewest(nodes, &needs, limit);
        let (few, all, mut feasible) = (few.unwrap_or_default(), nodes.nodes(), Vec::new());
        let start = self.next_node.load(Ordering::Relaxed) % all.len().max(1);
        let (first, then) = few.split_at(few.partition_point(|index| *index < start));
        for index in then.iter().chain(first) {
            if self.fits(state, pod, &all[*index], asked)?.is_none() {
                feasible.push(all[*index].clone());
            }
        }
        Ok(feasible)
    }

    /// Whether anybody who is asked tells better nodes from worse ones, or leaves some out after all filters.
    fn prefers(&self, pod: &PodInfo) -> bool {
        !self.orders[Point::Score as usize].is_empty()
            || self.extenders(pod).any(|own| own.decides())
    }

    /// Whether all nodes refuse the pod as they refused the last one of its kind, but for those that changed since: these
    /// are asked, and refuse it too.
    fn resume(
        &self,
        state: &mut CycleState,
        pod: &PodInfo,
        nodes: &Snapshot,
        candidates: Option<&BTreeSet<String>>,
        tally: &mut Tally<'_>,
        asked: &mut [u64],
    ) -> Result<bool, Failure> {
        if candidates.is_some() {
            return Ok(false);
        }
        let Some(doubtful) = tally.resume() else { return Ok(false) };
        for index in doubtful.iter() {
            let Some(node) = nodes.nodes().get(index).filter(|own| !tally.knows(index, own)) else {
                continue;
            };
            match self.fits(state, pod, node, asked)? {
                Some(refusal) => tally.amend(index, node, refusal),
                None => {
                    tally.start_over();
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// Looks at nodes, after those of the last search, until enough fit. A node that is known to refuse such pods as
    /// it is now is not asked again.
    #[expect(clippy::too_many_arguments, reason = "all that a search goes by")]
    fn search(
        &self,
        state: &mut CycleState,
        pod: &PodInfo,
        nodes: &Snapshot,
        candidates: Option<&BTreeSet<String>>,
        limit: usize,
        tally: &mut Tally<'_>,
        asked: &mut [u64],
    ) -> Result<Vec<Arc<NodeInfo>>, Failure> {
        let all = nodes.nodes();
        let left = candidates
            .map(|names| names.iter().filter_map(|name| nodes.index(name)).collect::<NodeSet>());
        let start = self.next_node.load(Ordering::Relaxed) % all.len().max(1);
        let mut feasible = Vec::with_capacity(limit.min(all.len()));
        let mut seen = 0;
        for index in (start..all.len()).chain(0..start) {
            let node = &all[index];
            seen += 1;
            if left.as_ref().is_some_and(|own| !own.contains(index)) {
                tally.leave_out();
                continue;
            }
            if tally.recalls(index, node) {
                continue;
            }
            match self.fits(state, pod, node, asked)? {
                None => feasible.push(node.clone()),
                Some(refusal) => tally.refuse(index, node, refusal),
            }
            if feasible.len() >= limit {
                break;
            }
        }
        self.next_node.store((start + seen) % all.len().max(1), Ordering::Relaxed);
        Ok(feasible)
    }

    /// The class of a pod, when all filters that are asked for it look at nothing but single nodes as they are.
    pub(super) fn kind(&self, state: &CycleState, pod: &PodInfo, nodes: &Snapshot) -> Option<u128> {
        self.engine.as_ref()?;
        let by_node = |plugin: &Arc<dyn SchedulerPlugin>| {
            let point = plugin.as_track();
            point.is_some_and(|own| own.is_by_node(pod, nodes) || own.fits_anywhere(state, pod))
        };
        let mut asked = self
            .at(Point::Filter)
            .filter(|own| own.as_filter().is_some() && !state.skip_filter.contains(own.name()));
        if !asked.all(by_node) {
            return None;
        }
        let plugins: Vec<_> = self.deciding().collect();
        Some(engine::key(&plugins, pod, nodes))
    }

    fn count_asked(&self, asked: Vec<u64>) {
        for (plugin, times) in self.at(Point::Filter).zip(asked) {
            self.meter.evaluated("Filter", plugin.name(), times);
        }
    }

    /// Asks all filters; the pod must fit with and without those pods for which room is being made on the
    /// node and to which it must yield.
    pub(super) fn fits(
        &self,
        state: &mut CycleState,
        pod: &PodInfo,
        node: &NodeInfo,
        asked: &mut [u64],
    ) -> Result<Option<Refusal>, Failure> {
        let nominated: Vec<_> = state.snapshot().others(node.name(), pod).cloned().collect();
        if !nominated.is_empty() {
            let mut crowded = node.clone();
            for other in &nominated {
                self.add_pod(state, pod, other, &mut crowded);
            }
            let refusal = self.fits_alone(state, pod, &crowded, asked);
            for other in nominated.iter().rev() {
                self.remove_pod(state, pod, other, &mut crowded);
            }
            let refusal = refusal?;
            if refusal.is_some() {
                return Ok(refusal);
            }
        }
        self.fits_alone(state, pod, node, asked)
    }

    pub(super) fn add_pod(
        &self,
        state: &mut CycleState,
        pod: &PodInfo,
        added: &Arc<PodInfo>,
        node: &mut NodeInfo,
    ) {
        node.add_pod(added.clone());
        for plugin in self.at(Point::PreFilter) {
            if let Some(point) = plugin.as_pre_filter().and_then(|point| point.extensions())
                && !state.skip_filter.contains(plugin.name())
            {
                point.add_pod(state, pod, added, node);
            }
        }
    }

    pub(super) fn remove_pod(
        &self,
        state: &mut CycleState,
        pod: &PodInfo,
        removed: &Arc<PodInfo>,
        node: &mut NodeInfo,
    ) {
        node.remove_pod(removed.uid());
        for plugin in self.at(Point::PreFilter) {
            if let Some(point) = plugin.as_pre_filter().and_then(|point| point.extensions())
                && !state.skip_filter.contains(plugin.name())
            {
                point.remove_pod(state, pod, removed, node);
            }
        }
    }

    fn fits_alone(
        &self,
        state: &CycleState,
        pod: &PodInfo,
        node: &NodeInfo,
        asked: &mut [u64],
    ) -> Result<Option<Refusal>, Failure> {
        for (plugin, asked) in self.at(Point::Filter).zip(asked) {
            let Some(point) = plugin.as_filter() else { continue };
            if state.skip_filter.contains(plugin.name()) {
                continue;
            }
            *asked += 1;
            let began = self.meter.begin_plugin(state.sampled);
            let verdict = point.filter(state, pod, node);
            let status = match &verdict {
                FilterVerdict::Fits => status::SUCCESS,
                FilterVerdict::Unschedulable(_) => status::UNSCHEDULABLE,
                FilterVerdict::Unresolvable(_) => status::UNRESOLVABLE,
                FilterVerdict::Error(_) => status::ERROR,
            };
            self.meter.end_plugin("Filter", plugin.name(), status, began);
            let (reasons, resolvable) = match verdict {
                FilterVerdict::Fits => continue,
                FilterVerdict::Unschedulable(reasons) => (reasons, true),
                FilterVerdict::Unresolvable(reasons) => (reasons, false),
                FilterVerdict::Error(why) => return Err(failed("Filter", plugin.name(), &why)),
            };
            return Ok(Some(Refusal { plugin: plugin.name(), reasons, resolvable }));
        }
        Ok(None)
    }

    /// The best of the nodes; one of the best by chance when several are.
    pub(super) async fn select(
        &self,
        state: &mut CycleState,
        pod: &PodInfo,
        nodes: &[Arc<NodeInfo>],
    ) -> Result<String, Failure> {
        if let [only] = nodes {
            return Ok(only.name().to_owned());
        }
        let mut totals = self.scores(state, pod, nodes)?;
        for extender in self.extenders(pod) {
            extender.prioritize(pod, nodes, &mut totals).await;
        }
        let best = totals.iter().max().copied().unwrap_or_default();
        let ties: Vec<_> = totals
            .iter()
            .zip(nodes)
            .filter(|(score, _)| **score == best)
            .map(|(_, node)| node)
            .collect();
        let pick = self.seed.below(ties.len() as u64);
        let chosen = ties.get(usize::try_from(pick).unwrap_or_default());
        Ok(chosen.map(|node| node.name().to_owned()).unwrap_or_default())
    }

    /// The weighted sum of all plugins' scores, for each node.
    ///
    /// # Errors
    /// When a plugin fails or scores out of range.
    pub(super) fn scores(
        &self,
        state: &mut CycleState,
        pod: &PodInfo,
        nodes: &[Arc<NodeInfo>],
    ) -> Result<Vec<i64>, Failure> {
        let began = self.meter.begin();
        let prepared = self.pre_score(state, pod, nodes);
        let status = if prepared.is_ok() { status::SUCCESS } else { status::ERROR };
        self.meter.end("PreScore", status, began);
        prepared?;
        let began = self.meter.begin();
        let totals = self.totals(state, pod, nodes);
        let status = if totals.is_ok() { status::SUCCESS } else { status::ERROR };
        self.meter.end("Score", status, began);
        totals
    }

    fn pre_score(
        &self,
        state: &mut CycleState,
        pod: &PodInfo,
        nodes: &[Arc<NodeInfo>],
    ) -> Result<(), Failure> {
        const POINT: &str = "PreScore";
        for plugin in self.at(Point::PreScore) {
            let Some(point) = plugin.as_pre_score() else { continue };
            let began = self.meter.begin_plugin(state.sampled);
            let verdict = point.pre_score(state, pod, nodes);
            let status = match &verdict {
                PreScoreVerdict::Continue => status::SUCCESS,
                PreScoreVerdict::Skip => status::SKIP,
                PreScoreVerdict::Error(_) => status::ERROR,
            };
            self.meter.end_plugin(POINT, plugin.name(), status, began);
            self.meter.evaluated(POINT, plugin.name(), 1);
            match verdict {
                PreScoreVerdict::Continue => {}
                PreScoreVerdict::Skip => state.skip_score.insert(plugin.name()),
                PreScoreVerdict::Error(why) => return Err(failed(POINT, plugin.name(), &why)),
            }
        }
        Ok(())
    }

    fn totals(
        &self,
        state: &CycleState,
        pod: &PodInfo,
        nodes: &[Arc<NodeInfo>],
    ) -> Result<Vec<i64>, Failure> {
        let mut totals = vec![0; nodes.len()];
        for index in &self.orders[Point::Score as usize] {
            let own = &self.plugins[*index];
            let Some(point) = own.plugin.as_score() else { continue };
            if state.skip_score.contains(own.plugin.name()) {
                continue;
            }
            let name = own.plugin.name();
            let began = self.meter.begin_plugin(state.sampled);
            let scores: Result<Vec<_>, _> =
                nodes.iter().map(|node| point.try_score(state, pod, node)).collect();
            self.meter.end_plugin("Score", name, status_of(&scores), began);
            self.meter.evaluated("Score", name, nodes.len() as u64);
            let mut scores = scores.map_err(|why| unscored("Score", name, &why))?;
            let began = self.meter.begin_plugin(state.sampled);
            let normalized = point.try_normalize(state, pod, &mut scores);
            self.meter.end_plugin("ScoreExtensionNormalize", name, status_of(&normalized), began);
            normalized.map_err(|why| unscored("Normalize on Score", name, &why))?;
            if let Some(wild) = scores.iter().find(|score| !(0..=crate::MAX_SCORE).contains(*score))
            {
                let why = format!(
                    "plugin {name:?} returns an invalid score {wild}, it should in the range of [0, {}] after normalizing",
                    crate::MAX_SCORE
                );
                let what = "applying score defaultWeights on Score plugins";
                return Err(Failure::Error(format!("{what}: {why}")));
            }
            for (total, score) in totals.iter_mut().zip(scores) {
                *total += score * own.weight;
            }
        }
        Ok(totals)
    }
}

fn status_of<T, E>(result: &Result<T, E>) -> &'static str {
    if result.is_ok() { status::SUCCESS } else { status::ERROR }
}

fn unscored(what: &str, plugin: &str, why: &str) -> Failure {
    Failure::Error(format!("running {what} plugins: plugin {plugin:?} failed with: {why}"))
}

#[cfg(test)]
mod tests {
    use super::enough;

    #[test]
    fn large_clusters_are_searched_in_part() {
        assert_eq!(
            [50, 100, 1000, 5000, 10_000].map(|nodes| enough(nodes, None)),
            [50, 100, 420, 500, 500]
        );
        assert_eq!([0, 1, 100].map(|share| enough(5000, Some(share))), [500, 100, 5000]);
    }
}
