use super::*;
use crate::{
    EventObject, Hint,
    plugins::fixtures::{filter, pod, scores},
};
use serde_json::{Value, json};

fn node(allocatable: Value) -> NodeInfo {
    let value = json!({"metadata": {"name": "n"}, "status": {"allocatable": allocatable}});
    NodeInfo::new(Arc::new(serde_json::from_value(value).unwrap()))
}

fn asking(requests: Value) -> Arc<PodInfo> {
    pod("p", "", json!({"containers": [{"name": "c", "resources": {"requests": requests}}]}))
}

#[test]
fn strategies_score_as_the_original() {
    let full = node(json!({"cpu": "4", "memory": "10Gi", "pods": "10"}));
    let own = asking(json!({"cpu": "3", "memory": "5Gi"}));
    let of = |plugin: NodeResourcesFit| plugin.rate(&own, &full);
    assert_eq!(of(NodeResourcesFit::default()), i64::midpoint(25, 50));
    let most = NodeResourcesFit::default().strategy(ScoringStrategy::MostAllocated);
    assert_eq!(of(most), i64::midpoint(75, 50));
    let shape = [(0, 10), (100, 0)].map(|(utilization, score)| ShapePoint { utilization, score });
    let line = ScoringStrategy::RequestedToCapacityRatio(shape.to_vec());
    // 25 and 50, rounded half up.
    assert_eq!(of(NodeResourcesFit::default().strategy(line.clone())), 38);
    let weights = [("cpu".to_owned(), 3), ("memory".to_owned(), 1)];
    assert_eq!(of(NodeResourcesFit::scoring(weights).strategy(line)), 31);
}

#[test]
fn ignored_resources_are_not_looked_at() {
    let nodes = crate::Snapshot::new(vec![Arc::new(node(json!({"cpu": "4", "pods": "10"})))]);
    let own = asking(json!({"example.com/gpu": "1"}));
    let lacking = "Insufficient example.com/gpu".to_owned();
    let plugin = NodeResourcesFit::default();
    assert_eq!(filter(&plugin, &own, &nodes), [FilterVerdict::Unresolvable(vec![lacking])]);
    let one = plugin.clone().ignoring(["example.com/gpu".to_owned()], []);
    let group = plugin.ignoring([], ["example.com".to_owned()]);
    assert_eq!(filter(&one, &own, &nodes), [FilterVerdict::Fits]);
    assert_eq!(filter(&group, &own, &nodes), [FilterVerdict::Fits]);
    assert_eq!(scores(&one, &own, &nodes, nodes.nodes()), Some(vec![97]));
}

#[test]
fn only_what_frees_something_wanted_helps() {
    let own = asking(json!({"cpu": "2"}));
    let hint = |old: Option<Value>, new: Value| {
        let of = |value: Value| node(value).node().clone();
        let object = EventObject::Node { old: old.map(of), new: Some(of(new)) };
        let event = ClusterEvent::new(EventResource::Node, ActionType::ADD);
        NodeResourcesFit::default().hint(&own, event, &object)
    };
    let (small, large) = (json!({"cpu": "2", "pods": "9"}), json!({"cpu": "3", "pods": "9"}));
    assert_eq!(hint(None, json!({"cpu": "1", "pods": "9"})), Hint::Skip);
    assert_eq!(hint(None, small.clone()), Hint::Queue);
    assert_eq!(hint(Some(large.clone()), small.clone()), Hint::Skip);
    assert_eq!(hint(Some(small), large), Hint::Queue);
}

#[test]
fn a_node_helps_for_extended_resources_that_it_has_or_devices_stand_for() {
    let class =
        json!({"metadata": {"name": "c"}, "spec": {"extendedResourceName": "example.com/gpu"}});
    let class: DeviceClass = serde_json::from_value(class).unwrap();
    let plugin = |classes: Vec<Arc<DeviceClass>>| {
        let own = NodeResourcesFit::default();
        let objects =
            ClusterObjects { device_classes: Arc::new(classes), ..ClusterObjects::default() };
        own.objects.set(Arc::new(objects)).unwrap();
        own
    };
    let own = asking(json!({"example.com/gpu": "1", "cpu": "1"}));
    let hint = |plugin: &NodeResourcesFit, old: Option<Value>, new: Value| {
        let of = |value: Value| node(value).node().clone();
        let object = EventObject::Node { old: old.map(of), new: Some(of(new)) };
        let event = ClusterEvent::new(EventResource::Node, ActionType::ADD);
        plugin.hint(&own, event, &object)
    };
    let with = |cpu: &str, gpus: &str| json!({"cpu": cpu, "pods": "9", "example.com/gpu": gpus});
    let (plain, classed) = (plugin(Vec::new()), plugin(vec![Arc::new(class)]));
    for (old, new, by_node, by_devices) in [
        (None, with("1", "0"), Hint::Skip, Hint::Queue),
        (None, with("1", "1"), Hint::Queue, Hint::Queue),
        (Some(with("1", "0")), with("1", "1"), Hint::Queue, Hint::Queue),
        (Some(with("1", "1")), with("1", "1"), Hint::Skip, Hint::Skip),
        (Some(with("1", "1")), with("1", "0"), Hint::Skip, Hint::Queue),
        (Some(with("1", "0")), with("1", "0"), Hint::Skip, Hint::Queue),
        (None, with("0", "1"), Hint::Skip, Hint::Skip),
    ] {
        let what = format!("{old:?} to {new}");
        assert_eq!(hint(&plain, old.clone(), new.clone()), by_node, "{what}");
        assert_eq!(hint(&classed, old, new), by_devices, "{what}, with a class");
    }
}
