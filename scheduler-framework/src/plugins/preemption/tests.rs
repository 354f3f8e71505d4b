use super::*;
use crate::{
    ClusterObjects, CycleState, Framework, NodeInfo, NodeSet, Nomination, Profile,
    framework::Failure,
    groups::PodGroupObject,
    plugins::fixtures::{node, pod},
};
use k8s_openapi::api::{
    core::v1::{PersistentVolume, PersistentVolumeClaim},
    policy::v1::PodDisruptionBudget,
    storage::v1::CSINode,
};
use kubeplane_clock::{PausedClock, Seed};
use serde_json::{Value, json};

#[derive(Debug)]
struct Bound;

impl SchedulerPlugin for Bound {
    fn name(&self) -> &'static str {
        "Bound"
    }

    fn as_bind(&self) -> Option<&dyn crate::Bind> {
        Some(self)
    }
}

#[async_trait]
impl crate::Bind for Bound {
    async fn bind(&self, _: &CycleState, _: &PodInfo, _: &str) -> crate::BindVerdict {
        crate::BindVerdict::Bound
    }
}

fn framework() -> Framework {
    let clock = Arc::new(PausedClock::starting_at("2026-01-01T00:00:00Z".parse().unwrap()));
    Framework::new(Profile::default().add(Bound, 1), clock, Seed::new(3)).unwrap()
}

/// A pod of a priority that asks for that much CPU.
fn cpu(name: &str, priority: i32, cpu: &str) -> Arc<PodInfo> {
    with(name, priority, cpu, json!({}))
}

fn with(name: &str, priority: i32, cpu: &str, mut spec: Value) -> Arc<PodInfo> {
    spec["priority"] = json!(priority);
    spec["containers"] = json!([{"name": "c", "resources": {"requests": {"cpu": cpu}}}]);
    pod(name, &format!("app={name}"), spec)
}

/// A pod that runs since a second of the first minute of 2026.
fn since(name: &str, priority: i32, cpu: &str, second: u8) -> Arc<PodInfo> {
    let mut own = (**with(name, priority, cpu, json!({})).pod()).clone();
    let status = json!({"startTime": format!("2026-01-01T00:00:{second:02}Z")});
    own.status = serde_json::from_value(status).unwrap();
    Arc::new(PodInfo::new(Arc::new(own)))
}

fn snapshot(nodes: &[(&str, Vec<Arc<PodInfo>>)]) -> Snapshot {
    Snapshot::new(nodes.iter().map(|(name, pods)| node(name, "", pods)).collect())
}

async fn outcome(own: &PodInfo, nodes: &Snapshot) -> (Nomination, String) {
    match framework().schedule(own, nodes).await {
        Err(Failure::Unschedulable(diagnosis)) => {
            (diagnosis.nomination.clone(), diagnosis.to_string())
        }
        other => panic!("{other:?}"),
    }
}

async fn nominated(own: &PodInfo, nodes: &Snapshot) -> String {
    match outcome(own, nodes).await.0 {
        Nomination::Node(node) => node,
        other => panic!("{other:?}"),
    }
}

/// Who would have to leave a node, and how many budgets that breaks.
fn victims(own: &PodInfo, nodes: &Snapshot, name: &str) -> (Vec<String>, usize) {
    let (framework, hooks) = (framework(), Hooks::default());
    let mut state = CycleState::of(nodes.clone());
    let found = framework.what_if(&mut state, own, nodes, |what_if| {
        let budgets = Budgets::new(nodes.objects().budgets.all());
        let node: &NodeInfo = nodes.node(name).unwrap();
        candidates::on_node(what_if, node, &budgets, &hooks).unwrap().unwrap()
    });
    (found.victims.iter().map(|pod| pod.name().to_owned()).collect(), found.violations)
}

