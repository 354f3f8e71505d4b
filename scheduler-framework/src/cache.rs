use crate::{NodeInfo, PodInfo, Snapshot, engine::Change, objects::ClusterObjects};
use k8s_openapi::api::core::v1::Node;
use std::{collections::HashMap, sync::Arc};

/// What the scheduler believes of nodes and the pods on them. Pods it has just placed are assumed to be
/// there until the API server says so, or binding fails.
///
/// [`Framework::schedule`](crate::Framework::schedule) on its [`snapshot`](Self::snapshot) follows what changes here:
/// for pods alike a decision then costs as much as what changed since the last one.
#[derive(Debug)]
pub struct Cache {
    /// What the next cycle sees, changed in place as long as nobody else looks at it.
    now: Snapshot,
    /// Where each pod is, by uid.
    pods: HashMap<String, Placed>,
    /// How many of them are only assumed.
    assumed: usize,
    /// Pods on nodes that are not known (yet), by node.
    strays: HashMap<String, Vec<Arc<PodInfo>>>,
    /// The nodes where room is made for waiting pods, by uid.
    nominations: HashMap<String, String>,
}

#[derive(Debug)]
struct Placed {
    node: String,
    assumed: bool,
}

/// A pod that was taken off its node in thought.
#[derive(Debug)]
pub(crate) struct Lifted {
    pub(crate) pod: Arc<PodInfo>,
    node: String,
    assumed: bool,
}

impl Default for Cache {
    fn default() -> Self {
        Self::with_objects(Arc::default())
    }
}

impl Cache {
    /// Knows other objects from there.
    #[must_use]
    pub fn with_objects(objects: Arc<ClusterObjects>) -> Self {
        Self {
            now: Snapshot::default().with_objects(objects).followed(),
            pods: HashMap::new(),
            assumed: 0,
            strays: HashMap::new(),
            nominations: HashMap::new(),
        }
    }

    /// All nodes now. Whoever keeps it makes the next change dear.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.now.clone()
    }

    /// Room is made for a waiting pod on a node.
    pub fn nominate(&mut self, node: &str, pod: Arc<PodInfo>) {
        self.clear_nomination(pod.uid());
        self.nominations.insert(pod.uid().to_owned(), node.to_owned());
        self.now.nominated_mut().entry(node.to_owned()).or_default().push(pod);
    }

    /// A nominated pod is another one now; nothing changes if no room is made for it.
    pub(crate) fn renominate(&mut self, pod: &Arc<PodInfo>) {
        let Some(node) = self.nominations.get(pod.uid()) else { return };
        let mut pods = self.now.nominated_mut().get_mut(node).into_iter().flatten();
        if let Some(own) = pods.find(|own| own.uid() == pod.uid()) {
            *own = pod.clone();
        }
    }

    /// Room is made for it no more, or it has taken it.
    pub fn clear_nomination(&mut self, uid: &str) {
        let Some(node) = self.nominations.remove(uid) else { return };
        let by_node = self.now.nominated_mut();
        let Some(pods) = by_node.get_mut(&node) else { return };
        pods.retain(|own| own.uid() != uid);
        if pods.is_empty() {
            by_node.remove(&node);
        }
    }

    /// A node is there, or is another one now.
    pub fn set_node(&mut self, node: Arc<Node>) {
        let name = node.metadata.name.clone().unwrap_or_default();
        if let Some(index) = self.now.index(&name) {
            return self.now.change_node(index, |info| {
                let matters = !is_alike(info.node(), &node);
                info.set_node(node);
                matters.then_some(Change::Node)
            });
        }
        let mut info = NodeInfo::new(node);
        for pod in self.strays.remove(&name).unwrap_or_default() {
            info.add_pod(pod);
        }
        self.now.push_node(info);
    }

    /// A node is gone; pods on it are remembered in case it comes back.
    pub fn remove_node(&mut self, name: &str) {
        let Some(index) = self.now.index(name) else { return };
        let info = self.now.take_node(index);
        if !info.pods().is_empty() {
            self.strays.insert(name.to_owned(), info.pods().to_vec());
        }
    }

    /// A pod the API server says is on a node.
    pub fn set_pod(&mut self, node: &str, pod: Arc<PodInfo>) {
        if self.confirm(node, &pod) {
            return;
        }
        self.place(node, pod, false);
    }

    /// Takes a newer state of a pod that counts the same, and one that was assumed as placed; `false` when it is not so.
    fn confirm(&mut self, node: &str, pod: &Arc<PodInfo>) -> bool {
        let Some(placed) = self.pods.get_mut(pod.uid()) else { return false };
        if placed.node != node {
            return false;
        }
        let Some(index) = self.now.index(node) else { return false };
        let mut same = false;
        self.now.change_node(index, |info| {
            same = info.replace_alike(pod);
            None
        });
        if same {
            self.assumed -= usize::from(std::mem::take(&mut placed.assumed));
        }
        same
    }

    /// A pod the scheduler has decided to put on a node.
    pub fn assume(&mut self, node: &str, pod: Arc<PodInfo>) {
        self.place(node, pod, true);
    }

    fn place(&mut self, node: &str, pod: Arc<PodInfo>, assumed: bool) {
        self.remove_pod(pod.uid());
        self.clear_nomination(pod.uid());
        self.pods.insert(pod.uid().to_owned(), Placed { node: node.to_owned(), assumed });
        self.assumed += usize::from(assumed);
        match self.now.index(node) {
            Some(index) => self.now.change_node(index, |info| {
                info.add_pod(pod.clone());
                Some(Change::Pod(pod, 1))
            }),
            None => self.strays.entry(node.to_owned()).or_default().push(pod),
        }
    }

    /// Takes back an assumption; what the API server has confirmed stays.
    pub fn forget(&mut self, uid: &str) {
        if self.pods.get(uid).is_some_and(|placed| placed.assumed) {
            self.remove_pod(uid);
        }
    }

    /// A pod is gone, or has ended.
    pub fn remove_pod(&mut self, uid: &str) {
        self.clear_nomination(uid);
        let Some(placed) = self.pods.remove(uid) else { return };
        self.assumed -= usize::from(placed.assumed);
        if let Some(index) = self.now.index(&placed.node) {
            self.now.change_node(index, |info| {
                let pod = info.pods().iter().find(|own| own.uid() == uid).cloned()?;
                info.remove_pod(uid);
                Some(Change::Pod(pod, -1))
            });
        } else if let Some(strays) = self.strays.get_mut(&placed.node) {
            strays.retain(|pod| pod.uid() != uid);
        }
    }

    /// Takes a pod off its node until it is [put back](Self::put_back); `None` when it is on none that is known.
    pub(crate) fn lift(&mut self, uid: &str) -> Option<Lifted> {
        let placed = self.pods.get(uid)?;
        let (node, assumed) = (placed.node.clone(), placed.assumed);
        let pod = self.now.node(&node)?.pods().iter().find(|own| own.uid() == uid)?.clone();
        self.remove_pod(uid);
        Some(Lifted { pod, node, assumed })
    }

    /// It is where it was.
    pub(crate) fn put_back(&mut self, lifted: Lifted) {
        self.place(&lifted.node, lifted.pod, lifted.assumed);
    }

    /// Whether a pod was placed here and is not confirmed.
    #[must_use]
    pub fn is_assumed(&self, uid: &str) -> bool {
        self.pods.get(uid).is_some_and(|placed| placed.assumed)
    }

    /// The node on which room is held for a pod that is not there yet: assumed, or nominated.
    pub(crate) fn held_for(&self, uid: &str) -> Option<&str> {
        let assumed = self.pods.get(uid).filter(|placed| placed.assumed);
        let nominated = || self.nominations.get(uid);
        assumed.map(|placed| &placed.node).or_else(nominated).map(String::as_str)
    }

    /// How many nodes, pods and assumed pods there are.
    #[must_use]
    pub fn counts(&self) -> (usize, usize, usize) {
        (self.now.nodes().len(), self.pods.len(), self.assumed)
    }
}

