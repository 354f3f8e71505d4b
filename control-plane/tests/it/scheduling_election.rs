//! Of several schedulers one works at a time.

use async_trait::async_trait;
use k8s_openapi::api::{
    coordination::v1::Lease,
    core::v1::{Node, Pod},
};
use kube::{Api, Client, api::PostParams};
use kubeplane::{
    ControlPlane,
    client::LeaseConfig,
    scheduler::{
        Bind, BindVerdict, CycleState, DefaultBinder, PodInfo, Profile, Scheduler, SchedulerPlugin,
    },
    testing::TestCluster,
};
use serde_json::json;
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{sync::oneshot, time::timeout};

const PATIENCE: Duration = Duration::from_secs(60);

/// Binds, and writes down who did: `scheduler: pod`.
#[derive(Debug)]
struct Signing {
    scheduler: &'static str,
    binder: DefaultBinder,
    signed: Arc<Mutex<Vec<String>>>,
}

impl SchedulerPlugin for Signing {
    fn name(&self) -> &'static str {
        "Signing"
    }

    fn as_bind(&self) -> Option<&dyn Bind> {
        Some(self)
    }
}

#[async_trait]
impl Bind for Signing {
    async fn bind(&self, state: &CycleState, pod: &PodInfo, node: &str) -> BindVerdict {
        self.signed.lock().unwrap().push(format!("{}: {}", self.scheduler, pod.name()));
        self.binder.bind(state, pod, node).await
    }
}

/// A scheduler that works while it holds the lease.
fn candidate(
    client: &Client,
    scheduler: &'static str,
    signed: &Arc<Mutex<Vec<String>>>,
) -> ControlPlane {
    let binder = DefaultBinder::new(client.clone());
    let signing = Signing { scheduler, binder, signed: signed.clone() };
    let lease = LeaseConfig {
        // Longer than the test waits: who follows was let.
        lease_duration: Duration::from_secs(180),
        renew_deadline: Duration::from_secs(120),
        retry_period: Duration::from_millis(100),
        ..LeaseConfig::new("kube-system", "kube-scheduler", scheduler)
    };
    let scheduler = Scheduler::builder(client.clone())
        .profile(Profile::default().add(signing, 1))
        .leader_election(lease)
        .build()
        .unwrap();
    ControlPlane::new().with(scheduler)
}

/// Creates a pod and waits until it has a node.
async fn place(pods: &Api<Pod>, name: &str) {
    let pod: Pod = serde_json::from_value(json!({
        "metadata": {"name": name},
        "spec": {"tolerations": [{"operator": "Exists"}],
            "containers": [{"name": "c", "image": "i"}]},
    }))
    .unwrap();
    pods.create(&PostParams::default(), &pod).await.unwrap();
    let placed = async {
        while pods.get(name).await.unwrap().spec.unwrap().node_name.is_none() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(timeout(PATIENCE, placed).await.is_ok(), "{name} has no node");
}

/// Waits until a scheduler holds the lease.
async fn leads(client: &Client, scheduler: &str) {
    let leases: Api<Lease> = Api::namespaced(client.clone(), "kube-system");
    let leads = async {
        loop {
            let spec = leases.get("kube-scheduler").await.unwrap().spec.unwrap();
            if spec.holder_identity.as_deref() == Some(scheduler) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(timeout(PATIENCE, leads).await.is_ok(), "{scheduler} does not lead");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scheduler_that_ends_leaves_the_pods_to_the_next_and_no_two_work_at_once() {
    let cluster = TestCluster::builder().controllers_named("serviceaccount-controller");
    let cluster = cluster.start().await.unwrap();
    let client = cluster.client();
    let resources = json!({"cpu": "1", "memory": "1Gi", "pods": "20"});
    let node: Node = serde_json::from_value(json!({"metadata": {"name": "n"},
        "status": {"allocatable": resources, "capacity": resources}}))
    .unwrap();
    let nodes: Api<Node> = Api::all(client.clone());
    nodes.create(&PostParams::default(), &node).await.unwrap();
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    let signed = Arc::new(Mutex::new(Vec::new()));
    let (end, ended) = oneshot::channel::<()>();
    let first = candidate(&client, "first", &signed).run_until(async {
        ended.await.unwrap();
    });
    let play = async {
        place(&pods, "a").await;
        let second = async {
            for name in ["b", "c", "d"] {
                place(&pods, name).await;
            }
            assert!(signed.lock().unwrap().iter().all(|own| own.starts_with("first: ")));
            end.send(()).unwrap();
            leads(&client, "second").await;
            place(&pods, "e").await;
        };
        candidate(&client, "second", &signed).run_until(second).await.unwrap();
    };
    let (ended, ()) = tokio::join!(first, play);
    ended.unwrap();
    assert_eq!(
        *signed.lock().unwrap(),
        ["first: a", "first: b", "first: c", "first: d", "second: e"]
    );
    cluster.stop().await.unwrap();
}
