mod class;
mod gates;
mod resized;
mod terms;

pub(crate) use class::digest;
pub(crate) use gates::RequestGates;
use k8s_openapi::{
    api::core::v1::{Container, Node, Pod, PodSpec},
    apimachinery::pkg::api::resource::Quantity as ApiQuantity,
};
use kubeplane_core::{features::Features, quantity::Quantity};
use kubeplane_workload::{
    HostPort, Resources, host_ports,
    resources::{is_pod_level, requests_beside, taken_by_devices},
};
pub(crate) use resized::{counted, differs};
use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock, OnceLock},
};
pub use terms::{AffinityTerm, AffinityTerms};

/// Of pods without one.
static EMPTY: LazyLock<PodSpec> = LazyLock::new(PodSpec::default);

/// What a container without a request counts as when nodes are scored.
const DEFAULT_CPU: &str = "100m";
const DEFAULT_MEMORY: &str = "200Mi";

/// Amounts of resources: CPU in thousandths, memory and storage in bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Amounts {
    /// CPU in thousandths.
    pub milli_cpu: i64,
    /// Memory in bytes.
    pub memory: i64,
    /// Ephemeral storage in bytes.
    pub ephemeral_storage: i64,
    /// How many pods (of a node's allocatable resources).
    pub pods: i64,
    /// Other resources by name.
    pub scalars: BTreeMap<String, i64>,
}

impl Amounts {
    /// From amounts by name.
    #[must_use]
    pub fn of(resources: &Resources) -> Self {
        let mut amounts = Self::default();
        for (name, quantity) in resources {
            amounts.set(name, quantity);
        }
        amounts
    }

    fn of_api(resources: Option<&BTreeMap<String, ApiQuantity>>) -> Self {
        let mut amounts = Self::default();
        for (name, quantity) in resources.into_iter().flatten() {
            amounts.set(name, &Quantity::from_api(quantity));
        }
        amounts
    }

    fn set(&mut self, name: &str, quantity: &Quantity) {
        match name {
            "cpu" => self.milli_cpu = quantity.milli_value(),
            "memory" => self.memory = quantity.value(),
            "ephemeral-storage" => self.ephemeral_storage = quantity.value(),
            "pods" => self.pods = quantity.value(),
            other => drop(self.scalars.insert(other.to_owned(), quantity.value())),
        }
    }

    /// Adds (`sign` 1) or takes away (-1).
    pub fn change(&mut self, other: &Self, sign: i64) {
        self.milli_cpu += sign * other.milli_cpu;
        self.memory += sign * other.memory;
        self.ephemeral_storage += sign * other.ephemeral_storage;
        for (name, amount) in &other.scalars {
            *self.scalars.entry(name.clone()).or_default() += sign * amount;
        }
    }

    /// The amount of a resource by name.
    #[must_use]
    pub fn amount(&self, name: &str) -> i64 {
        match name {
            "cpu" => self.milli_cpu,
            "memory" => self.memory,
            "ephemeral-storage" => self.ephemeral_storage,
            "pods" => self.pods,
            other => self.scalars.get(other).copied().unwrap_or_default(),
        }
    }
}

/// A pod with what is computed from it once.
#[derive(Debug, Clone)]
pub struct PodInfo {
    pod: Arc<Pod>,
    key: String,
    requests: Amounts,
    scored: Amounts,
    /// What it counts as itself, where that is something else.
    arriving: Option<Amounts>,
    ports: Vec<HostPort>,
    affinity: AffinityTerms,
    class: OnceLock<u128>,
    kind: OnceLock<u128>,
}

impl PodInfo {
    /// Computes it.
    #[must_use]
    pub fn new(pod: Arc<Pod>) -> Self {
        Self::counting(pod, RequestGates::default())
    }

    /// Computes it where these gates are: without `PodLevelResources` requests of the pod as a whole do not count, without
    /// `InPlacePodLevelResourcesVerticalScaling` only as they are asked for.
    #[must_use]
    pub fn with_features(pod: Arc<Pod>, features: &Features) -> Self {
        Self::counting(pod, RequestGates::from(features))
    }

