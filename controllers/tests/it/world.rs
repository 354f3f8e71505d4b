//! Controllers whose time stands still, and objects as JSON: what the scenarios of the original's tests are played with.

use crate::cluster::{Cluster, eventually};
use kube::{
    Api,
    api::{
        ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams,
        Preconditions, PropagationPolicy,
    },
};
use kubeplane_apiserver::Builder;
use kubeplane_clock::{Clock, PausedClock};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};

/// A kind, by what a client needs to ask for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kind {
    version: &'static str,
    name: &'static str,
    plural: &'static str,
    global: bool,
}

const fn kind(version: &'static str, name: &'static str, plural: &'static str) -> Kind {
    Kind { version, name, plural, global: false }
}

const fn global(version: &'static str, name: &'static str, plural: &'static str) -> Kind {
    Kind { version, name, plural, global: true }
}

pub(crate) const POD: Kind = kind("v1", "Pod", "pods");
pub(crate) const NODES: Kind = global("v1", "Node", "nodes");
pub(crate) const SERVICE: Kind = kind("v1", "Service", "services");
pub(crate) const ENDPOINTS: Kind = kind("v1", "Endpoints", "endpoints");
pub(crate) const CONFIG_MAP: Kind = kind("v1", "ConfigMap", "configmaps");
pub(crate) const SECRET: Kind = kind("v1", "Secret", "secrets");
pub(crate) const EVENT: Kind = kind("v1", "Event", "events");
pub(crate) const ACCOUNT: Kind = kind("v1", "ServiceAccount", "serviceaccounts");
pub(crate) const NAMESPACE: Kind = global("v1", "Namespace", "namespaces");
pub(crate) const CLAIM: Kind = kind("v1", "PersistentVolumeClaim", "persistentvolumeclaims");
pub(crate) const VOLUME: Kind = global("v1", "PersistentVolume", "persistentvolumes");
pub(crate) const RC: Kind = kind("v1", "ReplicationController", "replicationcontrollers");
pub(crate) const RS: Kind = kind("apps/v1", "ReplicaSet", "replicasets");
pub(crate) const DEPLOYMENT: Kind = kind("apps/v1", "Deployment", "deployments");
pub(crate) const STATEFUL_SET: Kind = kind("apps/v1", "StatefulSet", "statefulsets");
pub(crate) const DAEMON_SET: Kind = kind("apps/v1", "DaemonSet", "daemonsets");
pub(crate) const REVISION: Kind = kind("apps/v1", "ControllerRevision", "controllerrevisions");
pub(crate) const JOB: Kind = kind("batch/v1", "Job", "jobs");
pub(crate) const CRON_JOB: Kind = kind("batch/v1", "CronJob", "cronjobs");
pub(crate) const SLICE: Kind = kind("discovery.k8s.io/v1", "EndpointSlice", "endpointslices");
pub(crate) const BUDGET: Kind = kind("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets");
pub(crate) const CLASS: Kind = global("storage.k8s.io/v1", "StorageClass", "storageclasses");
pub(crate) const ATTACHMENT: Kind =
    global("storage.k8s.io/v1", "VolumeAttachment", "volumeattachments");
pub(crate) const SERVICE_CIDR: Kind = global("networking.k8s.io/v1", "ServiceCIDR", "servicecidrs");
pub(crate) const ROLE: Kind = global("rbac.authorization.k8s.io/v1", "ClusterRole", "clusterroles");
pub(crate) const DEFINITION: Kind =
    global("apiextensions.k8s.io/v1", "CustomResourceDefinition", "customresourcedefinitions");
/// A kind of users, which [`World::define`] makes.
pub(crate) const GADGET: Kind = kind("example.com/v1", "Gadget", "gadgets");
/// The same in a version that a test adds.
pub(crate) const NEW_GADGET: Kind = kind("example.com/v2", "Gadget", "gadgets");

/// The text at a JSON pointer, empty when there is none.
pub(crate) fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// The number at a JSON pointer, zero when there is none.
pub(crate) fn number(object: &Value, pointer: &str) -> i64 {
    object.pointer(pointer).and_then(Value::as_i64).unwrap_or_default()
}