#[tokio::test]
async fn the_node_where_leaving_hurts_least_is_chosen() {
    let own = cpu("p", 100, "3");
    for (nodes, expected) in [
        // A lower highest priority.
        ([vec![cpu("a", 20, "2")], vec![cpu("b", 10, "2")]], "n2"),
        // Then the lower sum: fewer victims of the same priority.
        ([vec![cpu("a", 10, "2"), cpu("c", 10, "2")], vec![cpu("b", 10, "4")]], "n2"),
        // Then who has run for the shortest time.
        ([vec![since("a", 10, "2", 1)], vec![since("b", 10, "2", 9)]], "n2"),
        ([vec![since("a", 10, "2", 9)], vec![since("b", 10, "2", 1)]], "n1"),
        // Nobody of higher priority leaves.
        ([vec![cpu("a", 200, "2")], vec![cpu("b", 90, "2")]], "n2"),
    ] {
        let [first, second] = nodes;
        let nodes = snapshot(&[("n1", first), ("n2", second)]);
        assert_eq!(nominated(&own, &nodes).await, expected);
    }
}

#[tokio::test]
async fn who_would_leave_is_weighed_by_priority_then_number_then_age() {
    const NEGATIVE: i32 = -100;
    const LOW: i32 = 0;
    const MIDDLE: i32 = 100;
    const HIGH: i32 = 1000;
    let alike = |priorities: &[i32]| -> Vec<(i32, u8)> {
        priorities.iter().map(|priority| (*priority, 0)).collect()
    };
    let own = cpu("p", 10_000, "4");
    // The priority of each pod, all of whom would have to leave, and when it started.
    for (nodes, expected) in [
        (vec![alike(&[MIDDLE, MIDDLE]), alike(&[MIDDLE, LOW]), alike(&[LOW, LOW])], "n3"),
        (vec![alike(&[MIDDLE, MIDDLE]), alike(&[MIDDLE, LOW]), alike(&[MIDDLE, MIDDLE])], "n2"),
        (
            vec![
                alike(&[MIDDLE, NEGATIVE, MIDDLE, NEGATIVE]),
                alike(&[MIDDLE, NEGATIVE]),
                alike(&[MIDDLE, NEGATIVE, LOW]),
            ],
            "n2",
        ),
        // Fewer weigh less, however low the priorities of others are.
        (
            vec![
                alike(&[MIDDLE, NEGATIVE, NEGATIVE]),
                alike(&[MIDDLE, NEGATIVE]),
                alike(&[MIDDLE, NEGATIVE, LOW]),
            ],
            "n2",
        ),
        (
            vec![
                alike(&[MIDDLE, LOW, LOW]),
                alike(&[HIGH]),
                alike(&[MIDDLE, LOW, LOW, LOW]),
                alike(&[MIDDLE, MIDDLE, MIDDLE, NEGATIVE]),
            ],
            "n1",
        ),
        (
            vec![
                vec![(MIDDLE, 2), (MIDDLE, 2)],
                vec![(MIDDLE, 3), (MIDDLE, 3)],
                vec![(MIDDLE, 1), (MIDDLE, 1)],
            ],
            "n2",
        ),
        (
            vec![
                vec![(MIDDLE, 4), (MIDDLE, 2)],
                vec![(MIDDLE, 5), (MIDDLE, 1)],
                vec![(MIDDLE, 3), (MIDDLE, 6)],
            ],
            "n3",
        ),
        // Of the most important only it counts how long they run.
        (
            vec![
                vec![(LOW, 4), (MIDDLE, 2)],
                vec![(MIDDLE, 6), (LOW, 1)],
                vec![(LOW, 3), (MIDDLE, 5)],
            ],
            "n2",
        ),
    ] {
        let there = |(number, pods): (usize, &Vec<(i32, u8)>)| {
            let one = |(index, (priority, second)): (usize, &(i32, u8))| {
                since(&format!("p{number}-{index}"), *priority, "1", *second)
            };
            let pods: Vec<_> = pods.iter().enumerate().map(one).collect();
            node(&format!("n{}", number + 1), "", &pods)
        };
        let all = Snapshot::new(nodes.iter().enumerate().map(there).collect());
        assert_eq!(nominated(&own, &all).await, expected, "{nodes:?}");
    }
}

