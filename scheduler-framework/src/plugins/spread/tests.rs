mod owners;
mod state;

use super::*;
use crate::plugins::fixtures::{filter, fitting, node, pod, scores};
use kubeplane_clock::Seed;
use serde_json::{Value, json};

fn hard(key: &str, max_skew: i32, more: Value) -> Value {
    constraint(key, max_skew, "DoNotSchedule", more)
}

fn soft(key: &str, max_skew: i32, more: Value) -> Value {
    constraint(key, max_skew, "ScheduleAnyway", more)
}

fn constraint(key: &str, max_skew: i32, action: &str, more: Value) -> Value {
    let mut value = json!({"topologyKey": key, "maxSkew": max_skew, "whenUnsatisfiable": action,
        "labelSelector": {"matchExpressions": [{"key": "foo", "operator": "Exists"}]}});
    for (key, own) in more.as_object().into_iter().flatten() {
        value[key] = own.clone();
    }
    value
}

fn spread(constraints: &[Value]) -> Value {
    json!({"topologySpreadConstraints": constraints})
}

/// Two zones of two nodes, with that many pods labelled `foo` each.
fn zones(pods: [usize; 4]) -> Snapshot {
    let places = [("a", "1"), ("b", "1"), ("x", "2"), ("y", "2")];
    let nodes = places.iter().zip(pods).map(|((name, zone), count)| {
        let pods: Vec<_> = (0..count)
            .map(|index| pod(&format!("{name}{index}"), "foo=", json!({"nodeName": name})))
            .collect();
        node(name, &format!("zone={zone} node={name}"), &pods)
    });
    Snapshot::new(nodes.collect())
}

fn fits(constraints: &[Value], pods: [usize; 4]) -> String {
    fitting(&PodTopologySpread::default(), &pod("p", "foo=", spread(constraints)), &zones(pods))
}

#[test]
fn hard_constraints_keep_the_skew() {
    let none = || json!({});
    for (constraints, pods, expected) in [
        (vec![hard("zone", 1, none())], [2, 1, 3, 0], "a b x y"),
        (vec![hard("zone", 1, none())], [1, 1, 3, 0], "a b"),
        (vec![hard("node", 1, none())], [2, 1, 0, 3], "x"),
        (vec![hard("node", 2, none())], [2, 1, 0, 3], "b x"),
        // Both must hold.
        (vec![hard("zone", 1, none()), hard("node", 1, none())], [2, 1, 3, 0], "y"),
        (vec![hard("zone", 1, none()), hard("node", 1, none())], [1, 1, 0, 3], ""),
        // Three domains are asked for and two are there: the least counts as none.
        (vec![hard("zone", 2, json!({"minDomains": 3}))], [1, 1, 1, 1], ""),
        (vec![hard("zone", 2, json!({"minDomains": 3}))], [1, 0, 1, 1], "a b"),
        (vec![hard("zone", 1, json!({"minDomains": 2}))], [1, 0, 0, 1], "a b x y"),
        // A selector that picks nothing counts nothing, not even the pod.
        (vec![hard("zone", 1, json!({"labelSelector": null}))], [5, 0, 0, 0], "a b x y"),
    ] {
        assert_eq!(fits(&constraints, pods), expected, "{constraints:?} {pods:?}");
    }
}

#[test]
fn pods_are_told_why() {
    let mut nodes = zones([2, 0, 0, 0]).nodes().to_vec();
    nodes.push(node("bare", "node=bare", &[]));
    let own = pod("p", "foo=", spread(&[hard("zone", 1, json!({}))]));
    let verdicts = filter(&PodTopologySpread::default(), &own, &Snapshot::new(nodes));
    let reason = "node(s) didn't match pod topology spread constraints";
    assert_eq!(verdicts[0], FilterVerdict::Unschedulable(vec![reason.into()]));
    let missing = format!("{reason} (missing required label)");
    assert_eq!(verdicts[4], FilterVerdict::Unresolvable(vec![missing]));
}

