use super::*;
use crate::{
    ClusterObjects, NodeInfo,
    plugins::fixtures::{node, pod},
};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use serde_json::json;
use std::collections::BTreeSet;

/// Room for pods of one CPU each, of which so many are wanted; nodes have four.
struct Room {
    nodes: Snapshot,
    gone: BTreeSet<String>,
    wanted: i64,
}

#[async_trait]
impl GroupWhatIf for Room {
    fn nodes(&self) -> Snapshot {
        self.nodes.clone()
    }

    fn remove_pod(&mut self, uid: &str) {
        self.gone.insert(uid.to_owned());
    }

    fn restore_pod(&mut self, uid: &str) {
        self.gone.remove(uid);
    }

    async fn fits(&mut self) -> Result<(), GroupMisfit> {
        let free = |node: &Arc<NodeInfo>| {
            let there = node.pods().iter().filter(|pod| !self.gone.contains(pod.uid()));
            let used: i64 = there.map(|pod| pod.requests().milli_cpu).sum();
            (node.allocatable().milli_cpu - used) / 1000
        };
        match self.nodes.nodes().iter().map(free).sum::<i64>() >= self.wanted {
            true => Ok(()),
            false => Err(GroupMisfit::Unschedulable("pod group is unschedulable".to_owned())),
        }
    }
}