#[test]
fn pods_that_a_budget_lets_go_already_break_it_no_more() {
    let budget = |allowed: i32, gone: Value| -> Arc<PodDisruptionBudget> {
        let both = json!({"key": "app", "operator": "In", "values": ["a", "b"]});
        let value = json!({"metadata": {"name": "b", "namespace": "d"},
            "spec": {"selector": {"matchExpressions": [both]}},
            "status": {"disruptionsAllowed": allowed, "currentHealthy": 2, "desiredHealthy": 1,
                "expectedPods": 2, "disruptedPods": gone}});
        Arc::new(serde_json::from_value(value).unwrap())
    };
    let gone = json!({"a": "2026-01-01T00:00:00Z"});
    let pods = ["a", "b", "c"].map(|name| cpu(name, 0, "1"));
    for (allowed, gone, expected) in [
        (0, json!({}), [true, true, false]),
        (1, json!({}), [false, true, false]),
        (2, json!({}), [false, false, false]),
        (0, gone.clone(), [false, true, false]),
        (1, gone, [false, false, false]),
    ] {
        let budgets = Budgets::new(vec![budget(allowed, gone.clone())]);
        assert_eq!(budgets.breaking(&pods), expected, "{allowed} beside {gone}");
    }
}

#[tokio::test]
async fn only_those_who_must_leave_and_the_least_important_first() {
    let own = cpu("p", 100, "2");
    let nodes = snapshot(&[("n", vec![cpu("a", 30, "1"), cpu("b", 10, "1"), cpu("c", 20, "2")])]);
    assert_eq!(victims(&own, &nodes, "n"), (vec!["c".to_owned()], 0));
    let nodes = snapshot(&[("n", vec![since("a", 1, "2", 5), since("b", 1, "2", 1)])]);
    assert_eq!(victims(&own, &nodes, "n"), (vec!["a".to_owned()], 0));
}

#[tokio::test]
async fn disruption_budgets_are_broken_last() {
    let budget = |allowed: i32| {
        let value = json!({"metadata": {"name": "b", "namespace": "d"},
            "spec": {"selector": {"matchLabels": {"app": "a"}}},
            "status": {"disruptionsAllowed": allowed, "currentHealthy": 1, "desiredHealthy": 1,
                "expectedPods": 1}});
        let budget: PodDisruptionBudget = serde_json::from_value(value).unwrap();
        Arc::new(ClusterObjects {
            budgets: Arc::new(vec![Arc::new(budget)]),
            ..ClusterObjects::default()
        })
    };
    let own = cpu("p", 100, "3");
    let nodes = |allowed| {
        snapshot(&[("n1", vec![cpu("a", 10, "2")]), ("n2", vec![cpu("b", 20, "2")])])
            .with_objects(budget(allowed))
    };
    assert_eq!(nominated(&own, &nodes(1)).await, "n1");
    assert_eq!(nominated(&own, &nodes(0)).await, "n2");
    let protected = snapshot(&[("n1", vec![cpu("a", 10, "2"), cpu("b", 20, "2")])]);
    let protected = protected.with_objects(budget(0));
    // The protected pod is kept although the other is more important.
    let own = cpu("p", 100, "2");
    assert_eq!(victims(&own, &protected, "n1"), (vec!["b".to_owned()], 0));
    let own = cpu("p", 100, "4");
    assert_eq!(victims(&own, &protected, "n1"), (vec!["b".to_owned(), "a".to_owned()], 1));
}

#[tokio::test]
async fn no_more_nodes_that_break_budgets_are_compared_than_are_wanted() {
    let budget = json!({"metadata": {"name": "b", "namespace": "d"},
        "spec": {"selector": {"matchExpressions": [{"key": "app", "operator": "Exists"}]}},
        "status": {"disruptionsAllowed": 0, "currentHealthy": 1, "desiredHealthy": 1,
            "expectedPods": 1}});
    let budget: PodDisruptionBudget = serde_json::from_value(budget).unwrap();
    let objects =
        ClusterObjects { budgets: Arc::new(vec![Arc::new(budget)]), ..ClusterObjects::default() };
    let pods = |name: &str| vec![cpu(name, 10, "2")];
    let nodes = snapshot(&[("n1", pods("a")), ("n2", pods("b")), ("n3", pods("c"))]);
    let nodes = nodes.with_objects(Arc::new(objects));
    let own = cpu("p", 100, "3");
    for wanted in [1, 2, 3] {
        let found = found(&DefaultPreemption::new(0, wanted), &own, &nodes);
        assert_eq!(found.len(), wanted, "{found:?}");
    }
}

