//! The component that simulates.

use crate::{
    Error, NodeGroup, PodStages, Simulation, node,
    pod::{Moment, Next, Progress},
};
use async_trait::async_trait;
use futures::{FutureExt, StreamExt, future::join_all, stream::FuturesUnordered};
use jiff::Timestamp;
use k8s_openapi::api::{
    coordination::v1::Lease,
    core::v1::{Node, Pod},
};
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions},
};
use kubeplane_client::{
    Change, ClientSource, Informer, Informers, ObjectKey, QueueOptions, WorkQueue,
};
use kubeplane_clock::{Seed, SharedClock};
use kubeplane_core::component::{Component, ComponentError, Lifecycle};
use parking_lot::Mutex;
use std::{collections::HashMap, net::Ipv4Addr, sync::Arc, time::Duration};
use tokio::task::JoinSet;

/// How many requests are under way at most, of nodes and of pods.
const AT_ONCE: usize = 32;
/// How often a lease is renewed.
const RENEWAL: Duration = Duration::from_secs(10);
/// After how long without a renewal a node may have been given up, and says anew how it is.
const LAPSED: Duration = Duration::from_secs(30);
/// How long until a node is tried to be written again: doubled each time, at most the other.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// In how many parts of that time the leases take turns.
const TURNS: usize = 20;
/// After how long at most a pod is tried to be written again: what its node could not say for a while is to be said soon
/// after that.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// What each node has of its own, by its name.
type Each<T> = Box<dyn Fn(&str) -> T + Send + Sync>;

/// Simulated nodes, not running yet. Ready when all nodes are there, which is tried until it is done; what the API
/// server refuses for good (400, 404, 422) ends it. Pods that run already, for another who looked after them, run on.
///
/// Its nodes stay when it ends, as those of any kubelet do; their leases run out.
#[derive(Debug)]
pub struct SimulatedNodes {
    shared: Arc<Shared>,
    informers: Informers,
}

struct Shared {
    client: kube::Client,
    client_for: Option<Each<kube::Client>>,
    simulation: Simulation,
    clock: SharedClock,
    clock_for: Option<Each<SharedClock>>,
    seed: Seed,
    default: PodStages,
    pods: Mutex<Pods>,
}

#[derive(Default)]
struct Pods {
    /// By uid.
    progress: HashMap<String, Progress>,
    /// Addresses given out so far.
    addresses: u32,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("simulation", &self.simulation).finish_non_exhaustive()
    }
}

/// Makes [`SimulatedNodes`].
#[must_use]
pub struct SimulatedNodesBuilder {
    client: kube::Client,
    client_for: Option<Each<kube::Client>>,
    simulation: Simulation,
    clock: SharedClock,
    clock_for: Option<Each<SharedClock>>,
    seed: Option<Seed>,
    informers: Option<Informers>,
}

impl std::fmt::Debug for SimulatedNodesBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SimulatedNodesBuilder")
            .field("simulation", &self.simulation)
            .finish_non_exhaustive()
    }
}

impl SimulatedNodes {
    /// Simulates this through a client that may write nodes, leases and the status of pods, and delete pods.
    pub fn builder(client: kube::Client, simulation: Simulation) -> SimulatedNodesBuilder {
        SimulatedNodesBuilder {
            client,
            client_for: None,
            simulation,
            clock: kubeplane_clock::real(),
            clock_for: None,
            seed: None,
            informers: None,
        }
    }
}

impl SimulatedNodesBuilder {
    /// Writes what a node says, which is itself, its lease, and the status and the end of its pods, as the client of its
    /// own that this makes from its name. The client the builder was made with then only watches pods.
    ///
    /// It is made anew for each write, or few at once, and dropped after that, so that thousands of nodes keep none: it is
    /// to be cheap, as those of a server in the same process are. Over a socket it would be a connection each time.
    pub fn client_for(
        mut self,
        make: impl Fn(&str) -> kube::Client + Send + Sync + 'static,
    ) -> Self {
        self.client_for = Some(Box::new(make));
        self
    }

