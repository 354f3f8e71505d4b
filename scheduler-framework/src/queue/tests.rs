mod requeueing;

use super::*;
use crate::{
    ActionType, Bind, BindVerdict, CycleState, EventObject, EventResource, Profile, SchedulerPlugin,
};
use kubeplane_clock::{PausedClock, Seed};
use serde_json::{Value, json};

#[derive(Debug)]
struct NoBind;

impl SchedulerPlugin for NoBind {
    fn name(&self) -> &'static str {
        "NoBind"
    }

    fn as_bind(&self) -> Option<&dyn Bind> {
        Some(self)
    }
}

#[async_trait::async_trait]
impl Bind for NoBind {
    async fn bind(&self, _: &CycleState, _: &PodInfo, _: &str) -> BindVerdict {
        BindVerdict::Bound
    }
}

/// Holds all pods until it is opened, and tells nobody of that.
#[derive(Debug, Default)]
struct Gate(Arc<std::sync::atomic::AtomicBool>);

impl SchedulerPlugin for Gate {
    fn name(&self) -> &'static str {
        "Gate"
    }

    fn as_pre_enqueue(&self) -> Option<&dyn crate::PreEnqueue> {
        Some(self)
    }
}

impl crate::PreEnqueue for Gate {
    fn pre_enqueue(&self, _: &PodInfo) -> crate::PreEnqueueVerdict {
        match self.0.load(std::sync::atomic::Ordering::Relaxed) {
            true => crate::PreEnqueueVerdict::Admit,
            false => crate::PreEnqueueVerdict::Hold("closed".into()),
        }
    }
}

fn queue() -> (Queue, PausedClock) {
    queue_of(Profile::default().add(NoBind, 1))
}

fn queue_of(profile: Profile) -> (Queue, PausedClock) {
    let clock = PausedClock::starting_at("2026-01-01T00:00:00Z".parse().unwrap());
    let shared: SharedClock = Arc::new(clock.clone());
    let framework = Framework::new(profile, shared.clone(), Seed::new(1)).unwrap();
    let frameworks = HashMap::from([("default-scheduler".to_owned(), Arc::new(framework))]);
    (Queue::new(shared, frameworks), clock)
}

fn pod(name: &str, spec: Value) -> Arc<PodInfo> {
    let mut value =
        json!({"metadata": {"name": name, "namespace": "d", "uid": name}, "spec": spec});
    value["spec"]["containers"] = json!([]);
    Arc::new(PodInfo::new(Arc::new(serde_json::from_value(value).unwrap())))
}

fn names(queue: &mut Queue) -> Vec<String> {
    std::iter::from_fn(|| queue.take()).map(|pod| pod.info.name().to_owned()).collect()
}

const NODE_ADDED: ClusterEvent = ClusterEvent::new(EventResource::Node, ActionType::ADD);

#[test]
fn pods_come_by_priority_and_then_by_age() {
    let (mut queue, clock) = queue();
    queue.add(pod("old", json!({})));
    clock.advance(Duration::from_secs(1));
    queue.add(pod("young", json!({})));
    queue.add(pod("urgent", json!({"priority": 10})));
    assert_eq!(names(&mut queue), ["urgent", "old", "young"]);
}

/// The first letters of the alphabet first.
#[derive(Debug)]
struct ByName;

impl SchedulerPlugin for ByName {
    fn name(&self) -> &'static str {
        "ByName"
    }

    fn as_queue_sort(&self) -> Option<&dyn crate::QueueSort> {
        Some(self)
    }
}

impl crate::QueueSort for ByName {
    fn compare(&self, a: (&PodInfo, Duration), b: (&PodInfo, Duration)) -> Ordering {
        a.0.name().cmp(b.0.name())
    }
}

#[test]
fn pods_come_in_the_order_of_the_profile() {
    let profile = Profile::default().without("PrioritySort").add(ByName, 1).add(NoBind, 1);
    let (mut queue, _) = queue_of(profile);
    for (name, priority) in [("c", 30), ("a", 10), ("b", 20)] {
        queue.add(pod(name, json!({"priority": priority})));
    }
    assert_eq!(names(&mut queue), ["a", "b", "c"]);
}