/// Whether two states of a node are the same to every plugin.
fn is_alike(old: &Node, new: &Node) -> bool {
    let same_images = || {
        let (old, new) = (old.status.as_ref(), new.status.as_ref());
        old.map(|own| (&own.allocatable, &own.images, &own.declared_features))
            == new.map(|own| (&own.allocatable, &own.images, &own.declared_features))
    };
    old.metadata.labels == new.metadata.labels
        && old.metadata.annotations == new.metadata.annotations
        && old.spec == new.spec
        && same_images()
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
    fn room_is_made_for_a_pod_in_one_place_until_it_has_taken_it() {
        let mut cache = Cache::default();
        let nominated = |cache: &Cache, node: &str| {
            let now = cache.snapshot();
            now.nominated(node).iter().map(|pod| pod.uid().to_owned()).collect::<Vec<_>>().join(" ")
        };
        cache.nominate("a", pod("1"));
        cache.nominate("a", pod("2"));
        assert_eq!(nominated(&cache, "a"), "1 2");
        cache.nominate("b", pod("1"));
        assert_eq!((nominated(&cache, "a"), nominated(&cache, "b")), ("2".into(), "1".into()));
        assert_eq!(cache.held_for("1"), Some("b"));
        cache.assume("a", pod("2"));
        assert_eq!(nominated(&cache, "a"), "");
        assert_eq!(cache.held_for("2"), Some("a"));
        cache.clear_nomination("1");
        assert_eq!((nominated(&cache, "b").as_str(), cache.held_for("1")), ("", None));
    }

    #[test]
    fn a_nominated_pod_that_changes_counts_as_it_is() {
        let mut cache = Cache::default();
        let asking = |cpu: &str| {
            let pod = json!({"metadata": {"uid": "1", "name": "1", "namespace": "d"}, "spec":
                {"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]}});
            Arc::new(PodInfo::new(Arc::new(serde_json::from_value(pod).unwrap())))
        };
        cache.nominate("a", asking("1"));
        cache.nominate("a", pod("2"));
        cache.renominate(&asking("2"));
        cache.renominate(&pod("3"));
        let now = cache.snapshot();
        let wanted: Vec<_> =
            now.nominated("a").iter().map(|own| own.requests().milli_cpu).collect();
        assert_eq!(wanted, [2000, 500]);
    }

    #[test]
    fn pods_that_are_lifted_leave_their_room_until_they_are_back() {
        let mut cache = Cache::default();
        cache.set_node(node("a"));
        cache.set_pod("a", pod("1"));
        cache.assume("a", pod("2"));
        let requested = |cache: &Cache| cache.snapshot().nodes()[0].requested().milli_cpu;
        let lifted = ["1", "2"].map(|uid| cache.lift(uid).unwrap());
        assert_eq!((requested(&cache), cache.counts()), (0, (1, 0, 0)));
        assert!(cache.lift("1").is_none() && cache.lift("unknown").is_none());
        lifted.into_iter().for_each(|own| cache.put_back(own));
        assert_eq!((requested(&cache), cache.counts()), (1000, (1, 2, 1)));
        assert_eq!((cache.is_assumed("1"), cache.is_assumed("2")), (false, true));
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
