use crate::{
    NodeInfo, NodeSet, PodInfo,
    engine::{Change, History, Moment},
    groups::GroupCycle,
    objects::ClusterObjects,
    tally::Tallies,
};
use std::{
    collections::HashMap,
    sync::{Arc, LazyLock},
};

/// All nodes at one moment: what one scheduling cycle sees.
#[derive(Debug, Clone)]
pub struct Snapshot {
    nodes: Arc<Vec<Arc<NodeInfo>>>,
    by_name: Arc<HashMap<String, usize>>,
    nominated: Arc<HashMap<String, Vec<Arc<PodInfo>>>>,
    objects: Arc<ClusterObjects>,
    tallies: Arc<Tallies>,
    /// How it came to be, when it is one of a cache.
    history: Option<(Arc<History>, Moment)>,
    /// In which the pods of one group are placed.
    group: Option<Arc<GroupCycle>>,
}

/// No objects, made once: every cycle begins and ends with a snapshot of nothing.
static NO_OBJECTS: LazyLock<Arc<ClusterObjects>> = LazyLock::new(Arc::default);

impl Default for Snapshot {
    fn default() -> Self {
        Self {
            nodes: Arc::default(),
            by_name: Arc::default(),
            nominated: Arc::default(),
            objects: NO_OBJECTS.clone(),
            tallies: Arc::default(),
            history: None,
            group: None,
        }
    }
}

impl Snapshot {
    /// Of these nodes.
    #[must_use]
    pub fn new(nodes: Vec<Arc<NodeInfo>>) -> Self {
        let by_name =
            nodes.iter().enumerate().map(|(index, node)| (node.name().to_owned(), index)).collect();
        Self { nodes: Arc::new(nodes), by_name: Arc::new(by_name), ..Self::default() }
    }

    /// Some of its nodes, with all else; pods alike are not followed in it.
    pub(crate) fn narrowed(&self, nodes: Vec<Arc<NodeInfo>>) -> Self {
        Self::new(nodes).with_objects(self.objects.clone()).with_nominated(self.nominated.clone())
    }

    /// As pods of one group see it that are placed in one go.
    pub(crate) fn in_group(mut self, group: Arc<GroupCycle>) -> Self {
        self.group = Some(group);
        self
    }

    /// What the pods of the group have in common that is placed in one go, if that is so.
    pub(crate) fn group(&self) -> Option<&Arc<GroupCycle>> {
        self.group.as_ref()
    }

    /// With these other objects.
    #[must_use]
    pub fn with_objects(mut self, objects: Arc<ClusterObjects>) -> Self {
        self.objects = objects;
        self
    }

    /// With pods that wait for room made for them, by node.
    #[must_use]
    pub fn with_nominated(mut self, nominated: Arc<HashMap<String, Vec<Arc<PodInfo>>>>) -> Self {
        self.nominated = nominated;
        self
    }

    /// Keeping what was summed up for another.
    #[must_use]
    pub fn sharing(self, other: &Self) -> Self {
        self.with_tallies(other.tallies.clone())
    }

    pub(crate) fn with_tallies(mut self, tallies: Arc<Tallies>) -> Self {
        self.tallies = tallies;
        self
    }

    /// What changed before, and the moment it shows.
    pub(crate) fn history(&self) -> Option<(&Arc<History>, Moment)> {
        self.history.as_ref().map(|(history, moment)| (history, *moment))
    }

    /// One that tells what changes in it from now on.
    pub(crate) fn followed(mut self) -> Self {
        self.history = Some(Default::default());
        self
    }

    fn tell(&mut self, index: usize, change: Change) {
        if let Some((history, moment)) = &mut self.history {
            history.record(index, change);
            *moment = history.now();
        }
    }

    fn renumbered(&mut self) {
        if let Some((history, moment)) = &mut self.history {
            history.renumber();
            *moment = history.now();
        }
    }

    /// The pods for which room is being made, by node; to change them.
    pub(crate) fn nominated_mut(&mut self) -> &mut HashMap<String, Vec<Arc<PodInfo>>> {
        Arc::make_mut(&mut self.nominated)
    }