#[test]
fn inclusion_policies_and_match_label_keys_choose_what_counts() {
    // Only zone 2 is selected, so zone 1 is no domain and its pods do not count.
    let constraint = |policy| vec![hard("zone", 1, json!({"nodeAffinityPolicy": policy}))];
    let own = |policy| {
        let mut spec = spread(&constraint(policy));
        spec["nodeSelector"] = json!({"zone": "2"});
        pod("p", "foo=", spec)
    };
    let (plugin, nodes) = (PodTopologySpread::default(), zones([0, 0, 3, 0]));
    assert_eq!(fitting(&plugin, &own("Honor"), &nodes), "a b x y");
    assert_eq!(fitting(&plugin, &own("Ignore"), &nodes), "a b");
    let keyed = hard("zone", 1, json!({"matchLabelKeys": ["rev", "absent"]}));
    let own = pod("p", "foo= rev=2", spread(&[keyed]));
    let old: Vec<_> = (0..3).map(|n| pod(&format!("o{n}"), "foo= rev=1", json!({}))).collect();
    let new = [pod("n", "foo= rev=2", json!({}))];
    let nodes = Snapshot::new(vec![node("a", "zone=1", &old), node("x", "zone=2", &new)]);
    assert_eq!(fitting(&plugin, &own, &nodes), "a");
    assert_eq!(fitting(&plugin.with_match_label_keys(false), &own, &nodes), "x", "all count");
}

#[test]
fn soft_constraints_prefer_fewer_pods() {
    let all = |constraints: &[Value], pods| {
        let nodes = zones(pods);
        let own = pod("p", "foo=", spread(constraints));
        scores(&PodTopologySpread::default(), &own, &nodes, nodes.nodes())
    };
    let none = || json!({});
    assert_eq!(all(&[soft("zone", 1, none())], [0; 4]), Some(vec![100; 4]));
    // Raw: ln(4) * 3 = 4.16 and ln(4) * 1 = 1.39, rounded to 4 and 1.
    assert_eq!(all(&[soft("zone", 1, none())], [2, 1, 1, 0]), Some(vec![25, 25, 100, 100]));
    // Raw: ln(6) * 2, 1, 0, 3 are 3.58, 1.79, 0 and 5.38.
    assert_eq!(all(&[soft("node", 1, none())], [2, 1, 0, 3]), Some(vec![20, 60, 100, 0]));
    // A larger skew adds the same to all: 4, 3, 1, 6 become 20 40 80 0 of (6 + 1 - s) / 6.
    assert_eq!(all(&[soft("node", 2, none())], [2, 1, 0, 3]), Some(vec![33, 66, 100, 16]));
    assert_eq!(all(&[hard("node", 2, none())], [2, 1, 0, 3]), None);
    // A node without the label gets nothing.
    let mut nodes = zones([1, 0, 0, 0]).nodes().to_vec();
    nodes.push(node("bare", "", &[]));
    let nodes = Snapshot::new(nodes);
    let own = pod("p", "foo=", spread(&[soft("zone", 1, none())]));
    let found = scores(&PodTopologySpread::default(), &own, &nodes, nodes.nodes());
    assert_eq!(found, Some(vec![0, 0, 100, 100, 0]));
}

#[test]
fn pods_of_a_service_are_spread_by_default() {
    let service =
        json!({"metadata": {"name": "s", "namespace": "d"}, "spec": {"selector": {"app": "a"}}});
    let services = vec![Arc::new(serde_json::from_value(service).unwrap())];
    let objects = ClusterObjects { services: Arc::new(services), ..ClusterObjects::default() };
    let place = |name: &str, zone: &str, count: usize| {
        let pods: Vec<_> =
            (0..count).map(|n| pod(&format!("{name}{n}"), "app=a", json!({}))).collect();
        let labels = format!("topology.kubernetes.io/zone={zone} kubernetes.io/hostname={name}");
        node(name, &labels, &pods)
    };
    let nodes = Snapshot::new(vec![place("a", "1", 3), place("b", "1", 0), place("c", "2", 0)])
        .with_objects(Arc::new(objects));
    let plugin = PodTopologySpread::default();
    let found = scores(&plugin, &pod("p", "app=a", json!({})), &nodes, nodes.nodes());
    // Raw: host ln(5) * n + 2, zone ln(4) * n + 4: 15, 10 and 6.
    assert_eq!(found, Some(vec![40, 73, 100]));
    assert_eq!(scores(&plugin, &pod("p", "app=b", json!({})), &nodes, nodes.nodes()), None);
}