#[tokio::test]
async fn pods_are_told_why_preemption_does_not_help() {
    let nodes = snapshot(&[("n1", vec![cpu("a", 10, "2")]), ("n2", vec![cpu("b", 500, "2")])]);
    let insufficient = "0/2 nodes are available: 2 Insufficient cpu.";
    let never = with("p", 100, "3", json!({"preemptionPolicy": "Never"}));
    let (nomination, message) = outcome(&never, &nodes).await;
    let why = "preemption: not eligible due to preemptionPolicy=Never.";
    assert_eq!(
        (nomination, message),
        (Nomination::Keep, format!("{insufficient} no new claims to deallocate, {why}"))
    );
    let (nomination, message) = outcome(&cpu("p", 1, "3"), &nodes).await;
    let why =
        "preemption: 0/2 nodes are available: 2 No preemption victims found for incoming pod.";
    assert_eq!(
        (nomination, message),
        (Nomination::Clear, format!("{insufficient} no new claims to deallocate, {why}"))
    );
    let (_, message) = outcome(&cpu("p", 100, "9"), &nodes).await;
    let why = "preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling.";
    assert_eq!(message, format!("{insufficient} no new claims to deallocate, {why}"));
}

#[test]
fn pods_of_groups_that_say_where_they_go_make_no_room() {
    let of = |group: &str| with("p", 100, "3", json!({"schedulingGroup": {"podGroupName": group}}));
    let group = |name: &str, constraints: Value| {
        let value = json!({"metadata": {"name": name, "namespace": "d"},
            "spec": {"schedulingConstraints": constraints}});
        Arc::new(serde_json::from_value::<PodGroupObject>(value).unwrap())
    };
    let groups = vec![group("free", Value::Null), group("placed", json!({"topology": []}))];
    let objects = ClusterObjects { pod_groups: Arc::new(groups), ..ClusterObjects::default() };
    let nodes = snapshot(&[("n1", vec![cpu("a", 10, "2")])]).with_objects(Arc::new(objects));
    let placed = "not eligible due to placement-based pod group scheduling limitation";
    for (in_places, own, expected) in [
        (true, of("free"), None),
        (true, of("placed"), Some(placed)),
        (true, of("gone"), Some("pod group for pod not found")),
        (true, cpu("p", 100, "3"), None),
        (false, of("placed"), None),
        (false, of("gone"), None),
    ] {
        let plugin = DefaultPreemption::default().with_group_placements(in_places);
        let mut state = CycleState::of(nodes.clone());
        let objection = framework().what_if(&mut state, &own, &nodes, |what_if| {
            plugin.objection(what_if, &Diagnosis::default())
        });
        assert_eq!(objection, expected, "{in_places} {:?}", own.group());
    }
}

/// The same pod with another field.
fn with_field(own: &PodInfo, path: [&str; 2], value: Value) -> Arc<PodInfo> {
    let mut pod = serde_json::to_value(&**own.pod()).unwrap();
    pod[path[0]][path[1]] = value;
    Arc::new(PodInfo::new(Arc::new(serde_json::from_value(pod).unwrap())))
}

