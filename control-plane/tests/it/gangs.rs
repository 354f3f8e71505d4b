//! Pods of a PodGroup are placed together or not at all.

use crate::cluster::Ground;
use k8s_openapi::api::core::v1::{Event, Node, Pod};
use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject, ListParams, PostParams},
};
use kubeplane::{
    ControlPlane,
    api::ApiOptions,
    scheduler::{
        GangScheduling, GroupPlacement, PlacementGenerate, PlacementScore, PodGroup,
        PodGroupObject, PodInfo, Profile, Scheduler, SchedulerPlugin, Snapshot,
    },
    testing::{TestCluster, run},
};
use serde_json::json;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

pub(super) const PATIENCE: Duration = Duration::from_secs(60);

pub(super) fn node(name: &str) -> Node {
    let resources = json!({"cpu": "1", "memory": "1Gi", "pods": "20"});
    let node = json!({"metadata": {"name": name},
        "status": {"allocatable": resources, "capacity": resources}});
    serde_json::from_value(node).unwrap()
}

/// Only one fits on a node.
fn pod(name: &str) -> Pod {
    pod_of(name, Some("crew"))
}

fn pod_of(name: &str, group: Option<&str>) -> Pod {
    let pod = json!({"metadata": {"name": name}, "spec": {
        "schedulingGroup": group.map(|name| json!({"podGroupName": name})),
        "tolerations": [{"operator": "Exists"}],
        "containers": [{"name": "c", "image": "i", "resources": {"requests": {"cpu": "600m"}}}]}});
    serde_json::from_value(pod).unwrap()
}

async fn make_group(client: Client, name: &str, least: u32) {
    let reference = json!({"workload": {"workloadName": "ship", "podGroupTemplateName": "hands"}});
    let group = json!({"metadata": {"name": name}, "spec": {
        "schedulingPolicy": {"gang": {"minCount": least}}, "podGroupTemplateRef": reference}});
    let kind = ApiResource::erase::<PodGroupObject>(&());
    let any: Api<DynamicObject> = Api::default_namespaced_with(client, &kind);
    let group = serde_json::from_value(group).unwrap();
    any.create(&PostParams::default(), &group).await.unwrap();
}

/// The status and the message of the group's condition, once it has one of this status.
async fn told(groups: &Api<PodGroupObject>, status: &str) -> String {
    told_of(groups, "crew", status).await
}