    pub(crate) fn counting(pod: Arc<Pod>, counting: RequestGates) -> Self {
        let spec = pod.spec.as_ref().unwrap_or(&EMPTY);
        let mut as_counted = counted(&pod, spec, counting);
        if as_counted.resources.is_some() && !counting.whole {
            as_counted.to_mut().resources = None;
        }
        let (requests, scored) = amounts(&as_counted, &taken_by_devices(&pod));
        let arriving = spec.resources.is_some().then(|| {
            let alone = PodSpec { resources: None, ..spec.clone() };
            amounts(&alone, &Resources::new()).1
        });
        Self {
            key: format!(
                "{}/{}",
                pod.metadata.namespace.as_deref().unwrap_or_default(),
                pod.metadata.name.as_deref().unwrap_or_default()
            ),
            ports: host_ports(spec),
            affinity: AffinityTerms::of(&pod),
            class: OnceLock::new(),
            kind: OnceLock::new(),
            pod,
            requests,
            scored,
            arriving,
        }
    }

    /// The pod.
    #[must_use]
    pub fn pod(&self) -> &Arc<Pod> {
        &self.pod
    }

    /// Its spec.
    #[must_use]
    pub fn spec(&self) -> &PodSpec {
        self.pod.spec.as_ref().unwrap_or(&EMPTY)
    }

    /// `namespace/name`.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The namespace.
    #[must_use]
    pub fn namespace(&self) -> &str {
        self.pod.metadata.namespace.as_deref().unwrap_or_default()
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.pod.metadata.name.as_deref().unwrap_or_default()
    }

    /// The uid.
    #[must_use]
    pub fn uid(&self) -> &str {
        self.pod.metadata.uid.as_deref().unwrap_or_default()
    }

    /// The labels.
    #[must_use]
    pub fn labels(&self) -> Option<&BTreeMap<String, String>> {
        self.pod.metadata.labels.as_ref()
    }

    /// What it says of other pods.
    #[must_use]
    pub fn affinity(&self) -> &AffinityTerms {
        &self.affinity
    }

    /// Whether it is being deleted.
    #[must_use]
    pub fn is_terminating(&self) -> bool {
        self.pod.metadata.deletion_timestamp.is_some()
    }

    /// The node where room was made for it, if any.
    #[must_use]
    pub fn nominated_node(&self) -> Option<&str> {
        let status = self.pod.status.as_ref()?;
        status.nominated_node_name.as_deref().filter(|name| !name.is_empty())
    }

    /// The priority; zero if none is set.
    #[must_use]
    pub fn priority(&self) -> i32 {
        self.spec().priority.unwrap_or_default()
    }

    /// What it requests.
    #[must_use]
    pub fn requests(&self) -> &Amounts {
        &self.requests
    }

    /// What it counts as when nodes are scored: containers without requests count as small ones.
    #[must_use]
    pub fn scored_requests(&self) -> &Amounts {
        &self.scored
    }

    /// The same while the pod itself is being placed: as the original has it, requests of the pod as a whole do
    /// not count here.
    #[must_use]
    pub fn arriving_requests(&self) -> &Amounts {
        self.arriving.as_ref().unwrap_or(&self.scored)
    }

    /// A number that pods alike in all that decides where they may go have in common.
    pub(crate) fn class(&self) -> u128 {
        *self.class.get_or_init(|| class::class(&self.pod, self.kind()))
    }

    /// A number that those pods have in common that are alike in all that decides where they may go but namespace, labels
    /// and controller.
    pub(crate) fn kind(&self) -> u128 {
        *self.kind.get_or_init(|| class::kind(self.spec()))
    }

    /// The host ports it needs.
    #[must_use]
    pub fn ports(&self) -> &[HostPort] {
        &self.ports
    }
}

/// What a pod requests, and what it counts as when nodes are scored: containers that say nothing of CPU or memory are
/// taken for small ones, also among those that only start the pod. Where the pod requests something as a whole they are
/// so only for what is not requested at all. `shares` is what its devices take of the node beside that.
fn amounts(spec: &PodSpec, shares: &Resources) -> (Amounts, Amounts) {
    let sum = requests_beside(spec, shares);
    let requests = Amounts::of(&sum);
    let whole = spec.resources.as_ref().and_then(|own| own.requests.as_ref());
    let as_whole = whole.is_some_and(|own| own.keys().any(|name| is_pod_level(name)));
    let mut defaults = vec![("cpu", DEFAULT_CPU), ("memory", DEFAULT_MEMORY)];
    defaults.retain(|(name, _)| !as_whole || !sum.contains_key(*name));
    let quantity = |amount: &str| ApiQuantity(amount.to_owned());
    let all = || spec.containers.iter().chain(spec.init_containers.iter().flatten());
    let lacks = |container: &Container, name: &str| {
        let requests = container.resources.as_ref().and_then(|own| own.requests.as_ref());
        requests.is_none_or(|requests| !requests.contains_key(name))
    };
    if !all().any(|container| defaults.iter().any(|(name, _)| lacks(container, name))) {
        return (requests.clone(), requests);
    }
    let mut lenient = spec.clone();
    let init = lenient.init_containers.iter_mut().flatten();
    for container in lenient.containers.iter_mut().chain(init) {
        let requests = container.resources.get_or_insert_default().requests.get_or_insert_default();
        for (name, amount) in &defaults {
            requests.entry((*name).to_owned()).or_insert_with(|| quantity(amount));
        }
    }
    let lenient = Amounts::of(&requests_beside(&lenient, shares));
    // Nothing else is counted otherwise.
    let scored =
        Amounts { milli_cpu: lenient.milli_cpu, memory: lenient.memory, ..requests.clone() };
    (requests, scored)
}

