use super::Framework;
use crate::{GroupPlacement, GroupPostFilter, PodGroup, PodInfo, Point, Snapshot};
use std::sync::Arc;

/// The pods of a group that found a node, with it.
type Assigned = Vec<(Arc<PodInfo>, String)>;

impl Framework {
    /// Whether pods of a group are placed in one go: where that was asked for, or a plugin needs it.
    pub(crate) fn is_for_groups(&self) -> bool {
        self.grouping || self.plugins().any(|own| own.name() == "GangScheduling")
    }

    /// Places pods of a group in one go if `grouping`, whatever plugins there are.
    pub(crate) fn grouping(mut self, grouping: bool) -> Self {
        self.grouping = grouping;
        self
    }

    /// Makes room for groups as a whole if `preempting`.
    pub(crate) fn preempting_for_groups(mut self, preempting: bool) -> Self {
        self.group_preemption = preempting;
        self
    }

    /// Whether room is made for groups as a whole.
    pub(crate) fn preempts_for_groups(&self) -> bool {
        self.group_preemption
    }

    /// Who makes it.
    pub(crate) fn group_post_filter(&self) -> Option<&dyn GroupPostFilter> {
        self.plugins().find_map(|own| own.as_group_post_filter())
    }

    /// Sets of nodes for a group, as plugins propose them one within the other; `None` when none does.
    ///
    /// # Errors
    /// What a plugin that fails says, as it is.
    pub(crate) fn placements(
        &self,
        group: &PodGroup,
        all: GroupPlacement,
        nodes: &Snapshot,
    ) -> Result<Option<Vec<GroupPlacement>>, String> {
        let (mut proposals, mut proposed) = (vec![all], false);
        for plugin in self.at(Point::PlacementGenerate) {
            let Some(point) = plugin.as_placement_generate() else { continue };
            let mut next = Vec::new();
            for within in &proposals {
                next.extend(point.generate(group, within, nodes)?);
            }
            (proposals, proposed) = (next, true);
        }
        Ok(proposed.then_some(proposals))
    }

    /// The best of the proposals where enough pods found a node, with those; by chance among the best.
    pub(crate) fn best_placement<'a>(
        &self,
        group: &PodGroup,
        found: &[(&'a GroupPlacement, Assigned)],
        nodes: &Snapshot,
    ) -> Option<&'a GroupPlacement> {
        let mut totals = vec![0; found.len()];
        for index in &self.orders[Point::PlacementScore as usize] {
            let own = &self.plugins[*index];
            let Some(point) = own.plugin.as_placement_score() else { continue };
            let each = found
                .iter()
                .map(|(placement, assigned)| point.score(group, placement, assigned, nodes));
            let mut scores: Vec<_> = each.collect();
            point.normalize(group, &mut scores);
            for (total, score) in totals.iter_mut().zip(scores) {
                *total += score * self.placement_weights[*index];
            }
        }
        let best = totals.iter().max().copied()?;
        let ties: Vec<_> = (0..found.len()).filter(|index| totals[*index] == best).collect();
        let pick = usize::try_from(self.seed.below(ties.len() as u64)).unwrap_or_default();
        ties.get(pick).map(|index| found[*index].0)
    }
}
