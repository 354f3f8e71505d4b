//! Which pods are missing and which are too many, node by node.

use super::{DaemonSets, nodes};
use crate::{
    Context, Error,
    builtin::{deployment::steps::resolve, pods, replicas::scale::slow_start},
};
use futures::future::join_all;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::{
    apps::v1::{DaemonSet, DaemonSetSpec, DaemonSetStatus},
    core::v1::{Node, Pod},
};
use kube::{Api, ResourceExt, api::PostParams};
use kubeplane_client::{EventType, ObjectKey};
use kubeplane_workload::{
    condition, is_available, is_ready, is_terminal,
    phase::{is_deleting, node_name, phase},
};
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

pub(super) const REVISION: &str = "controller-revision-hash";
const GENERATION: &str = "pod-template-generation";
const GENERATION_OF_SET: &str = "deprecated.daemonset.template.generation";
/// The most pods that are made or deleted before their events are awaited.
const BURST: usize = 250;

pub(super) struct Sync<'a> {
    controller: &'a DaemonSets,
    pub(super) context: &'a Context,
    key: &'a ObjectKey,
    pub(super) set: &'a DaemonSet,
    pub(super) spec: &'a DaemonSetSpec,
    hash: String,
    pub(super) nodes: Vec<Arc<Node>>,
    pub(super) on_node: BTreeMap<String, Vec<Arc<Pod>>>,
    pub(super) now: Timestamp,
    /// When to look again although nothing changed.
    pub(super) again: Option<Duration>,
}

impl<'a> Sync<'a> {
    pub(super) fn new(
        controller: &'a DaemonSets,
        context: &'a Context,
        key: &'a ObjectKey,
        set: &'a DaemonSet,
        spec: &'a DaemonSetSpec,
        hash: String,
        pods: &[Arc<Pod>],
    ) -> Self {
        let mut on_node: BTreeMap<String, Vec<Arc<Pod>>> = BTreeMap::new();
        for pod in pods.iter().filter(|pod| !(is_terminal(pod) && is_deleting(pod))) {
            if let Some(node) = nodes::target(pod) {
                on_node.entry(node.to_owned()).or_default().push(pod.clone());
            }
        }
        for pods in on_node.values_mut() {
            pods.sort_by_key(|pod| {
                let created = pod.metadata.creation_timestamp.as_ref().map(|time| time.0);
                (node_name(pod).is_none(), created, pod.name_any())
            });
        }
        let nodes = context.informers().of::<Node>().list();
        let now = context.now();
        Self { controller, context, key, set, spec, hash, nodes, on_node, now, again: None }
    }

    pub(super) fn fitness(&self, node: &Node) -> nodes::Fitness {
        nodes::fitness(self.set, node, self.controller.comparing)
    }

    pub(super) async fn run(&mut self) -> Result<(), Error> {
        let (mut missing, mut doomed) = (Vec::new(), Vec::new());
        for node in self.nodes.clone() {
            self.look_at(&node, &mut missing, &mut doomed);
        }
        let known =
            |name: &str| self.nodes.iter().any(|node| node.metadata.name.as_deref() == Some(name));
        let lost = self.on_node.iter().filter(|(name, _)| !known(name)).flat_map(|(_, pods)| pods);
        doomed.extend(lost.filter(|pod| node_name(pod).is_none() && !is_deleting(pod)).cloned());
        if !missing.is_empty() || !doomed.is_empty() {
            return self.apply(&missing, &doomed).await;
        }
        if self.is_rolling() {
            let (missing, doomed) = self.roll();
            self.apply(&missing, &doomed).await?;
        }
        Ok(())
    }

    fn is_rolling(&self) -> bool {
        let strategy = self.spec.update_strategy.as_ref();
        strategy.and_then(|strategy| strategy.type_.as_deref()) != Some("OnDelete")
    }

    /// How many pods may be there above the wanted number, of this many nodes.
    pub(super) fn surge(&self, total: i32) -> i32 {
        let strategy = self.spec.update_strategy.as_ref().filter(|_| self.is_rolling());
        let rolling = strategy.and_then(|strategy| strategy.rolling_update.as_ref());
        resolve(rolling.and_then(|rolling| rolling.max_surge.as_ref()), total, true)
    }

