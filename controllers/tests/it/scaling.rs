//! What autoscalers count beside the use of whole pods, and how fast they go by it.

use crate::{autoscaling::Scaled, cluster::eventually};
use async_trait::async_trait;
use http::{Response, StatusCode};
use jiff::Timestamp;
use k8s_openapi::api::{
    apps::v1::Deployment,
    autoscaling::v2::{HorizontalPodAutoscaler, HorizontalPodAutoscalerStatus},
    core::v1::Event,
};
use kube::api::{Patch, PatchParams};
use kubeplane_apiserver::{Body, Builder, Handler, HandlerRequest, Versions};
use kubeplane_core::{
    Definition, GroupResource, GroupVersion, GroupVersionKind, Object, Strategy,
    definition::{Form, Subresource, Verb},
    status::ApiResult,
};
use serde_json::{Value, json};
use std::{
    borrow::Cow,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

const CUSTOM: &str = "custom.metrics.k8s.io";

/// Says this of every pod that is asked for, of any other object, and of `twins` twice.
#[derive(Debug, Clone)]
struct Rate(Arc<AtomicI64>);

#[async_trait]
impl Handler for Rate {
    async fn handle(&self, request: HandlerRequest) -> ApiResult<Response<Body>> {
        let names: Vec<String> = match request.info.name.as_str() {
            "*" => {
                let (reader, pods) = (request.api.reader(), GroupResource::new("", "pods"));
                let pods = reader.list(&pods, &request.info.namespace).await?.items;
                pods.iter().map(|pod| pod.name().to_owned()).collect()
            }
            "twins" => vec!["one".to_owned(), "two".to_owned()],
            name => vec![name.to_owned()],
        };
        let value = self.0.load(Ordering::Relaxed).to_string();
        let items: Vec<Value> = names
            .into_iter()
            .map(|name| {
                json!({"describedObject": {"name": name}, "metricName": "rate", "value": value,
                    "timestamp": Timestamp::now(), "window": 60})
            })
            .collect();
        let list = json!({"kind": "MetricValueList", "apiVersion": format!("{CUSTOM}/v1beta1"),
            "metadata": {}, "items": items});
        request.respond(StatusCode::OK, &Object::from_value(list).unwrap())
    }
}

#[derive(Debug)]
struct Plain;

impl Strategy for Plain {
    fn table_row(&self, object: &Object, _now: Timestamp) -> Vec<Value> {
        vec![object.name().into()]
    }
}

fn measured(kind: &'static str, plural: &'static str) -> Arc<Definition> {
    let kind = GroupVersionKind::new(CUSTOM, "v1beta1", kind);
    let mut definition = Definition::new(kind.clone(), plural, Arc::new(Plain));
    definition.verbs = Cow::Borrowed(&[Verb::Get]);
    definition.subresources = vec![Subresource {
        name: "rate".into(),
        kind,
        verbs: Cow::Borrowed(&[Verb::Get]),
        form: Form::Handler,
    }];
    Arc::new(definition)
}

/// The figure `rate` of pods and Services, in the older version of the API alone.
fn with_rates(builder: Builder, rate: &Rate) -> Builder {
    let version = GroupVersion::new(CUSTOM, "v1beta1");
    builder
        .versions(Versions::default().including(version))
        .resources(vec![measured("PodRate", "pods"), measured("ServiceRate", "services")])
        .handler(GroupResource::new(CUSTOM, "pods"), "rate", Arc::new(rate.clone()))
        .handler(GroupResource::new(CUSTOM, "services"), "rate", Arc::new(rate.clone()))
}

async fn status(scaled: &Scaled) -> HorizontalPodAutoscalerStatus {
    let autoscaler = scaled.cluster.api::<HorizontalPodAutoscaler>().get("web").await.unwrap();
    autoscaler.status.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn figures_that_others_measure_of_pods_and_of_an_object_are_followed() {
    let rate = Rate(Arc::new(AtomicI64::new(30)));
    let own = rate.clone();
    let scaled = Scaled::with(|builder| with_rates(builder, &own)).await;
    let target = json!({"type": "AverageValue", "averageValue": "10"});
    let pods = json!({"type": "Pods", "pods": {"metric": {"name": "rate"}, "target": target}});
    scaled.scale_by(json!({"minReplicas": 1, "maxReplicas": 8, "metrics": [pods]})).await;
    eventually("there are as many as there may be", || scaled.has(8)).await;
    let message = scaled.says("ScalingActive", "True", "ValidMetricFound").await;
    assert!(message.ends_with("a replica count from pods metric rate"), "{message}");
    let current = status(&scaled).await.current_metrics.unwrap().remove(0).pods.unwrap();
    assert_eq!(current.current.average_value.unwrap().0, "30");

    // 30 of one object are enough for three with 10 each.
    let service = json!({"apiVersion": "v1", "kind": "Service", "name": "front"});
    let object = json!({"type": "Object", "object": {
        "describedObject": service, "metric": {"name": "rate"}, "target": target}});
    let patch = Patch::Merge(json!({"spec": {"metrics": [object]}}));
    let autoscalers = scaled.cluster.api::<HorizontalPodAutoscaler>();
    autoscalers.patch("web", &PatchParams::default(), &patch).await.unwrap();
    eventually("there are three", || scaled.has(3)).await;
    eventually("each has its part", || async {
        scaled.pass(5).await;
        let current = status(&scaled).await.current_metrics.unwrap().remove(0).object.unwrap();
        let each = current.current.average_value.unwrap().0;
        if each == "10" { Ok(()) } else { Err(each) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_has_one_figure_and_is_of_a_kind_that_there_is() {
    let rate = Rate(Arc::new(AtomicI64::new(30)));
    let scaled = Scaled::with(|builder| with_rates(builder, &rate)).await;
    let of = |version: &str, kind: &str, name: &str| {
        let object = json!({"apiVersion": version, "kind": kind, "name": name});
        let target = json!({"type": "Value", "value": "10"});
        json!([{"type": "Object", "object": {
            "describedObject": object, "metric": {"name": "rate"}, "target": target}}])
    };
    let metrics = of("v1", "Service", "twins");
    scaled.scale_by(json!({"minReplicas": 1, "maxReplicas": 8, "metrics": metrics})).await;
    let unable = "the HPA was unable to compute the replica count: unable to get metric rate: ";
    let fetched = "unable to fetch metrics from custom metrics API: ";
    let tells = async |told: String| {
        eventually(&told, || async {
            let message = scaled.says("ScalingActive", "False", "FailedGetObjectMetric").await;
            if message == told { Ok(()) } else { Err(message) }
        })
        .await;
    };
    let why = "the custom metrics API server returned 2 results when we asked for exactly one";
    tells(format!("{unable}Service on default twins/{fetched}{why}")).await;
    let patch = json!({"spec": {"metrics": of("example.com/v1", "Gizmo", "g")}});
    let autoscalers = scaled.cluster.api::<HorizontalPodAutoscaler>();
    autoscalers.patch("web", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    let why = "unable to map kind Gizmo.example.com to resource: no matches for kind \"Gizmo\" in \
               group \"example.com\"";
    tells(format!("{unable}Gizmo on default g/{fetched}{why}")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn figures_that_nobody_measures_are_told() {
    let scaled = Scaled::start().await;
    let target = json!({"type": "AverageValue", "averageValue": "10"});
    let pods = json!({"type": "Pods", "pods": {"metric": {"name": "rate"}, "target": target}});
    scaled.scale_by(json!({"minReplicas": 1, "maxReplicas": 8, "metrics": [pods]})).await;
    let message = scaled.says("ScalingActive", "False", "FailedGetPodsMetric").await;
    assert_eq!(
        message,
        "the HPA was unable to compute the replica count: unable to get metric rate: unable to \
         fetch metrics from custom metrics API: no custom metrics API (custom.metrics.k8s.io) registered"
    );
    let target = json!({"type": "AverageValue", "averageValue": "10"});
    let queue = json!([{"type": "External",
        "external": {"metric": {"name": "queue"}, "target": target}}]);
    let other = Patch::Merge(json!({"spec": {"metrics": queue}}));
    let autoscalers = scaled.cluster.api::<HorizontalPodAutoscaler>();
    autoscalers.patch("web", &PatchParams::default(), &other).await.unwrap();
    scaled.says("ScalingActive", "False", "FailedGetExternalMetric").await;
    let whole = "invalid metrics (1 invalid out of 1), first error is: failed to get queue \
                 external metric value: failed to get queue external metric: unable to get \
                 external metric default/queue/nil: ";
    eventually("the whole error is told", || async {
        let events = scaled.cluster.list::<Event>().await;
        let mut messages = events.iter().filter_map(|event| event.message.as_deref());
        if messages.any(|message| message.starts_with(whole)) {
            Ok(())
        } else {
            Err(format!("{events:?}"))
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_container_counts_alone_and_rules_say_how_fast() {
    let scaled = Scaled::start().await;
    let target = json!({"type": "Utilization", "averageUtilization": 50});
    let metric = json!([{"type": "ContainerResource", "containerResource": {
        "name": "cpu", "container": "c", "target": target}}]);
    let behavior = json!({
        "scaleUp": {"policies": [{"type": "Pods", "value": 1, "periodSeconds": 60}]},
        "scaleDown": {"selectPolicy": "Disabled", "stabilizationWindowSeconds": 0}});
    let spec = json!({"minReplicas": 2, "maxReplicas": 5, "metrics": metric, "behavior": behavior});
    scaled.scale_by(spec).await;
    scaled.becomes(3, "100m").await;
    let message = scaled.says("ScalingLimited", "True", "ScaleUpLimit").await;
    assert_eq!(
        message,
        "the desired replica count is increasing faster than the maximum scale rate"
    );
    scaled.becomes(5, "100m").await;
    let message = scaled.says("ScalingActive", "True", "ValidMetricFound").await;
    let figure = "cpu container resource utilization (percentage of request)";
    assert!(message.ends_with(figure), "{message}");
    scaled.all_use("10m").await;
    scaled.says("ScalingLimited", "True", "ScaleDownLimit").await;
    let web = scaled.cluster.api::<Deployment>().get("web").await.unwrap();
    assert_eq!(web.spec.unwrap().replicas, Some(5), "nothing goes where going is forbidden");
}
