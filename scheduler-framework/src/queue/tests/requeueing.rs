//! Which way pods go that come back, are held, woken, or change: the scenarios of the original's tests of its queue.

use super::*;
use crate::{PreEnqueue, PreEnqueueVerdict};
use kubeplane_clock::Clock;
use std::sync::atomic::{AtomicBool, Ordering as Memory};

/// Holds all pods while it is closed; a new node may open it.
#[derive(Debug, Default, Clone)]
struct Latch(Arc<AtomicBool>);

impl Latch {
    fn set(&self, open: bool) {
        self.0.store(open, Memory::Relaxed);
    }
}

impl SchedulerPlugin for Latch {
    fn name(&self) -> &'static str {
        "Latch"
    }

    fn requeue_on(&self) -> Vec<ClusterEvent> {
        vec![NODE_ADDED]
    }

    fn as_pre_enqueue(&self) -> Option<&dyn PreEnqueue> {
        Some(self)
    }
}

impl PreEnqueue for Latch {
    fn pre_enqueue(&self, _: &PodInfo) -> PreEnqueueVerdict {
        match self.0.load(Memory::Relaxed) {
            true => PreEnqueueVerdict::Admit,
            false => PreEnqueueVerdict::Hold("closed".into()),
        }
    }
}

const POD_GONE: ClusterEvent = ClusterEvent::new(EventResource::AssignedPod, ActionType::DELETE);

fn latched(open: bool) -> (Queue, PausedClock, Latch) {
    let latch = Latch::default();
    latch.set(open);
    let (queue, clock) = queue_of(Profile::default().add(NoBind, 1).add(latch.clone(), 1));
    (queue, clock, latch)
}

fn refused() -> BTreeSet<&'static str> {
    BTreeSet::from(["NodeResourcesFit"])
}

/// How many pods are active, backing off, unschedulable and gated.
fn places(queue: &Queue) -> [usize; 4] {
    queue.counts().map(|(_, count)| count)
}

/// Has the pod `a` be taken and refused.
fn refuse_one(queue: &mut Queue) {
    queue.add(pod("a", json!({})));
    let taken = queue.take().unwrap();
    queue.set_unschedulable(taken, refused());
}

#[test]
fn plugins_hold_a_pod_before_it_backs_off_where_it_may_be_taken_early_and_else_after() {
    for (early, expected) in [(true, [0, 0, 0, 1]), (false, [0, 1, 0, 0])] {
        let (queue, clock, latch) = latched(true);
        let mut queue = queue.taking_early(early);
        refuse_one(&mut queue);
        latch.set(false);
        queue.on_event(NODE_ADDED, &EventObject::Flush);
        assert_eq!(places(&queue), expected);
        clock.advance(Duration::from_secs(1));
        queue.flush();
        assert_eq!(places(&queue), [0, 0, 0, 1]);
    }
    // What failed is no other.
    for (early, expected) in [(true, [0, 0, 0, 1]), (false, [0, 1, 0, 0])] {
        let (queue, _, latch) = latched(true);
        let mut queue = queue.taking_early(early);
        queue.add(pod("a", json!({})));
        let taken = queue.take().unwrap();
        latch.set(false);
        queue.retry(taken);
        assert_eq!(places(&queue), expected);
    }
}

#[test]
fn plugins_are_not_asked_again_about_a_pod_that_leaves_its_back_off() {
    let backing_off = || {
        let (mut queue, clock, latch) = latched(true);
        refuse_one(&mut queue);
        queue.on_event(NODE_ADDED, &EventObject::Flush);
        assert_eq!(places(&queue), [0, 1, 0, 0]);
        latch.set(false);
        (queue, clock)
    };
    let (mut queue, _) = backing_off();
    assert_eq!(queue.take().unwrap().info.name(), "a", "taken early");
    let (mut queue, clock) = backing_off();
    clock.advance(Duration::from_secs(1));
    queue.flush();
    assert_eq!(places(&queue), [1, 0, 0, 0], "its back-off is over");
    let (mut queue, _) = backing_off();
    queue.wake("a", true);
    assert_eq!(places(&queue), [1, 0, 0, 0], "it was woken");
}