/// A node and the pods on it, assumed ones among them.
#[derive(Debug, Clone)]
pub struct NodeInfo {
    node: Arc<Node>,
    pods: Vec<Arc<PodInfo>>,
    /// Those of them that say something of other pods.
    with_affinity: Vec<Arc<PodInfo>>,
    allocatable: Amounts,
    requested: Amounts,
    scored: Amounts,
}

impl NodeInfo {
    /// A node without pods.
    #[must_use]
    pub fn new(node: Arc<Node>) -> Self {
        Self {
            allocatable: allocatable_of(&node),
            node,
            pods: Vec::new(),
            with_affinity: Vec::new(),
            requested: Amounts::default(),
            scored: Amounts::default(),
        }
    }

    /// The node.
    #[must_use]
    pub fn node(&self) -> &Arc<Node> {
        &self.node
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.node.metadata.name.as_deref().unwrap_or_default()
    }

    /// The labels.
    #[must_use]
    pub fn labels(&self) -> Option<&BTreeMap<String, String>> {
        self.node.metadata.labels.as_ref()
    }

    /// The value of a label.
    #[must_use]
    pub fn label(&self, key: &str) -> Option<&str> {
        self.labels()?.get(key).map(String::as_str)
    }

    /// The pods on it.
    #[must_use]
    pub fn pods(&self) -> &[Arc<PodInfo>] {
        &self.pods
    }

    /// The pods on it with affinity or anti-affinity to other pods.
    #[must_use]
    pub fn pods_with_affinity(&self) -> &[Arc<PodInfo>] {
        &self.with_affinity
    }

    /// What it offers.
    #[must_use]
    pub fn allocatable(&self) -> &Amounts {
        &self.allocatable
    }

    /// What its pods request.
    #[must_use]
    pub fn requested(&self) -> &Amounts {
        &self.requested
    }

    /// What its pods count as when nodes are scored.
    #[must_use]
    pub fn scored_requests(&self) -> &Amounts {
        &self.scored
    }

    /// Replaces the node, keeping its pods.
    pub fn set_node(&mut self, node: Arc<Node>) {
        self.allocatable = allocatable_of(&node);
        self.node = node;
    }

    /// Adds a pod.
    pub fn add_pod(&mut self, pod: Arc<PodInfo>) {
        self.requested.change(pod.requests(), 1);
        self.scored.change(pod.scored_requests(), 1);
        if !pod.affinity().is_empty() {
            self.with_affinity.push(pod.clone());
        }
        self.pods.push(pod);
    }

    /// Takes a newer state of a pod that is here if it counts the same; else `false`, and nothing changed.
    pub(crate) fn replace_alike(&mut self, pod: &Arc<PodInfo>) -> bool {
        // It mostly came a moment ago: a node may have tens of thousands.
        let mut latest = self.pods.iter_mut().rev();
        let Some(own) = latest.find(|own| own.uid() == pod.uid()) else {
            return false;
        };
        let alike = own.requests == pod.requests
            && own.scored == pod.scored
            && own.labels() == pod.labels()
            && own.pod.metadata.annotations == pod.pod.metadata.annotations
            && own.spec().affinity == pod.spec().affinity
            && own.is_terminating() == pod.is_terminating();
        if alike {
            *own = pod.clone();
        }
        alike
    }

    /// Removes the pod of a uid; `false` when it is not here.
    pub fn remove_pod(&mut self, uid: &str) -> bool {
        let Some(index) = self.pods.iter().position(|pod| pod.uid() == uid) else { return false };
        let pod = self.pods.swap_remove(index);
        if !pod.affinity().is_empty() {
            self.with_affinity.retain(|other| other.uid() != uid);
        }
        self.requested.change(pod.requests(), -1);
        self.scored.change(pod.scored_requests(), -1);
        true
    }
}

fn allocatable_of(node: &Node) -> Amounts {
    Amounts::of_api(node.status.as_ref().and_then(|status| status.allocatable.as_ref()))
}