    /// Takes time from this clock instead of the machine's.
    pub fn clock(mut self, clock: SharedClock) -> Self {
        self.clock = clock;
        self
    }

    /// Takes the times that a node tells, of itself and its pods, from the clock of its own that this makes from its name,
    /// each time anew. When something is done goes by the [`clock`](Self::clock) of all.
    pub fn clock_for(mut self, make: impl Fn(&str) -> SharedClock + Send + Sync + 'static) -> Self {
        self.clock_for = Some(Box::new(make));
        self
    }

    /// Takes chance from this seed instead of one nobody can predict.
    pub fn seed(mut self, seed: Seed) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Shares these informers instead of making its own.
    pub fn informers(mut self, informers: Informers) -> Self {
        self.informers = Some(informers);
        self
    }

    /// The component.
    ///
    /// # Errors
    /// When two groups of nodes have one name.
    pub fn build(self) -> Result<SimulatedNodes, Error> {
        self.simulation.check()?;
        let seed = self.seed.unwrap_or_else(Seed::random);
        let informers = self.informers.unwrap_or_else(|| {
            let source = Arc::new(ClientSource::new(self.client.clone()));
            Informers::from_source(source, self.clock.clone(), Seed::new(seed.value()))
        });
        let shared = Shared {
            client: self.client,
            client_for: self.client_for,
            simulation: self.simulation,
            clock: self.clock,
            clock_for: self.clock_for,
            seed,
            default: PodStages::default(),
            pods: Mutex::default(),
        };
        Ok(SimulatedNodes { shared: Arc::new(shared), informers })
    }
}

#[async_trait]
impl Component for SimulatedNodes {
    fn name(&self) -> &str {
        "simulated nodes"
    }

    async fn run(self: Box<Self>, lifecycle: Lifecycle) -> Result<(), ComponentError> {
        let pods = self.informers.filtered::<Pod>("spec.nodeName!=", "");
        let options =
            QueueOptions { longest_pause: LONGEST_WAIT, ..QueueOptions::named("simulated-pods") };
        let queue = WorkQueue::new(self.shared.clock.clone(), &options);
        let mut tasks = JoinSet::new();
        let (shared, filled) = (self.shared.clone(), pods.clone());
        let made = async move {
            shared.make_nodes().await?;
            filled.synced().await;
            Ok::<_, ComponentError>(())
        };
        tokio::select! {
            biased;
            () = lifecycle.stopping() => return Ok(()),
            made = made.boxed() => made?,
        }
        self.shared.spare(&pods.list());
        tasks.spawn(feed(self.shared.clone(), pods.clone(), queue.clone()));
        for _ in 0..AT_ONCE {
            tasks.spawn(work(self.shared.clone(), pods.clone(), queue.clone()));
        }
        tasks.spawn(renew(self.shared.clone()).boxed());
        tasks.spawn(ready_late(self.shared.clone()).boxed());
        lifecycle.ready();
        lifecycle.stopping().await;
        queue.shut_down();
        tasks.shutdown().await;
        Ok(())
    }
}

/// Something a later try may do.
fn retry(error: &kube::Error) -> bool {
    !matches!(error, kube::Error::Api(status) if matches!(status.code, 400 | 404 | 422))
}

impl Shared {
    /// A client that is this node.
    fn client_of(&self, node: &str) -> kube::Client {
        self.client_for.as_ref().map_or_else(|| self.client.clone(), |make| make(node))
    }

    /// What time it is on this node.
    fn now(&self, node: &str) -> Timestamp {
        self.clock_for.as_ref().map_or_else(|| self.clock.now(), |make| make(node).now())
    }

    fn nodes(&self) -> Vec<(&NodeGroup, u32)> {
        let all = self.simulation.nodes.iter();
        all.flat_map(|group| (1..=group.count).map(move |number| (group, number))).collect()
    }