#[test]
fn pods_added_and_removed_in_thought_count() {
    let nodes = zones([1, 1, 0, 0]);
    let own = pod("p", "foo=", spread(&[hard("zone", 1, json!({}))]));
    let plugin = PodTopologySpread::default();
    let mut state = CycleState::of(nodes.clone());
    plugin.pre_filter(&mut state, &own, &nodes);
    let (a, x) = (nodes.node("a").unwrap(), nodes.node("x").unwrap());
    let fits = |state: &CycleState| {
        [a, x].map(|node| plugin.filter(state, &own, node) == FilterVerdict::Fits)
    };
    assert_eq!(fits(&state), [false, true]);
    let other = pod("q", "foo=", json!({}));
    for _ in 0..2 {
        plugin.add_pod(&mut state, &own, &other, x);
    }
    assert_eq!(fits(&state), [true, true]);
    plugin.remove_pod(&mut state, &own, &other, x);
    plugin.remove_pod(&mut state, &own, &other, x);
    plugin.remove_pod(&mut state, &own, &a.pods()[0].clone(), a);
    plugin.remove_pod(&mut state, &own, &a.pods()[0].clone(), a);
    assert_eq!(fits(&state), [true, true]);
    // What other cycles see is not changed.
    assert_eq!(fitting(&plugin, &own, &nodes), "x y");
}

#[test]
fn hints_tell_what_may_help() {
    let own = pod("p", "foo=", spread(&[hard("zone", 1, json!({}))]));
    let plugin = PodTopologySpread::default();
    let event = ClusterEvent::new(EventResource::AssignedPod, ActionType::DELETE);
    let gone = |name: &str, labels: &str, spec| {
        let old = Some(pod(name, labels, spec).pod().clone());
        plugin.hint(&own, event, &EventObject::Pod { old, new: None })
    };
    assert_eq!(gone("o", "foo=", json!({"nodeName": "a"})), Hint::Queue);
    assert_eq!(gone("o", "bar=", json!({"nodeName": "a"})), Hint::Skip);
    assert_eq!(gone("o", "foo=", json!({})), Hint::Skip);
    assert_eq!(gone("other/o", "foo=", json!({"nodeName": "a"})), Hint::Skip);
    let added = |labels: &str| {
        let new = Some(node("n", labels, &[]).node().clone());
        plugin.hint(&own, event, &EventObject::Node { old: None, new })
    };
    assert_eq!(added("zone=3"), Hint::Queue);
    assert_eq!(added("rack=3"), Hint::Skip);
}

#[test]
fn hints_know_the_defaults_of_pods_that_have_no_constraints() {
    let service =
        json!({"metadata": {"name": "s", "namespace": "d"}, "spec": {"selector": {"foo": "bar"}}});
    let services = vec![Arc::new(serde_json::from_value(service).unwrap())];
    let objects = ClusterObjects { services: Arc::new(services), ..ClusterObjects::default() };
    let strict = json!({"topologyKey": "zone", "maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule"});
    let strict = PodTopologySpread::with_defaults(vec![serde_json::from_value(strict).unwrap()]);
    let objects = Arc::new(objects);
    let known = |plugin: PodTopologySpread| {
        plugin.objects.set(objects.clone()).unwrap();
        plugin
    };
    let (strict, system) = (known(strict), known(PodTopologySpread::default()));
    let own = pod("p", "foo=bar", json!({}));
    let stranger = pod("p", "foo=other", json!({}));
    let event = ClusterEvent::new(EventResource::AssignedPod, ActionType::ADD);
    let added = |labels: &str| {
        let new = Some(pod("o", labels, json!({"nodeName": "a"})).pod().clone());
        EventObject::Pod { old: None, new }
    };
    let appeared = |labels: &str| {
        let new = Some(node("n", labels, &[]).node().clone());
        EventObject::Node { old: None, new }
    };
    for (plugin, own, object, expected) in [
        (&strict, &own, added("foo=bar"), Hint::Queue),
        (&strict, &own, added("foo=other"), Hint::Skip),
        (&strict, &stranger, added("foo=other"), Hint::Skip),
        (&system, &own, added("foo=bar"), Hint::Skip),
        (&strict, &own, appeared("zone=1"), Hint::Queue),
        (&strict, &own, appeared("rack=1"), Hint::Skip),
    ] {
        assert_eq!(plugin.hint(own, event, &object), expected, "{own:?} after {object:?}");
    }
    let unstarted = PodTopologySpread::default();
    assert_eq!(unstarted.hint(&own, event, &added("foo=other")), Hint::Queue, "nothing is known");
}