#[test]
fn a_refused_pod_waits_for_an_event_that_concerns_it() {
    let (mut queue, clock) = queue();
    queue.add(pod("a", json!({})));
    let taken = queue.take().unwrap();
    queue.set_unschedulable(taken, BTreeSet::from(["NodeResourcesFit"]));
    queue.on_event(
        ClusterEvent::new(EventResource::Node, ActionType::UPDATE_LABELS),
        &EventObject::Flush,
    );
    assert!(!queue.has_active(), "labels do not help a pod that lacks room");
    queue.on_event(NODE_ADDED, &EventObject::Flush);
    assert_eq!(queue.next_flush(), Some(Duration::from_secs(1)));
    queue.add(pod("b", json!({})));
    let first = queue.take().unwrap();
    assert_eq!(first.info.name(), "b", "what backs off comes after all that is active");
    clock.advance(Duration::from_millis(500));
    assert_eq!(names(&mut queue), ["a"], "but no later than there is nothing else to do");
}

#[test]
fn an_event_during_a_cycle_is_not_missed() {
    let (mut queue, clock) = queue();
    queue.add(pod("a", json!({})));
    let taken = queue.take().unwrap();
    queue.on_event(NODE_ADDED, &EventObject::Flush);
    queue.set_unschedulable(taken, BTreeSet::from(["NodeResourcesFit"]));
    clock.advance(Duration::from_secs(1));
    queue.flush();
    assert!(queue.has_active());
}

#[test]
fn gated_pods_stay_out_until_their_gates_are_gone() {
    let (mut queue, _) = queue();
    queue.add(pod("a", json!({"schedulingGates": [{"name": "g"}]})));
    assert!(!queue.has_active());
    queue.update(pod("a", json!({})));
    assert_eq!(names(&mut queue), ["a"]);
}

#[test]
fn back_off_doubles_up_to_its_limit() {
    let (mut queue, clock) = queue();
    queue.add(pod("a", json!({})));
    let mut waits = Vec::new();
    for _ in 0..6 {
        let taken = queue.take().unwrap();
        queue.retry(taken);
        let wait = queue.next_flush().unwrap();
        waits.push(wait.as_secs());
        clock.advance(wait);
        queue.flush();
    }
    assert_eq!(waits, [1, 2, 4, 8, 10, 10]);
}

#[test]
fn a_pod_that_failed_is_not_taken_before_its_time() {
    let (mut queue, clock) = queue();
    queue.add(pod("a", json!({})));
    let taken = queue.take().unwrap();
    queue.retry(taken);
    assert!(!queue.has_active() && queue.take().is_none());
    clock.advance(Duration::from_secs(1));
    queue.flush();
    assert_eq!(names(&mut queue), ["a"]);
}

#[test]
fn refused_pods_wait_for_their_time_where_none_is_taken_early() {
    let (queue, clock) = queue();
    let mut queue = queue.taking_early(false);
    queue.add(pod("a", json!({})));
    let taken = queue.take().unwrap();
    queue.set_unschedulable(taken, BTreeSet::from(["NodeResourcesFit"]));
    queue.on_event(NODE_ADDED, &EventObject::Flush);
    assert!(!queue.has_active() && queue.take().is_none());
    assert_eq!(queue.next_flush(), Some(Duration::from_secs(1)));
    clock.advance(Duration::from_secs(1));
    queue.flush();
    assert_eq!(names(&mut queue), ["a"]);
}

#[test]
fn a_pod_that_changes_in_flight_comes_back_as_it_is() {
    let (mut queue, clock) = queue();
    queue.add(pod("a", json!({})));
    let taken = queue.take().unwrap();
    queue.add(pod("a", json!({"priority": 7})));
    queue.set_unschedulable(taken, BTreeSet::from(["NodeResourcesFit"]));
    queue.on_event(NODE_ADDED, &EventObject::Flush);
    clock.advance(Duration::from_secs(1));
    queue.flush();
    assert_eq!(queue.take().unwrap().info.priority(), 7);
}