#[test]
fn a_held_pod_comes_back_by_events_of_who_holds_it_and_after_its_back_off() {
    let held = || {
        let (mut queue, clock, latch) = latched(true);
        refuse_one(&mut queue);
        latch.set(false);
        queue.on_event(NODE_ADDED, &EventObject::Flush);
        assert_eq!(places(&queue), [0, 0, 0, 1]);
        latch.set(true);
        (queue, clock)
    };
    let (mut queue, _) = held();
    queue.on_event(POD_GONE, &EventObject::Flush);
    assert_eq!(places(&queue), [0, 0, 0, 1], "who holds it does not wait for that");
    queue.on_event(NODE_ADDED, &EventObject::Flush);
    assert_eq!(places(&queue), [0, 1, 0, 0]);
    let (mut queue, clock) = held();
    clock.advance(Duration::from_secs(1));
    queue.on_event(NODE_ADDED, &EventObject::Flush);
    assert_eq!(places(&queue), [1, 0, 0, 0]);
    let (mut queue, _) = held();
    queue.wake("a", false);
    assert_eq!(places(&queue), [1, 0, 0, 0]);
}

#[test]
fn a_pod_that_failed_is_not_tried_before_its_time_when_it_is_let_go() {
    let (mut queue, clock, latch) = latched(true);
    queue.add(pod("a", json!({})));
    let taken = queue.take().unwrap();
    latch.set(false);
    queue.retry(taken);
    assert_eq!(places(&queue), [0, 0, 0, 1]);
    latch.set(true);
    queue.wake("a", false);
    assert_eq!(places(&queue), [0, 1, 0, 0]);
    assert!(!queue.has_active() && queue.take().is_none());
    clock.advance(Duration::from_secs(1));
    queue.flush();
    assert_eq!(places(&queue), [1, 0, 0, 0]);
}

#[test]
fn a_pod_that_is_woken_is_tried_at_once_wherever_it_waits() {
    let (mut queue, _, latch) = latched(true);
    refuse_one(&mut queue);
    queue.wake("a", false);
    queue.wake("unknown", true);
    assert_eq!(places(&queue), [0, 0, 1, 0], "it was not held");
    queue.wake("a", true);
    assert_eq!(places(&queue), [1, 0, 0, 0]);
    queue.wake("a", true);
    assert_eq!(places(&queue), [1, 0, 0, 0]);
    let taken = queue.take().unwrap();
    queue.retry(taken);
    assert_eq!(places(&queue), [0, 1, 0, 0]);
    queue.wake("a", true);
    assert_eq!(places(&queue), [1, 0, 0, 0]);
    for (always, expected) in [(false, [0, 0, 1, 0]), (true, [0, 1, 0, 0])] {
        let taken = queue.take().unwrap();
        queue.wake("a", always);
        queue.set_unschedulable(taken, refused());
        assert_eq!(places(&queue), expected, "woken in flight, it comes back after its back-off");
        queue.wake("a", true);
    }
    let taken = queue.take().unwrap();
    queue.set_unschedulable(taken, refused());
    latch.set(false);
    queue.wake("a", true);
    assert_eq!(places(&queue), [0, 0, 0, 1], "who is woken may be held");
}

#[test]
fn a_certain_pod_is_taken_from_wherever_it_waits_unless_it_is_held() {
    let (mut queue, clock, latch) = latched(true);
    queue.add(pod("a", json!({})));
    let take = |queue: &mut Queue| queue.take_one("a");
    let taken = take(&mut queue).unwrap();
    assert!(take(&mut queue).is_none(), "it is in flight");
    queue.set_unschedulable(taken, refused());
    assert_eq!(places(&queue), [0, 0, 1, 0], "to be asked for in flight does not wake it");
    let taken = take(&mut queue).unwrap();
    queue.retry(taken);
    assert_eq!(places(&queue), [0, 1, 0, 0]);
    let taken = take(&mut queue).unwrap();
    assert_eq!(taken.attempts, 3);
    queue.set_unschedulable(taken, refused());
    latch.set(false);
    assert!(take(&mut queue).is_none());
    assert_eq!(places(&queue), [0, 0, 0, 1]);
    latch.set(true);
    clock.advance(Duration::from_secs(1));
    assert!(take(&mut queue).is_some(), "nobody holds it any more");
    assert!(queue.take_one("unknown").is_none());
}

#[test]
fn without_back_off_pods_are_active_again_at_once() {
    let (queue, _) = queue();
    let none = Backoff { initial: Duration::ZERO, most: Duration::ZERO };
    let mut queue = queue.backing_off(none);
    queue.add(pod("a", json!({})));
    let taken = queue.take().unwrap();
    queue.retry(taken);
    assert_eq!(places(&queue), [1, 0, 0, 0]);
    let taken = queue.take().unwrap();
    queue.on_event(NODE_ADDED, &EventObject::Flush);
    queue.set_unschedulable(taken, refused());
    assert_eq!(places(&queue), [1, 0, 0, 0]);
}

