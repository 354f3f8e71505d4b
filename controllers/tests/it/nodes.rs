use crate::{
    cluster::{Cluster, NODE, eventually},
    world::{
        NODES, POD, SERVICE_CIDR, World, condition, is_going, items, name, says, template, text,
    },
};
use async_trait::async_trait;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use kubeplane_clock::{Clock, PausedClock};
use kubeplane_controllers::Settings;
use kubeplane_core::{
    Definition,
    admission::{Admission, Operation, Request},
    status::{ApiError, ApiResult},
};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};

/// Lets the cluster's time run until `check` holds.
async fn as_time_passes(
    clock: &PausedClock,
    what: &str,
    check: impl AsyncFn() -> Result<(), String>,
) {
    eventually(what, || async {
        clock.advance(Duration::from_secs(1));
        check().await
    })
    .await;
}

fn pod(name: &str, tolerations: Value) -> Value {
    let containers = json!([{"name": "c", "image": "i"}]);
    json!({
        "metadata": {"name": name},
        "spec": {"nodeName": NODE, "containers": containers, "tolerations": tolerations},
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_node_is_noticed_and_its_pods_leave_when_others_are_well() {
    let clock = PausedClock::starting_at(kubeplane_clock::real().now());
    let cluster = Cluster::with_clock(Arc::new(clock.clone())).await.with_kubelet().await;
    let nodes: Api<Node> = Api::all(cluster.client.clone());
    for name in ["well-1", "well-2"] {
        cluster.create::<Node>(json!({"metadata": {"name": name}})).await;
    }
    let pods = cluster.api::<Pod>();
    cluster.create::<Pod>(pod("stays", json!([{"operator": "Exists"}]))).await;
    let for_a_while = json!([{
        "key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 30,
    }]);
    let mut leaves = pod("leaves", for_a_while);
    leaves["metadata"]["finalizers"] = json!(["example.com/seen"]);
    cluster.create::<Pod>(leaves).await;
    let start = clock.elapsed();
    as_time_passes(&clock, "the silent node is unknown", async || {
        for name in ["well-1", "well-2"] {
            let beat = json!({"status": {"conditions": [
                {"type": "Ready", "status": "True", "lastHeartbeatTime": clock.now()}]}});
            nodes.patch_status(name, &PatchParams::default(), &Patch::Merge(beat)).await.unwrap();
        }
        let node = nodes.get(NODE).await.unwrap();
        let status = node.status.unwrap_or_default();
        let ready =
            status.conditions.into_iter().flatten().find(|condition| condition.type_ == "Ready");
        let ready = ready.ok_or("no condition")?;
        let taints = node.spec.and_then(|spec| spec.taints).unwrap_or_default();
        let effects: Vec<_> = taints
            .iter()
            .filter(|taint| taint.key == "node.kubernetes.io/unreachable")
            .map(|taint| taint.effect.as_str())
            .collect();
        let lost = ready.reason.as_deref() == Some("NodeStatusUnknown");
        let tainted = effects.contains(&"NoSchedule") && effects.contains(&"NoExecute");
        if lost && tainted { Ok(()) } else { Err(format!("{ready:?} {effects:?}")) }
    })
    .await;
    assert!(clock.elapsed() - start >= Duration::from_secs(50));
    assert!(pods.get_opt("leaves").await.unwrap().is_some(), "it tolerates for a while");
    as_time_passes(&clock, "the pod is told why it is to leave", async || {
        let pod = pods.get("leaves").await.unwrap();
        let status = pod.status.unwrap_or_default();
        let mut conditions = status.conditions.iter().flatten();
        let why = conditions.find(|condition| condition.type_ == "DisruptionTarget");
        let reason = why.and_then(|why| why.reason.as_deref());
        let goes = pod.metadata.deletion_timestamp.is_some();
        if goes && reason == Some("DeletionByTaintManager") {
            Ok(())
        } else {
            Err(format!("{why:?}"))
        }
    })
    .await;
    let seen = json!({"metadata": {"finalizers": null}});
    pods.patch("leaves", &PatchParams::default(), &Patch::Merge(seen)).await.unwrap();
    as_time_passes(&clock, "the pod leaves", async || {
        match pods.get_opt("leaves").await.unwrap() {
            None => Ok(()),
            Some(pod) => Err(format!("{:?}", pod.status)),
        }
    })
    .await;
    assert!(pods.get_opt("stays").await.unwrap().is_some());
}

/// Says of nodes whether they are ready, as their kubelets do.
async fn beat(world: &World, nodes: &[(&str, &str)]) {
    for (node, ready) in nodes {
        let heard = json!([{"type": "Ready", "status": ready, "lastHeartbeatTime": world.now()}]);
        world.merge_status(NODES, node, json!({"conditions": heard})).await;
    }
}

/// Lets time pass while nodes are like this, until these have a taint that evicts.
async fn evicts_from(world: &World, nodes: &[(&str, &str)], expected: &[&str]) {
    beat(world, nodes).await;
    let check = async || {
        world.pass(1);
        if world.clock.elapsed().as_secs().is_multiple_of(10) {
            beat(world, nodes).await;
        }
        let evicts = |node: &&Value| {
            items(node, "/spec/taints").iter().any(|taint| taint["effect"] == "NoExecute")
        };
        let all = world.list(NODES).await;
        let found: Vec<_> = all.iter().filter(evicts).map(name).collect();
        if found == expected { Ok(()) } else { Err(format!("{found:?}")) }
    };
    world.eventually(&format!("pods are to leave {expected:?}"), check).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_evicted_while_no_node_is_well() {
    let world = World::selected("node-lifecycle-controller").await;
    let labels =
        json!({"topology.kubernetes.io/region": "r", "topology.kubernetes.io/zone": "one"});
    world.make(NODES, json!({"metadata": {"name": "a", "labels": labels}})).await;
    world.make(NODES, json!({"metadata": {"name": "b"}})).await;
    evicts_from(&world, &[("a", "False"), ("b", "True")], &["a"]).await;
    let tainted = world.get(NODES, "a").await;
    let taints = items(&tainted, "/spec/taints");
    let not_ready = |effect: &str| {
        let is = |taint: &&Value| {
            taint["key"] == "node.kubernetes.io/not-ready" && taint["effect"] == effect
        };
        taints.iter().find(is)
    };
    assert!(not_ready("NoSchedule").is_some(), "{taints:?}");
    assert!(not_ready("NoExecute").is_some_and(|taint| !text(taint, "/timeAdded").is_empty()));
    // When all are silent, who looks may be to blame.
    evicts_from(&world, &[("a", "False"), ("b", "False")], &[]).await;
    evicts_from(&world, &[("a", "False"), ("b", "True")], &["a"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_that_is_to_leave_is_not_kept_by_a_longer_toleration() {
    let world = World::selected("taint-eviction-controller").await;
    let taints = json!([{"key": "worn", "effect": "NoExecute"}]);
    world.make(NODES, json!({"metadata": {"name": "old"}, "spec": {"taints": taints}})).await;
    let tolerates = |seconds: i64| json!([{"key": "worn", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds}]);
    for (pod, seconds) in [("longer", 3000), ("brief", 20)] {
        let mut object = template("a");
        object["metadata"]["name"] = json!(pod);
        object["spec"]["nodeName"] = json!("old");
        object["spec"]["tolerations"] = tolerates(seconds);
        world.make(POD, object).await;
    }
    let goes = async |pod: &str| {
        let check = async || {
            world.pass(1);
            match world.find(POD, pod).await {
                Some(left) if !is_going(&left) => Err(format!("{left:#}")),
                _ => Ok(()),
            }
        };
        world.eventually(&format!("{pod} is told to go"), check).await;
    };
    goes("brief").await;
    assert_eq!(
        world.told("brief", "TaintManagerEviction").await,
        "Marking for deletion Pod default/brief"
    );
    assert!(!is_going(&world.get(POD, "longer").await));
    world.merge(POD, "longer", json!({"spec": {"tolerations": tolerates(1_000_000)}})).await;
    world.pass(3000);
    goes("longer").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_have_a_part_of_each_range_until_none_is_left() {
    let mut world = World::start().await;
    world.cluster.give_ranges(&["10.8.0.0/23", "fd00::/63"]).await;
    let has = async |node: &str, first: &str, second: &str| {
        let wish = |own: &Value| {
            text(own, "/spec/podCIDR") == first && own["spec"]["podCIDRs"] == json!([first, second])
        };
        world.until(NODES, node, &format!("it has {first} and {second}"), wish).await;
    };
    world.make(NODES, json!({"metadata": {"name": "a"}})).await;
    has("a", "10.8.0.0/24", "fd00::/64").await;
    world.make(NODES, json!({"metadata": {"name": "b"}})).await;
    has("b", "10.8.1.0/24", "fd00:0:0:1::/64").await;
    world.make(NODES, json!({"metadata": {"name": "c"}})).await;
    let said = world.told("c", "CIDRNotAvailable").await;
    assert_eq!(said, "Node c status is now: CIDRNotAvailable");
    world.delete(NODES, "a").await;
    has("c", "10.8.0.0/24", "fd00::/64").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_have_no_addresses_of_services_and_what_is_given_back_comes_last() {
    let mut world = World::start().await;
    let services = json!({"metadata": {"name": "services"}, "spec": {"cidrs": ["10.9.0.0/24"]}});
    world.make(SERVICE_CIDR, services).await;
    let going = json!({"metadata": {"name": "going", "finalizers": ["example.com/held"]}});
    world.make(NODES, going).await;
    world.delete(NODES, "going").await;
    world.cluster.give_ranges(&["10.9.0.0/22"]).await;
    for (node, range) in [("a", "10.9.1.0/24"), ("b", "10.9.2.0/24")] {
        world.make(NODES, json!({"metadata": {"name": node}})).await;
        let has = |own: &Value| text(own, "/spec/podCIDR") == range;
        world.until(NODES, node, &format!("it has {range}"), has).await;
        world.delete(NODES, node).await;
    }
    assert_eq!(text(&world.get(NODES, "going").await, "/spec/podCIDR"), "", "it needs none");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_have_no_addresses_that_are_said_to_be_of_services() {
    let mut world = World::start().await;
    let mut settings = Settings::default();
    settings.service_cluster_ip_ranges = vec!["10.9.0.0/23".parse().unwrap()];
    world.cluster.set(settings).await;
    world.cluster.give_ranges(&["10.9.0.0/22"]).await;
    world.make(NODES, json!({"metadata": {"name": "a"}})).await;
    let has = |own: &Value| text(own, "/spec/podCIDR") == "10.9.2.0/24";
    world.until(NODES, "a", "it has what is left", has).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_pod_that_was_to_leave_later_it_is_told_that_it_is_gone() {
    let world = World::selected("taint-eviction-controller").await;
    let taints = json!([{"key": "k", "effect": "NoExecute"}]);
    world.make(NODES, json!({"metadata": {"name": NODE}, "spec": {"taints": taints}})).await;
    let for_a_while = json!([
        {"key": "k", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}]);
    let waits = world.make(POD, pod("waits", for_a_while)).await;
    // What comes later is looked at later.
    world.make(POD, pod("goes", json!([]))).await;
    world.until(POD, "goes", "it is to leave at once", is_going).await;
    world.end(&waits).await;
    let said = world.told("waits", "TaintManagerEviction").await;
    assert_eq!(said, "Cancelling deletion of Pod default/waits");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_planned_for_a_pod_holds_when_its_node_is_gone() {
    let world = World::selected("taint-eviction-controller").await;
    let taints = json!([{"key": "k", "effect": "NoExecute"}]);
    world.make(NODES, json!({"metadata": {"name": NODE}, "spec": {"taints": taints}})).await;
    let for_a_while = json!([
        {"key": "k", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}]);
    world.make(POD, pod("waits", for_a_while)).await;
    // What comes later is looked at later.
    world.make(POD, pod("goes", json!([]))).await;
    world.until(POD, "goes", "it is to leave at once", is_going).await;
    let since = world.clock.elapsed();
    world.delete(NODES, NODE).await;
    world.gone(NODES, NODE).await;
    let check = async || {
        world.pass(1);
        match world.find(POD, "waits").await {
            Some(left) if !is_going(&left) => Err(format!("{left:#}")),
            _ => Ok(()),
        }
    };
    world.eventually("it is told to go when its time is over", check).await;
    assert!(world.clock.elapsed() - since >= Duration::from_secs(290));
    let said = world.told("waits", "TaintManagerEviction").await;
    assert_eq!(said, "Marking for deletion Pod default/waits");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_that_goes_already_is_told_of_its_nodes_taint_too() {
    let world = World::selected("taint-eviction-controller").await;
    world.make(NODES, json!({"metadata": {"name": NODE}})).await;
    let mut going = pod("going", json!([]));
    going["metadata"]["finalizers"] = json!(["example.com/seen"]);
    world.make(POD, going).await;
    world.delete(POD, "going").await;
    let taints = json!([{"key": "k", "effect": "NoExecute"}]);
    world.merge(NODES, NODE, json!({"spec": {"taints": taints}})).await;
    let told = |pod: &Value| says(pod, "DisruptionTarget", "True", "DeletionByTaintManager");
    world.until(POD, "going", "its owner can tell why it goes", told).await;
}

/// Lets the controllers of nodes write nothing of the pod of this name.
#[derive(Debug)]
struct Silent(&'static str);

#[async_trait]
impl Admission for Silent {
    fn name(&self) -> &'static str {
        "Silent"
    }

    fn handles(&self, operation: Operation, definition: &Definition, subresource: &str) -> bool {
        operation == Operation::Update && definition.plural == "pods" && subresource == "status"
    }

    async fn validate(&self, request: &Request<'_>) -> ApiResult<()> {
        if request.name == self.0 && request.user.name.ends_with(":node-controller") {
            let of = request.definition.resource();
            return Err(ApiError::forbidden(&of, request.name, "nothing is told of it"));
        }
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_of_which_nothing_can_be_told_does_not_keep_others_of_its_node() {
    let refusing = |builder: kubeplane_apiserver::Builder| builder.admit(Silent("two"));
    let world = World::selected_with("node-lifecycle-controller", refusing).await;
    world.make(NODES, json!({"metadata": {"name": NODE}})).await;
    beat(&world, &[(NODE, "True")]).await;
    let others = ["one", "three", "four", "five", "six"];
    for name in others.into_iter().chain(["two"]) {
        let made = world.make(POD, pod(name, json!([]))).await;
        world.ready(&[made]).await;
    }
    for name in others {
        let check = async || {
            world.pass(1);
            let pod = world.get(POD, name).await;
            let ready = condition(&pod, "Ready").is_none_or(|own| own["status"] != "False");
            if ready { Err(format!("{pod:#}")) } else { Ok(()) }
        };
        world.eventually("it is not ready any more", check).await;
        assert_eq!(world.told(name, "NodeNotReady").await, "Node is not ready");
    }
}