#[test]
fn events_are_kept_no_longer_than_pods_are_in_flight() {
    let (mut queue, _) = queue();
    queue.add(pod("a", json!({})));
    queue.add(pod("b", json!({})));
    let a = queue.take().unwrap();
    queue.on_event(NODE_ADDED, &EventObject::Flush);
    let b = queue.take().unwrap();
    queue.done(a.info.uid());
    queue.set_unschedulable(b, BTreeSet::from(["NodeResourcesFit"]));
    assert!(!queue.has_active(), "what came before a pod was taken is not missed by it");
    assert_eq!(queue.len(), 1);
}

#[test]
fn a_pod_that_nobody_refused_is_not_tried_all_the_time() {
    let (mut queue, clock) = queue();
    queue.add(pod("a", json!({})));
    let mut waits = Vec::new();
    for _ in 0..3 {
        let taken = queue.take().unwrap();
        queue.set_unschedulable(taken, BTreeSet::new());
        assert!(!queue.has_active() && queue.take().is_none(), "not before its time");
        let wait = queue.next_flush().unwrap();
        waits.push(wait.as_secs());
        clock.advance(wait);
        queue.flush();
    }
    assert_eq!(waits, [1, 2, 4]);
}

#[test]
fn a_pod_without_any_node_is_tried_when_the_first_comes() {
    let (mut queue, _) = queue();
    queue.add(pod("a", json!({})));
    let taken = queue.take().unwrap();
    queue.set_unschedulable(taken, BTreeSet::from(["Nodes"]));
    let pod_added = ClusterEvent::new(EventResource::AssignedPod, ActionType::ADD);
    queue.on_event(pod_added, &EventObject::Flush);
    assert!(!queue.has_active(), "it waits, and nothing is busy with it");
    queue.on_event(NODE_ADDED, &EventObject::Flush);
    assert_eq!(names(&mut queue), ["a"]);
}

#[test]
fn who_leaves_is_not_brought_back_by_that() {
    let (mut queue, _) = queue();
    for name in ["a", "b"] {
        queue.add(pod(name, json!({})));
        let taken = queue.take().unwrap();
        queue.set_unschedulable(taken, BTreeSet::from(["NodeResourcesFit"]));
    }
    let gone = ClusterEvent::new(EventResource::AssignedPod, ActionType::DELETE);
    queue.on_event_for_others(gone, &EventObject::Flush, "a");
    assert_eq!(names(&mut queue), ["b"]);
}

#[test]
fn a_gated_pod_is_not_forgotten_when_nobody_says_that_its_gate_is_open() {
    let open = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let (mut queue, clock) = queue_of(Profile::default().add(NoBind, 1).add(Gate(open.clone()), 1));
    queue.add(pod("a", json!({})));
    for opens in [false, true] {
        open.store(opens, std::sync::atomic::Ordering::Relaxed);
        assert!(!queue.has_active());
        clock.advance(queue.next_flush().unwrap());
        queue.flush();
    }
    assert_eq!(names(&mut queue), ["a"]);
}

/// Says of everything that it helps pods with the label `wanted`, and counts how often it is asked.
#[derive(Debug, Default)]
struct Asked {
    times: std::sync::atomic::AtomicUsize,
    alike: bool,
}

impl SchedulerPlugin for Asked {
    fn name(&self) -> &'static str {
        "Asked"
    }

    fn as_enqueue_extensions(&self) -> Option<&dyn crate::EnqueueExtensions> {
        Some(self)
    }
}

impl crate::EnqueueExtensions for Asked {
    fn hint(&self, pod: &PodInfo, _: ClusterEvent, _: &EventObject) -> crate::Hint {
        self.times.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        match pod.labels().is_some_and(|own| own.contains_key("wanted")) {
            true => crate::Hint::Queue,
            false => crate::Hint::Skip,
        }
    }

    fn is_same_for_pods_alike(&self) -> bool {
        self.alike
    }
}

fn labelled(name: &str, label: &str) -> Arc<PodInfo> {
    let labels = json!({label: "yes"});
    let value = json!({"metadata": {"name": name, "namespace": "d", "uid": name, "labels": labels},
        "spec": {"containers": []}});
    Arc::new(PodInfo::new(Arc::new(serde_json::from_value(value).unwrap())))
}