async fn told_of(groups: &Api<PodGroupObject>, name: &str, status: &str) -> String {
    let told = async {
        loop {
            let group = groups.get(name).await.unwrap();
            let mut conditions = group.status.conditions.into_iter();
            if let Some(own) =
                conditions.find(|own| own.type_ == "PodGroupScheduled" && own.status == status)
            {
                break own.message;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, told).await.expect("the group says how it stands")
}

/// Until a group without room says why in words that begin so: it may be tried before all nodes are seen.
pub(super) async fn until_told(groups: &Api<PodGroupObject>, name: &str, start: &str) {
    let told = async {
        while !told_of(groups, name, "False").await.starts_with(start) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let waited = tokio::time::timeout(PATIENCE, told).await;
    assert!(waited.is_ok(), "{name} never says {start:?}");
}

/// Until so many pods say in these words why they have no node.
pub(super) async fn until_saying(pods: &Api<Pod>, count: usize, message: &str) {
    let says = |pod: &Pod| {
        let conditions = pod.status.iter().flat_map(|own| own.conditions.iter().flatten());
        let mut own = conditions.filter(|own| own.type_ == "PodScheduled");
        own.any(|own| own.message.as_deref() == Some(message))
    };
    let all = async {
        loop {
            let list = pods.list(&ListParams::default()).await.unwrap();
            if list.items.iter().filter(|pod| says(pod)).count() == count {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let waited = tokio::time::timeout(PATIENCE, all).await;
    assert!(waited.is_ok(), "{count} pods never say {message:?}");
}

async fn placed(pods: &Api<Pod>) -> usize {
    placed_of(pods, "").await
}

/// How many pods whose name begins so have a node.
async fn placed_of(pods: &Api<Pod>, prefix: &str) -> usize {
    let all = pods.list(&ListParams::default()).await.unwrap();
    let own = all.items.iter().filter(|pod| {
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        name.starts_with(prefix) && pod.spec.as_ref().unwrap().node_name.is_some()
    });
    own.count()
}

/// Until so many pods whose name begins so have a node.
pub(super) async fn until_placed(pods: &Api<Pod>, prefix: &str, count: usize) {
    let all = async {
        while placed_of(pods, prefix).await < count {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let waited = tokio::time::timeout(PATIENCE, all).await;
    assert!(waited.is_ok(), "{count} of {prefix} have no node after {PATIENCE:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gang_is_placed_when_there_is_room_for_enough_of_it() {
    let options = ApiOptions {
        features: "GenericWorkload=true".parse().unwrap(),
        versions: "scheduling.k8s.io/v1alpha2=true".parse().unwrap(),
        ..ApiOptions::default()
    };
    let cluster =
        TestCluster::builder().options(options).controllers_named("serviceaccount-controller");
    let cluster = cluster.start().await.unwrap();
    let scheduler = Scheduler::builder(cluster.client())
        .profile(Profile::default().add(GangScheduling::default(), 1))
        .backoff(Duration::from_millis(50), Duration::from_millis(200))
        .build()
        .unwrap();
    let play = async {
        let nodes: Api<Node> = Api::all(cluster.client());
        let pods: Api<Pod> = Api::default_namespaced(cluster.client());
        let groups: Api<PodGroupObject> = Api::default_namespaced(cluster.client());
        let parameters = PostParams::default();
        nodes.create(&parameters, &node("a")).await.unwrap();
        nodes.create(&parameters, &node("b")).await.unwrap();
        make_group(cluster.client(), "crew", 3).await;
        for name in ["p1", "p2", "p3"] {
            assert_eq!(placed(&pods).await, 0, "none goes before there are enough");
            pods.create(&parameters, &pod(name)).await.unwrap();
        }
        assert_eq!(told(&groups, "False").await, "pod group is unschedulable");
        assert_eq!(placed(&pods).await, 0, "there is room for two of three");
        let short = "pod group is unschedulable, waiting for minCount pods from a gang to be scheduled, \
                     one or more plugins asked to wait and no plugin rejected pod";
        until_saying(&pods, 2, short).await;
        nodes.create(&parameters, &node("c")).await.unwrap();
        told(&groups, "True").await;
        until_placed(&pods, "p", 3).await;
    };
    ControlPlane::new().with(scheduler).run_until(play).await.unwrap();
    cluster.stop().await.unwrap();
}

async fn without_room(cluster: TestCluster) {
    let nodes: Api<Node> = Api::all(cluster.client());
    let pods: Api<Pod> = Api::default_namespaced(cluster.client());
    let events: Api<Event> = Api::default_namespaced(cluster.client());
    nodes.create(&PostParams::default(), &node("a")).await.unwrap();
    make_group(cluster.client(), "crew", 2).await;
    for name in ["p1", "p2"] {
        pods.create(&PostParams::default(), &pod(name)).await.unwrap();
    }
    // What is counted is written every half hour.
    cluster.advance(Duration::from_secs(31 * 60)).await;
    let all = events.list(&ListParams::default()).await.unwrap().items;
    let failed = all.iter().filter(|own| own.reason.as_deref() == Some("FailedScheduling"));
    let times = |own: &Event| own.series.as_ref().and_then(|own| own.count).unwrap_or(1);
    let told: i32 = failed.map(times).sum();
    assert!((31..31 * 60).contains(&told), "{told} times within half an hour");
}

/// There is room for one of the two: it waits, and says so to nobody who is tried with it.
#[test]
fn a_gang_without_room_for_all_is_tried_after_its_back_off_not_all_the_time() {
    let gates = "GenericWorkload=true,GangScheduling=true";
    let options = ApiOptions { features: gates.parse().unwrap(), ..ApiOptions::default() };
    let builder = TestCluster::builder().options(options).scheduler().paused();
    run(builder.controllers_named("serviceaccount-controller"), without_room);
}

/// A user's plugin: proposes the nodes of one team each, and likes green most and blue least.
#[derive(Debug)]
struct Teams;

impl SchedulerPlugin for Teams {
    fn name(&self) -> &'static str {
        "Teams"
    }

    fn as_placement_generate(&self) -> Option<&dyn PlacementGenerate> {
        Some(self)
    }

    fn as_placement_score(&self) -> Option<&dyn PlacementScore> {
        Some(self)
    }
}

impl PlacementGenerate for Teams {
    fn generate(
        &self,
        _: &PodGroup,
        within: &GroupPlacement,
        _: &Snapshot,
    ) -> Result<Vec<GroupPlacement>, String> {
        let mut teams: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
        for node in &within.nodes {
            let (team, _) = node.split_once('-').ok_or_else(|| format!("{node} has no team"))?;
            teams.entry(team).or_default().insert(node.clone());
        }
        let of_team = |(name, nodes): (&str, _)| GroupPlacement { name: name.to_owned(), nodes };
        Ok(teams.into_iter().map(of_team).collect())
    }
}

impl PlacementScore for Teams {
    fn score(
        &self,
        _: &PodGroup,
        placement: &GroupPlacement,
        assigned: &[(Arc<PodInfo>, String)],
        _: &Snapshot,
    ) -> i64 {
        let inside = assigned.iter().all(|(_, node)| placement.nodes.contains(node));
        match placement.name.as_str() {
            _ if !inside => 0,
            "green" => 100,
            "red" => 50,
            _ => 1,
        }
    }
}

/// The nodes of the pods whose name begins so.
async fn nodes_of(pods: &Api<Pod>, prefix: &str) -> BTreeSet<String> {
    let all = pods.list(&ListParams::default()).await.unwrap();
    let own = all
        .items
        .into_iter()
        .filter(|pod| pod.metadata.name.as_deref().is_some_and(|name| name.starts_with(prefix)));
    own.filter_map(|pod| pod.spec.unwrap().node_name).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugin_of_the_users_own_decides_where_a_gang_goes() {
    let options = ApiOptions {
        features: "GenericWorkload=true".parse().unwrap(),
        versions: "scheduling.k8s.io/v1alpha2=true".parse().unwrap(),
        ..ApiOptions::default()
    };
    let cluster =
        TestCluster::builder().options(options).controllers_named("serviceaccount-controller");
    let cluster = cluster.start().await.unwrap();
    let profile = Profile::default().add(GangScheduling::default(), 1).add(Teams, 1);
    let scheduler = Scheduler::builder(cluster.client())
        .profile(profile)
        .backoff(Duration::from_millis(50), Duration::from_millis(200))
        .build()
        .unwrap();
    let play = async {
        let nodes: Api<Node> = Api::all(cluster.client());
        let pods: Api<Pod> = Api::default_namespaced(cluster.client());
        let groups: Api<PodGroupObject> = Api::default_namespaced(cluster.client());
        let parameters = PostParams::default();
        for name in ["blue-1", "blue-2", "green-1", "green-2", "red-1", "red-2"] {
            nodes.create(&parameters, &node(name)).await.unwrap();
        }
        // There is room for each of them, but in no team for all.
        make_group(cluster.client(), "crowd", 3).await;
        for name in ["crowd-1", "crowd-2", "crowd-3"] {
            pods.create(&parameters, &pod_of(name, Some("crowd"))).await.unwrap();
        }
        let said = "0/3 placements are available, first placement status: ";
        until_told(&groups, "crowd", said).await;

        // The best team that has room takes all of a gang.
        for (gang, team) in [("first", "green"), ("second", "red"), ("third", "blue")] {
            make_group(cluster.client(), gang, 2).await;
            for number in 1..=2 {
                let own = pod_of(&format!("{gang}-{number}"), Some(gang));
                pods.create(&parameters, &own).await.unwrap();
            }
            until_placed(&pods, gang, 2).await;
            let expected = [1, 2].map(|number| format!("{team}-{number}"));
            assert_eq!(nodes_of(&pods, gang).await, BTreeSet::from(expected), "{gang}");
        }
        assert_eq!(placed_of(&pods, "crowd").await, 0);

        // What the plugin fails with is said of the group and of each of its pods.
        nodes.create(&parameters, &node("stray")).await.unwrap();
        until_told(&groups, "crowd", "stray has no team").await;
        until_saying(&pods, 3, "stray has no team").await;
    };
    ControlPlane::new().with(scheduler).run_until(play).await.unwrap();
    cluster.stop().await.unwrap();
}

/// The scheduler of the assembled cluster, which has no more rights than its role: the gates bring it the plugin, the
/// kind it reads and the rights to read it and to say how groups stand.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_gate_brings_gangs_to_the_scheduler_with_its_own_rights() {
    let options = ApiOptions {
        features: "GenericWorkload=true,GangScheduling=true".parse().unwrap(),
        ..ApiOptions::default()
    };
    let cluster = TestCluster::builder()
        .options(options)
        .controllers_named("serviceaccount-controller")
        .scheduler()
        .start()
        .await
        .unwrap();
    let nodes: Api<Node> = Api::all(cluster.client());
    let pods: Api<Pod> = Api::default_namespaced(cluster.client());
    let groups: Api<PodGroupObject> = Api::default_namespaced(cluster.client());
    let parameters = PostParams::default();
    for name in ["a", "b", "c"] {
        nodes.create(&parameters, &node(name)).await.unwrap();
    }
    make_group(cluster.client(), "fleet", 5).await;
    make_group(cluster.client(), "pair", 2).await;
    for name in ["fleet-1", "fleet-2", "fleet-3", "fleet-4"] {
        pods.create(&parameters, &pod_of(name, Some("fleet"))).await.unwrap();
    }
    // One that belongs to no group goes by those that wait for more of theirs.
    pods.create(&parameters, &pod_of("lone", None)).await.unwrap();
    until_placed(&pods, "lone", 1).await;
    assert_eq!(placed_of(&pods, "fleet").await, 0, "none goes before there are enough");
    pods.create(&parameters, &pod_of("fleet-5", Some("fleet"))).await.unwrap();
    assert_eq!(told_of(&groups, "fleet", "False").await, "pod group is unschedulable");

    // What has no room for all of it holds none of the room.
    for name in ["pair-1", "pair-2"] {
        assert_eq!(placed_of(&pods, "pair").await, 0, "one alone is no pair");
        pods.create(&parameters, &pod_of(name, Some("pair"))).await.unwrap();
    }
    until_placed(&pods, "pair", 2).await;
    assert_eq!(told_of(&groups, "pair", "True").await, "");
    assert_eq!(placed_of(&pods, "fleet").await, 0);

    for name in ["d", "e", "f", "g", "h"] {
        nodes.create(&parameters, &node(name)).await.unwrap();
    }
    until_placed(&pods, "fleet", 5).await;
    told_of(&groups, "fleet", "True").await;
    cluster.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_gate_there_are_no_groups() {
    let cluster = TestCluster::builder()
        .controllers_named("serviceaccount-controller")
        .scheduler()
        .start()
        .await
        .unwrap();
    let nodes: Api<Node> = Api::all(cluster.client());
    let pods: Api<Pod> = Api::default_namespaced(cluster.client());
    nodes.create(&PostParams::default(), &node("a")).await.unwrap();
    let made = pods.create(&PostParams::default(), &pod("p")).await.unwrap();
    assert_eq!(made.spec.unwrap().scheduling_group, None, "the field is dropped");
    until_placed(&pods, "p", 1).await;
    let groups: Api<PodGroupObject> = Api::default_namespaced(cluster.client());
    let refused = groups.list(&ListParams::default()).await.unwrap_err();
    assert!(matches!(refused, kube::Error::Api(status) if status.code == 404));
    cluster.stop().await.unwrap();
}

const CREW: &str = r#"
apiVersion: scheduling.k8s.io/v1alpha2
kind: PodGroup
metadata: {name: crew}
spec:
  schedulingPolicy: {gang: {minCount: 2}}
  podGroupTemplateRef: {workload: {workloadName: ship, podGroupTemplateName: hands}}
"#;

/// The flag of the binary is all it takes.
#[test]
fn serve_places_gangs_when_its_gates_say_so() {
    let gates = "--feature-gates=GenericWorkload=true,GangScheduling=true";
    let ground = Ground::simulated().with(&[gates]);
    let cluster = ground.start();
    let kubectl = cluster.kubectl();
    kubectl.ok_with(&["apply", "-f", "-"], CREW);
    let hand = |name: &str| {
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {
            "schedulingGroup": {"podGroupName": "crew"},
            "containers": [{"name": "c", "image": "busybox", "command": ["sleep", "3600"]}]}});
        kubectl.ok_with(&["apply", "-f", "-"], &pod.to_string());
    };
    let node_of = ["get", "pods", "-o", "jsonpath={.items[*].spec.nodeName}"];
    hand("first");
    // A pod of no group that came later shows that the scheduler has been by.
    kubectl.ok(&["run", "other", "--image=busybox", "--command", "--", "sleep", "3600"]);
    kubectl.until(&node_of, "the other pod to have a node", |nodes| nodes.trim() == "node-1");
    hand("second");
    kubectl.until(&node_of, "all to have a node", |nodes| nodes.split_whitespace().count() == 3);
    let condition = r#"jsonpath={.status.conditions[?(@.type=="PodGroupScheduled")].status}"#;
    let asked = ["get", "podgroup", "crew", "-o", condition];
    kubectl.until(&asked, "the group to say so", |status| status == "True");
}
