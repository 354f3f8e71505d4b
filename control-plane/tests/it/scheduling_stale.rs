//! A scheduler that sees nothing for a while decides by what was so before: what it wants to bind then fails, and ends on a
//! node that is there and has room once it sees again.

use async_trait::async_trait;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::{
    Api, Client,
    api::{DeleteParams, ListParams, PostParams},
};
use kubeplane::{
    ControlPlane,
    client::Informers,
    core::auth::{GROUP_AUTHENTICATED, GROUP_MASTERS, UserInfo},
    scheduler::{
        Bind, BindVerdict, CycleState, DefaultBinder, PodInfo, Profile, Scheduler, SchedulerPlugin,
    },
    testing::TestCluster,
};
use serde_json::json;
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

const PATIENCE: Duration = Duration::from_secs(120);
const LOOK: Duration = Duration::from_millis(20);
/// As whom the scheduler sees; it writes as another.
const EYES: &str = "system:test:eyes";

/// Which pod was to be bound to which node, in order.
type Tries = Arc<Mutex<Vec<(String, String)>>>;

/// Binds from when it may, and only to a node that is there and that no pod is on, as the API server has it.
#[derive(Debug)]
struct Careful {
    binder: DefaultBinder,
    nodes: Api<Node>,
    pods: Api<Pod>,
    may: Arc<AtomicBool>,
    tries: Tries,
}

impl Careful {
    /// What speaks against a node.
    async fn objection(&self, node: &str) -> kube::Result<Option<String>> {
        if self.nodes.get_opt(node).await?.is_none() {
            return Ok(Some(format!("{node} is gone")));
        }
        let on_node = ListParams::default().fields(&format!("spec.nodeName={node}"));
        let has_pods = !self.pods.list(&on_node).await?.items.is_empty();
        Ok(has_pods.then(|| format!("{node} is taken")))
    }
}

impl SchedulerPlugin for Careful {
    fn name(&self) -> &'static str {
        "Careful"
    }

    fn as_bind(&self) -> Option<&dyn Bind> {
        Some(self)
    }
}

#[async_trait]
impl Bind for Careful {
    async fn bind(&self, state: &CycleState, pod: &PodInfo, node: &str) -> BindVerdict {
        self.tries.lock().unwrap().push((pod.name().to_owned(), node.to_owned()));
        while !self.may.load(Ordering::Relaxed) {
            tokio::time::sleep(LOOK).await;
        }
        match self.objection(node).await {
            Ok(None) => self.binder.bind(state, pod, node).await,
            Ok(Some(why)) => BindVerdict::Error(why),
            Err(error) => BindVerdict::Error(error.to_string()),
        }
    }
}

async fn make_node(client: &Client, name: &str) {
    let resources = json!({"cpu": "1", "memory": "1Gi", "pods": "20"});
    let node = json!({"metadata": {"name": name},
        "status": {"allocatable": resources, "capacity": resources}});
    let node: Node = serde_json::from_value(node).unwrap();
    Api::<Node>::all(client.clone()).create(&PostParams::default(), &node).await.unwrap();
}

/// A pod of which a node takes no second.
async fn make_pod(pods: &Api<Pod>, name: &str, node: Option<&str>) {
    let requests = json!({"cpu": "800m"});
    let pod = json!({
        "metadata": {"name": name},
        "spec": {"terminationGracePeriodSeconds": 0, "nodeName": node,
            "tolerations": [{"operator": "Exists"}],
            "containers": [{"name": "c", "image": "i", "resources": {"requests": requests}}]},
    });
    pods.create(&PostParams::default(), &serde_json::from_value(pod).unwrap()).await.unwrap();
}

async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let waits = async {
        while !is_so().await {
            tokio::time::sleep(LOOK).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, waits).await.is_ok(), "it never is that {what}");
}

/// Whether the scheduler has said of a pod that it fits nowhere.
async fn is_refused(pods: &Api<Pod>, name: &str) -> bool {
    let status = pods.get(name).await.unwrap().status.unwrap_or_default();
    let mut conditions = status.conditions.into_iter().flatten();
    conditions
        .any(|own| own.type_ == "PodScheduled" && own.reason.as_deref() == Some("Unschedulable"))
}

