//! Webhooks that have a say besides plugins, after the design proposal "Scheduler extender".

mod wire;

use crate::{NodeInfo, PodInfo, Snapshot, config};
use http::{Request, header::CONTENT_TYPE};
use k8s_openapi::api::core::v1::{Container, Pod};
use kube::{
    client::Body,
    config::{KubeConfigOptions, Kubeconfig},
};
use kubeplane_clock::SharedClock;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::json;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
    time::Duration,
};
use wire::{Binding, BindingResult, FilterResult, HostPriority, MetaVictims, Preemption, Question};

/// How long an extender may take if nothing is said.
const PATIENCE: Duration = Duration::from_secs(5);

/// A configured extender, ready to be asked.
pub struct Extender {
    client: kube::Client,
    clock: SharedClock,
    config: config::Extender,
    managed: BTreeSet<String>,
}

impl fmt::Debug for Extender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Extender").field("url", &self.config.url_prefix).finish_non_exhaustive()
    }
}

/// What an extender left of the nodes.
#[derive(Debug, Default)]
pub(crate) struct Filtered {
    pub(crate) nodes: Vec<Arc<NodeInfo>>,
    /// Nodes refused, why, and whether other pods leaving could help.
    pub(crate) refused: Vec<(String, String, bool)>,
}

/// The pods that would have to leave a node, and how many of them a disruption budget protects.
pub(crate) type Victims = (Vec<Arc<PodInfo>>, usize);

impl Extender {
    /// Makes it ready.
    ///
    /// # Errors
    /// When its address or certificates cannot be read.
    pub async fn new(config: config::Extender, clock: SharedClock) -> Result<Self, String> {
        let client = client(&config)
            .await
            .map_err(|why| format!("extender {}: {why}", config.url_prefix))?;
        let managed = config.managed_resources.iter().map(|own| own.name.clone()).collect();
        Ok(Self { client, clock, config, managed })
    }

