//! One row, step by step.

// The tests load this file by its path, from where these would be looked for beside it.
#[path = "run/devices.rs"]
mod devices;
#[path = "run/watched.rs"]
mod watched;

use super::{
    objects::{self, Place, Template},
    rates::{Counter, Rates},
    rows::{self, Churn, Nodes, Pods, Row, Step, Volume},
};
use futures::{StreamExt, stream};
use http::{Request, header::CONTENT_TYPE};
use k8s_openapi::api::{
    core::v1::{Namespace, Node, PersistentVolume, PersistentVolumeClaim, Pod, Service},
    resource::v1::ResourceClaimTemplate,
    scheduling::v1::PriorityClass,
    storage::v1::CSINode,
};
use kube::{
    Api, Client, Resource,
    api::{DeleteParams, ListParams},
    core::{ClusterResourceScope, NamespaceResourceScope},
};
use serde_json::{Value, json};
use std::{
    borrow::Cow,
    fmt::Display,
    time::{Duration, Instant},
};
use tokio::task::JoinSet;
use watched::Watched;

/// How many requests of the load are on their way at once.
const AT_ONCE: usize = 64;
/// How long it may be that not one more pod gets its node before a row is given up.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often is looked at pods that nobody measures.
const LOOK: Duration = Duration::from_millis(100);

/// What a run of a row came to.
pub(crate) struct Measured {
    pub(crate) nodes: usize,
    pub(crate) pods: usize,
    /// From the first request that makes a pod to the last, and to the last binding.
    pub(crate) made: Duration,
    pub(crate) placed: Duration,
    /// By the second.
    pub(crate) rates: Rates,
}

/// One run of a row.
struct Run {
    client: Client,
    divisor: usize,
    /// What goes on beside the measured pods.
    beside: JoinSet<()>,
    nodes: usize,
    pods: usize,
    /// The number of the first of the pods with volumes that were made last.
    with_volumes: usize,
    /// How many devices all nodes have.
    devices: usize,
    watched: Option<Watched>,
}

fn failed(what: &str) -> impl Fn(kube::Error) -> String {
    move |error| format!("{what}: {error}")
}

/// What has these labels; everything where there are none.
fn labelled(labels: &str) -> ListParams {
    let all = ListParams::default();
    if labels.is_empty() { all } else { all.labels(labels) }
}

/// Creates an object. Whoever asks reads nothing of the answer, for the load is not what is measured.
async fn create<K>(api: &Api<K>, mut value: Value) -> Result<(), String>
where
    K: Resource<DynamicType = ()> + Clone,
{
    let name = value["metadata"]["name"].to_string();
    let named = |text: Cow<'static, str>| Value::String(text.into_owned());
    value["apiVersion"] = named(K::api_version(&()));
    value["kind"] = named(K::kind(&()));
    let body = serde_json::to_vec(&value).map_err(|error| error.to_string())?;
    let client = api.clone().into_client();
    let mut tries = 0;
    loop {
        tries += 1;
        let request = Request::post(api.resource_url())
            .header(CONTENT_TYPE, "application/json")
            .body(body.clone())
            .map_err(|error| error.to_string())?;
        match client.request_text(request).await {
            Ok(_) => return Ok(()),
            // The try before was answered too late.
            Err(kube::Error::Api(status)) if status.code == 409 && tries > 1 => return Ok(()),
            Err(error) if tries == 5 => return Err(format!("making {name}: {error}")),
            // What it needs was made a moment ago.
            Err(_) => tokio::time::sleep(Duration::from_millis(250)).await,
        }
    }
}

/// Does something so many times, several at once; the first failure ends it.
async fn many(count: usize, one: impl AsyncFn(usize) -> Result<(), String>) -> Result<(), String> {
    let one = &one;
    let mut all = stream::iter(0..count).map(|index| one(index)).buffer_unordered(AT_ONCE);
    while let Some(done) = all.next().await {
        done?;
    }
    Ok(())
}

