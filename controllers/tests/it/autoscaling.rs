use crate::cluster::{Cluster, NODE, eventually};
use k8s_openapi::{
    api::{
        apps::v1::Deployment,
        autoscaling::v2::HorizontalPodAutoscaler,
        core::v1::{Event, Node, Pod},
    },
    apimachinery::pkg::apis::meta::v1::Time,
};
use kube::{
    Api, ResourceExt,
    api::{DynamicObject, ListParams, Patch, PatchParams},
    discovery::ApiResource,
};
use kubeplane_apiserver::Builder;
use kubeplane_clock::{Clock, PausedClock};
use kubeplane_controllers::Settings;
use kubeplane_core::Object;
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};

/// A cluster with figures: there is no server of metrics, but a kind of their form.
pub(crate) struct Scaled {
    pub(crate) cluster: Cluster,
    clock: PausedClock,
    metrics: Api<DynamicObject>,
}

/// A kind with the form of figures: what is kept there is what is read as measured.
async fn figures(cluster: &Cluster, group: &str, plural: &str, kind: &str) -> Api<DynamicObject> {
    let open = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.{group}"),
            "annotations": {"api-approved.kubernetes.io": "unapproved, for a test"}},
        "spec": {"group": group, "scope": "Namespaced",
            "names": {"plural": plural, "kind": kind},
            "versions": [{"name": "v1beta1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": open}}]}});
    cluster.create_any(&Object::from_value(definition).unwrap()).await;
    let resource = ApiResource {
        group: group.into(),
        version: "v1beta1".into(),
        api_version: format!("{group}/v1beta1"),
        kind: kind.into(),
        plural: plural.into(),
    };
    let kept = Api::namespaced_with(cluster.client.clone(), "default", &resource);
    eventually("figures can be kept", || async {
        kept.list(&ListParams::default()).await.map(drop).map_err(|error| error.to_string())
    })
    .await;
    kept
}

impl Scaled {
    pub(crate) async fn start() -> Self {
        Self::gated("").await
    }

    /// Where these gates are set.
    async fn gated(gates: &str) -> Self {
        let clock = PausedClock::starting_at(kubeplane_clock::real().now());
        let cluster = Cluster::gated(Arc::new(clock.clone()), gates).await;
        Self::on(cluster, clock).await
    }

    /// On a server that is put together differently.
    pub(crate) async fn with(change: impl FnOnce(Builder) -> Builder) -> Self {
        let clock = PausedClock::starting_at(kubeplane_clock::real().now());
        let cluster = Cluster::with(Arc::new(clock.clone()), change).await;
        Self::on(cluster, clock).await
    }

    async fn on(cluster: Cluster, clock: PausedClock) -> Self {
        let cluster = cluster.with_kubelet().await;
        let metrics = figures(&cluster, "metrics.k8s.io", "pods", "PodMetrics").await;
        let template = json!({"metadata": {"labels": {"app": "web"}}, "spec": {
            "nodeName": NODE, "containers": [
                {"name": "c", "image": "i", "resources": {"requests": {"cpu": "100m"}}}]}});
        let web = json!({"metadata": {"name": "web"}, "spec": {
            "replicas": 2, "selector": {"matchLabels": {"app": "web"}}, "template": template}});
        cluster.create::<Deployment>(web).await;
        Self { cluster, clock, metrics }
    }

    pub(crate) async fn scale_by(&self, spec: Value) {
        let mut spec = spec;
        spec["scaleTargetRef"] =
            json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"});
        let autoscaler = json!({"metadata": {"name": "web"}, "spec": spec});
        self.cluster.create::<HorizontalPodAutoscaler>(autoscaler).await;
    }

    /// Lets time pass; the node stays well.
    pub(crate) async fn pass(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
        let beat = json!({"status": {"conditions": [
            {"type": "Ready", "status": "True", "lastHeartbeatTime": Time(self.clock.now())}]}});
        let nodes: Api<Node> = Api::all(self.cluster.client.clone());
        nodes.patch_status(NODE, &PatchParams::default(), &Patch::Merge(beat)).await.unwrap();
    }

