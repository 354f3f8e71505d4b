use crate::{NodeInfo, PodInfo, Snapshot, objects::ClusterObjects, tally::Tallies};
use k8s_openapi::api::core::v1::Node;
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

/// What the scheduler believes of nodes and the pods on them. Pods it has just placed are assumed to be
/// there until the API server says so, or binding fails.
#[derive(Debug, Default)]
pub(crate) struct Cache {
    nodes: BTreeMap<String, Arc<NodeInfo>>,
    /// Where each pod is, by uid.
    pods: HashMap<String, Placed>,
    /// Pods on nodes that are not known (yet), by node.
    strays: HashMap<String, Vec<Arc<PodInfo>>>,
    /// Waiting pods for which room is made, by uid, and the same by node.
    nominations: HashMap<String, (String, Arc<PodInfo>)>,
    nominated: Arc<HashMap<String, Vec<Arc<PodInfo>>>>,
    objects: Arc<ClusterObjects>,
    tallies: Arc<Tallies>,
    snapshot: Option<Snapshot>,
}

#[derive(Debug)]
struct Placed {
    node: String,
    assumed: bool,
}

impl Cache {
    /// Knows other objects from there.
    pub(crate) fn with_objects(objects: Arc<ClusterObjects>) -> Self {
        Self { objects, ..Self::default() }
    }

    /// All nodes now; cheap when nothing changed.
    pub(crate) fn snapshot(&mut self) -> Snapshot {
        self.snapshot
            .get_or_insert_with(|| {
                Snapshot::new(self.nodes.values().cloned().collect())
                    .with_objects(self.objects.clone())
                    .with_nominated(self.nominated.clone())
                    .with_tallies(self.tallies.clone())
            })
            .clone()
    }

    /// Room is made for a waiting pod on a node.
    pub(crate) fn nominate(&mut self, node: &str, pod: Arc<PodInfo>) {
        let uid = pod.uid().to_owned();
        self.nominations.insert(uid, (node.to_owned(), pod));
        self.collect_nominated();
    }

    /// Room is made for it no more, or it has taken it.
    pub(crate) fn clear_nomination(&mut self, uid: &str) {
        if self.nominations.remove(uid).is_some() {
            self.collect_nominated();
        }
    }

    fn collect_nominated(&mut self) {
        self.snapshot = None;
        let mut by_node: HashMap<String, Vec<Arc<PodInfo>>> = HashMap::new();
        for (node, pod) in self.nominations.values() {
            by_node.entry(node.clone()).or_default().push(pod.clone());
        }
        self.nominated = Arc::new(by_node);
    }

    pub(crate) fn set_node(&mut self, node: Arc<Node>) {
        self.snapshot = None;
        let name = node.metadata.name.clone().unwrap_or_default();
        match self.nodes.get_mut(&name) {
            Some(info) => Arc::make_mut(info).set_node(node),
            None => {
                let mut info = NodeInfo::new(node);
                for pod in self.strays.remove(&name).unwrap_or_default() {
                    info.add_pod(pod);
                }
                self.nodes.insert(name, Arc::new(info));
            }
        }
    }

    pub(crate) fn remove_node(&mut self, name: &str) {
        self.snapshot = None;
        if let Some(info) = self.nodes.remove(name)
            && !info.pods().is_empty()
        {
            self.strays.insert(name.to_owned(), info.pods().to_vec());
        }
    }

    /// A pod the API server says is on a node.
    pub(crate) fn set_pod(&mut self, node: &str, pod: Arc<PodInfo>) {
        self.place(node, pod, false);
    }

    /// A pod the scheduler has decided to put on a node.
    pub(crate) fn assume(&mut self, node: &str, pod: Arc<PodInfo>) {
        self.place(node, pod, true);
    }

    fn place(&mut self, node: &str, pod: Arc<PodInfo>, assumed: bool) {
        self.remove_pod(pod.uid());
        self.clear_nomination(pod.uid());
        self.snapshot = None;
        self.pods.insert(pod.uid().to_owned(), Placed { node: node.to_owned(), assumed });
        match self.nodes.get_mut(node) {
            Some(info) => Arc::make_mut(info).add_pod(pod),
            None => self.strays.entry(node.to_owned()).or_default().push(pod),
        }
    }

    /// Takes back an assumption; what the API server has confirmed stays.
    pub(crate) fn forget(&mut self, uid: &str) {
        if self.pods.get(uid).is_some_and(|placed| placed.assumed) {
            self.remove_pod(uid);
        }
    }

    pub(crate) fn remove_pod(&mut self, uid: &str) {
        self.clear_nomination(uid);
        let Some(placed) = self.pods.remove(uid) else { return };
        self.snapshot = None;
        if let Some(info) = self.nodes.get_mut(&placed.node) {
            Arc::make_mut(info).remove_pod(uid);
        } else if let Some(strays) = self.strays.get_mut(&placed.node) {
            strays.retain(|pod| pod.uid() != uid);
        }
    }

    pub(crate) fn is_assumed(&self, uid: &str) -> bool {
        self.pods.get(uid).is_some_and(|placed| placed.assumed)
    }

    pub(crate) fn counts(&self) -> (usize, usize, usize) {
        (
            self.nodes.len(),
            self.pods.len(),
            self.pods.values().filter(|placed| placed.assumed).count(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn node(name: &str) -> Arc<Node> {
        Arc::new(
            serde_json::from_value(json!({"metadata": {"name": name},
            "status": {"allocatable": {"cpu": "2", "pods": "10"}}}))
            .unwrap(),
        )
    }

    fn pod(uid: &str) -> Arc<PodInfo> {
        let pod = json!({"metadata": {"uid": uid, "name": uid, "namespace": "d"}, "spec": {"containers": [
            {"name": "c", "resources": {"requests": {"cpu": "500m"}}}]}});
        Arc::new(PodInfo::new(Arc::new(serde_json::from_value(pod).unwrap())))
    }

    #[test]
    fn assumed_pods_take_room_until_they_are_forgotten_or_confirmed() {
        let mut cache = Cache::default();
        cache.set_node(node("a"));
        cache.assume("a", pod("1"));
        assert_eq!(cache.snapshot().nodes()[0].requested().milli_cpu, 500);
        cache.set_pod("a", pod("1"));
        cache.forget("1");
        assert_eq!(cache.snapshot().nodes()[0].requested().milli_cpu, 500);
        cache.assume("a", pod("2"));
        cache.forget("2");
        assert_eq!(cache.snapshot().nodes()[0].requested().milli_cpu, 500);
        cache.remove_pod("1");
        assert_eq!(cache.snapshot().nodes()[0].requested().milli_cpu, 0);
    }

    #[test]
    fn pods_may_be_known_before_their_node() {
        let mut cache = Cache::default();
        cache.set_pod("a", pod("1"));
        cache.set_node(node("a"));
        assert_eq!(cache.snapshot().nodes()[0].pods().len(), 1);
        cache.remove_node("a");
        cache.set_node(node("a"));
        assert_eq!(cache.snapshot().node("a").unwrap().pods().len(), 1);
    }
}