impl Run {
    /// Never too many for the nodes, of which there are at least as many as it takes.
    fn scaled(&self, count: usize) -> usize {
        if count == 0 { 0 } else { (count / self.divisor).max(1) }
    }

    fn all<K: Resource<Scope = ClusterResourceScope, DynamicType = ()>>(&self) -> Api<K> {
        Api::all(self.client.clone())
    }

    fn within<K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>>(
        &self,
        namespace: &str,
    ) -> Api<K> {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// Does what a step says; `None` when nothing is measured so far.
    async fn step(&mut self, step: &Step) -> Result<Option<Measured>, String> {
        match step {
            Step::Nodes(nodes) => self.nodes(nodes).await?,
            Step::Namespaces(prefix, count) => self.namespaces(prefix, *count).await?,
            Step::Service(namespace) => {
                let spec = json!({"selector": {"app": "scheduler-perf"}, "ports": [{"port": 80}]});
                let services = self.within::<Service>(namespace);
                create(&services, json!({"metadata": {"name": "service"}, "spec": spec})).await?;
            }
            Step::Everywhere { prefix, namespaces, each, template } => {
                self.everywhere(prefix, *namespaces, *each, template).await?;
            }
            Step::Churn(churn) => self.churn(churn),
            Step::Delete { namespace, labels, per_second } => {
                self.delete(namespace, labels, *per_second).await?;
            }
            Step::Watch => self.watched = Some(Watched::start(&self.client)),
            Step::Tried => self.tried().await?,
            Step::Settled => return self.settled().await.map(Some),
            Step::Update(update) => self.update(update).await?,
            Step::Devices(each) => self.devices(*each).await?,
            Step::Publish(each) => return self.published(*each).await.map(Some),
            Step::Classes(resources, count) => self.classes(*resources, *count).await?,
            Step::Claims(namespace, count) => self.claims(namespace, *count).await?,
            Step::Steady { namespace, at_once, lasting } => {
                return self.steadily(namespace, *at_once, *lasting).await.map(Some);
            }
            Step::ClaimTemplate(namespace) => {
                let templates = self.within::<ResourceClaimTemplate>(namespace);
                create(&templates, objects::devices::claim_template()).await?;
            }
            Step::Pods(pods) if pods.measured => return self.measured(pods).await.map(Some),
            Step::Pods(pods) => self.pods(pods).await?,
        }
        Ok(None)
    }

    async fn nodes(&mut self, own: &Nodes) -> Result<(), String> {
        let count = if own.only.is_some() { 1 } else { own.count.div_ceil(self.divisor) };
        let (first, all) = (self.nodes, self.all::<Node>());
        let csi = self.all::<CSINode>();
        many(count, async |index| {
            // Only those beside the one with a name have numbers.
            let number = first + index;
            let name = own.only.map_or_else(|| format!("node-{number}"), str::to_owned);
            let zone = own.zones.get(number % own.zones.len().max(1)).copied();
            create(&all, objects::node(&name, zone, &own.more)).await?;
            let Some(most) = own.more["csi"].as_i64() else { return Ok(()) };
            let driver = json!({"name": "ebs.csi.aws.com", "nodeID": name,
                "allocatable": {"count": most}});
            let mut metadata = json!({"name": name});
            if own.more["migrated"] == true {
                let key = "storage.alpha.kubernetes.io/migrated-plugins";
                metadata["annotations"] = json!({key: "kubernetes.io/aws-ebs"});
            }
            create(&csi, json!({"metadata": metadata, "spec": {"drivers": [driver]}})).await
        })
        .await?;
        self.nodes += count;
        Ok(())
    }

    async fn namespaces(&self, prefix: &str, count: usize) -> Result<(), String> {
        let all = self.all::<Namespace>();
        many(count, async |index| {
            let name = format!("{prefix}-{index}");
            let labels = if prefix == "deleted" { json!({}) } else { json!({"team": "devops"}) };
            create(&all, json!({"metadata": {"name": name, "labels": labels}})).await
        })
        .await
    }

    /// As many pods in each of the namespaces, or in the first few when there are fewer pods.
    async fn everywhere(
        &mut self,
        prefix: &str,
        namespaces: usize,
        each: usize,
        of: &Template,
    ) -> Result<(), String> {
        let all = self.scaled(namespaces * each);
        for index in 0..namespaces {
            let count = all / namespaces + usize::from(index < all % namespaces);
            let own = rows::pods(&format!("{prefix}-{index}"), 0, of.clone());
            self.make(&own, count).await?;
        }
        for index in 0..namespaces {
            self.placed(&format!("{prefix}-{index}"), all).await?;
        }
        Ok(())
    }

    /// Creates pods that nobody measures.
    async fn pods(&mut self, own: &Pods) -> Result<(), String> {
        let count = self.scaled(own.count);
        self.make(own, count).await?;
        if own.waits { self.placed(&own.namespace, count).await } else { Ok(()) }
    }

    /// Creates pods and waits until they have their nodes.
    async fn measured(&mut self, own: &Pods) -> Result<Measured, String> {
        let count = self.scaled(own.count);
        let mut counter = Counter::start(&self.client, &own.namespace);
        let began = self.make(own, count).await?;
        let made = began.elapsed();
        if let Err(seen) = counter.wait_for(count, PATIENCE).await {
            let left = count - seen.min(count);
            return Err(self.stuck(&own.namespace, left).await);
        }
        let (placed, rates) = (began.elapsed(), counter.stop());
        Ok(Measured { nodes: self.nodes, pods: count, made, placed, rates })
    }

    /// Creates so many pods, and says when the first was.
    async fn make(&mut self, own: &Pods, count: usize) -> Result<Instant, String> {
        let first = self.pods;
        self.pods += count;
        let pods = self.within::<Pod>(&own.namespace);
        let with_volumes = self.volumes(own, first, count).await?;
        let began = Instant::now();
        many(count, async |index| {
            let place = Place { index, count };
            let mut pod = own.template.pod(&format!("pod-{}", first + index), place);
            if let Some(number) = with_volumes {
                let claim = json!({"claimName": format!("pod-{}", number + index)});
                pod["spec"]["volumes"] = json!([{"name": "v", "persistentVolumeClaim": claim}]);
            }
            create(&pods, pod).await
        })
        .await?;
        if let Some(watched) = self.watched.as_mut().filter(|_| own.is_watched()) {
            watched.more(count, began);
        }
        Ok(began)
    }

    /// Creates what volumes the pods from this number on need, and says from which number on they are named.
    async fn volumes(
        &mut self,
        own: &Pods,
        first: usize,
        count: usize,
    ) -> Result<Option<usize>, String> {
        let (source, alone) = match &own.volume {
            Volume::None => return Ok(None),
            Volume::Theirs => return Ok(Some(self.with_volumes)),
            Volume::Own(source) => (source, false),
            Volume::Alone(source) => (source, true),
        };
        let volumes = self.all::<PersistentVolume>();
        let claims = self.within::<PersistentVolumeClaim>(&own.namespace);
        many(count, async |index| {
            let name = format!("pod-{}", first + index);
            let (volume, claim) = objects::volume(&own.namespace, &name, source, alone);
            create(&volumes, volume).await?;
            create(&claims, claim).await
        })
        .await?;
        self.with_volumes = first;
        Ok(Some(first))
    }

    fn churn(&mut self, own: &Churn) {
        let (pods, own) = (self.within::<Pod>("sched-0"), own.clone());
        let (nodes, services) = (self.all::<Node>(), self.within::<Service>("sched-0"));
        self.beside.spawn(async move {
            for number in 0.. {
                let name = format!("churn-{number}");
                let made = async {
                    let place = Place { index: number, count: 1 };
                    create(&pods, own.template.pod(&name, place)).await?;
                    if own.again {
                        create(&nodes, objects::node(&name, None, &json!({}))).await?;
                        let spec = json!({"selector": {"app": "foo"}, "ports": [{"port": 8080}]});
                        create(&services, json!({"metadata": {"name": name}, "spec": spec}))
                            .await?;
                    }
                    Ok::<_, String>(())
                };
                tell("churn", made.await);
                tokio::time::sleep(own.every).await;
                if own.again {
                    let parameters = DeleteParams::default();
                    // Whoever took it away before did the same.
                    let _ = pods.delete(&name, &parameters).await;
                    let _ = nodes.delete(&name, &parameters).await;
                    let _ = services.delete(&name, &parameters).await;
                }
            }
        });
    }

    async fn delete(
        &mut self,
        namespace: &str,
        labels: &str,
        per_second: u32,
    ) -> Result<(), String> {
        let pods = self.within::<Pod>(namespace);
        let all = pods.list_metadata(&labelled(labels)).await.map_err(failed("list"))?;
        let mut pace = tokio::time::interval(Duration::from_secs(1) / per_second);
        self.beside.spawn(async move {
            for own in all.items {
                pace.tick().await;
                let name = own.metadata.name.unwrap_or_default();
                let deleted = pods.delete(&name, &DeleteParams::default()).await;
                tell("deletion", deleted);
            }
        });
        Ok(())
    }

    /// Waits until no pod of a namespace is without a node; so many were made.
    async fn placed(&self, namespace: &str, count: usize) -> Result<(), String> {
        let pods = self.within::<Pod>(namespace);
        let first = ListParams::default().fields("spec.nodeName=").limit(1);
        // The slowest that is known of places twenty a second.
        let patience = PATIENCE + Duration::from_millis(50) * u32::try_from(count).unwrap_or(0);
        let limit = Instant::now() + patience;
        while !pods.list_metadata(&first).await.map_err(failed("list"))?.items.is_empty() {
            if Instant::now() > limit {
                return Err(self.stuck(namespace, 0).await);
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }

    /// How many pods have no node, and what is said of a few of them.
    async fn stuck(&self, namespace: &str, left: usize) -> String {
        let waiting = ListParams::default().fields("spec.nodeName=");
        stuck(&self.within::<Pod>(namespace), &waiting, left, namespace).await
    }
}

/// How many of these pods have no node, and what is said of a few of them.
async fn stuck(pods: &Api<Pod>, waiting: &ListParams, left: usize, of: &str) -> String {
    let pods = match pods.list(waiting).await {
        Ok(list) => list.items,
        Err(error) => return format!("{left} pods of {of} have no node; list: {error}"),
    };
    let why = |pod: &Pod| {
        let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
        let own = conditions?.iter().find(|own| own.type_ == "PodScheduled")?;
        let text = own.message.as_deref().unwrap_or_default();
        Some(format!("{:?}: {}: {text}", pod.metadata.name, own.status))
    };
    let mut lines = vec![format!("{} pods of {of} have no node", pods.len().max(left))];
    lines.extend(pods.iter().filter_map(why).take(3));
    lines.join("\n    ")
}

/// What goes wrong beside the pods that are measured does not end the row.
fn tell<T>(what: &str, done: Result<T, impl Display>) {
    if let Err(error) = done {
        eprintln!("{what}: {error}");
    }
}

/// Does all that a row says.
pub(crate) async fn run(client: Client, row: &Row, divisor: usize) -> Result<Measured, String> {
    let mut own = Run {
        client,
        divisor,
        beside: JoinSet::new(),
        nodes: 0,
        pods: 0,
        with_volumes: 0,
        devices: 0,
        watched: None,
    };
    let classes = own.all::<PriorityClass>();
    for (name, value) in [("low", 1), ("high", 10)] {
        create(&classes, json!({"metadata": {"name": name}, "value": value})).await?;
    }
    let mut measured = None;
    for step in &row.steps {
        if let Some(found) = own.step(step).await? {
            measured = Some(found);
        }
    }
    measured.ok_or_else(|| "nothing is measured".to_owned())
}
