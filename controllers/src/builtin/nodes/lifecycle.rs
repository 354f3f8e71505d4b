use super::{
    NOT_READY, UNREACHABLE, condition,
    figures::Figures,
    health::{self, Graces, Pulse},
    is_ready, pods_on, reference, swap_taints, taints,
    zones::{self, Rates, Turn, Zones, zone_of},
};
use crate::{Action, Context, Controller, Error, Sources, builtin::Settings, error::unless_gone};
use async_trait::async_trait;
use futures::future::join_all;
use k8s_openapi::{
    api::{
        coordination::v1::Lease,
        core::v1::{Node, Pod},
    },
    apimachinery::pkg::apis::meta::v1::Time,
};
use kube::{
    Api,
    api::{Patch, PatchParams, PostParams},
};
use kubeplane_client::{EventType, ObjectKey};
use kubeplane_telemetry::Metrics;
use kubeplane_workload::phase::node_name;
use parking_lot::Mutex;
use serde_json::json;
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

const LEASES: &str = "kube-node-lease";

/// The taints against new pods that follow from conditions: condition, its status, taint.
const FROM_CONDITIONS: [(&str, &str, &str); 6] = [
    ("Ready", "False", NOT_READY),
    ("Ready", "Unknown", UNREACHABLE),
    ("MemoryPressure", "True", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "True", "node.kubernetes.io/disk-pressure"),
    ("NetworkUnavailable", "True", "node.kubernetes.io/network-unavailable"),
    ("PIDPressure", "True", "node.kubernetes.io/pid-pressure"),
];
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";
/// Labels that some still read under their first names: as it is now, and as it was.
const RENAMED: [(&str, &str); 2] = [
    ("kubernetes.io/os", "beta.kubernetes.io/os"),
    ("kubernetes.io/arch", "beta.kubernetes.io/arch"),
];

/// Notices nodes that fall silent, and taints nodes by their conditions.
pub(crate) struct NodeLifecycle {
    pulses: Arc<Mutex<HashMap<String, Pulse>>>,
    graces: Graces,
    zones: Mutex<Zones>,
    /// How often each node's pulse is taken.
    period: Duration,
    figures: Figures,
}

/// What is looked at.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Request {
    /// One node.
    Node(String),
    /// A pod that says it is ready on a node that is not.
    Pod(ObjectKey),
    /// How many nodes of each zone are ready.
    Zones,
}

#[async_trait]
impl Controller for NodeLifecycle {
    type Request = Request;
    type Error = Error;

    fn name(&self) -> &'static str {
        "node-lifecycle-controller"
    }

    fn identity(&self) -> &'static str {
        "node-controller"
    }

    fn workers(&self) -> usize {
        8
    }

    fn watches(&self, sources: &mut Sources<Request>) {
        // That a node lives is noted as it is told; it is looked at when it was silent for too long.
        let (pulses, clock) = (self.pulses.clone(), sources.context().clock().clone());
        sources.watch::<Lease>(move |change| {
            let lease = change.object();
            if lease.metadata.namespace.as_deref() == Some(LEASES) && !change.is_deleted() {
                let name = lease.metadata.name.as_deref().unwrap_or_default();
                if let Some(pulse) = pulses.lock().get_mut(name) {
                    pulse.renew(Some(lease), clock.elapsed());
                }
            }
            Vec::new()
        });
        super::index(&sources.informer::<Pod>());
        let nodes = sources.informer::<Node>();
        // One that was bound after its node fell silent.
        sources.watch::<Pod>(move |change| {
            let pod = change.object();
            let moved = change.old().is_none_or(|old| node_name(old) != node_name(pod));
            if change.is_deleted() || !moved || !kubeplane_workload::is_ready(pod) {
                return Vec::new();
            }
            let node = node_name(pod).and_then(|name| nodes.get("", name));
            let told =
                node.is_some_and(|node| condition(&node, "Ready").is_some() && !is_ready(&node));
            if told { vec![Request::Pod(ObjectKey::of(&**pod))] } else { Vec::new() }
        });
        sources.watch::<Node>(|change| {
            vec![Request::Node(change.object().metadata.name.clone().unwrap_or_default())]
        });
        sources.at_start(Request::Zones);
    }

    async fn reconcile(&self, request: &Request, context: &Context) -> Result<Action, Error> {
        match request {
            Request::Node(name) => {
                let started = context.clock().elapsed();
                let checked = self.check(name, context).await;
                self.figures.one_took(context.clock().elapsed().saturating_sub(started));
                checked
            }
            Request::Pod(key) => {
                let informers = context.informers();
                let pod = informers.of::<Pod>().get(&key.namespace, &key.name);
                let Some(pod) = pod else { return Ok(Action::Done) };
                let node = node_name(&pod).and_then(|name| informers.of::<Node>().get("", name));
                if node.is_some_and(|node| !is_ready(&node)) {
                    mark(context, &pod).await?;
                }
                Ok(Action::Done)
            }
            Request::Zones => {
                let started = context.clock().elapsed();
                let checked = self.check_zones(context).await;
                self.figures.all_took(context.clock().elapsed().saturating_sub(started));
                checked
            }
        }
    }
}