#[test]
fn one_of_many_pods_alike_is_asked_whether_an_event_helps() {
    let waiting = |alike: bool| {
        let plugin = Arc::new(Asked { alike, ..Asked::default() });
        let profile = Profile::default().add(NoBind, 1).add_shared(plugin.clone(), 1);
        let (mut queue, clock) = queue_of(profile);
        for number in 0..100 {
            let label = if number < 10 { "wanted" } else { "other" };
            queue.add(labelled(&format!("p{number:02}"), label));
        }
        while let Some(taken) = queue.take() {
            queue.set_unschedulable(taken, BTreeSet::from(["Asked"]));
        }
        // It has become like the others while it waited.
        queue.update(labelled("p00", "other"));
        plugin.times.store(0, std::sync::atomic::Ordering::Relaxed);
        clock.advance(Duration::from_secs(60));
        (queue, plugin)
    };
    let asked = |plugin: &Asked| plugin.times.load(std::sync::atomic::Ordering::Relaxed);
    let bound = ClusterEvent::new(EventResource::AssignedPod, ActionType::ADD);
    let helped = |queue: &mut Queue| {
        let mut names = names(queue);
        names.sort();
        names
    };
    let (mut queue, plugin) = waiting(true);
    queue.on_event(bound, &EventObject::Flush);
    assert_eq!(asked(&plugin), 2, "one of each kind");
    let alike = helped(&mut queue);
    assert_eq!(alike, (1..10).map(|number| format!("p{number:02}")).collect::<Vec<_>>());

    let (mut queue, plugin) = waiting(false);
    queue.on_event(bound, &EventObject::Flush);
    assert_eq!(asked(&plugin), 100, "a plugin that looks at more is asked of each");
    assert_eq!(helped(&mut queue), alike);

    let (mut queue, plugin) = waiting(true);
    let event = ClusterEvent::new(EventResource::UnscheduledPod, ActionType::UPDATE_LABELS);
    queue.on_event(event, &EventObject::Flush);
    assert_eq!(asked(&plugin), 100, "what happens to a waiting pod may be its own");
}

#[test]
fn pods_whose_back_off_ends_in_the_same_second_come_by_priority() {
    let (mut queue, clock) = queue();
    for (name, priority) in [("low", 0), ("high", 10), ("later", 20)] {
        queue.add(pod(name, json!({"priority": priority})));
    }
    let taken: Vec<_> = std::iter::from_fn(|| queue.take()).collect();
    // They back off until 1.2, 1.6 and 2.1 seconds.
    for (wait, name) in [(200, "low"), (400, "high"), (500, "later")] {
        clock.advance(Duration::from_millis(wait));
        let own = taken.iter().find(|own| own.info.name() == name).unwrap().clone();
        queue.set_unschedulable(own, BTreeSet::from(["NodeResourcesFit"]));
    }
    queue.on_event(NODE_ADDED, &EventObject::Flush);
    assert_eq!(names(&mut queue), ["high", "low", "later"]);
}

#[test]
fn a_pod_tried_because_it_had_waited_for_long_is_known_as_that() {
    let (mut queue, clock) = queue();
    queue.add(pod("a", json!({})));
    let refused = || BTreeSet::from(["NodeResourcesFit"]);
    let taken = queue.take().unwrap();
    queue.set_unschedulable(taken, refused());
    clock.advance(Duration::from_secs(300));
    queue.flush();
    let taken = queue.take().unwrap();
    assert!(taken.flushed);
    queue.set_unschedulable(taken, refused());
    queue.on_event(NODE_ADDED, &EventObject::Flush);
    assert!(!queue.take().unwrap().flushed, "an event brought it back");
}

#[test]
fn a_pod_in_flight_is_known_as_it_is() {
    let (mut queue, _) = queue();
    queue.add(pod("a", json!({})));
    let _taken = queue.take().unwrap();
    assert!(queue.latest("a").is_none());
    queue.add(pod("a", json!({"priority": 7})));
    assert_eq!(queue.latest("a").unwrap().priority(), 7);
    queue.done("a");
    assert!(queue.latest("a").is_none());
}

