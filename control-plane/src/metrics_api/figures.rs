use futures::StreamExt;
use http::{HeaderMap, Method};
use http_body_util::BodyExt;
use jiff::Timestamp;
use kubeplane_apiserver::Api;
use kubeplane_handlers::KubeletClient;
use parking_lot::Mutex;
use serde::Deserialize;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

/// Over which time kubelets say they measure the use of processors.
pub(super) const WINDOW: &str = "10s";
/// How long what a kubelet said is repeated.
const KEPT: Duration = Duration::from_secs(10);
/// How long a kubelet that did not answer is not asked again.
const SILENT: Duration = Duration::from_secs(5);
/// How long a kubelet may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How many kubelets are asked at once.
const AT_ONCE: usize = 32;
/// Between the two looks a kubelet needs that was never asked before.
const SECOND_LOOK: Duration = Duration::from_millis(1100);
/// The longest answer that is read.
const LARGEST: usize = 16 << 20;

/// What one container, or a node, uses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Usage {
    /// Billionths of processors.
    pub(super) nano_cores: Option<u64>,
    /// The memory that cannot be taken away.
    pub(super) bytes: Option<u64>,
}

impl Usage {
    /// Of a node without pods.
    pub(super) fn nothing() -> Self {
        Self { nano_cores: Some(0), bytes: Some(0) }
    }

    pub(super) fn add(&mut self, other: Self) {
        let sum = |own: Option<u64>, more: Option<u64>| {
            Some(own.unwrap_or_default().saturating_add(more.unwrap_or_default()))
        };
        self.nano_cores = sum(self.nano_cores, other.nano_cores);
        self.bytes = sum(self.bytes, other.bytes);
    }
}

/// What one kubelet said.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) at: Timestamp,
    pub(super) node: Option<Usage>,
    /// By the uids of pods, then by the names of containers.
    pub(super) pods: HashMap<String, BTreeMap<String, Usage>>,
}

impl Said {
    fn is_whole(&self) -> bool {
        let mut all = self.pods.values().flat_map(BTreeMap::values).chain(&self.node);
        all.all(|usage| usage.nano_cores.is_some())
    }
}

#[derive(Deserialize)]
struct Summary {
    node: Measured,
    #[serde(default)]
    pods: Vec<PodSummary>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PodSummary {
    pod_ref: PodRef,
    #[serde(default)]
    containers: Vec<ContainerSummary>,
}

#[derive(Deserialize)]
struct PodRef {
    uid: String,
}

#[derive(Deserialize)]
struct ContainerSummary {
    name: String,
    #[serde(flatten)]
    measured: Measured,
}

#[derive(Deserialize)]
struct Measured {
    cpu: Option<Cpu>,
    memory: Option<Memory>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Cpu {
    usage_nano_cores: Option<u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Memory {
    working_set_bytes: Option<u64>,
}

impl Measured {
    fn usage(&self) -> Usage {
        Usage {
            nano_cores: self.cpu.as_ref().and_then(|cpu| cpu.usage_nano_cores),
            bytes: self.memory.as_ref().and_then(|memory| memory.working_set_bytes),
        }
    }
}

/// What was said, or that nothing was, and when.
type Kept = HashMap<String, (Duration, Option<Arc<Said>>)>;

/// Asks kubelets, and repeats what they said for a while.
#[derive(Debug)]
pub(super) struct Figures {
    kubelets: KubeletClient,
    kept: Mutex<Kept>,
    /// Who asks the same kubelet at the same time shares the answer; one that is silent holds up nobody else.
    turns: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

impl Figures {
    pub(super) fn new(kubelets: KubeletClient) -> Self {
        Self { kubelets, kept: Mutex::default(), turns: Mutex::default() }
    }

    /// What the kubelets of these nodes say, without those that cannot be asked.
    pub(super) async fn of(
        &self,
        api: &Api,
        nodes: BTreeSet<String>,
    ) -> HashMap<String, Arc<Said>> {
        let now = api.clock().elapsed();
        self.kept.lock().retain(|_, known| is_fresh(known, now));
        self.turns.lock().retain(|_, turn| Arc::strong_count(turn) > 1);
        let asked = futures::stream::iter(nodes)
            .map(|node| async move { (self.said(api, &node).await, node) })
            .buffer_unordered(AT_ONCE)
            .collect::<Vec<_>>()
            .await;
        asked.into_iter().filter_map(|(said, node)| Some((node, said?))).collect()
    }

    async fn said(&self, api: &Api, node: &str) -> Option<Arc<Said>> {
        let turn = self.turns.lock().entry(node.to_owned()).or_default().clone();
        let _turn = turn.lock().await;
        let now = api.clock().elapsed();
        let known = self.kept.lock().get(node).filter(|known| is_fresh(known, now)).cloned();
        if let Some((_, said)) = known {
            return said;
        }
        let said = self.ask_twice(api, node).await.map(Arc::new);
        let said =
            said.inspect_err(|why| tracing::debug!(node, why, "a kubelet tells no figures")).ok();
        self.kept.lock().insert(node.to_owned(), (api.clock().elapsed(), said.clone()));
        said
    }

    /// A kubelet that was not asked before compares two looks.
    async fn ask_twice(&self, api: &Api, node: &str) -> Result<Said, String> {
        let first = self.ask(api, node).await?;
        if first.is_whole() {
            return Ok(first);
        }
        api.clock().sleep(SECOND_LOOK).await;
        self.ask(api, node).await
    }

    async fn ask(&self, api: &Api, node: &str) -> Result<Said, String> {
        let path = "/stats/summary?only_cpu_and_memory=true";
        let ask = async {
            let sent = self.kubelets.send(api, node, Method::GET, path, HeaderMap::new()).await;
            let answer = sent.map_err(|error| error.to_string())?;
            if !answer.status().is_success() {
                return Err(format!("it answers {}", answer.status()));
            }
            let body = http_body_util::Limited::new(answer.into_body(), LARGEST);
            Ok(body.collect().await.map_err(|error| error.to_string())?.to_bytes())
        };
        let told = kubeplane_clock::timeout(&**api.clock(), PATIENCE, ask).await;
        let bytes = told.unwrap_or_else(|| Err("it takes too long".to_owned()))?;
        let summary: Summary = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
        Ok(Said {
            at: api.clock().now(),
            node: Some(summary.node.usage()),
            pods: summary.pods.into_iter().map(of_pod).collect(),
        })
    }
}

fn is_fresh((at, said): &(Duration, Option<Arc<Said>>), now: Duration) -> bool {
    now.saturating_sub(*at) < if said.is_some() { KEPT } else { SILENT }
}

fn of_pod(pod: PodSummary) -> (String, BTreeMap<String, Usage>) {
    let containers = pod.containers.into_iter().map(|one| (one.name, one.measured.usage()));
    (pod.pod_ref.uid, containers.collect())
}
