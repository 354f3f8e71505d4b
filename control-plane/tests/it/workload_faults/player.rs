//! Requests to an API that fails as it likes.

use kube::{
    Api, ResourceExt,
    api::{
        ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams,
        PropagationPolicy,
    },
};
use kubeplane::{clock::Seed, testing::TestCluster};
use serde_json::{Value, json};
use std::time::Duration;

/// How often a request of the test is sent while the server starts anew.
pub(super) const TRIES: usize = 100;

/// Who changes things, and asks again where the API fails.
pub(super) struct Play {
    pub(super) cluster: TestCluster,
    pub(super) seed: Seed,
    /// The kinds of changes that are still to come before all come again.
    pub(super) deck: Vec<usize>,
    pub(super) jobs: u64,
    pub(super) namespaces: u64,
    pub(super) owners: u64,
    /// Sets that go with what they stored, or without.
    pub(super) stores: u64,
    /// Whether the pods of `auto` have much to do.
    pub(super) busy: bool,
    /// Evictions that were granted, and that a budget forbade.
    pub(super) evictions: [u64; 2],
}

fn resource(version: &str, kind: &str, plural: &str) -> ApiResource {
    let (group, number) = version.split_once('/').unwrap_or(("", version));
    ApiResource {
        group: group.to_owned(),
        version: number.to_owned(),
        api_version: version.to_owned(),
        kind: kind.to_owned(),
        plural: plural.to_owned(),
    }
}

pub(super) const WATCHED: [(&str, &str, &str); 13] = [
    ("v1", "Pod", "pods"),
    ("v1", "ConfigMap", "configmaps"),
    ("apps/v1", "ReplicaSet", "replicasets"),
    ("apps/v1", "Deployment", "deployments"),
    ("apps/v1", "StatefulSet", "statefulsets"),
    ("apps/v1", "DaemonSet", "daemonsets"),
    ("apps/v1", "ControllerRevision", "controllerrevisions"),
    ("batch/v1", "Job", "jobs"),
    ("batch/v1", "CronJob", "cronjobs"),
    ("v1", "PersistentVolumeClaim", "persistentvolumeclaims"),
    ("v1", "PersistentVolume", "persistentvolumes"),
    ("autoscaling/v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers"),
    ("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets"),
];

/// What is made once and not looked at.
const OTHERS: [(&str, &str, &str); 2] = [
    ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding", "clusterrolebindings"),
    ("storage.k8s.io/v1", "StorageClass", "storageclasses"),
];

fn known(kind: &str) -> (&'static str, &'static str, &'static str) {
    *WATCHED.iter().chain(&OTHERS).find(|own| own.1 == kind).unwrap()
}

/// Whether asking again would not help: neither a server on its way nor writes that others came before.
fn is_refusal(status: &kube::core::Status) -> bool {
    status.code < 500 && !matches!(status.code, 409 | 429)
}

impl Play {
    pub(super) fn new(cluster: TestCluster, seed: Seed) -> Self {
        Self {
            cluster,
            seed,
            deck: Vec::new(),
            jobs: 0,
            namespaces: 0,
            owners: 0,
            stores: 0,
            busy: false,
            evictions: [0, 0],
        }
    }

    /// The objects of a namespace; all there are without one.
    pub(super) fn api(&self, kind: &str, namespace: &str) -> Api<DynamicObject> {
        let (version, kind, plural) = known(kind);
        let (client, resource) = (self.cluster.client(), resource(version, kind, plural));
        match namespace {
            "" => Api::all_with(client, &resource),
            _ => Api::namespaced_with(client, namespace, &resource),
        }
    }

    pub(super) async fn make(
        &self,
        kind: &str,
        namespace: &str,
        mut object: Value,
    ) -> DynamicObject {
        let api = self.api(kind, namespace);
        object["apiVersion"] = json!(known(kind).0);
        object["kind"] = json!(kind);
        let object: DynamicObject = serde_json::from_value(object).unwrap();
        let mut last = String::new();
        // The server may be starting anew.
        for attempt in 0..TRIES {
            match api.create(&PostParams::default(), &object).await {
                Ok(made) => return made,
                // It was made, and the answer went with the server.
                Err(kube::Error::Api(status)) if attempt > 0 && status.is_already_exists() => {
                    if let Ok(made) = api.get(&object.name_any()).await {
                        return made;
                    }
                }
                Err(kube::Error::Api(status)) if is_refusal(&status) => panic!("{status:?}"),
                Err(error) => last = error.to_string(),
            }
            self.cluster.advance(Duration::from_millis(500)).await;
        }
        panic!("{kind} cannot be made: {last}");
    }

    pub(super) async fn patch(&self, kind: &str, name: &str, patch: Value) {
        let api = self.api(kind, "default");
        let mut last = String::new();
        for _ in 0..TRIES {
            match api.patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await {
                Ok(_) => return,
                Err(kube::Error::Api(status)) if is_refusal(&status) => panic!("{status:?}"),
                Err(error) => last = error.to_string(),
            }
            self.cluster.advance(Duration::from_millis(500)).await;
        }
        panic!("{kind} {name} cannot be changed: {last}");
    }

    pub(super) async fn delete(
        &self,
        api: &Api<DynamicObject>,
        name: &str,
        policy: PropagationPolicy,
    ) {
        let params = DeleteParams { propagation_policy: Some(policy), ..DeleteParams::default() };
        let mut last = String::new();
        for _ in 0..TRIES {
            match api.delete(name, &params).await {
                Ok(_) => return,
                Err(kube::Error::Api(status)) if status.code == 404 => return,
                Err(error) => last = error.to_string(),
            }
            self.cluster.advance(Duration::from_millis(500)).await;
        }
        panic!("{name} cannot be deleted: {last}");
    }

    pub(super) fn namespace_api(&self) -> Api<DynamicObject> {
        Api::all_with(self.cluster.client(), &resource("v1", "Namespace", "namespaces"))
    }

    pub(super) async fn all(&self, kind: &str) -> Vec<Value> {
        let list = self.api(kind, "").list(&ListParams::default()).await.unwrap();
        list.items.into_iter().map(|object| serde_json::to_value(object).unwrap()).collect()
    }
}