/// A pod of a priority that asks for that much CPU, perhaps of a group.
fn member(name: &str, priority: i32, cpu: &str, group: Option<&str>) -> Arc<PodInfo> {
    let spec = json!({"priority": priority,
        "schedulingGroup": group.map(|name| json!({"podGroupName": name})),
        "containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]});
    pod(name, &format!("app={name}"), spec)
}

fn group(name: &str, priority: i32, mode: &str) -> Arc<PodGroupObject> {
    let value = json!({"metadata": {"name": name, "namespace": "d", "uid": name},
        "spec": {"priority": priority, "disruptionMode": mode}});
    Arc::new(serde_json::from_value(value).unwrap())
}

/// Nodes in this order with these pods each, where so many more are wanted.
fn room(pods: &[Vec<Arc<PodInfo>>], groups: Vec<Arc<PodGroupObject>>, wanted: i64) -> Room {
    let nodes = pods.iter().enumerate().map(|(at, pods)| node(&format!("n{at}"), "", pods));
    let objects = ClusterObjects { pod_groups: Arc::new(groups), ..ClusterObjects::default() };
    let nodes = Snapshot::new(nodes.collect()).with_objects(Arc::new(objects));
    Room { nodes, gone: BTreeSet::new(), wanted }
}

/// Who leaves for a group worth a hundred, or why nobody does.
async fn leaving(room: &mut Room, budgets: &Budgets) -> String {
    match victims(&group("own", 100, "Pod"), budgets, room).await {
        Ok(pods) => {
            let gone: BTreeSet<_> = pods.iter().map(|pod| pod.uid().to_owned()).collect();
            assert_eq!(gone, room.gone, "who stays is back");
            pods.iter().map(|pod| pod.name()).collect::<Vec<_>>().join(" ")
        }
        Err(why) => format!("{why:?}"),
    }
}

#[tokio::test]
async fn as_few_as_possible_leave_wherever_they_are_the_least_important_first() {
    let single = |name, priority, cpu| member(name, priority, cpu, None);
    for (pods, wanted, expected) in [
        // All of them, on one node and on two.
        (vec![vec![single("a", 10, "2"), single("b", 10, "2")]], 4, "a b"),
        (vec![vec![single("a", 10, "4")], vec![single("b", 20, "4")]], 8, "b a"),
        // Only the one that takes much: there is room beside the other.
        (vec![vec![single("a", 10, "4")], vec![single("b", 10, "2")]], 6, "a"),
        // Whoever is worth less, and nobody who is worth as much.
        (vec![vec![single("a", 50, "2"), single("b", 10, "2")]], 2, "b"),
        (vec![vec![single("a", 100, "2"), single("b", 99, "2")]], 2, "b"),
        // There was room.
        (vec![vec![single("a", 10, "2")]], 2, ""),
    ] {
        assert_eq!(
            leaving(&mut room(&pods, Vec::new(), wanted), &Budgets::default()).await,
            expected
        );
    }
    let high = vec![vec![single("a", 100, "4")]];
    assert_eq!(
        leaving(&mut room(&high, Vec::new(), 1), &Budgets::default()).await,
        r#"Unschedulable("No preemption victims found for incoming preemptor")"#
    );
    let some = vec![vec![single("a", 100, "2"), single("b", 10, "2")]];
    assert_eq!(
        leaving(&mut room(&some, Vec::new(), 3), &Budgets::default()).await,
        r#"Unschedulable("pod group is unschedulable")"#
    );
}

#[tokio::test]
async fn a_group_leaves_as_a_whole_by_its_own_priority_if_it_says_so() {
    let crew = |priority| {
        let of_crew = |name| member(name, priority, "1", Some("crew"));
        vec![vec![of_crew("a"), of_crew("b"), member("x", 10, "2", None)], vec![of_crew("c")]]
    };
    for (own, mode, wanted, expected) in [
        // Of two worth the same, who is alone leaves; if that is not enough, the group leaves.
        ((10, 10), "PodGroup", 5, "x"),
        ((10, 10), "PodGroup", 7, "a b c x"),
        // The group counts, not its pods.
        ((200, 5), "PodGroup", 4, "a b c"),
        ((10, 200), "PodGroup", 6, r#"Unschedulable("pod group is unschedulable")"#),
        // Each for itself, and by its own priority.
        ((5, 200), "Pod", 4, "c"),
        ((5, 200), "Pod", 5, "b c"),
    ] {
        let (priority, of_group) = own;
        let groups = vec![group("crew", of_group, mode)];
        let found = leaving(&mut room(&crew(priority), groups, wanted), &Budgets::default()).await;
        assert_eq!(found, expected, "{own:?} {mode} {wanted}");
    }
    // A group that is not known holds nobody together.
    let found = leaving(&mut room(&crew(5), Vec::new(), 4), &Budgets::default()).await;
    assert_eq!(found, "c");
}

#[tokio::test]
async fn who_is_protected_by_a_budget_stays_rather_than_who_is_important() {
    let budget = json!({"metadata": {"name": "b", "namespace": "d"},
        "spec": {"selector": {"matchLabels": {"app": "a"}}},
        "status": {"disruptionsAllowed": 0, "currentHealthy": 1, "desiredHealthy": 1,
            "expectedPods": 1}});
    let budget: PodDisruptionBudget = serde_json::from_value(budget).unwrap();
    let budgets = Budgets::new(vec![Arc::new(budget)]);
    let alone = vec![vec![member("a", 10, "2", None), member("b", 50, "2", None)]];
    assert_eq!(leaving(&mut room(&alone, Vec::new(), 2), &budgets).await, "b");
    assert_eq!(leaving(&mut room(&alone, Vec::new(), 4), &budgets).await, "b a");
    // One protected pod protects all that would have to leave with it.
    let crew = |name| member(name, 10, "1", Some("crew"));
    let both = vec![vec![crew("a"), crew("c"), member("b", 50, "2", None)]];
    let groups = vec![group("crew", 10, "PodGroup")];
    assert_eq!(leaving(&mut room(&both, groups, 2), &budgets).await, "b");
}

#[tokio::test]
async fn nobody_leaves_for_a_group_with_a_pod_that_never_preempts() {
    let plugin = DefaultPreemption::default().with_group_preemption(true);
    let there = vec![vec![member("a", 10, "4", None)]];
    let mut room = room(&there, Vec::new(), 1);
    let own = member("p", 100, "1", Some("own"));
    let peaceful = pod("q", "", json!({"priority": 100, "preemptionPolicy": "Never"}));
    let group = group("own", 100, "Pod");
    let verdict = plugin.make_room(&group, &[own.clone(), peaceful], &mut room).await;
    let why = "not eligible due to preemptionPolicy=Never.";
    assert_eq!(verdict, GroupPostFilterVerdict::Unschedulable(why.to_owned()));
    assert!(room.gone.is_empty());
    let verdict = plugin.make_room(&group, &[own], &mut room).await;
    assert_eq!(verdict, GroupPostFilterVerdict::Preempting);
    assert_eq!(room.gone, BTreeSet::from(["a".to_owned()]));
}