    /// Every pod uses so much, as of now.
    pub(crate) async fn all_use(&self, cpu: &str) {
        for pod in self.cluster.list::<Pod>().await {
            let name = pod.name_any();
            // The pods are old: what they use is what they need.
            let old = Time(self.clock.now() - Duration::from_secs(3600));
            let started = Patch::Merge(json!({"status": {"startTime": old}}));
            let pods = self.cluster.api::<Pod>();
            let _gone = pods.patch_status(&name, &PatchParams::default(), &started).await;
            let figure = json!({
                "apiVersion": "metrics.k8s.io/v1beta1", "kind": "PodMetrics",
                "metadata": {"name": name, "labels": {"app": "web"}},
                "timestamp": self.clock.now(), "window": "30s",
                "containers": [{"name": "c", "usage": {"cpu": cpu, "memory": "1Mi"}}]});
            let params = PatchParams::apply("test").force();
            self.metrics.patch(&name, &params, &Patch::Apply(figure)).await.unwrap();
        }
    }

    /// Waits until there are so many replicas while every pod uses so much.
    pub(crate) async fn becomes(&self, replicas: i32, cpu: &str) {
        eventually(&format!("there are {replicas} replicas"), || async {
            self.all_use(cpu).await;
            self.has(replicas).await
        })
        .await;
    }

    /// Whether there are so many replicas after some seconds.
    pub(crate) async fn has(&self, replicas: i32) -> Result<(), String> {
        self.pass(5).await;
        let deployment = self.cluster.api::<Deployment>().get("web").await.unwrap();
        let ready = deployment.status.and_then(|status| status.ready_replicas).unwrap_or_default();
        let found = (deployment.spec.unwrap().replicas, ready);
        if found == (Some(replicas), replicas) {
            return Ok(());
        }
        let autoscaler = self.cluster.api::<HorizontalPodAutoscaler>().get("web").await.unwrap();
        Err(format!("{found:?} {:?}", autoscaler.status))
    }

    /// Waits until the autoscaler says this.
    pub(crate) async fn says(&self, kind: &str, status: &str, reason: &str) -> String {
        let autoscalers = self.cluster.api::<HorizontalPodAutoscaler>();
        eventually(&format!("{kind} is {status} because of {reason}"), || async {
            self.pass(1).await;
            let found = autoscalers.get("web").await.unwrap().status.unwrap_or_default();
            let mut conditions = found.conditions.iter().flatten();
            let said = conditions.find(|condition| {
                condition.type_ == kind
                    && condition.status == status
                    && condition.reason.as_deref() == Some(reason)
            });
            said.and_then(|said| said.message.clone()).ok_or_else(|| format!("{found:?}"))
        })
        .await
    }
}

