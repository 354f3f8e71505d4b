//! `metrics.k8s.io`: what nodes and pods use, asked from the kubelets themselves.
//!
//! ```text
//!   kubectl top, autoscaler ──> nodes, pods (metrics.k8s.io/v1beta1) ──> Figures ──> kubelets: /stats/summary
//!                               handlers of kinds that nobody stores        └─ kept for a few seconds
//! ```
//!
//! Nothing has to be installed for it, and who installs a server of metrics of his own takes its place by his
//! APIService. Kubelets are asked when somebody wants to know, never otherwise. Pods on nodes that are nothing but
//! objects use what their annotations say.

mod figures;
mod simulated;

use crate::ways::Ways;
use async_trait::async_trait;
use figures::{Figures, Usage};
use http::Response;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kubeplane_apiserver::{Body, Builder, Handler, HandlerRequest, Versions};
use kubeplane_core::{
    Definition, GroupResource, GroupVersion, GroupVersionKind, Object, Scope, Strategy,
    definition::{Column, Verb},
    quantity::{Format, Quantity},
    selector::{FieldSelector, LabelSelector},
    status::{ApiError, ApiResult},
};
use kubeplane_handlers::KubeletClient;
use serde_json::{Value, json};
use std::{
    borrow::Cow,
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

const GROUP: &str = "metrics.k8s.io";
const VERSION: &str = "v1beta1";
/// On nodes that are nothing but objects.
const SIMULATED: &str = "kubeplane.dev/simulated";

/// Adds the kinds and what serves them to an API server that reaches kubelets with `kubelets`, and nodes by `ways`.
pub(crate) fn install(builder: Builder, kubelets: KubeletClient, ways: Arc<dyn Ways>) -> Builder {
    let figures = Arc::new(Figures::new(kubelets));
    let serve = |of| Arc::new(Metrics { of, figures: figures.clone(), ways: ways.clone() });
    builder
        .resources(vec![Arc::new(definition(Of::Nodes)), Arc::new(definition(Of::Pods))])
        .handler(GroupResource::new(GROUP, "nodes"), "", serve(Of::Nodes))
        .handler(GroupResource::new(GROUP, "pods"), "", serve(Of::Pods))
}

/// The versions with that of metrics, unless it was switched off.
pub(crate) fn served(versions: Versions) -> Versions {
    versions.including(GroupVersion::new(GROUP, VERSION))
}

/// The role that lets whoever may look at a namespace look at its figures, too.
pub(crate) fn readers() -> Value {
    let to = |role: &str| format!("rbac.authorization.k8s.io/aggregate-to-{role}");
    json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
        "metadata": {"name": "system:aggregated-metrics-reader",
            "labels": {to("view"): "true", to("edit"): "true", to("admin"): "true"}},
        "rules": [{"apiGroups": [GROUP], "resources": ["pods", "nodes"], "verbs": ["get", "list", "watch"]}]})
}

/// Whose metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Of {
    Nodes,
    Pods,
}

impl Of {
    fn plural(self) -> &'static str {
        match self {
            Self::Nodes => "nodes",
            Self::Pods => "pods",
        }
    }

    fn kind(self) -> &'static str {
        match self {
            Self::Nodes => "NodeMetrics",
            Self::Pods => "PodMetrics",
        }
    }
}

fn definition(of: Of) -> Definition {
    let kind = GroupVersionKind::new(GROUP, VERSION, of.kind());
    let mut definition = Definition::new(kind, of.plural(), Arc::new(Rows));
    definition.singular = "".into();
    definition.scope = if of == Of::Nodes { Scope::Cluster } else { Scope::Namespaced };
    definition.verbs = Cow::Borrowed(&[Verb::Get, Verb::List]);
    let column = |name: &'static str, kind: &'static str| Column::new(name, kind, name);
    definition.columns = vec![
        Column::name(),
        column("CPU", "string"),
        column("Memory", "string"),
        column("Window", "string"),
    ];
    definition
}

#[derive(Debug)]
struct Rows;

