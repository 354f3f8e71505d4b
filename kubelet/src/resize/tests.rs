use super::*;
use crate::allocation::{Actuated, Kept};
use serde_json::{Value, json};

fn pod(uid: &str, generation: i64, cpu: &str, more: Value) -> Arc<Pod> {
    let mut pod = json!({"metadata": {"uid": uid, "name": uid, "generation": generation}, "spec":
        {"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]}});
    for (key, value) in more.as_object().into_iter().flatten() {
        pod["spec"][key] = value.clone();
    }
    Arc::new(serde_json::from_value(pod).unwrap())
}

/// Pods that have so much of the node.
#[derive(Default)]
struct Node {
    pods: crate::pods::Pods,
}

impl Node {
    fn with(self, uid: &str, cpu: &str, more: Value) -> Self {
        let pod = pod(uid, 1, cpu, more);
        self.pods.add(uid, pod.clone(), Arc::default());
        let kept = Kept { allocated: Allocation::of(&pod), actuated: Actuated::new() };
        self.pods.admit(uid, &kept, |_| Ok::<_, ()>(())).unwrap();
        self
    }

    fn ask(&self, uid: &str, cpu: &str, more: Value) {
        assert!(self.pods.set(uid, pod(uid, 2, cpu, more)).is_some());
        self.pods.change(uid, |record| record.given.waits = true).unwrap();
    }

    /// Looks at those that wait, on a node with so many thousandths of a processor: the pods that were told something,
    /// and the reasons of their events.
    fn look(&self, capacity: i64) -> Vec<(String, Option<&'static str>)> {
        let check = |pod: &Pod, others: &[Arc<Pod>]| {
            let cpu = |pod: &Pod| requests(&spec::spec(pod))["cpu"].milli_value();
            let used: i64 = others.iter().map(|other| cpu(other)).sum();
            let message = "Pod was rejected: no room".to_owned();
            let fits = cpu(pod) <= capacity - used;
            if fits { Ok(()) } else { Err(Verdict { reason: "OutOfcpu".to_owned(), message }) }
        };
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        let told = self.pods.all(|records| look(records, now, check));
        let name = |pod: &Pod| pod.metadata.name.clone().unwrap();
        told.iter()
            .map(|told| (name(&told.pod), told.event.as_ref().map(|event| event.1)))
            .collect()
    }

    fn pending(&self, uid: &str) -> Option<(String, String, i64)> {
        let all = self.pods.resizes(uid);
        let own = all.into_iter().find(|own| own.type_ == PENDING)?;
        Some((own.reason?, own.message.unwrap_or_default(), own.observed_generation?))
    }
}

#[test]
fn a_pod_gets_more_when_another_has_gone() {
    let node = Node::default().with("a", "500m", json!({})).with("b", "400m", json!({}));
    node.ask("a", "700m", json!({}));
    assert_eq!(node.look(1000), [("a".to_owned(), Some("ResizeDeferred"))]);
    let deferred = ("Deferred".to_owned(), "no room".to_owned(), 2);
    assert_eq!(node.pending("a"), Some(deferred));
    assert!(node.look(1000).is_empty(), "nothing is told twice");
    node.pods.set_ended("b");
    assert_eq!(node.look(1000), [("a".to_owned(), Some("ResizeStarted"))]);
    assert_eq!(node.pending("a"), None);
    let conditions = node.pods.resizes("a");
    assert_eq!(
        (conditions[0].type_.as_str(), conditions[0].observed_generation),
        (IN_PROGRESS, Some(2))
    );
    assert!(node.look(1000).is_empty(), "it has what it asks for");
}

#[test]
fn room_is_given_by_priority_and_to_those_that_ask_for_less_first() {
    let priority = |value: i32| json!({"priority": value});
    let node = Node::default()
        .with("low", "100m", priority(1))
        .with("high", "100m", priority(9))
        .with("less", "500m", priority(0));
    node.ask("low", "500m", priority(1));
    node.ask("high", "500m", priority(9));
    node.ask("less", "100m", priority(0));
    let told = node.look(1000);
    let expected = [
        ("less", Some("ResizeStarted")),
        ("high", Some("ResizeStarted")),
        ("low", Some("ResizeDeferred")),
    ];
    assert_eq!(told, expected.map(|(name, event)| (name.to_owned(), event)));
}

#[test]
fn a_wish_that_is_taken_back_is_not_told_of_any_more() {
    let node = Node::default().with("a", "100m", json!({}));
    node.ask("a", "2", json!({}));
    node.look(1000);
    assert!(node.pending("a").is_some());
    node.ask("a", "100m", json!({}));
    assert_eq!(node.look(1000), [("a".to_owned(), None)]);
    assert_eq!(node.pending("a"), None);
}

#[test]
fn what_is_asked_for_the_pod_as_a_whole_is_never_given() {
    let whole = |cpu: &str| json!({"resources": {"requests": {"cpu": cpu}}});
    let node = Node::default().with("a", "100m", whole("200m"));
    node.ask("a", "100m", whole("300m"));
    assert_eq!(node.look(1000), [("a".to_owned(), Some("ResizeInfeasible"))]);
    assert_eq!(node.pending("a").unwrap().0, "Infeasible");
    assert!(node.look(1000).is_empty(), "it is not looked at again");
}

#[test]
fn a_condition_says_since_when_its_reason_holds() {
    let at = |second: i64| Timestamp::from_second(second).unwrap();
    let first = condition(PENDING, None, ("Deferred", "one"), Some(2), at(10));
    let same = condition(PENDING, Some(&first), ("Deferred", "one"), Some(2), at(20));
    assert_eq!(first, same);
    let other = condition(PENDING, Some(&first), ("Deferred", "two"), Some(2), at(30));
    assert_eq!(other.last_transition_time, first.last_transition_time);
    assert_eq!(other.last_probe_time, Some(Time(at(30))));
    let never = condition(PENDING, Some(&first), ("Infeasible", "two"), Some(3), at(40));
    assert_eq!(never.last_transition_time, Some(Time(at(40))));
}