impl NodeLifecycle {
    pub(crate) fn new(settings: &Settings, metrics: Option<&Metrics>) -> Self {
        Self {
            pulses: Arc::default(),
            graces: Graces::of(settings),
            zones: Mutex::new(Zones::new(Rates::of(settings))),
            period: settings.node_monitor_period,
            figures: Figures::shown(metrics),
        }
    }

    async fn check_zones(&self, context: &Context) -> Result<Action, Error> {
        let nodes = context.informers().of::<Node>().list();
        let mut counts: BTreeMap<String, (usize, usize)> = BTreeMap::new();
        for node in &nodes {
            let (ready, unready) = counts.entry(zone_of(node)).or_default();
            match (zones::counts(node), is_ready(node)) {
                (false, _) => {}
                (true, true) => *ready += 1,
                (true, false) => *unready += 1,
            }
        }
        let now = context.clock().elapsed();
        let (turn, before) = {
            let mut zones = self.zones.lock();
            let before = zones.names();
            (zones.update(&counts, now), before)
        };
        self.figures.zones(&counts, &before);
        match turn {
            Turn::None => {}
            Turn::Stop => {
                tracing::info!("no node is ready: evictions stop");
                let reached = nodes.iter().map(|node| self.reach(context, node));
                let reached: Result<(), Error> = join_all(reached).await.into_iter().collect();
                if reached.is_err() {
                    // Pods would go on being evicted from the nodes that were not reached.
                    self.zones.lock().repeat();
                }
                reached?;
            }
            Turn::Resume => {
                tracing::info!("nodes are ready again: evictions resume");
                self.pulses.lock().values_mut().for_each(|pulse| pulse.at = now);
            }
        }
        Ok(Action::RequeueAfter(self.period))
    }

    /// Takes away the taints that evict.
    async fn reach(&self, context: &Context, node: &Node) -> Result<(), Error> {
        swap_taints(context, node, &[], &[(NOT_READY, "NoExecute"), (UNREACHABLE, "NoExecute")])
            .await
    }

    async fn check(&self, name: &str, context: &Context) -> Result<Action, Error> {
        let Some(node) = context.informers().of::<Node>().get("", name) else {
            let gone = self.pulses.lock().remove(name);
            if let Some(gone) = gone {
                let message = format!("Node {name} event: Removing Node {name} from Controller");
                let object = k8s_openapi::api::core::v1::ObjectReference {
                    name: Some(name.to_owned()),
                    uid: gone.uid,
                    ..reference(&Node::default())
                };
                context.recorder().event(&object, EventType::Normal, "RemovingNode", message);
            }
            return Ok(Action::Done);
        };
        let node = self.check_pulse(node, context).await?;
        taint_by_conditions(context, &node).await?;
        rename_labels(context, &node).await?;
        // The write before made the cached version old; the next look, soon, sees the new one.
        if let Some(fresh) = context.informers().of::<Node>().get("", name)
            && fresh.metadata.resource_version == node.metadata.resource_version
        {
            self.taint_by_readiness(context, &node).await?;
            return Ok(Action::RequeueAfter(self.rests(name, &node, context)));
        }
        Ok(Action::RequeueAfter(self.period))
    }

    /// How long a node need not be looked at if nothing is told of it: what is well stays so until it is silent.
    fn rests(&self, name: &str, node: &Node, context: &Context) -> Duration {
        let evicts = taints(node).iter().any(|taint| taint.effect == "NoExecute");
        let pulses = self.pulses.lock();
        match pulses.get(name) {
            Some(pulse) if is_ready(node) && !evicts && !pulse.unmarked => {
                let left = pulse.lasts(node, context.clock().elapsed());
                if left.is_zero() { self.period } else { left }
            }
            _ => self.period,
        }
    }

    /// The node as it is then.
    async fn check_pulse(&self, node: Arc<Node>, context: &Context) -> Result<Arc<Node>, Error> {
        let name = node.metadata.name.clone().unwrap_or_default();
        let lease = context.informers().of::<Lease>().get(LEASES, &name);
        let now = context.clock().elapsed();
        let (lost, unmarked, is_new) = {
            let mut pulses = self.pulses.lock();
            let is_new = !pulses.contains_key(&name);
            let first = || {
                let now = (now, context.now());
                Pulse::new(&node, lease.as_deref(), now, self.graces)
            };
            let pulse = pulses.entry(name.clone()).or_insert_with(first);
            pulse.update(&node, lease.as_deref(), now);
            (pulse.is_lost(&node, now), pulse.unmarked, is_new)
        };
        if is_new {
            let message = format!("Node {name} event: Registered Node {name} in Controller");
            context.recorder().event(
                &reference(&node),
                EventType::Normal,
                "RegisteredNode",
                message,
            );
        }
        let was_ready = is_ready(&node);
        let node = if lost { write_loss(node, context).await? } else { node };
        let turned = was_ready && !is_ready(&node);
        if turned || (unmarked && !is_ready(&node)) {
            let marked = mark_pods(context, &name).await;
            if let Some(pulse) = self.pulses.lock().get_mut(&name) {
                // Once more after the turn: a pod may be seen after this, but before the turn itself is.
                pulse.unmarked = marked.is_err() || turned;
            }
            marked?;
        }
        Ok(node)
    }