#[test]
fn an_event_may_be_for_some_pods_only() {
    let (mut queue, _) = queue();
    for (name, priority) in [("low", 1), ("high", 9)] {
        queue.add(pod(name, json!({"priority": priority})));
        let taken = queue.take().unwrap();
        queue.set_unschedulable(taken, refused());
    }
    queue.on_event_among(POD_GONE, &EventObject::Flush, |own| own.priority() <= 5);
    assert_eq!(names(&mut queue), ["low"]);
    assert_eq!(places(&queue), [0, 0, 1, 0]);
}

#[test]
fn a_change_of_a_pod_in_flight_counts_when_it_comes_back() {
    let (mut queue, _) = queue();
    queue.add(pod("a", json!({})));
    let taken = queue.take().unwrap();
    let less = ClusterEvent::new(EventResource::UnscheduledPod, ActionType::UPDATE_SCALE_DOWN);
    queue.note("other", less, &EventObject::Flush);
    queue.note("a", less, &EventObject::Flush);
    queue.set_unschedulable(taken, refused());
    assert_eq!(places(&queue), [0, 1, 0, 0]);
}

#[test]
fn pods_count_as_having_begun_when_nothing_holds_them_any_more() {
    let (mut queue, clock, latch) = latched(false);
    queue.add(pod("a", json!({})));
    clock.advance(Duration::from_secs(10));
    latch.set(true);
    queue.on_event(NODE_ADDED, &EventObject::Flush);
    let began = Some(clock.elapsed());
    clock.advance(Duration::from_secs(5));
    let taken = queue.take().unwrap();
    assert_eq!(taken.first_active, began);
    queue.retry(taken);
    queue.wake("a", true);
    assert_eq!(queue.take().unwrap().first_active, began);
}

/// A queue whose metrics can be read: whether they have such a line.
fn measured(queue: Queue) -> (Queue, impl Fn(&str)) {
    let metrics = Metrics::new();
    let queue = queue.measured(SchedulerMetrics::new(&metrics));
    let shows = move |line: &str| {
        let text = metrics.encode();
        assert!(text.contains(&format!("{line}\n")), "{line} in {text}");
    };
    (queue, shows)
}

#[test]
fn a_pod_counts_as_refused_until_it_is_taken() {
    let (queue, _, latch) = latched(false);
    let (mut queue, shows) = measured(queue);
    let count = |plugin: &str, count: usize| {
        let labels = format!("{{plugin=\"{plugin}\",profile=\"default-scheduler\"}}");
        shows(&format!("scheduler_unschedulable_pods{labels} {count}"));
    };
    queue.add(pod("a", json!({})));
    queue.on_event(NODE_ADDED, &EventObject::Flush);
    count("Latch", 1);
    latch.set(true);
    queue.on_event(NODE_ADDED, &EventObject::Flush);
    assert_eq!(places(&queue), [1, 0, 0, 0]);
    count("Latch", 1);
    let taken = queue.take().unwrap();
    count("Latch", 0);
    queue.set_unschedulable(taken, refused());
    queue.on_event(NODE_ADDED, &EventObject::Flush);
    assert_eq!(places(&queue), [0, 1, 0, 0]);
    count("NodeResourcesFit", 1);
    queue.remove("a");
    count("NodeResourcesFit", 0);
}

#[test]
fn pods_are_counted_as_coming_where_they_come() {
    let (queue, clock, latch) = latched(true);
    let (mut queue, shows) = measured(queue);
    let came = |queue: &str, event: &str, count: usize| {
        let labels = format!("{{event=\"{event}\",queue=\"{queue}\"}}");
        shows(&format!("scheduler_queue_incoming_pods_total{labels} {count}"));
    };
    queue.add(pod("a", json!({})));
    queue.update(pod("a", json!({"priority": 5})));
    came("active", "UnschedulablePodAdd", 1);
    let taken = queue.take().unwrap();
    queue.set_unschedulable(taken, refused());
    came("unschedulable", "ScheduleAttemptFailure", 1);
    latch.set(false);
    clock.advance(Duration::from_secs(300));
    queue.flush();
    came("unschedulable", "UnschedulableTimeout", 1);
    clock.advance(Duration::from_secs(300));
    queue.flush();
    queue.wake("a", false);
    assert_eq!(places(&queue), [0, 0, 0, 1]);
    came("unschedulable", "UnschedulableTimeout", 1);
    latch.set(true);
    queue.wake("a", false);
    came("active", "ForceActivate", 1);
    let taken = queue.take().unwrap();
    queue.on_event(NODE_ADDED, &EventObject::Flush);
    queue.set_unschedulable(taken, refused());
    came("backoff", "ScheduleAttemptFailure", 1);
    assert!(queue.take().is_some());
    came("active", "PopFromBackoffQ", 1);
}