fn cpu(percent: i32) -> Value {
    json!([{"type": "Resource", "resource": {
        "name": "cpu", "target": {"type": "Utilization", "averageUtilization": percent}}}])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_workload_grows_with_its_use_and_shrinks_after_a_while() {
    let scaled = Scaled::start().await;
    scaled.scale_by(json!({"minReplicas": 2, "maxReplicas": 5, "metrics": cpu(50)})).await;
    let message = eventually("there are as many as are needed", || async {
        scaled.all_use("50m").await;
        scaled.pass(5).await;
        let autoscalers = scaled.cluster.api::<HorizontalPodAutoscaler>();
        let status = autoscalers.get("web").await.unwrap().status.unwrap_or_default();
        let mut conditions = status.conditions.iter().flatten();
        let limited = conditions.find(|own| own.type_ == "ScalingLimited");
        let said = limited.map(|own| (own.status.clone(), own.reason.clone().unwrap_or_default()));
        let right = said == Some(("False".to_owned(), "DesiredWithinRange".to_owned()));
        let message = limited.and_then(|own| own.message.clone()).unwrap_or_default();
        if right { Ok(message) } else { Err(format!("{status:?}")) }
    })
    .await;
    assert_eq!(message, "the desired count is within the acceptable range");
    scaled.becomes(5, "100m").await;
    scaled.says("ScalingLimited", "True", "TooManyReplicas").await;
    let message = scaled.says("ScalingActive", "True", "ValidMetricFound").await;
    assert_eq!(
        message,
        "the HPA was able to successfully calculate a replica count from cpu resource utilization \
         (percentage of request)"
    );
    let status =
        scaled.cluster.api::<HorizontalPodAutoscaler>().get("web").await.unwrap().status.unwrap();
    let current = status.current_metrics.unwrap().remove(0).resource.unwrap().current;
    assert_eq!(current.average_utilization, Some(100));
    assert_eq!(current.average_value.unwrap().0, "100m");
    scaled.becomes(2, "10m").await;
    let grown =
        "New size: 4; reason: cpu resource utilization (percentage of request) above target";
    eventually("the growth is told", || async {
        let events = scaled.cluster.list::<Event>().await;
        let mut messages = events.iter().filter_map(|event| event.message.as_deref());
        if messages.any(|message| message == grown) { Ok(()) } else { Err(format!("{events:?}")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn how_far_a_figure_may_be_off_is_for_the_settings_to_say() {
    let mut scaled = Scaled::start().await;
    let mut settings = Settings::default();
    settings.horizontal_pod_autoscaler_tolerance = 0.9;
    scaled.cluster.set(settings).await;
    scaled.scale_by(json!({"minReplicas": 1, "maxReplicas": 5, "metrics": cpu(50)})).await;
    let wanted = eventually("the figures were seen", || async {
        scaled.all_use("90m").await;
        scaled.pass(5).await;
        let autoscalers = scaled.cluster.api::<HorizontalPodAutoscaler>();
        let status = autoscalers.get("web").await.unwrap().status.unwrap_or_default();
        let mut figures = status.current_metrics.iter().flatten();
        let seen = figures.find_map(|own| own.resource.as_ref()?.current.average_utilization);
        if seen == Some(90) { Ok(status.desired_replicas) } else { Err(format!("{status:?}")) }
    })
    .await;
    assert_eq!(wanted, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_autoscaler_may_be_looked_at_without_a_pause() {
    let mut scaled = Scaled::start().await;
    let mut settings = Settings::default();
    settings.horizontal_pod_autoscaler_sync_period = Duration::ZERO;
    scaled.cluster.set(settings).await;
    scaled.scale_by(json!({"minReplicas": 1, "maxReplicas": 5, "metrics": cpu(50)})).await;
    // Nothing is measured yet.
    eventually("both pods are ready", || scaled.has(2)).await;
    let start = scaled.clock.elapsed();
    eventually("there are more while time stands still", || async {
        scaled.all_use("90m").await;
        let deployment = scaled.cluster.api::<Deployment>().get("web").await.unwrap();
        let replicas = deployment.spec.unwrap().replicas;
        if replicas > Some(2) { Ok(()) } else { Err(format!("{replicas:?}")) }
    })
    .await;
    assert_eq!(scaled.clock.elapsed(), start);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_keeps_from_scaling_is_told() {
    let scaled = Scaled::start().await;
    scaled.scale_by(json!({"minReplicas": 1, "maxReplicas": 5, "metrics": cpu(50)})).await;
    let message = scaled.says("ScalingActive", "False", "FailedGetResourceMetric").await;
    assert_eq!(
        message,
        "the HPA was unable to compute the replica count: failed to get cpu utilization: unable to \
         get metrics for resource cpu: no metrics returned from resource metrics API"
    );
    let down = Patch::Merge(json!({"spec": {"replicas": 0}}));
    let deployments = scaled.cluster.api::<Deployment>();
    deployments.patch("web", &PatchParams::default(), &down).await.unwrap();
    scaled.says("ScalingActive", "False", "ScalingDisabled").await;
    let up = Patch::Merge(json!({"spec": {"replicas": 9}}));
    deployments.patch("web", &PatchParams::default(), &up).await.unwrap();
    scaled.says("AbleToScale", "True", "SucceededRescale").await;
    assert_eq!(deployments.get("web").await.unwrap().spec.unwrap().replicas, Some(5));
    deployments.delete("web", &Default::default()).await.unwrap();
    let message = scaled.says("AbleToScale", "False", "FailedGetScale").await;
    assert!(message.ends_with("deployments.apps \"web\" not found"), "{message}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn figures_of_containers_and_objects_that_nobody_has_are_told_of() {
    let scaled = Scaled::start().await;
    let half = json!({"type": "Utilization", "averageUtilization": 50});
    let own = json!({"name": "cpu", "container": "c", "target": half});
    let metrics = json!([{"type": "ContainerResource", "containerResource": own}]);
    scaled.scale_by(json!({"minReplicas": 1, "maxReplicas": 5, "metrics": metrics})).await;
    let unable = "the HPA was unable to compute the replica count: ";
    let why = "failed to get cpu utilization: unable to get metrics for resource cpu: no metrics \
               returned from resource metrics API";
    let message = scaled.says("ScalingActive", "False", "FailedGetContainerResourceMetric").await;
    assert_eq!(message, format!("{unable}{why}"));
    let told = format!(
        "invalid metrics (1 invalid out of 1), first error is: failed to get c container metric value: {why}"
    );
    eventually("it is told, too", || async {
        scaled.pass(1).await;
        let events = scaled.cluster.list::<Event>().await;
        let found = events.iter().any(|event| {
            event.reason.as_deref() == Some("FailedComputeMetricsReplicas")
                && event.message.as_ref() == Some(&told)
        });
        if found { Ok(()) } else { Err(format!("{events:?}")) }
    })
    .await;
    let service = json!({"apiVersion": "v1", "kind": "Service", "name": "front"});
    let hits = json!({"metric": {"name": "hits"}, "describedObject": service,
        "target": {"type": "Value", "value": "10"}});
    let metrics = json!({"spec": {"metrics": [{"type": "Object", "object": hits}]}});
    let autoscalers = scaled.cluster.api::<HorizontalPodAutoscaler>();
    autoscalers.patch("web", &PatchParams::default(), &Patch::Merge(metrics)).await.unwrap();
    let message = scaled.says("ScalingActive", "False", "FailedGetObjectMetric").await;
    let why = "unable to get metric hits: Service on default front/unable to fetch metrics from \
               custom metrics API: no custom metrics API (custom.metrics.k8s.io) registered";
    assert_eq!(message, format!("{unable}{why}"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_are_scaled_by_one_alone() {
    let scaled = Scaled::start().await;
    let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"});
    let spec = json!({"minReplicas": 1, "maxReplicas": 5, "metrics": cpu(50)});
    scaled.scale_by(spec.clone()).await;
    let mut other = spec;
    other["scaleTargetRef"] = target;
    let other = json!({"metadata": {"name": "other"}, "spec": other});
    scaled.cluster.create::<HorizontalPodAutoscaler>(other).await;
    let message = scaled.says("ScalingActive", "False", "AmbiguousSelector").await;
    assert_eq!(
        message,
        "pods by selector app=web are controlled by multiple HPAs: [default/other default/web]"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_workload_sleeps_without_work_and_wakes_for_it() {
    let scaled = Scaled::gated("HPAScaleToZero=true").await;
    let queues = figures(&scaled.cluster, "external.metrics.k8s.io", "queue", "Queue").await;
    let holds = async |amount: &str| {
        let figure = json!({"apiVersion": "external.metrics.k8s.io/v1beta1", "kind": "Queue",
            "metadata": {"name": "queue"}, "metricName": "queue", "metricLabels": {},
            "timestamp": scaled.clock.now(), "value": amount});
        let params = PatchParams::apply("test").force();
        queues.patch("queue", &params, &Patch::Apply(figure)).await.unwrap();
    };
    let becomes = async |replicas: i32| {
        let check = || scaled.has(replicas);
        eventually(&format!("there are {replicas} replicas"), check).await;
    };
    holds("0").await;
    let target = json!({"type": "AverageValue", "averageValue": "10"});
    let queue = json!({"type": "External",
        "external": {"metric": {"name": "queue"}, "target": target}});
    scaled.scale_by(json!({"minReplicas": 0, "maxReplicas": 5, "metrics": [queue]})).await;
    becomes(0).await;
    let message = scaled.says("ScaledToZero", "True", "ScaledToZero").await;
    assert_eq!(message, "the HPA controller scaled the workload to zero");
    holds("30").await;
    becomes(3).await;
    scaled.says("ScaledToZero", "False", "NotScaledToZero").await;
    // Who puts it to sleep by hand is not overruled, whatever work there is.
    let down = Patch::Merge(json!({"spec": {"replicas": 0}}));
    let deployments = scaled.cluster.api::<Deployment>();
    deployments.patch("web", &PatchParams::default(), &down).await.unwrap();
    scaled.says("ScalingActive", "False", "ScalingDisabled").await;
    scaled.pass(60).await;
    scaled.says("ScalingActive", "False", "ScalingDisabled").await;
    assert_eq!(deployments.get("web").await.unwrap().spec.unwrap().replicas, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_replicas_at_least_wake_a_workload_without_work() {
    let scaled = Scaled::gated("HPAScaleToZero=true").await;
    let queues = figures(&scaled.cluster, "external.metrics.k8s.io", "queue", "Queue").await;
    let figure = json!({"apiVersion": "external.metrics.k8s.io/v1beta1", "kind": "Queue",
        "metadata": {"name": "queue"}, "metricName": "queue", "metricLabels": {},
        "timestamp": scaled.clock.now(), "value": "0"});
    let params = PatchParams::apply("test").force();
    queues.patch("queue", &params, &Patch::Apply(figure)).await.unwrap();
    let target = json!({"type": "Value", "value": "10"});
    let queue = json!({"type": "External",
        "external": {"metric": {"name": "queue"}, "target": target}});
    scaled.scale_by(json!({"minReplicas": 0, "maxReplicas": 5, "metrics": [queue]})).await;
    eventually("it sleeps", || scaled.has(0)).await;
    scaled.says("ScaledToZero", "True", "ScaledToZero").await;
    let more = Patch::Merge(json!({"spec": {"minReplicas": 2}}));
    let autoscalers = scaled.cluster.api::<HorizontalPodAutoscaler>();
    autoscalers.patch("web", &PatchParams::default(), &more).await.unwrap();
    eventually("it is awake", || scaled.has(2)).await;
    scaled.says("ScaledToZero", "False", "NotScaledToZero").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn containers_that_ask_for_nothing_are_told_of_by_their_names() {
    let scaled = Scaled::start().await;
    let containers = json!([{"name": "plain", "image": "i"}]);
    let plain = json!({"spec": {"template": {"spec": {"containers": containers}}}});
    let deployments = scaled.cluster.api::<Deployment>();
    deployments.patch("web", &PatchParams::default(), &Patch::Merge(plain)).await.unwrap();
    scaled.scale_by(json!({"minReplicas": 1, "maxReplicas": 5, "metrics": cpu(50)})).await;
    let autoscalers = scaled.cluster.api::<HorizontalPodAutoscaler>();
    eventually("the container without requests is told of", || async {
        scaled.all_use("50m").await;
        scaled.pass(5).await;
        let status = autoscalers.get("web").await.unwrap().status.unwrap_or_default();
        let mut conditions = status.conditions.iter().flatten();
        let wanted =
            "failed to get cpu utilization: missing request for cpu in container plain of Pod web-";
        let told = conditions.any(|own| {
            own.type_ == "ScalingActive"
                && own.message.as_ref().is_some_and(|message| message.contains(wanted))
        });
        if told { Ok(()) } else { Err(format!("{status:?}")) }
    })
    .await;
}

#[tokio::test]
async fn without_the_gate_a_tolerance_of_ones_own_does_not_count() {
    let clock = PausedClock::starting_at(kubeplane_clock::real().now());
    let gates = "HPAConfigurableTolerance=false";
    let cluster = Cluster::with_gated_controllers(Arc::new(clock.clone()), gates).await;
    let scaled = Scaled::on(cluster, clock).await;
    let behavior = json!({"scaleUp": {"tolerance": "900m"}});
    let spec =
        json!({"minReplicas": 2, "maxReplicas": 4, "metrics": cpu(50), "behavior": behavior});
    scaled.scale_by(spec).await;
    scaled.becomes(4, "80m").await;
}