    /// Evicts from nodes that are not ready, as fast as their zone allows.
    async fn taint_by_readiness(&self, context: &Context, node: &Node) -> Result<(), Error> {
        let Some(ready) = condition(node, "Ready") else { return Ok(()) };
        if self.zones.lock().are_stopped() {
            // It may have been tainted just before evictions stopped.
            return self.reach(context, node).await;
        }
        let (add, remove) = match ready.status.as_str() {
            "False" => (NOT_READY, UNREACHABLE),
            "Unknown" => (UNREACHABLE, NOT_READY),
            _ => return self.reach(context, node).await,
        };
        let has = |key: &str| {
            taints(node).iter().any(|taint| taint.key == key && taint.effect == "NoExecute")
        };
        if has(add) && !has(remove) {
            return Ok(());
        }
        let now = context.clock().elapsed();
        let (add, remove) = ([(add, "NoExecute")], [(remove, "NoExecute")]);
        if has(remove[0].0) {
            return swap_taints(context, node, &add, &remove).await;
        }
        if self.zones.lock().take(&zone_of(node), now) {
            swap_taints(context, node, &add, &remove).await?;
            self.figures.evicted(&zone_of(node));
        }
        Ok(())
    }
}

/// Says of a node that is silent that nothing is known of it; as it is then.
async fn write_loss(node: Arc<Node>, context: &Context) -> Result<Arc<Node>, Error> {
    let (was_ready, mut lost) = (is_ready(&node), Arc::unwrap_or_clone(node));
    if health::lose(&mut lost, context.now()) {
        let name = lost.metadata.name.clone().unwrap_or_default();
        let api: Api<Node> = Api::all(context.client());
        lost = api.replace_status(&name, &PostParams::default(), &lost).await?;
        if was_ready {
            let message = format!("Node {name} status is now: NodeNotReady");
            let about = reference(&lost);
            context.recorder().event(&about, EventType::Normal, "NodeNotReady", message);
        }
    }
    Ok(Arc::new(lost))
}

/// Gives what has a new name its old one, too.
async fn rename_labels(context: &Context, node: &Node) -> Result<(), Error> {
    let Some(labels) = &node.metadata.labels else { return Ok(()) };
    let differing = RENAMED.iter().filter_map(|(now, before)| {
        let value = labels.get(*now)?;
        (labels.get(*before) != Some(value)).then(|| ((*before).to_owned(), value.clone()))
    });
    let differing: BTreeMap<String, String> = differing.collect();
    if differing.is_empty() {
        return Ok(());
    }
    let patch = json!({"metadata": {"uid": node.metadata.uid, "labels": differing}});
    let api: Api<Node> = Api::all(context.client());
    let name = node.metadata.name.as_deref().unwrap_or_default();
    unless_gone(api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await)
}

async fn taint_by_conditions(context: &Context, node: &Node) -> Result<(), Error> {
    let effect = "NoSchedule";
    let unschedulable = node.spec.as_ref().and_then(|spec| spec.unschedulable).unwrap_or_default();
    let applies = |(kind, status, _): &(&str, &str, &str)| {
        condition(node, kind).is_some_and(|condition| condition.status == *status)
    };
    let mut wanted: Vec<_> =
        FROM_CONDITIONS.iter().filter(|rule| applies(rule)).map(|rule| (rule.2, effect)).collect();
    if unschedulable {
        wanted.push((UNSCHEDULABLE, effect));
    }
    let ours = FROM_CONDITIONS.iter().map(|rule| rule.2).chain([UNSCHEDULABLE]);
    let remove: Vec<_> =
        ours.map(|key| (key, effect)).filter(|taint| !wanted.contains(taint)).collect();
    swap_taints(context, node, &wanted, &remove).await
}

/// Says of the pods on a silent node that they are not ready.
async fn mark_pods(context: &Context, node: &str) -> Result<(), Error> {
    // One that cannot be written must not keep the others.
    let mut marked = Ok(());
    for pod in pods_on(&context.informers().of::<Pod>(), node) {
        marked = marked.and(mark(context, &pod).await);
    }
    marked
}

async fn mark(context: &Context, pod: &Pod) -> Result<(), Error> {
    if !kubeplane_workload::is_ready(pod) {
        return Ok(());
    }
    let meta = &pod.metadata;
    let api: Api<Pod> =
        Api::namespaced(context.client(), meta.namespace.as_deref().unwrap_or_default());
    let patch = json!({
        "metadata": {"uid": meta.uid},
        "status": {"conditions": [
            {"type": "Ready", "status": "False", "lastTransitionTime": Time(context.now())}]},
    });
    let name = meta.name.as_deref().unwrap_or_default();
    unless_gone(api.patch_status(name, &PatchParams::default(), &Patch::Strategic(patch)).await)?;
    let (reason, message) = ("NodeNotReady", "Node is not ready");
    context.recorder().event_for(pod, EventType::Warning, reason, message);
    Ok(())
}