impl Strategy for Rows {
    fn table_row(&self, object: &Object, _now: Timestamp) -> Vec<Value> {
        let single = object.at(&["usage"]).into_iter();
        let several = object.at(&["containers"]).and_then(Value::as_array).into_iter().flatten();
        let all: Vec<_> = single.chain(several.map(|one| &one["usage"])).collect();
        let sum = |name: &str| {
            let mut sum = Quantity::default();
            for amount in all.iter().filter_map(|usage| Quantity::from_json(&usage[name]).ok()) {
                sum.add(&amount);
            }
            Value::from(sum.to_string())
        };
        vec![object.name().into(), sum("cpu"), sum("memory"), object.text(&["window"]).into()]
    }
}

#[derive(Debug)]
struct Metrics {
    of: Of,
    figures: Arc<Figures>,
    ways: Arc<dyn Ways>,
}

#[async_trait]
impl Handler for Metrics {
    async fn handle(&self, request: HandlerRequest) -> ApiResult<Response<Body>> {
        let namespace = request.info.namespace.clone();
        // A list of one name has that name, too.
        let name =
            if request.info.verb == "get" { request.info.name.clone() } else { String::new() };
        let query = request.query();
        let selector = LabelSelector::parse(query.text("labelSelector"))
            .map_err(|error| ApiError::bad_request(error.to_string()))?;
        let fields = fields(query.text("fieldSelector"))?;
        let resource = GroupResource::new("", self.of.plural());
        let reader = request.api.reader();
        let mut wanted = match name.as_str() {
            "" => reader.list(&resource, &namespace).await?.items,
            name => reader.get(&resource, &namespace, name).await?.into_iter().collect(),
        };
        wanted.retain(|object| selector.matches_object(object) && is_named(object, &fields));
        let metrics = match self.of {
            Of::Nodes => self.nodes(&request, &wanted).await?,
            Of::Pods => self.pods(&request, &wanted).await?,
        };
        if name.is_empty() {
            return request.respond_kind(metrics, true);
        }
        if metrics.is_empty() {
            let resource = GroupResource::new(GROUP, self.of.plural());
            return Err(ApiError::not_found(&resource, &name));
        }
        request.respond_kind(metrics, false)
    }
}

/// A selector that asks for names and namespaces: there is nothing else to ask for.
fn fields(text: &str) -> ApiResult<FieldSelector> {
    let fields =
        FieldSelector::parse(text).map_err(|error| ApiError::bad_request(error.to_string()))?;
    let known = ["metadata.name", "metadata.namespace"];
    let mut asked = fields.requirements().iter().map(|own| own.field.as_str());
    if let Some(unknown) = asked.find(|field| !known.contains(field)) {
        return Err(ApiError::bad_request(format!(
            "{unknown:?} is not a known field selector: only \"metadata.name\", \"metadata.namespace\""
        )));
    }
    Ok(fields)
}

fn is_named(object: &Object, fields: &FieldSelector) -> bool {
    fields.matches(|field| match field {
        "metadata.name" => object.name().to_owned(),
        _ => object.namespace().to_owned(),
    })
}

impl Metrics {
    async fn nodes(
        &self,
        request: &HandlerRequest,
        nodes: &[Arc<Object>],
    ) -> ApiResult<Vec<Object>> {
        let (simulated, real): (Vec<&Arc<Object>>, Vec<_>) =
            nodes.iter().partition(|node| is_simulated(node));
        let names = real.iter().map(|node| node.name().to_owned()).collect();
        let found = self.figures.of(&request.api, names).await;
        let mut metrics: Vec<_> = real
            .iter()
            .filter_map(|node| {
                let said = found.get(node.name())?;
                let usage = said.node.as_ref().and_then(amounts)?;
                metrics_of(self.of, node, said.at, json!({"usage": usage}))
            })
            .collect();
        if !simulated.is_empty() {
            let pods = request.api.reader().list(&GroupResource::new("", "pods"), "").await?.items;
            let mut sums: HashMap<&str, Usage> = HashMap::new();
            for pod in pods.iter().filter(|pod| is_running(pod)) {
                let sum = sums.entry(pod.text(&["spec", "nodeName"])).or_default();
                simulated::of_pod(pod).into_iter().for_each(|(_, usage)| sum.add(usage));
            }
            let now = request.api.clock().now();
            let heard_of = simulated.iter().filter(|node| !self.ways.is_cut(node.name()));
            metrics.extend(heard_of.filter_map(|node| {
                let usage = sums.get(node.name()).copied().unwrap_or_else(Usage::nothing);
                metrics_of(self.of, node, now, json!({"usage": amounts(&usage)?}))
            }));
        }
        Ok(metrics)
    }

