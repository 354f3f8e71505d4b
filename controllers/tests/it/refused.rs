//! What is told when a write of a controller is refused, or an object is there that no server of today would take.

use crate::world::{
    DEPLOYMENT, ENDPOINTS, GADGET, NODES, SERVICE, SERVICE_CIDR, STATEFUL_SET, VOLUME, World,
    template, text,
};
use async_trait::async_trait;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use kubeplane_core::{
    Definition,
    admission::{Admission, Operation, Request},
    status::{ApiError, ApiResult},
};
use serde_json::{Value, json};

/// Lets nobody change a part of the objects of a kind; the empty part is what is no subresource.
#[derive(Debug)]
struct Fixed {
    plural: &'static str,
    part: &'static str,
}

#[async_trait]
impl Admission for Fixed {
    fn name(&self) -> &'static str {
        "Fixed"
    }

    fn handles(&self, operation: Operation, definition: &Definition, subresource: &str) -> bool {
        operation == Operation::Update
            && definition.plural == self.plural
            && subresource == self.part
    }

    async fn validate(&self, request: &Request<'_>) -> ApiResult<()> {
        Err(ApiError::forbidden(&request.definition.resource(), request.name, "not today"))
    }
}

const AUTOSCALER: &str = "horizontal-pod-autoscaler-controller";

fn scaler(target: Value, metrics: Value) -> Value {
    json!({"scaleTargetRef": target, "minReplicas": 2, "maxReplicas": 3, "metrics": metrics})
}

fn web() -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"})
}

fn half_of_the_cpu() -> Value {
    let half = json!({"type": "Utilization", "averageUtilization": 50});
    json!([{"type": "Resource", "resource": {"name": "cpu", "target": half}}])
}

async fn make_web(world: &World, replicas: i64) {
    let spec = json!({"replicas": replicas, "selector": {"matchLabels": {"app": "web"}},
        "template": template("web")});
    world.make_spec(DEPLOYMENT, "web", spec).await;
}