/// The list at a JSON pointer, empty when there is none.
pub(crate) fn items<'a>(object: &'a Value, pointer: &str) -> &'a [Value] {
    object.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

pub(crate) fn name(object: &Value) -> &str {
    text(object, "/metadata/name")
}

pub(crate) fn uid(object: &Value) -> &str {
    text(object, "/metadata/uid")
}

pub(crate) fn names(objects: &[Value]) -> Vec<&str> {
    objects.iter().map(name).collect()
}

pub(crate) fn is_going(object: &Value) -> bool {
    object.pointer("/metadata/deletionTimestamp").is_some()
}

/// The owner that controls it.
pub(crate) fn controller(object: &Value) -> Option<&Value> {
    items(object, "/metadata/ownerReferences").iter().find(|owner| owner["controller"] == true)
}

pub(crate) fn is_of(object: &Value, owner: &Value) -> bool {
    controller(object).is_some_and(|of| of["uid"] == owner["metadata"]["uid"])
}

/// The condition of a type.
pub(crate) fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    items(object, "/status/conditions").iter().find(|condition| condition["type"] == kind)
}

/// Whether a condition of this type has this status and reason.
pub(crate) fn says(object: &Value, kind: &str, status: &str, reason: &str) -> bool {
    condition(object, kind).is_some_and(|own| own["status"] == status && own["reason"] == reason)
}

/// A pod's template.
pub(crate) fn template(app: &str) -> Value {
    json!({"metadata": {"labels": {"app": app}}, "spec": {"containers": [{"name": "c", "image": "one"}]}})
}

/// A reference to an owner.
pub(crate) fn owner(of: &Value, controls: bool) -> Value {
    json!({"apiVersion": of["apiVersion"], "kind": of["kind"], "name": of["metadata"]["name"],
        "uid": of["metadata"]["uid"], "controller": controls})
}

pub(crate) struct World {
    pub(crate) cluster: Cluster,
    pub(crate) clock: PausedClock,
}

impl World {
    pub(crate) async fn start() -> Self {
        Self::with(|builder| builder).await
    }

    /// On a server that is put together differently.
    pub(crate) async fn with(change: impl FnOnce(Builder) -> Builder) -> Self {
        let clock = PausedClock::starting_at(kubeplane_clock::real().now());
        let cluster = Cluster::with(Arc::new(clock.clone()), change).await;
        Self { cluster, clock }
    }

    /// With those controllers that `--controllers` would select.
    pub(crate) async fn selected(selection: &str) -> Self {
        Self::selected_with(selection, |builder| builder).await
    }

    /// The same, on a server that is put together differently.
    pub(crate) async fn selected_with(
        selection: &str,
        change: impl FnOnce(Builder) -> Builder,
    ) -> Self {
        let clock = PausedClock::starting_at(kubeplane_clock::real().now());
        let shared = Arc::new(clock.clone());
        Self { cluster: Cluster::selected(shared, change, selection).await, clock }
    }

    /// Where these gates are set.
    pub(crate) async fn gated(gates: &str) -> Self {
        let clock = PausedClock::starting_at(kubeplane_clock::real().now());
        let shared = Arc::new(clock.clone());
        Self { cluster: Cluster::gated(shared, gates).await, clock }
    }

    /// Where these gates are set for the controllers only.
    pub(crate) async fn with_gated_controllers(gates: &str) -> Self {
        let clock = PausedClock::starting_at(kubeplane_clock::real().now());
        let shared = Arc::new(clock.clone());
        Self { cluster: Cluster::with_gated_controllers(shared, gates).await, clock }
    }

    /// An API server and nothing else.
    pub(crate) async fn bare() -> Self {
        let clock = PausedClock::starting_at(kubeplane_clock::real().now());
        Self { cluster: Cluster::bare().await, clock }
    }