    pub(super) fn is_available(&self, pod: &Pod) -> bool {
        is_available(pod, self.spec.min_ready_seconds.unwrap_or_default(), self.now)
    }

    fn generation(&self) -> Option<i64> {
        self.set.annotations().get(GENERATION_OF_SET)?.parse().ok()
    }

    /// Whether a pod is of the present template.
    pub(super) fn is_updated(&self, pod: &Pod) -> bool {
        let label = |name: &str| pod.labels().get(name);
        let of_generation = self.generation().is_some_and(|generation| {
            label(GENERATION).is_some_and(|label| *label == generation.to_string())
        });
        of_generation || label(REVISION) == Some(&self.hash)
    }

    fn event(&self, kind: EventType, reason: &str, message: String) {
        self.context.recorder().event_for(self.set, kind, reason, message);
    }

    fn look_at(&mut self, node: &Node, missing: &mut Vec<String>, doomed: &mut Vec<Arc<Pod>>) {
        let name = node.name_any();
        let fitness = self.fitness(node);
        let Some(pods) = self.on_node.get(&name).cloned() else {
            if fitness.should_run {
                missing.push(name);
            }
            return;
        };
        let standing = pods.into_iter().filter(|pod| !is_deleting(pod));
        if !fitness.may_stay {
            doomed.extend(standing);
            return;
        }
        let mut running = Vec::new();
        for pod in standing {
            match phase(&pod) {
                "Failed" => self.look_at_failed(pod, &name, doomed),
                "Succeeded" => {
                    let message = format!(
                        "Found succeeded daemon pod {}/{} on node {name}, will try to delete it",
                        self.key.namespace,
                        pod.name_any()
                    );
                    self.event(EventType::Normal, "SucceededDaemonPod", message);
                    doomed.push(pod);
                }
                _ => running.push(pod),
            }
        }
        if self.surge(1) == 0 {
            doomed.extend(running.into_iter().skip(1));
        } else if running.is_empty() && fitness.should_run {
            missing.push(name);
        } else if running.len() > 1 {
            self.thin_out(running, doomed);
        }
    }

    fn look_at_failed(&mut self, pod: Arc<Pod>, node: &str, doomed: &mut Vec<Arc<Pod>>) {
        let uid = self.set.metadata.uid.as_deref().unwrap_or_default();
        let observed = self.set.status.as_ref().and_then(|status| status.observed_generation);
        match self.controller.pace.pause(uid, observed.unwrap_or_default(), node) {
            Some(pause) => self.look_again_in(pause),
            None => {
                let message = format!(
                    "Found failed daemon pod {}/{} on node {node}, will try to kill it",
                    self.key.namespace,
                    pod.name_any()
                );
                self.event(EventType::Warning, "FailedDaemonPod", message);
                doomed.push(pod);
            }
        }
    }

    /// Of several pods on a node keeps the oldest new one, and the oldest old one until that is available.
    fn thin_out(&self, running: Vec<Arc<Pod>>, doomed: &mut Vec<Arc<Pod>>) {
        let (mut new, mut old): (Option<Arc<Pod>>, Option<Arc<Pod>>) = (None, None);
        for pod in running {
            let place =
                if pod.labels().get(REVISION) == Some(&self.hash) { &mut new } else { &mut old };
            match place {
                None => *place = Some(pod),
                Some(_) => doomed.push(pod),
            }
        }
        if let (Some(new), Some(old)) = (new, old)
            && (!is_ready(&old) || self.is_available(&new))
        {
            doomed.push(old);
        }
    }

    fn look_again_in(&mut self, time: Duration) {
        self.again = Some(self.again.map_or(time, |again| again.min(time)));
    }