#[tokio::test]
async fn a_pod_waits_until_those_have_left_whom_it_has_driven_out() {
    let driven_out = json!([{"type": "DisruptionTarget", "status": "True",
        "reason": "PreemptionByScheduler"}]);
    let victim = with_field(&cpu("a", 10, "2"), ["status", "conditions"], driven_out);
    let leaving = ["metadata", "deletionTimestamp"];
    let victim = with_field(&victim, leaving, json!("2026-01-01T00:00:00Z"));
    let nodes = snapshot(&[("n1", vec![victim]), ("n2", vec![cpu("b", 10, "2")])]);
    let waiting_for =
        |node: &str| with_field(&cpu("p", 100, "3"), ["status", "nominatedNodeName"], json!(node));
    let (nomination, message) = outcome(&waiting_for("n1"), &nodes).await;
    assert_eq!(nomination, Nomination::Keep);
    let why = "preemption: not eligible due to a terminating pod on the nominated node.";
    assert!(message.ends_with(why), "{message}");
    // Where nobody leaves, and on a node that is gone, there is nothing to wait for.
    for node in ["n2", "gone"] {
        let (nomination, message) = outcome(&waiting_for(node), &nodes).await;
        assert!(matches!(nomination, Nomination::Node(_)), "{message}");
    }
}

#[test]
fn of_several_nodes_that_fail_all_are_told() {
    let why = |node: &str| format!("expected at least one victim pod on node {node:?}");
    assert_eq!(together(&[why("a")]), why("a"));
    let both = "[expected at least one victim pod on node \"a\", expected at least one victim pod on node \"b\"]";
    assert_eq!(together(&[why("a"), why("b")]), both);
}

#[tokio::test]
async fn anti_affinity_is_resolved_by_leaving() {
    let term = json!([{"topologyKey": "zone", "labelSelector": {"matchLabels": {"app": "a"}}}]);
    let spec = json!({"affinity": {"podAntiAffinity":
        {"requiredDuringSchedulingIgnoredDuringExecution": term}}});
    let own = with("p", 100, "1", spec);
    let nodes = Snapshot::new(vec![node("n1", "zone=1", &[cpu("a", 10, "1"), cpu("b", 5, "1")])]);
    assert_eq!(nominated(&own, &nodes).await, "n1");
    assert_eq!(victims(&own, &nodes, "n1").0, ["a"]);
}

#[tokio::test]
async fn room_made_for_one_pod_is_not_taken_by_its_equals() {
    let nominated = Arc::new([("n1".to_owned(), vec![cpu("first", 50, "3")])].into());
    let nodes = snapshot(&[("n1", Vec::new())]).with_nominated(nominated);
    let (_, message) = outcome(&cpu("equal", 50, "2"), &nodes).await;
    assert!(message.starts_with("0/1 nodes are available: 1 Insufficient cpu."), "{message}");
    for own in [cpu("higher", 51, "2"), cpu("small", 1, "1"), cpu("first", 50, "3")] {
        assert_eq!(framework().schedule(&own, &nodes).await.unwrap().node, "n1");
    }
}

/// Who would have to leave which node, as the plugin finds them.
fn found(plugin: &DefaultPreemption, own: &PodInfo, nodes: &Snapshot) -> Vec<String> {
    let (framework, mut state) = (framework(), CycleState::of(nodes.clone()));
    framework.what_if(&mut state, own, nodes, |what_if| {
        let resolvable = NodeSet::all(nodes.nodes().len());
        let diagnosis = Diagnosis { resolvable, ..Diagnosis::default() };
        let found = plugin.candidates(what_if, &diagnosis).unwrap();
        let refused = found.refusal(what_if);
        let victims = |own: &Candidate| {
            let names: Vec<_> = own.victims.iter().map(|pod| pod.name()).collect();
            format!("{}: {} ({})", own.node, names.join(" "), own.violations)
        };
        let mut all: Vec<_> = found.candidates(what_if, true).iter().map(victims).collect();
        all.extend(refused.reasons.iter().map(|(why, count)| format!("{count} {why}")));
        all.sort();
        all
    })
}