    /// The pods for which room is being made on a node and to which a pod must yield: those that are
    /// [`nominated`](Self::nominated) there and worth as much or more, but for itself. Whoever judges whether the pod
    /// fits there counts them as placed, and whoever remembers such a judgement for the next pod believes it only while
    /// they are the same.
    pub fn others<'a>(
        &'a self,
        node: &str,
        pod: &'a PodInfo,
    ) -> impl Iterator<Item = &'a Arc<PodInfo>> + use<'a> {
        self.nominated(node).iter().filter(move |other| yields(pod, other))
    }

    /// Nodes where room is being made for others, with those to whom a pod must yield, in no order.
    pub(crate) fn yielding<'a>(
        &'a self,
        pod: &'a PodInfo,
    ) -> impl Iterator<Item = (usize, impl Iterator<Item = &'a Arc<PodInfo>> + use<'a>)> {
        self.nominated.iter().filter_map(move |(node, all)| {
            let others = all.iter().filter(move |other| yields(pod, other));
            Some((self.index(node)?, others))
        })
    }

    /// The nodes where [`others`](Self::others) has any.
    pub(crate) fn crowded(&self, pod: &PodInfo) -> NodeSet {
        let all = self.yielding(pod);
        all.filter_map(|(index, mut others)| others.next().map(|_| index)).collect()
    }

    /// As [`others`](Self::others), of the node of an index: where there are none, as [`crowded`](Self::crowded) says,
    /// nothing is looked up.
    pub(crate) fn others_at<'a>(
        &'a self,
        crowded: &NodeSet,
        index: usize,
        pod: &'a PodInfo,
    ) -> impl Iterator<Item = &'a Arc<PodInfo>> + use<'a> {
        let node = self.nodes.get(index).filter(|_| crowded.contains(index));
        node.into_iter().flat_map(move |own| self.others(own.name(), pod))
    }

    /// Where a node is among [`nodes`](Self::nodes); `None` when it is not there.
    #[must_use]
    pub fn index(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    /// One more node, at the end.
    pub(crate) fn push_node(&mut self, node: NodeInfo) {
        Arc::make_mut(&mut self.by_name).insert(node.name().to_owned(), self.nodes.len());
        Arc::make_mut(&mut self.nodes).push(Arc::new(node));
        self.renumbered();
    }

    /// Takes a node out; the last one gets its place.
    pub(crate) fn take_node(&mut self, index: usize) -> Arc<NodeInfo> {
        let nodes = Arc::make_mut(&mut self.nodes);
        let node = nodes.swap_remove(index);
        let by_name = Arc::make_mut(&mut self.by_name);
        by_name.remove(node.name());
        if let Some(moved) = nodes.get(index) {
            by_name.insert(moved.name().to_owned(), index);
        }
        self.renumbered();
        node
    }

    /// Changes a node; others see it as it was.
    pub(crate) fn change_node(
        &mut self,
        index: usize,
        change: impl FnOnce(&mut NodeInfo) -> Option<Change>,
    ) {
        let nodes = Arc::make_mut(&mut self.nodes);
        let Some(node) = nodes.get_mut(index) else { return };
        if let Some(change) = change(Arc::make_mut(node)) {
            self.tell(index, change);
        }
    }

    /// The nodes, always in the same order.
    #[must_use]
    pub fn nodes(&self) -> &[Arc<NodeInfo>] {
        &self.nodes
    }

    /// One node.
    #[must_use]
    pub fn node(&self, name: &str) -> Option<&Arc<NodeInfo>> {
        self.by_name.get(name).map(|index| &self.nodes[*index])
    }

    /// The pods for which room is being made on a node.
    #[must_use]
    pub fn nominated(&self, node: &str) -> &[Arc<PodInfo>] {
        self.nominated.get(node).map(Vec::as_slice).unwrap_or_default()
    }

    /// Objects other than pods and nodes.
    #[must_use]
    pub fn objects(&self) -> &ClusterObjects {
        &self.objects
    }

    /// A sum over all nodes, kept from one cycle to the next under `key` (and the types `V` and `T`): `part`
    /// says what a node adds and is asked only for nodes that changed since; `change` adds (1) or takes away (-1)
    /// a part. The key must name everything `part` depends on besides the node.
    pub fn tally<V, T>(
        &self,
        key: &str,
        part: impl Fn(&NodeInfo) -> V,
        change: impl Fn(&mut T, &V, i64),
    ) -> Arc<T>
    where
        V: Send + Sync + 'static,
        T: Clone + Default + Send + Sync + 'static,
    {
        self.tallies.sum(&self.nodes, key, part, change)
    }
}

/// Whether a pod must leave another the room that is being made for it.
fn yields(pod: &PodInfo, other: &PodInfo) -> bool {
    other.priority() >= pod.priority() && other.uid() != pod.uid()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::cell::Cell;

    #[test]
    fn only_nodes_that_changed_are_counted_again() {
        let node = |name: &str| {
            Arc::new(NodeInfo::new(Arc::new(
                serde_json::from_value(json!({"metadata": {"name": name}})).unwrap(),
            )))
        };
        let pod = |uid: &str| {
            let pod = json!({"metadata": {"uid": uid}, "spec": {"containers": []}});
            Arc::new(PodInfo::new(Arc::new(serde_json::from_value(pod).unwrap())))
        };
        let mut nodes = vec![node("a"), node("b"), node("c")];
        let tallies = Arc::new(Tallies::default());
        let asked = Cell::new(0);
        let pods = |nodes: &[Arc<NodeInfo>]| {
            let snapshot = Snapshot::new(nodes.to_vec()).with_tallies(tallies.clone());
            let part = |node: &NodeInfo| {
                asked.set(asked.get() + 1);
                node.pods().len()
            };
            let total = snapshot.tally("pods", part, |total: &mut i64, part: &usize, sign| {
                *total += sign * i64::try_from(*part).unwrap();
            });
            (*total, asked.replace(0))
        };
        assert_eq!(pods(&nodes), (0, 3));
        Arc::make_mut(&mut nodes[1]).add_pod(pod("1"));
        assert_eq!(pods(&nodes), (1, 1));
        assert_eq!(pods(&nodes), (1, 0));
        nodes.remove(0);
        assert_eq!(pods(&nodes).0, 1);
        nodes.clear();
        assert_eq!(pods(&nodes).0, 0);
    }
}