/// The rule as the documentation states it, counted afresh for every node.
fn plainly(own: &PodInfo, nodes: &Snapshot, constraints: &[Constraint], node: &NodeInfo) -> bool {
    constraints.iter().all(|constraint| {
        let Some(value) = node.label(&constraint.key) else { return false };
        let mut sizes: BTreeMap<&str, i64> = BTreeMap::new();
        for other in nodes.nodes() {
            if constraints.iter().all(|own| other.label(&own.key).is_some())
                && constraint.includes(own, other)
                && let Some(value) = other.label(&constraint.key)
            {
                let alike = other.pods().iter().filter(|pod| {
                    !pod.is_terminating()
                        && pod.namespace() == own.namespace()
                        && constraint.selector.matches_labels(pod.labels())
                });
                *sizes.entry(value).or_default() += i64::try_from(alike.count()).unwrap();
            }
        }
        let few = sizes.len() < constraint.min_domains;
        let least = if few { 0 } else { sizes.values().min().copied().unwrap_or_default() };
        let itself = i64::from(constraint.selector.matches_labels(own.labels()));
        sizes.get(value).copied().unwrap_or_default() + itself - least <= constraint.max_skew
    })
}

#[test]
fn random_clusters_agree_with_the_plain_rule_while_they_change() {
    let seed = Seed::new(11);
    let below = |bound: u64| usize::try_from(seed.below(bound)).unwrap();
    let plugin = PodTopologySpread::default();
    let mut nodes: Vec<Arc<NodeInfo>> = (0..12)
        .map(|index| {
            let zone = ["zone=1", "zone=2", "zone=3", ""][below(4)];
            node(&format!("n{index:02}"), &format!("{zone} node=n{index} disk=d{}", below(2)), &[])
        })
        .collect();
    let tallies = Snapshot::new(Vec::new());
    for round in 0..400 {
        let labels = ["foo=", "foo= bar=", "bar="][below(3)];
        let (key, skew) =
            (["zone", "node", "disk"][below(3)], i32::try_from(1 + below(2)).unwrap());
        let more = json!({"minDomains": 1 + below(4),
            "nodeAffinityPolicy": (["Honor", "Ignore"][below(2)])});
        let mut spec = spread(&[hard(key, skew, more), hard("zone", 2, json!({}))][..=below(2)]);
        if below(3) == 0 {
            spec["nodeSelector"] = json!({"disk": "d0"});
        }
        let own = pod(&format!("p{round}"), labels, spec);
        let mut snapshot = tallies.clone();
        snapshot = Snapshot::new(nodes.clone()).sharing(&snapshot);
        let constraints = plugin.constraints(&own, &snapshot, Action::DoNotSchedule).unwrap();
        let verdicts = filter(&plugin, &own, &snapshot);
        for (index, verdict) in verdicts.iter().enumerate() {
            let plain = plainly(&own, &snapshot, &constraints, &nodes[index]);
            assert_eq!(*verdict == FilterVerdict::Fits, plain, "round {round}, node {index}");
        }
        drop(snapshot);
        let place = below(12);
        if below(4) == 0 && !nodes[place].pods().is_empty() {
            let uid = nodes[place].pods()[0].uid().to_owned();
            Arc::make_mut(&mut nodes[place]).remove_pod(&uid);
        } else {
            Arc::make_mut(&mut nodes[place]).add_pod(own);
        }
    }
}