/// Waits until the autoscaler says this, and returns the message.
async fn says(world: &World, kind: &str, status: &str, reason: &str) -> String {
    let scalers = world.cluster.api::<HorizontalPodAutoscaler>();
    let check = async || {
        let found = scalers.get("scaler").await.unwrap().status.unwrap_or_default();
        let mut conditions = found.conditions.iter().flatten();
        let said = conditions.find(|own| {
            own.type_ == kind && own.status == status && own.reason.as_deref() == Some(reason)
        });
        said.and_then(|own| own.message.clone()).ok_or_else(|| format!("{found:?}"))
    };
    world.eventually(&format!("{kind} is {status} because of {reason}"), check).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_size_that_may_not_be_written_is_told_of() {
    let fixed = Fixed { plural: "deployments", part: "scale" };
    let world = World::selected_with(AUTOSCALER, |builder| builder.admit(fixed)).await;
    make_web(&world, 1).await;
    let own = json!({"metadata": {"name": "scaler"}, "spec": scaler(web(), half_of_the_cpu())});
    world.cluster.create::<HorizontalPodAutoscaler>(own).await;
    let why = "deployments.apps \"web\" is forbidden: not today";
    let below = "Current number of replicas below Spec.MinReplicas";
    assert_eq!(
        world.told("scaler", "FailedRescale").await,
        format!("New size: 2; reason: {below}; error: {why}")
    );
    assert_eq!(
        says(&world, "AbleToScale", "False", "FailedUpdateScale").await,
        format!("the HPA controller was unable to update the target scale: {why}")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_selector_that_cannot_be_read_is_told_of() {
    let world = World::selected(AUTOSCALER).await;
    world.define().await;
    world.make(GADGET, json!({"metadata": {"name": "g"}, "spec": {"replicas": 2}})).await;
    world.merge_status(GADGET, "g", json!({"selector": "app in (web"})).await;
    let target = json!({"apiVersion": "example.com/v1", "kind": "Gadget", "name": "g"});
    let own = json!({"metadata": {"name": "scaler"}, "spec": scaler(target, half_of_the_cpu())});
    world.cluster.create::<HorizontalPodAutoscaler>(own).await;
    let said = world.told("scaler", "InvalidSelector").await;
    let what = "couldn't convert selector into a corresponding internal selector object: ";
    assert!(said.starts_with(what), "{said}");
    assert_eq!(says(&world, "ScalingActive", "False", "InvalidSelector").await, said);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_figure_of_an_unknown_kind_is_told_of() {
    let world = World::selected(AUTOSCALER).await;
    make_web(&world, 2).await;
    let metadata = json!({"namespace": "default", "name": "scaler", "uid": "u-1", "generation": 1,
        "creationTimestamp": world.now()});
    let own = json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
        "metadata": metadata, "spec": scaler(web(), json!([{"type": "Odd"}]))});
    world.cluster.store("/registry/horizontalpodautoscalers/default/scaler", &own).await;
    let why = "unknown metric source type \"Odd\"";
    assert_eq!(world.told("scaler", "InvalidMetricSourceType").await, why);
    assert_eq!(
        world.told("scaler", "FailedComputeMetricsReplicas").await,
        format!("invalid metrics (1 invalid out of 1), first error is: {why}")
    );
    assert_eq!(
        says(&world, "ScalingActive", "False", "InvalidMetricSourceType").await,
        format!("the HPA was unable to compute the replica count: {why}")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_whose_owner_may_not_be_written_is_told_of() {
    let fixed = Fixed { plural: "persistentvolumeclaims", part: "" };
    let world = World::selected_with("statefulset-controller", |builder| builder.admit(fixed));
    let world = world.await;
    let claim = json!({"metadata": {"name": "data"}, "spec": {
        "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}});
    let spec = json!({"replicas": 1, "serviceName": "db", "volumeClaimTemplates": [claim],
        "selector": {"matchLabels": {"app": "db"}}, "template": template("db")});
    world.make_spec(STATEFUL_SET, "db", spec).await;
    world.ready(&world.pods(1).await).await;
    let policy = json!({"whenDeleted": "Delete", "whenScaled": "Retain"});
    let policy = json!({"spec": {"persistentVolumeClaimRetentionPolicy": policy}});
    world.merge(STATEFUL_SET, "db", policy).await;
    let why = "could not update claim data-db-0 for delete policy ownerRefs: \
               persistentvolumeclaims \"data-db-0\" is forbidden: not today";
    assert_eq!(
        world.told("db", "FailedUpdate").await,
        format!("Update Pod db-0 in StatefulSet db failed error: {why}")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_network_whose_state_may_not_be_written_is_told_of() {
    let fixed = Fixed { plural: "servicecidrs", part: "status" };
    let world = World::selected_with("service-cidr-controller", |builder| builder.admit(fixed));
    let world = world.await;
    let network = json!({"metadata": {"name": "more"}, "spec": {"cidrs": ["10.7.0.0/24"]}});
    world.make(SERVICE_CIDR, network).await;
    assert_eq!(
        world.told("more", "KubernetesServiceCIDRError").await,
        "The ServiceCIDR Status can not be set to Ready=True"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_range_that_may_not_be_given_to_its_node_is_told_of() {
    let fixed = Fixed { plural: "nodes", part: "" };
    let mut world = World::with(|builder| builder.admit(fixed)).await;
    world.cluster.give_ranges(&["10.8.0.0/16"]).await;
    world.make(NODES, json!({"metadata": {"name": "n"}})).await;
    assert_eq!(
        world.told("n", "CIDRAssignmentFailed").await,
        "Node n status is now: CIDRAssignmentFailed"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_volume_of_which_nobody_knows_what_becomes_of_it_is_told_of() {
    let world = World::selected("persistentvolume-binder-controller").await;
    let metadata = json!({"name": "odd", "uid": "u-1", "creationTimestamp": world.now()});
    let of = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": "default",
        "name": "gone", "uid": "u-2"});
    let spec = json!({"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"],
        "hostPath": {"path": "/nowhere"}, "volumeMode": "Filesystem", "claimRef": of,
        "persistentVolumeReclaimPolicy": "Shred"});
    let volume = json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": metadata,
        "spec": spec, "status": {"phase": "Bound"}});
    world.cluster.store("/registry/persistentvolumes/odd", &volume).await;
    let why = "Volume has unrecognized PersistentVolumeReclaimPolicy";
    assert_eq!(world.told("odd", "VolumeUnknownReclaimPolicy").await, why);
    let failed = |own: &Value| text(own, "/status/phase") == "Failed";
    let failed = world.until(VOLUME, "odd", "it has failed", failed).await;
    assert_eq!(text(&failed, "/status/message"), why);
}

/// Was always a moment faster to change Endpoints.
#[derive(Debug)]
struct Faster;

#[async_trait]
impl Admission for Faster {
    fn name(&self) -> &'static str {
        "Faster"
    }

    fn handles(&self, operation: Operation, definition: &Definition, subresource: &str) -> bool {
        operation == Operation::Update && definition.plural == "endpoints" && subresource.is_empty()
    }

    async fn validate(&self, request: &Request<'_>) -> ApiResult<()> {
        Err(ApiError::modified(&request.definition.resource(), request.name))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn endpoints_that_somebody_else_changed_are_told_of() {
    let contested = |builder: kubeplane_apiserver::Builder| builder.admit(Faster);
    let world = World::selected_with("endpoints-controller", contested).await;
    let spec = json!({"clusterIP": "None", "selector": {"app": "web"}, "ports": [{"port": 80}]});
    world.make_spec(SERVICE, "web", spec).await;
    world.until(ENDPOINTS, "web", "they are made", |_| true).await;
    let labels = json!({"metadata": {"labels": {"of": "shop"}}});
    world.merge(SERVICE, "web", labels).await;
    let said = world.told("web", "FailedToUpdateEndpoint").await;
    assert_eq!(
        said,
        "Failed to update endpoint default/web: Operation cannot be fulfilled on endpoints \"web\": \
         the object has been modified; please apply your changes to the latest version and try again"
    );
}