    /// Also pods beside others are waited for: an old one goes when the new one of its node is available.
    fn look_again_when_available(&mut self) {
        let min_ready = self.spec.min_ready_seconds.unwrap_or_default();
        let wait = SignedDuration::from_secs(i64::from(min_ready));
        let waiting = self.on_node.values().flatten();
        let waiting = waiting.filter(|pod| is_ready(pod) && !self.is_available(pod));
        let left = waiting.filter_map(|pod| {
            let since = condition(pod, "Ready")?.last_transition_time.as_ref()?.0;
            Duration::try_from(wait - self.now.duration_since(since)).ok()
        });
        if let Some(left) = left.min() {
            self.look_again_in(left);
        }
    }

    async fn apply(&self, missing: &[String], doomed: &[Arc<Pod>]) -> Result<(), Error> {
        let missing = &missing[..missing.len().min(BURST)];
        let doomed = &doomed[..doomed.len().min(BURST)];
        let next = AtomicUsize::new(0);
        let create = || {
            let node = missing.get(next.fetch_add(1, Ordering::Relaxed));
            let pod = node.map(|node| self.pod(node));
            async move {
                let Some(pod) = pod else { return Ok(()) };
                match pods::create_pod(self.context, self.set, &pod).await {
                    Ok(created) => {
                        self.controller.pods.created(self.key, &created);
                        Ok(())
                    }
                    // Creation fails until the namespace is gone, and the set with it.
                    Err(error) if error.is_namespace_terminating() => Ok(()),
                    Err(error) => Err(error),
                }
            }
        };
        let created = slow_start(missing.len(), 1, create).await.1;
        let deletions = doomed.iter().map(|pod| async move {
            match pods::delete(self.context, self.set, &pod.name_any()).await {
                Err(error) if error.is_not_found() => Ok(()),
                result => {
                    result?;
                    self.controller.pods.deleted(self.key, &**pod);
                    Ok(())
                }
            }
        });
        let deleted: Result<(), Error> = join_all(deletions).await.into_iter().collect();
        created.and(deleted)
    }

    /// The pod for a node.
    fn pod(&self, node: &str) -> Pod {
        let mut pod = pods::from_template(&self.spec.template, self.set);
        if let Some(generation) = self.generation() {
            pod.labels_mut().insert(GENERATION.to_owned(), generation.to_string());
        }
        pod.labels_mut().insert(REVISION.to_owned(), self.hash.clone());
        if let Some(spec) = &mut pod.spec {
            nodes::tolerate(spec);
            nodes::tie(spec, node);
        }
        pod
    }

    pub(super) async fn write_status(&mut self, collisions: i32) -> Result<(), Error> {
        let before = self.set.status.clone().unwrap_or_default();
        let mut status = DaemonSetStatus {
            observed_generation: self.set.metadata.generation,
            collision_count: Some(collisions).filter(|count| *count != 0),
            conditions: before.conditions.clone(),
            ..DaemonSetStatus::default()
        };
        let (mut available, mut updated) = (0, 0);
        for node in &self.nodes {
            let pod = self.on_node.get(&node.name_any()).and_then(|pods| pods.first());
            if !self.fitness(node).should_run {
                status.number_misscheduled += i32::from(pod.is_some());
                continue;
            }
            status.desired_number_scheduled += 1;
            let Some(pod) = pod else { continue };
            status.current_number_scheduled += 1;
            status.number_ready += i32::from(is_ready(pod));
            available += i32::from(is_ready(pod) && self.is_available(pod));
            updated += i32::from(self.is_updated(pod));
        }
        let nonzero = |count: i32| Some(count).filter(|count| *count != 0);
        status.number_available = nonzero(available);
        status.number_unavailable = nonzero(status.desired_number_scheduled - available);
        status.updated_number_scheduled = nonzero(updated);
        self.look_again_when_available();
        if before == status {
            return Ok(());
        }
        let mut next = self.set.clone();
        next.status = Some(status);
        let api: Api<DaemonSet> = Api::namespaced(self.context.client(), &self.key.namespace);
        let written = api.replace_status(&self.key.name, &PostParams::default(), &next).await?;
        self.controller.sets.updated(self.key, &written);
        Ok(())
    }
}