    async fn pods(&self, request: &HandlerRequest, pods: &[Arc<Object>]) -> ApiResult<Vec<Object>> {
        let node = |pod: &Object| pod.text(&["spec", "nodeName"]).to_owned();
        let running: Vec<_> = pods.iter().filter(|pod| is_running(pod)).collect();
        let names: BTreeSet<_> = running.iter().map(|pod| node(pod)).collect();
        let (mut real, mut without) = (BTreeSet::new(), BTreeSet::new());
        for name in names.into_iter().filter(|name| !name.is_empty()) {
            let nodes = GroupResource::new("", "nodes");
            let found = request.api.reader().get(&nodes, "", &name).await?;
            match found.is_some_and(|node| is_simulated(&node)) {
                true if self.ways.is_cut(&name) => false,
                true => without.insert(name),
                false => real.insert(name),
            };
        }
        let found = self.figures.of(&request.api, real).await;
        let now = request.api.clock().now();
        let metrics = running.iter().filter_map(|pod| {
            let name = node(pod);
            let (at, used) = match without.contains(&name) {
                true => (now, simulated::of_pod(pod)),
                false => {
                    let said = found.get(&name)?;
                    (said.at, said.pods.get(pod.uid())?.clone())
                }
            };
            let containers = used
                .iter()
                .map(|(name, usage)| Some(json!({"name": name, "usage": amounts(usage)?})));
            // A pod whose figures are not all there has none.
            let containers: Vec<_> = containers.collect::<Option<_>>()?;
            metrics_of(self.of, pod, at, json!({"containers": containers}))
        });
        Ok(metrics.collect())
    }
}

/// Whether no kubelet is behind a node.
pub(crate) fn is_simulated(node: &Object) -> bool {
    node.label(SIMULATED) == Some("true") || node.annotation(SIMULATED) == Some("true")
}

fn is_running(pod: &Object) -> bool {
    pod.text(&["status", "phase"]) == "Running"
}

/// Amounts as they are written; `None` until the kubelet has measured for long enough.
fn amounts(usage: &Usage) -> Option<Value> {
    let cpu = Quantity::parse(&format!("{}n", usage.nano_cores?)).ok()?;
    let memory = Quantity::new(i64::try_from(usage.bytes?).ok()?, Format::BinarySi);
    Some(json!({"cpu": cpu.to_string(), "memory": memory.to_string()}))
}

fn metrics_of(of: Of, object: &Object, at: Timestamp, more: Value) -> Option<Object> {
    let mut metadata = json!({"name": object.name(), "creationTimestamp": Time(at)});
    if !object.namespace().is_empty() {
        metadata["namespace"] = json!(object.namespace());
    }
    if let Some(labels) = object.at(&["metadata", "labels"]) {
        metadata["labels"] = labels.clone();
    }
    let mut metrics = json!({
        "kind": of.kind(), "apiVersion": format!("{GROUP}/{VERSION}"), "metadata": metadata,
        "timestamp": Time(at), "window": figures::WINDOW,
    });
    if let (Some(all), Value::Object(more)) = (metrics.as_object_mut(), more) {
        all.extend(more);
    }
    Object::from_value(metrics)
}

#[cfg(all(test, feature = "testing"))]
mod tests {
    use crate::testing::{TestCluster, run};
    use k8s_openapi::api::core::v1::{Node, Pod};
    use kube::{
        Api, ResourceExt,
        api::{ApiResource, DynamicObject, ListParams, Patch, PatchParams, PostParams},
        core::GroupVersionKind,
    };
    use serde_json::json;
    use std::time::Duration;

    fn resource(kind: &str, plural: &str) -> ApiResource {
        let kind = GroupVersionKind::gvk("metrics.k8s.io", "v1beta1", kind);
        ApiResource::from_gvk_with_plural(&kind, plural)
    }