#[tokio::test]
async fn what_is_known_of_nodes_is_what_looking_anew_finds() {
    let mut cache = crate::Cache::default();
    for index in 0..6 {
        let info = node(&format!("n{index}"), "", &[]);
        cache.set_node(info.node().clone());
    }
    let seed = Seed::new(11);
    let plugin = DefaultPreemption::default();
    let (mut number, mut placed) = (0, Vec::new());
    for round in 0..200 {
        // A few pods come and go, and some are waited for.
        for _ in 0..seed.below(3) {
            number += 1;
            let priority = i32::try_from(seed.below(4)).unwrap() * 10;
            let own = since(&format!("p{number}"), priority, "1500m", (number % 60) as u8);
            cache.set_pod(&format!("n{}", seed.below(6)), own.clone());
            placed.push(own);
        }
        if !placed.is_empty() && seed.below(2) == 0 {
            let leaves = usize::try_from(seed.below(placed.len() as u64)).unwrap();
            cache.remove_pod(placed.swap_remove(leaves).uid());
        }
        match seed.below(6) {
            0 => cache.nominate("n1", cpu("nominated", 100, "2")),
            1 => cache.clear_nomination("nominated"),
            _ => {}
        }
        let nodes = cache.snapshot();
        for priority in [15, 25] {
            let own = cpu("high", priority, "3");
            let anew = found(&DefaultPreemption::default(), &own, &nodes);
            assert_eq!(found(&plugin, &own, &nodes), anew, "round {round}");
        }
    }
    assert_eq!(format!("{:?}", plugin.known), "Remembered { kinds: 2 }", "of both priorities");
}

#[test]
fn what_is_known_of_nodes_holds_for_pods_whose_volumes_every_node_can_use() {
    fn all<K: serde::de::DeserializeOwned>(values: &[Value]) -> Arc<Vec<Arc<K>>> {
        let read = |value: &Value| Arc::new(serde_json::from_value(value.clone()).unwrap());
        Arc::new(values.iter().map(read).collect())
    }
    let completed = kubeplane_workload::storage::BIND_COMPLETED;
    let claim = json!({"metadata": {"name": "c", "namespace": "d",
        "annotations": {completed: "yes"}}, "spec": {"volumeName": "v"}});
    let claiming = json!([{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}]);
    let own = with("p", 10, "3", json!({"volumes": claiming}));
    let is_known = |affinity: Value, csi_nodes: &[Value]| {
        let volume = json!({"metadata": {"name": "v"}, "spec": {"nodeAffinity": affinity,
            "awsElasticBlockStore": {"volumeID": "v"}}});
        let objects = ClusterObjects {
            claims: all::<PersistentVolumeClaim>(std::slice::from_ref(&claim)),
            volumes: all::<PersistentVolume>(&[volume]),
            csi_nodes: all::<CSINode>(csi_nodes),
            ..ClusterObjects::default()
        };
        let nodes = snapshot(&[("a", Vec::new())]).with_objects(Arc::new(objects));
        let mut state = CycleState::of(nodes.clone());
        framework().what_if(&mut state, &own, &nodes, |what_if| what_if.kind().is_some())
    };
    assert!(is_known(Value::Null, &[]));
    let here = json!({"key": "host", "operator": "In", "values": ["a"]});
    let only = json!({"required": {"nodeSelectorTerms": [{"matchExpressions": [here]}]}});
    assert!(!is_known(only, &[]), "where the pod fits hangs on its volume");
    let driver = json!({"metadata": {"name": "a"}, "spec": {"drivers": []}});
    assert!(!is_known(Value::Null, &[driver]), "the volume may count on the node");
}

#[test]
fn a_program_may_say_who_may_have_to_leave_and_who_is_important() {
    let nodes = snapshot(&[
        ("a", vec![since("a1", 1, "2", 1), since("a2", 1, "2", 2)]),
        ("b", vec![since("b1", 1, "2", 1), since("b2", 1, "2", 2)]),
    ]);
    let own = cpu("p", 10, "2");
    let found = |plugin: DefaultPreemption| found(&plugin, &own, &nodes);
    assert_eq!(found(DefaultPreemption::default()), ["a: a2 (0)", "b: b2 (0)"]);
    let elsewhere = DefaultPreemption::default().eligible_if(|node, _, _| node.name() != "b");
    let nobody = "1 No preemption victims found for incoming pod";
    assert_eq!(found(elsewhere), [nobody, "a: a2 (0)"]);
    let by_name = DefaultPreemption::default().importance_by(|a, b| b.name().cmp(a.name()));
    assert_eq!(found(by_name), ["a: a1 (0)", "b: b1 (0)"], "the last by name stay");
}