/// Where each pod is.
async fn places(pods: &Api<Pod>) -> BTreeMap<String, Option<String>> {
    let all = pods.list(&ListParams::default()).await.unwrap().items;
    let each = all.into_iter().map(|own| {
        (own.metadata.name.unwrap_or_default(), own.spec.and_then(|spec| spec.node_name))
    });
    each.collect()
}

/// Of two pods the first is to be bound to the one node `old` when the scheduler sees no more; then `change` is made, and
/// two more nodes come. Both pods are to be where there is room, and nobody is to have been bound before.
async fn with_a_stale_scheduler(change: impl AsyncFnOnce(&Client)) -> BTreeMap<String, String> {
    let cluster = TestCluster::builder().controllers_named("serviceaccount-controller");
    let cluster = cluster.start().await.unwrap();
    let client = cluster.client();
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    let (may, tries) = (Arc::new(AtomicBool::new(false)), Tries::default());
    let careful = Careful {
        binder: DefaultBinder::new(client.clone()),
        nodes: Api::all(client.clone()),
        pods: pods.clone(),
        may: may.clone(),
        tries: tries.clone(),
    };
    let eyes = UserInfo::new(EYES, [GROUP_MASTERS, GROUP_AUTHENTICATED]);
    let eyes = Informers::new(cluster.client_as(eyes), kubeplane::clock::real());
    let scheduler = Scheduler::builder(client.clone())
        .informers(eyes)
        .profile(Profile::default().add(careful, 1))
        .backoff(Duration::from_millis(50), Duration::from_millis(200))
        .build()
        .unwrap();
    let tried = |pod: &str, node: &str| {
        let tries = tries.lock().unwrap();
        tries.iter().filter(|own| own.0 == pod && own.1 == node).count()
    };
    let play = async {
        make_node(&client, "old").await;
        make_pod(&pods, "first", None).await;
        until("the first is to be bound", async || tried("first", "old") == 1).await;
        make_pod(&pods, "second", None).await;
        until("the second has no room", async || is_refused(&pods, "second").await).await;

        cluster.faults().cut(EYES);
        change(&client).await;
        make_node(&client, "new-1").await;
        make_node(&client, "new-2").await;
        may.store(true, Ordering::Relaxed);
        // What the first held is free again, and it comes again itself: all by what the scheduler saw last.
        until("the second gets the room of the first", async || tried("second", "old") > 0).await;
        until("the first comes again", async || tried("first", "old") > 1).await;
        let placed = places(&pods).await;
        assert!(placed["first"].is_none() && placed["second"].is_none(), "{placed:?}");

        cluster.faults().heal(EYES);
        let have_nodes = async || {
            let placed = places(&pods).await;
            placed["first"].is_some() && placed["second"].is_some()
        };
        until("both have nodes", have_nodes).await;
    };
    ControlPlane::new().with(scheduler).run_until(play).await.unwrap();
    let placed = places(&pods).await;
    cluster.stop().await.unwrap();
    placed.into_iter().map(|(pod, node)| (pod, node.unwrap_or_default())).collect()
}

/// Whether the two pods have one of the new nodes each.
fn are_apart(placed: &BTreeMap<String, String>) -> bool {
    let (first, second) = (&placed["first"], &placed["second"]);
    first != second && [first, second].iter().all(|node| node.starts_with("new-"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_for_a_node_that_was_deleted_unseen_end_on_others() {
    let placed = with_a_stale_scheduler(async |client: &Client| {
        let nodes: Api<Node> = Api::all(client.clone());
        nodes.delete("old", &DeleteParams::default()).await.unwrap();
    })
    .await;
    assert!(are_apart(&placed), "{placed:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_for_a_node_that_somebody_filled_unseen_end_on_others() {
    let placed = with_a_stale_scheduler(async |client: &Client| {
        let pods: Api<Pod> = Api::default_namespaced(client.clone());
        make_pod(&pods, "other", Some("old")).await;
    })
    .await;
    assert_eq!(placed["other"], "old");
    assert!(are_apart(&placed), "{placed:?}");
}