    #[test]
    fn a_silent_kubelet_holds_up_nobody_else() {
        // Connections are made, and nothing is ever said.
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = silent.local_addr().unwrap().port();
        let nodes = "
kind: Nodes
metadata: {name: sim}
---
kind: PodStages
spec: {usage: {cpu: 250m, memory: 64Mi}}
";
        let builder =
            TestCluster::builder().controllers_named("serviceaccount-controller").paused();
        run(builder.simulation(nodes.parse().unwrap()), async |cluster| {
            let pods: Api<Pod> = Api::default_namespaced(cluster.client());
            let pod = json!({"metadata": {"name": "p"}, "spec": {
                "nodeName": "sim-1", "containers": [{"name": "c", "image": "i"}]}});
            let pod = serde_json::from_value(pod).unwrap();
            pods.create(&PostParams::default(), &pod).await.unwrap();
            let all: Api<Node> = Api::all(cluster.client());
            let node = serde_json::from_value(json!({"metadata": {"name": "silent"}})).unwrap();
            all.create(&PostParams::default(), &node).await.unwrap();
            let status = json!({"status": {
                "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
                "daemonEndpoints": {"kubeletEndpoint": {"Port": port}}}});
            let patch = Patch::Merge(status);
            all.patch_status("silent", &PatchParams::default(), &patch).await.unwrap();
            cluster.advance(Duration::from_secs(15)).await;

            let of_nodes = resource("NodeMetrics", "nodes");
            let of_nodes: Api<DynamicObject> = Api::all_with(cluster.client(), &of_nodes);
            let asked = tokio::spawn(async move { of_nodes.list(&ListParams::default()).await });
            cluster.settle().await;
            let of_pods = resource("PodMetrics", "pods");
            let of_pods: Api<DynamicObject> =
                Api::default_namespaced_with(cluster.client(), &of_pods);
            // Time stands still, so nobody gives the silent one up.
            let used = of_pods.get("p").await.unwrap();
            assert_eq!(used.data["containers"][0]["usage"]["cpu"], "250m");
            cluster.advance(Duration::from_secs(60)).await;
            let told = asked.await.unwrap().unwrap();
            let names: Vec<_> = told.iter().map(|node| node.name_any()).collect();
            assert_eq!(names, ["sim-1"]);
        });
    }

    #[test]
    fn pods_are_picked_by_name_and_namespace() {
        let nodes = "
kind: Nodes
metadata: {name: sim}
---
kind: PodStages
spec: {usage: {cpu: 250m, memory: 64Mi}}
";
        let builder =
            TestCluster::builder().controllers_named("serviceaccount-controller").paused();
        run(builder.simulation(nodes.parse().unwrap()), async |cluster| {
            let pods: Api<Pod> = Api::default_namespaced(cluster.client());
            for name in ["p", "q"] {
                let pod = json!({"metadata": {"name": name}, "spec": {
                    "nodeName": "sim-1", "containers": [{"name": "c", "image": "i"}]}});
                let pod = serde_json::from_value(pod).unwrap();
                pods.create(&PostParams::default(), &pod).await.unwrap();
            }
            cluster.advance(Duration::from_secs(15)).await;
            let of_pods = resource("PodMetrics", "pods");
            let of_pods: Api<DynamicObject> =
                Api::default_namespaced_with(cluster.client(), &of_pods);
            for (fields, expected) in [
                ("metadata.name=p", vec!["p"]),
                ("metadata.name!=p", vec!["q"]),
                ("metadata.namespace=default", vec!["p", "q"]),
                ("metadata.name=q,metadata.namespace=other", vec![]),
            ] {
                let found = of_pods.list(&ListParams::default().fields(fields)).await.unwrap();
                let names: Vec<_> = found.iter().map(|pod| pod.name_any()).collect();
                assert_eq!(names, expected, "{fields}");
            }
            let unknown = ListParams::default().fields("spec.nodeName=sim-1");
            let refused = of_pods.list(&unknown).await;
            assert!(matches!(refused, Err(kube::Error::Api(status)) if status.code == 400));
        });
    }
}