    /// All nodes with their leases, by several tasks that take turns.
    async fn make_nodes(self: &Arc<Self>) -> Result<(), ComponentError> {
        let mut makers = JoinSet::new();
        for first in 0..AT_ONCE {
            let shared = self.clone();
            makers.spawn(async move {
                for (group, number) in shared.nodes().into_iter().skip(first).step_by(AT_ONCE) {
                    shared.again(|| shared.make_node(group, number)).await?;
                }
                Ok::<_, kube::Error>(())
            });
        }
        while let Some(made) = makers.join_next().await {
            made??;
        }
        Ok(())
    }

    /// Tries until it is done, or until another try would do no better.
    async fn again<F>(&self, attempt: impl Fn() -> F) -> kube::Result<()>
    where
        F: Future<Output = kube::Result<()>>,
    {
        let mut pause = FIRST_PAUSE;
        loop {
            match attempt().await {
                Err(error) if retry(&error) => {
                    tracing::debug!(%error, "a node is not written");
                    self.clock.sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
                other => return other,
            }
        }
    }

    async fn make_node(&self, group: &NodeGroup, number: u32) -> kube::Result<()> {
        let name = node::name(group, number);
        let (client, now) = (self.client_of(&name), self.now(&name));
        let nodes: Api<Node> = Api::all(client.clone());
        let node = node::node(group, number, now).map_err(kube::Error::SerdeError)?;
        match nodes.create(&PostParams::default(), &node).await {
            // It was there when this ran before.
            Err(kube::Error::Api(status)) if status.reason == "AlreadyExists" => {
                let status = serde_json::json!({"status": node.status});
                let patch = Patch::Strategic(status);
                nodes.patch_status(&name, &PatchParams::default(), &patch).await?;
            }
            other => drop(other?),
        }
        let lease = node::lease(&name, now).map_err(kube::Error::SerdeError)?;
        match leases(client.clone()).create(&PostParams::default(), &lease).await {
            Err(kube::Error::Api(status)) if status.reason == "AlreadyExists" => {
                self.renew_lease(client, &name).await
            }
            other => other.map(drop),
        }
    }

    async fn renew_lease(&self, client: kube::Client, name: &str) -> kube::Result<()> {
        let patch = Patch::Merge(node::renewal(self.now(name)));
        leases(client).patch_metadata(name, &PatchParams::default(), &patch).await.map(drop)
    }

    /// Renews the lease of a node; one that was not heard of for long says how it is, as a kubelet does.
    async fn keep(&self, node: &mut Renewed) -> kube::Result<()> {
        let client = self.client_of(&node.name);
        self.renew_lease(client.clone(), &node.name).await?;
        let now = self.clock.elapsed();
        if now.saturating_sub(node.last) > LAPSED {
            self.report(client, &node.name, now >= node.ready_from).await?;
        }
        node.last = now;
        Ok(())
    }

    /// Its turn to be kept; what fails is done at the next.
    async fn turn(&self, place: usize, mut node: Renewed) -> (usize, Renewed) {
        if let Err(error) = self.keep(&mut node).await {
            tracing::debug!(node = node.name, %error, "lease not renewed");
        }
        (place, node)
    }

    /// Makes the nodes of a group ready when their time has come. One that cannot be written holds up no other.
    async fn make_ready(&self, group: &NodeGroup) {
        self.clock.sleep(group.ready_delay).await;
        let mut left: Vec<_> = (1..=group.count).map(|number| node::name(group, number)).collect();
        let mut pause = FIRST_PAUSE;
        loop {
            let (mut again, mut under_way) = (Vec::new(), FuturesUnordered::new());
            for name in left {
                under_way.push(self.try_ready(name));
                if under_way.len() >= AT_ONCE {
                    again.extend(under_way.next().await.flatten());
                }
            }
            while let Some(name) = under_way.next().await {
                again.extend(name);
            }
            if again.is_empty() {
                return;
            }
            left = again;
            self.clock.sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// The name of the node if that is to be tried again.
    async fn try_ready(&self, name: String) -> Option<String> {
        match self.report(self.client_of(&name), &name, true).await {
            Ok(()) => None,
            Err(error) if retry(&error) => Some(name),
            Err(error) => {
                // One that somebody deleted meanwhile never is.
                tracing::warn!(node = name, %error, "not made ready");
                None
            }
        }
    }

    /// Writes the conditions of a node.
    async fn report(&self, client: kube::Client, name: &str, ready: bool) -> kube::Result<()> {
        let nodes: Api<Node> = Api::all(client);
        let conditions = node::conditions(ready, self.now(name));
        let patch = Patch::Strategic(serde_json::json!({"status": {"conditions": conditions}}));
        nodes.patch_status(name, &PatchParams::default(), &patch).await.map(drop)
    }

    /// What is to be done for a pod now.
    fn next(&self, pod: &Pod) -> Next {
        let meta = &pod.metadata;
        let namespace = meta.namespace.as_deref().unwrap_or_default();
        let stages =
            self.simulation.stages_of(namespace, meta.labels.as_ref()).unwrap_or(&self.default);
        let moment = Moment { elapsed: self.clock.elapsed(), now: self.now(node_of(pod)) };
        let chance = || self.seed.fraction();
        let mut pods = self.pods.lock();
        let Pods { progress, addresses } = &mut *pods;
        let uid = meta.uid.clone().unwrap_or_default();
        let new_address = || {
            *addresses += 1;
            address(*addresses)
        };
        let progress = progress
            .entry(uid)
            .or_insert_with(|| Progress::seen(pod, stages, moment, new_address, &chance));
        progress.next(pod, stages, moment, &chance)
    }

    /// Addresses that pods have already are not given out again.
    fn spare(&self, pods: &[Arc<Pod>]) {
        let given = pods.iter().filter_map(|pod| number(pod.status.as_ref()?.pod_ip.as_deref()?));
        let highest = given.max().unwrap_or_default();
        let mut pods = self.pods.lock();
        pods.addresses = pods.addresses.max(highest);
    }

    fn progress(&self, pod: &Pod) -> Option<Progress> {
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        self.pods.lock().progress.get(uid).cloned()
    }

    /// Takes a step back that was not written.
    fn back(&self, pod: &Pod, before: Option<Progress>) {
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        let mut pods = self.pods.lock();
        match before {
            Some(before) => pods.progress.insert(uid, before),
            None => pods.progress.remove(&uid),
        };
    }

    async fn remove(&self, pods: &Api<Pod>, name: &str, uid: Option<String>) -> kube::Result<()> {
        let now = DeleteParams {
            grace_period_seconds: Some(0),
            preconditions: Some(Preconditions { uid, resource_version: None }),
            ..DeleteParams::default()
        };
        pods.delete(name, &now).await.map(drop)
    }
}

/// All leases of nodes.
fn leases(client: kube::Client) -> Api<Lease> {
    Api::namespaced(client, "kube-node-lease")
}

/// The node of a pod; nothing of one that has none.
fn node_of(pod: &Pod) -> &str {
    pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or_default()
}

/// An address of 10.64.0.0/10.
fn address(number: u32) -> String {
    let low = number & 0x003f_ffff;
    format!("10.{}.{}.{}", 64 | (low >> 16), (low >> 8) & 255, low & 255)
}

/// The number that an address was made from.
fn number(address: &str) -> Option<u32> {
    let octets = address.parse::<Ipv4Addr>().ok()?.octets();
    let ours = octets[0] == 10 && octets[1] & 0xc0 == 64;
    ours.then(|| u32::from_be_bytes(octets) & 0x003f_ffff)
}

/// Puts pods of our nodes into the queue when they change.
async fn feed(shared: Arc<Shared>, pods: Informer<Pod>, queue: WorkQueue<ObjectKey>) {
    let mut changes = pods.subscribe();
    while let Some(change) = changes.next().await {
        let pod = change.object();
        if let Change::Deleted(_) = &change {
            shared.pods.lock().progress.remove(pod.metadata.uid.as_deref().unwrap_or_default());
            continue;
        }
        if shared.simulation.has_node(node_of(pod)) {
            queue.add(ObjectKey::of(&**pod));
        }
    }
}

async fn work(shared: Arc<Shared>, pods: Informer<Pod>, queue: WorkQueue<ObjectKey>) {
    while let Some(key) = queue.take().await {
        if let Some(pod) = pods.get(&key.namespace, &key.name) {
            match step(&shared, &pod).await {
                Ok(Some(wait)) => queue.add_after(key.clone(), wait),
                Ok(None) => {}
                Err(error) if retry(&error) => {
                    tracing::debug!(pod = %key, %error, "not written");
                    queue.add_rate_limited(key.clone());
                }
                // It is gone, or another by now.
                Err(error) => tracing::debug!(pod = %key, %error, "refused"),
            }
        }
        queue.done(&key);
    }
}

/// Takes a pod as far as it goes now; how long until it goes on by itself.
async fn step(shared: &Shared, pod: &Pod) -> kube::Result<Option<Duration>> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let api = || Api::<Pod>::namespaced(shared.client_of(node_of(pod)), namespace);
    let before = shared.progress(pod);
    match shared.next(pod) {
        Next::Rest => Ok(None),
        Next::Wait(left) => Ok(Some(left)),
        Next::Remove => shared.remove(&api(), name, pod.metadata.uid.clone()).await.map(|()| None),
        Next::Patch(mut patch) => {
            // Another pod of the same name is not to have it.
            patch["metadata"]["uid"] = pod.metadata.uid.clone().into();
            let patch = Patch::Strategic(patch);
            if let Err(error) = api().patch_status(name, &PatchParams::default(), &patch).await {
                shared.back(pod, before);
                return Err(error);
            }
            // What follows depends on what is known here, not on how soon the change is seen.
            Ok(Some(Duration::ZERO))
        }
    }
}

/// A node whose lease is renewed.
struct Renewed {
    name: String,
    ready_from: Duration,
    /// When that was last done.
    last: Duration,
}

/// Renews all leases again and again, a part at a time. One that takes its time holds up no other.
async fn renew(shared: Arc<Shared>) {
    let start = shared.clock.elapsed();
    let renewed = |(group, number): (&NodeGroup, u32)| Renewed {
        name: node::name(group, number),
        ready_from: start.saturating_add(group.ready_delay),
        last: start,
    };
    let nodes = shared.nodes().into_iter().map(renewed);
    let mut nodes: Vec<Option<Renewed>> = nodes.map(Some).collect();
    if nodes.is_empty() {
        return;
    }
    let part = nodes.len().div_ceil(TURNS).max(1);
    let turns = u32::try_from(nodes.len().div_ceil(part)).unwrap_or(1).max(1);
    let mut under_way = FuturesUnordered::new();
    loop {
        for first in (0..nodes.len()).step_by(part) {
            let mut pause = shared.clock.sleep(RENEWAL / turns);
            loop {
                tokio::select! {
                    biased;
                    Some((place, node)) = under_way.next() => nodes[place] = Some(node),
                    () = &mut pause => break,
                }
            }
            for place in first..nodes.len().min(first + part) {
                // One whose last renewal is still under way has no turn.
                let Some(node) = nodes[place].take() else { continue };
                under_way.push(shared.turn(place, node));
                if under_way.len() >= AT_ONCE
                    && let Some((place, node)) = under_way.next().await
                {
                    nodes[place] = Some(node);
                }
            }
        }
    }
}

/// Makes nodes ready whose group says that it takes them a while.
async fn ready_late(shared: Arc<Shared>) {
    let late: Vec<_> =
        shared.simulation.nodes.iter().filter(|group| !group.ready_delay.is_zero()).collect();
    join_all(late.into_iter().map(|group| shared.make_ready(group))).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_known_again() {
        for given in [1, 255, 256, 70_000, 0x003f_ffff] {
            assert_eq!(number(&address(given)), Some(given));
        }
        assert_eq!([number("10.244.0.1"), number("192.168.0.1"), number("::1")], [None; 3]);
    }
}