    /// Its address, which is its name.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.config.url_prefix
    }

    pub(crate) fn is_ignorable(&self) -> bool {
        self.config.ignorable
    }

    /// Whether it has a say for a pod: for all, or for those that ask for what it manages.
    #[must_use]
    pub fn is_interested(&self, pod: &PodInfo) -> bool {
        let managed = |container: &Container| {
            let Some(own) = &container.resources else { return false };
            let lists = own.requests.iter().chain(&own.limits);
            lists.flat_map(BTreeMap::keys).any(|name| self.managed.contains(name))
        };
        let spec = pod.spec();
        self.managed.is_empty()
            || spec.containers.iter().chain(spec.init_containers.iter().flatten()).any(managed)
    }

    pub(crate) fn decides(&self) -> bool {
        !self.config.filter_verb.is_empty() || !self.config.prioritize_verb.is_empty()
    }

    /// How much a point of its scores counts beside plugins, which score up to a hundred where it scores up to ten.
    pub(crate) fn factor(&self) -> i64 {
        self.config.weight * (crate::MAX_SCORE / 10)
    }

    pub(crate) fn preempts(&self) -> bool {
        !self.config.preempt_verb.is_empty()
    }

    pub(crate) fn binds(&self) -> bool {
        !self.config.bind_verb.is_empty()
    }

    fn question(&self, pod: &PodInfo, nodes: &[Arc<NodeInfo>]) -> Question {
        let names = || nodes.iter().map(|node| node.name().to_owned()).collect();
        let items = || nodes.iter().map(|node| (**node.node()).clone()).collect();
        let by_name = self.config.node_cache_capable;
        Question {
            pod: (**pod.pod()).clone(),
            nodes: (!by_name).then(|| wire::NodeList { items: items() }),
            node_names: by_name.then(names),
        }
    }

    /// Which of the nodes are left.
    pub(crate) async fn filter(
        &self,
        pod: &PodInfo,
        nodes: Vec<Arc<NodeInfo>>,
    ) -> Result<Filtered, String> {
        if self.config.filter_verb.is_empty() {
            return Ok(Filtered { nodes, refused: Vec::new() });
        }
        let question = self.question(pod, &nodes);
        let answer: FilterResult = self.ask(&self.config.filter_verb, &question).await?;
        if !answer.error.is_empty() {
            return Err(answer.error);
        }
        let names: Vec<String> = match (answer.node_names, answer.nodes) {
            (Some(names), _) if self.config.node_cache_capable => names,
            (_, Some(list)) => list.items.into_iter().filter_map(|own| own.metadata.name).collect(),
            _ => Vec::new(),
        };
        let by_name: BTreeMap<_, _> = nodes.iter().map(|node| (node.name(), node)).collect();
        let find = |name: &String| {
            by_name.get(name.as_str()).map(|node| (*node).clone()).ok_or_else(|| {
                format!(
                    "extender {:?} claims a filtered node {name:?} which is not found in the input node list",
                    self.url()
                )
            })
        };
        let left = names.iter().map(find).collect::<Result<_, _>>()?;
        let unresolvable = answer.failed_and_unresolvable_nodes;
        let resolvable = answer.failed_nodes.into_iter();
        let resolvable: Vec<_> = resolvable
            .filter(|(node, _)| !unresolvable.contains_key(node))
            .map(|(node, why)| (node, why, true))
            .collect();
        let refused = unresolvable.into_iter().map(|(node, why)| (node, why, false));
        Ok(Filtered { nodes: left, refused: refused.chain(resolvable).collect() })
    }

    /// Adds what it thinks of the nodes to their scores. One that fails has no opinion.
    pub(crate) async fn prioritize(
        &self,
        pod: &PodInfo,
        nodes: &[Arc<NodeInfo>],
        totals: &mut [i64],
    ) {
        match self.opinions(pod, nodes).await {
            Ok(scores) => {
                for (total, score) in totals.iter_mut().zip(scores.into_iter().flatten()) {
                    *total += score * self.factor();
                }
            }
            Err(error) => tracing::info!(extender = self.url(), error, "extender gave no scores"),
        }
    }

    /// What it thinks of the nodes, each from zero to ten; `None` when it does not score.
    pub(crate) async fn opinions(
        &self,
        pod: &PodInfo,
        nodes: &[Arc<NodeInfo>],
    ) -> Result<Option<Vec<i64>>, String> {
        if self.config.prioritize_verb.is_empty() {
            return Ok(None);
        }
        let question = self.question(pod, nodes);
        let answer: Vec<HostPriority> = self.ask(&self.config.prioritize_verb, &question).await?;
        let scores: BTreeMap<_, _> = answer.into_iter().map(|own| (own.host, own.score)).collect();
        let of = |node: &Arc<NodeInfo>| scores.get(node.name()).copied().unwrap_or_default();
        Ok(Some(nodes.iter().map(of).collect()))
    }

    /// Which candidates for preemption are right, and their victims.
    pub(crate) async fn preempt(
        &self,
        pod: &PodInfo,
        victims: &BTreeMap<String, Victims>,
        nodes: &Snapshot,
    ) -> Result<BTreeMap<String, Victims>, String> {
        let answer: Preemption =
            self.ask(&self.config.preempt_verb, &self.preemption(pod, victims)).await?;
        let find = |(node, meta): (String, MetaVictims)| {
            // It may name others than those it was told of.
            let own = nodes.node(&node).map(|own| own.pods()).unwrap_or_default();
            let pod = |uid: &String| {
                own.iter().find(|pod| pod.uid() == uid).cloned().ok_or_else(|| {
                    format!("extender: {} claims to preempt pod (UID: {uid}) on node: {node}, but the pod is not found on that node", self.url())
                })
            };
            let pods = meta.pods.iter().map(|own| pod(&own.uid)).collect::<Result<_, _>>()?;
            Ok((node.clone(), (pods, usize::try_from(meta.violations).unwrap_or_default())))
        };
        answer.meta_victims.unwrap_or_default().into_iter().map(find).collect()
    }

    fn preemption(&self, pod: &PodInfo, victims: &BTreeMap<String, Victims>) -> Preemption {
        let count = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        let mut question = Preemption { pod: Some((**pod.pod()).clone()), ..Preemption::default() };
        if self.config.node_cache_capable {
            let meta = |(pods, violations): &Victims| MetaVictims {
                pods: pods.iter().map(|own| wire::MetaPod { uid: own.uid().to_owned() }).collect(),
                violations: count(*violations),
            };
            let all = victims.iter().map(|(node, own)| (node.clone(), meta(own)));
            question.meta_victims = Some(all.collect());
        } else {
            let full = |(pods, violations): &Victims| wire::FullVictims {
                pods: pods.iter().map(|own| Pod::clone(own.pod())).collect(),
                violations: count(*violations),
            };
            let all = victims.iter().map(|(node, own)| (node.clone(), full(own)));
            question.victims = Some(all.collect());
        }
        question
    }

    /// Binds a pod.
    pub(crate) async fn bind(&self, pod: &PodInfo, node: &str) -> Result<(), String> {
        let binding = Binding {
            pod_name: pod.name().to_owned(),
            pod_namespace: pod.namespace().to_owned(),
            pod_uid: pod.uid().to_owned(),
            node: node.to_owned(),
        };
        let answer: BindingResult = self.ask(&self.config.bind_verb, &binding).await?;
        if answer.error.is_empty() { Ok(()) } else { Err(answer.error) }
    }

    async fn ask<Q: Serialize, A: DeserializeOwned>(
        &self,
        verb: &str,
        question: &Q,
    ) -> Result<A, String> {
        let url = format!("{}/{verb}", self.url().trim_end_matches('/'));
        let body = serde_json::to_vec(question).map_err(|error| error.to_string())?;
        let request = Request::post(format!("/{verb}"))
            .header(CONTENT_TYPE, "application/json")
            .body(Body::from(body))
            .map_err(|error| error.to_string())?;
        let patience = self.config.http_timeout;
        let patience = if patience.is_zero() { PATIENCE } else { patience };
        let exchange = async {
            let response = self.client.send(request).await.map_err(|error| error.to_string())?;
            let code = response.status();
            if code != http::StatusCode::OK {
                return Err(format!(
                    "failed {verb} with extender at URL {url}, code {}",
                    code.as_u16()
                ));
            }
            let bytes =
                response.into_body().collect_bytes().await.map_err(|error| error.to_string())?;
            // From text, as nodes and pods are read everywhere else: the code for that is large.
            let text = std::str::from_utf8(&bytes).map_err(|error| error.to_string())?;
            serde_json::from_str(text).map_err(|error| error.to_string())
        };
        let timed = kubeplane_clock::timeout(&*self.clock, patience, exchange).await;
        timed.unwrap_or_else(|| Err(format!("Post {url:?}: no answer within {patience:?}")))
    }
}

/// A client for the extender's address, with its certificates.
async fn client(config: &config::Extender) -> Result<kube::Client, String> {
    let tls = config.tls_config.clone().unwrap_or_default();
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let file = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "extender",
        "contexts": [{"name": "extender", "context": {"cluster": "extender", "user": "scheduler"}}],
        "clusters": [{"name": "extender", "cluster": {
            "server": config.url_prefix, "insecure-skip-tls-verify": tls.insecure,
            "tls-server-name": some(&tls.server_name),
            "certificate-authority": some(&tls.ca_file), "certificate-authority-data": some(&tls.ca_data),
        }}],
        "users": [{"name": "scheduler", "user": {
            "client-certificate": some(&tls.cert_file), "client-certificate-data": some(&tls.cert_data),
            "client-key": some(&tls.key_file), "client-key-data": some(&tls.key_data),
        }}],
    });
    let file: Kubeconfig = serde_json::from_value(file).map_err(|error| error.to_string())?;
    let made = kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await;
    let config = made.map_err(|error| error.to_string())?;
    kube::Client::try_from(config).map_err(|error| error.to_string())
}
