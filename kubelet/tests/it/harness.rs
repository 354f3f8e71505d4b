//! An API server, a simulated runtime and kubelets.

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, PostParams};
use kubeplane_apiserver::{ApiServer, admission::NamespaceLifecycle};
use kubeplane_auth::Masters;
use kubeplane_core::{
    GroupResource,
    component::{Component, Supervision, lifecycle},
};
use kubeplane_handlers::{AccessReview, ReviewKind};
use kubeplane_kubelet::{Kubelet, KubeletConfig};
use kubeplane_runtime_cri::{ContainerRuntime, SimulatedOptions, SimulatedRuntime};
use kubeplane_store_memory::MemoryStore;
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};
use tokio::task::JoinHandle;

const PATIENCE: Duration = Duration::from_secs(90);

pub(crate) struct World {
    pub(crate) client: kube::Client,
    pub(crate) runtime: Arc<dyn ContainerRuntime>,
    pub(crate) dir: tempfile::TempDir,
    _api: ApiServer,
}

/// A kubelet that runs until it is stopped.
pub(crate) struct Running {
    supervision: Supervision,
    task: JoinHandle<()>,
}

impl Running {
    pub(crate) async fn stop(self) {
        self.supervision.stop();
        tokio::time::timeout(PATIENCE, self.task).await.expect("the kubelet stops").unwrap();
    }
}

impl World {
    /// A cluster without nodes, for simulated containers.
    pub(crate) async fn new() -> Self {
        let options = SimulatedOptions::default();
        Self::with(Arc::new(SimulatedRuntime::new(kubeplane_clock::real(), options))).await
    }

    /// A cluster without nodes, for containers of this runtime.
    pub(crate) async fn with(runtime: Arc<dyn ContainerRuntime>) -> Self {
        let store = Arc::new(MemoryStore::new());
        let review = GroupResource::new("authorization.k8s.io", "subjectaccessreviews");
        let api = ApiServer::builder(store)
            .resources(kubeplane_builtin::all())
            .authorize(Masters)
            .handler(review, "", Arc::new(AccessReview(ReviewKind::Subject)))
            .admit(NamespaceLifecycle)
            .build()
            .unwrap();
        let client = api.client();
        let world = Self { client, runtime, dir: tempfile::tempdir().unwrap(), _api: api };
        for name in ["default", "kube-node-lease"] {
            world.post("/api/v1/namespaces", json!({"metadata": {"name": name}})).await;
        }
        world
    }

    pub(crate) fn config(&self) -> KubeletConfig {
        let mut config = KubeletConfig::new("node-1");
        config.data_dir = self.dir.path().join("kubelet");
        config.log_dir = self.dir.path().join("logs");
        config.sync_period = Duration::from_millis(500);
        config.relist_period = Duration::from_millis(200);
        config
    }

    /// Starts a kubelet on `node-1` and waits until the node is ready.
    pub(crate) async fn kubelet(&self) -> Running {
        self.kubelet_with(self.config()).await
    }

    pub(crate) async fn kubelet_with(&self, config: KubeletConfig) -> Running {
        let runtime = self.runtime.clone();
        let kubelet = Kubelet::builder(self.client.clone(), runtime, config).build().unwrap();
        let (life, mut supervision) = lifecycle();
        let task = tokio::spawn(async move { Box::new(kubelet).run(life).await.unwrap() });
        let ready = tokio::time::timeout(PATIENCE, supervision.became_ready()).await;
        assert!(ready.expect("the kubelet is ready in time"));
        Running { supervision, task }
    }

    pub(crate) async fn post(&self, path: &str, object: Value) -> Value {
        let body = serde_json::to_vec(&object).unwrap();
        let request = http::Request::post(path)
            .header("content-type", "application/json")
            .body(body)
            .unwrap();
        self.client.request(request).await.unwrap()
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        self.client.request(http::Request::get(path).body(Vec::new()).unwrap()).await.unwrap()
    }

    pub(crate) fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), "default")
    }

    /// Makes a pod of `node-1` with this specification.
    pub(crate) async fn run(&self, name: &str, mut spec: Value) -> Pod {
        spec["nodeName"] = json!("node-1");
        let pod =
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec});
        let pod: Pod = serde_json::from_value(pod).unwrap();
        self.pods().create(&PostParams::default(), &pod).await.unwrap()
    }

    pub(crate) async fn delete(&self, name: &str) {
        self.pods().delete(name, &DeleteParams::default()).await.unwrap();
    }

    /// Waits until the pod, as JSON, is as `wanted` says.
    pub(crate) async fn until(
        &self,
        name: &str,
        what: &str,
        wanted: impl Fn(&Value) -> bool,
    ) -> Value {
        self.wait(what, async || {
            let pod = self.pods().get_opt(name).await.unwrap();
            let pod = pod.map_or(Value::Null, |pod| serde_json::to_value(pod).unwrap());
            if wanted(&pod) {
                Ok(pod)
            } else {
                Err(format!("{} {:?}", pod["status"], self.events(name).await))
            }
        })
        .await
    }

    /// Waits for a value, or fails with what there was instead.
    pub(crate) async fn wait<T>(&self, what: &str, look: impl AsyncFn() -> Result<T, String>) -> T {
        let end = tokio::time::Instant::now() + PATIENCE;
        loop {
            match look().await {
                Ok(found) => return found,
                Err(instead) if tokio::time::Instant::now() > end => {
                    panic!("{what} did not happen; instead: {instead}")
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }

    /// The reasons and messages of the events of an object.
    pub(crate) async fn events(&self, name: &str) -> Vec<(String, String)> {
        let list = self.get("/api/v1/namespaces/default/events").await;
        let text =
            |event: &Value, field: &str| event[field].as_str().unwrap_or_default().to_owned();
        list["items"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|event| event["involvedObject"]["name"] == name)
            .map(|event| (text(event, "reason"), text(event, "message")))
            .collect()
    }

    pub(crate) async fn event(&self, name: &str, reason: &str, part: &str) {
        self.wait(&format!("event {reason} {part:?}"), async || {
            let events = self.events(name).await;
            let found = events.iter().any(|(r, message)| r == reason && message.contains(part));
            if found { Ok(()) } else { Err(format!("{events:?}")) }
        })
        .await;
    }
}

pub(crate) fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array();
    conditions.is_some_and(|all| all.iter().any(|c| c["type"] == "Ready" && c["status"] == "True"))
}