/// Holds pods until it was asked about them, which it notes.
#[derive(Debug, Default)]
struct Claimed(Arc<std::sync::Mutex<Vec<String>>>);

impl SchedulerPlugin for Claimed {
    fn name(&self) -> &'static str {
        "Claimed"
    }

    fn as_pre_enqueue(&self) -> Option<&dyn crate::PreEnqueue> {
        Some(self)
    }

    fn as_enqueue_extensions(&self) -> Option<&dyn crate::EnqueueExtensions> {
        Some(self)
    }
}

impl crate::PreEnqueue for Claimed {
    fn pre_enqueue(&self, pod: &PodInfo) -> crate::PreEnqueueVerdict {
        match self.0.lock().unwrap().iter().any(|own| own == pod.uid()) {
            true => crate::PreEnqueueVerdict::Admit,
            false => crate::PreEnqueueVerdict::Hold("no claim".into()),
        }
    }
}

impl crate::EnqueueExtensions for Claimed {
    fn hint(&self, pod: &PodInfo, _: ClusterEvent, _: &EventObject) -> crate::Hint {
        self.0.lock().unwrap().push(pod.uid().to_owned());
        crate::Hint::Queue
    }

    fn only_for(&self, _: &PodInfo, object: &EventObject) -> Option<String> {
        let EventObject::ResourceClaim { new: Some(claim), .. } = object else { return None };
        kubeplane_client::controller_of(&**claim).map(|own| own.uid.clone())
    }
}

#[test]
fn what_concerns_one_of_many_pods_alike_is_asked_about_for_that_one_alone() {
    let claimed = Claimed::default();
    let asked = claimed.0.clone();
    let (mut queue, _) = queue_of(Profile::default().add(claimed, 1).add(NoBind, 1));
    for name in ["a", "b", "c"] {
        queue.add(pod(name, json!({})));
    }
    let made = ClusterEvent::new(EventResource::ResourceClaim, ActionType::ADD);
    let claim = |owner: &str| {
        let owners = json!([{"apiVersion": "v1", "kind": "Pod", "name": owner, "uid": owner,
            "controller": true}]);
        let claim = json!({"metadata": {"name": "x", "ownerReferences": owners}, "spec": {}});
        let claim = Arc::new(serde_json::from_value(claim).unwrap());
        EventObject::ResourceClaim { old: None, new: Some(claim) }
    };
    queue.on_event(made, &claim("gone"));
    assert!(asked.lock().unwrap().is_empty() && !queue.has_active());
    queue.on_event(made, &claim("b"));
    assert_eq!(*asked.lock().unwrap(), ["b"]);
    assert_eq!(names(&mut queue), ["b"]);
    queue.on_event(made, &EventObject::Flush);
    asked.lock().unwrap().sort();
    assert_eq!(*asked.lock().unwrap(), ["a", "b", "c"], "of what concerns nobody all are asked");
}

#[test]
fn pods_that_are_taken_early_come_in_order_whatever_changes_meanwhile() {
    let (mut queue, _) = queue();
    let names_of = ["a", "b", "c", "d", "e"];
    for name in names_of {
        queue.add(pod(name, json!({"priority": 5})));
    }
    let mut taken: Vec<_> = std::iter::from_fn(|| queue.take()).collect();
    let refused = || BTreeSet::from(["NodeResourcesFit"]);
    let last = taken.pop().unwrap();
    taken.into_iter().for_each(|own| queue.set_unschedulable(own, refused()));
    queue.on_event(NODE_ADDED, &EventObject::Flush);
    assert_eq!(queue.take().unwrap().info.name(), "a", "of equals the first");
    queue.update(pod("d", json!({"priority": 9})));
    queue.remove("b");
    assert_eq!(queue.take().unwrap().info.name(), "d", "it is worth more now");
    queue.set_unschedulable(last, refused());
    queue.on_event(NODE_ADDED, &EventObject::Flush);
    assert_eq!(names(&mut queue), ["c", "e"], "one that came later is in line too");
}