    pub(crate) fn pass(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    /// Lets time pass until it is so many seconds after another, if it is not later already.
    pub(crate) fn pass_to(&self, since: Duration, seconds: u64) {
        let until = since + Duration::from_secs(seconds);
        self.clock.advance(until.saturating_sub(self.clock.elapsed()));
    }

    pub(crate) fn now(&self) -> String {
        self.clock.now().to_string()
    }

    pub(crate) fn api(&self, of: Kind) -> Api<DynamicObject> {
        self.api_in(of, "default")
    }

    pub(crate) fn api_in(&self, of: Kind, namespace: &str) -> Api<DynamicObject> {
        let (group, version) = of.version.split_once('/').unwrap_or(("", of.version));
        let resource = ApiResource {
            group: group.to_owned(),
            version: version.to_owned(),
            api_version: of.version.to_owned(),
            kind: of.name.to_owned(),
            plural: of.plural.to_owned(),
        };
        let client = self.cluster.client.clone();
        if of.global {
            Api::all_with(client, &resource)
        } else {
            Api::namespaced_with(client, namespace, &resource)
        }
    }

    /// Creates an object, in `default` when it names no namespace.
    pub(crate) async fn try_make(&self, of: Kind, mut object: Value) -> kube::Result<Value> {
        object["apiVersion"] = json!(of.version);
        object["kind"] = json!(of.name);
        let namespace = text(&object, "/metadata/namespace");
        let api = self.api_in(of, if namespace.is_empty() { "default" } else { namespace });
        let object = serde_json::from_value(object).unwrap();
        api.create(&PostParams::default(), &object).await.map(value)
    }

    pub(crate) async fn make(&self, of: Kind, object: Value) -> Value {
        self.try_make(of, object).await.unwrap()
    }

    /// An object with this name and spec.
    pub(crate) async fn make_spec(&self, of: Kind, name: &str, spec: Value) -> Value {
        self.make(of, json!({"metadata": {"name": name}, "spec": spec})).await
    }

    pub(crate) async fn find(&self, of: Kind, name: &str) -> Option<Value> {
        self.api(of).get_opt(name).await.unwrap().map(value)
    }

    pub(crate) async fn get(&self, of: Kind, name: &str) -> Value {
        self.find(of, name).await.unwrap_or_else(|| panic!("no {} {name}", of.name))
    }

    pub(crate) async fn list(&self, of: Kind) -> Vec<Value> {
        let list = self.api(of).list(&ListParams::default()).await.unwrap();
        list.items.into_iter().map(value).collect()
    }

    pub(crate) async fn try_merge(
        &self,
        of: Kind,
        name: &str,
        patch: Value,
    ) -> kube::Result<Value> {
        let params = PatchParams::default();
        self.api(of).patch(name, &params, &Patch::Merge(patch)).await.map(value)
    }

    pub(crate) async fn merge(&self, of: Kind, name: &str, patch: Value) -> Value {
        self.try_merge(of, name, patch).await.unwrap()
    }

    pub(crate) async fn merge_status(&self, of: Kind, name: &str, status: Value) -> Value {
        let patch = Patch::Merge(json!({"status": status}));
        let params = PatchParams::default();
        self.api(of).patch_status(name, &params, &patch).await.map(value).unwrap()
    }

    pub(crate) async fn delete(&self, of: Kind, name: &str) {
        self.api(of).delete(name, &DeleteParams::default()).await.unwrap();
    }

    /// Deletes with a policy for the dependents.
    pub(crate) async fn delete_with(&self, of: Kind, name: &str, policy: PropagationPolicy) {
        let params = DeleteParams { propagation_policy: Some(policy), ..DeleteParams::default() };
        self.api(of).delete(name, &params).await.unwrap();
    }

    /// Removes what a kubelet would have ended.
    pub(crate) async fn end(&self, pod: &Value) {
        let params = DeleteParams {
            grace_period_seconds: Some(0),
            preconditions: Some(Preconditions {
                uid: Some(uid(pod).to_owned()),
                ..Default::default()
            }),
            ..DeleteParams::default()
        };
        self.api(POD).delete(name(pod), &params).await.unwrap();
    }

    /// Pods run and are ready from now on.
    pub(crate) async fn ready(&self, pods: &[Value]) {
        for pod in pods {
            let ready =
                json!([{"type": "Ready", "status": "True", "lastTransitionTime": self.now()}]);
            let patch = json!({"status": {"phase": "Running", "conditions": ready}});
            let params = PatchParams::default();
            // One that was told to go may have gone.
            let _ = self.api(POD).patch_status(name(pod), &params, &Patch::Merge(patch)).await;
        }
    }

    /// Waits while the cluster's time goes on as the test's does.
    pub(crate) async fn eventually<T>(
        &self,
        what: &str,
        check: impl AsyncFn() -> Result<T, String>,
    ) -> T {
        eventually(what, || async {
            self.clock.advance(Duration::from_millis(20));
            check().await
        })
        .await
    }

    /// Waits until an object is as wished.
    pub(crate) async fn until(
        &self,
        of: Kind,
        name: &str,
        what: &str,
        wish: impl Fn(&Value) -> bool,
    ) -> Value {
        let check = async || match self.find(of, name).await {
            Some(object) if wish(&object) => Ok(object),
            other => Err(format!("{:#}", other.unwrap_or_default())),
        };
        self.eventually(what, check).await
    }

    /// Waits until all objects of a kind are as wished.
    pub(crate) async fn until_all(
        &self,
        of: Kind,
        what: &str,
        wish: impl Fn(&[Value]) -> bool,
    ) -> Vec<Value> {
        let check = async || {
            let all = self.list(of).await;
            let told = || all.iter().map(|one| format!("{one:#}")).collect::<Vec<_>>().join("\n");
            if wish(&all) { Ok(all.clone()) } else { Err(told()) }
        };
        self.eventually(what, check).await
    }

    pub(crate) async fn gone(&self, of: Kind, name: &str) {
        let check = async || match self.find(of, name).await {
            None => Ok(()),
            Some(object) => Err(format!("{object:#}")),
        };
        self.eventually(&format!("{name} goes"), check).await;
    }

    /// Waits for so many pods that are not on their way out, and returns them.
    pub(crate) async fn pods(&self, count: usize) -> Vec<Value> {
        let what = format!("{count} pods");
        let pods = self
            .until_all(POD, &what, |all| all.iter().filter(|pod| is_active(pod)).count() == count);
        pods.await.into_iter().filter(is_active).collect()
    }

    /// Waits for an event about an object, and returns what it says.
    pub(crate) async fn told(&self, about: &str, reason: &str) -> String {
        self.told_so(about, reason, "").await
    }

    /// The same, of one whose message begins like this: another may come before it.
    pub(crate) async fn told_so(&self, about: &str, reason: &str, begin: &str) -> String {
        let check = async || {
            let events = self.list(EVENT).await;
            let found = events.iter().find(|event| {
                event["reason"] == reason
                    && event["involvedObject"]["name"] == about
                    && text(event, "/message").starts_with(begin)
            });
            found.map(|event| text(event, "/message").to_owned()).ok_or_else(|| {
                format!(
                    "{:?}",
                    events
                        .iter()
                        .map(|event| (&event["reason"], &event["message"]))
                        .collect::<Vec<_>>()
                )
            })
        };
        self.eventually(&format!("{reason} is told of {about}"), check).await
    }

    /// Serves a kind of users: `gadgets.example.com`, with a status and a scale.
    pub(crate) async fn define(&self) {
        let open = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
        let definition = json!({"metadata": {"name": "gadgets.example.com"}, "spec": {
            "group": "example.com", "scope": "Namespaced",
            "names": {"plural": "gadgets", "singular": "gadget", "kind": "Gadget", "listKind": "GadgetList"},
            "versions": [{"name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": open},
                "subresources": {"status": {}, "scale": {
                    "specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas",
                    "labelSelectorPath": ".status.selector"}}}]}});
        self.make(DEFINITION, definition).await;
        // A list may still be answered by what a definition of the same name served that has just gone.
        let established = |own: &Value| {
            condition(own, "Established").is_some_and(|condition| condition["status"] == "True")
        };
        self.until(DEFINITION, "gadgets.example.com", "the kind is served", established).await;
    }
}

pub(crate) fn is_active(pod: &Value) -> bool {
    !is_going(pod) && !["Succeeded", "Failed"].contains(&text(pod, "/status/phase"))
}

fn value(object: DynamicObject) -> Value {
    serde_json::to_value(object).unwrap()
}
