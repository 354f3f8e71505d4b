//! The pods of this node, for admission and for the server.

use crate::{
    allocation::{Actuated, Allocation, Figures, Kept, asks_otherwise},
    observed::ObservedPod,
    spec,
};
use k8s_openapi::api::core::v1::{Pod, PodCondition, PodStatus};
use parking_lot::Mutex;
use std::{collections::HashMap, sync::Arc};
use tokio::sync::Notify;

/// What a pod has of the node, and what becomes of a wish for something else.
#[derive(Debug, Clone, Default)]
pub(crate) struct Given {
    /// Nothing before the pod is admitted.
    pub(crate) allocated: Option<Allocation>,
    pub(crate) actuated: Actuated,
    /// The condition that the node has not given what is asked for.
    pub(crate) pending: Option<PodCondition>,
    /// The condition that containers do not have yet what was given.
    pub(crate) in_progress: Option<PodCondition>,
    /// What is asked for is looked at whenever there may be more room.
    pub(crate) waits: bool,
    /// How often something else was given.
    pub(crate) turn: u64,
}

/// One pod the kubelet works on.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub(crate) pod: Arc<Pod>,
    pub(crate) status: Option<Arc<PodStatus>>,
    /// Takes resources of the node.
    pub(crate) admitted: bool,
    /// Nothing of it runs any more.
    pub(crate) ended: bool,
    pub(crate) given: Given,
    /// Wakes its worker.
    pub(crate) wake: Arc<Notify>,
}

impl Record {
    /// A pod that nothing is known of yet.
    pub(crate) fn new(pod: Arc<Pod>, wake: Arc<Notify>) -> Self {
        Self { pod, status: None, admitted: false, ended: false, given: Given::default(), wake }
    }

    /// The pod with what it takes of the node at present.
    pub(crate) fn counted(&self) -> Arc<Pod> {
        let given = &self.given;
        let own = given.allocated.as_ref();
        own.map_or_else(|| self.pod.clone(), |own| own.counted(&self.pod, &given.actuated))
    }
}

/// All pods, by uid.
#[derive(Debug, Default)]
pub(crate) struct Pods(Mutex<HashMap<String, Record>>);

impl Pods {
    /// A pod whose worker is woken so; what was known of it stays.
    pub(crate) fn add(&self, uid: &str, pod: Arc<Pod>, wake: Arc<Notify>) {
        let mut pods = self.0.lock();
        match pods.get_mut(uid) {
            Some(record) => (record.pod, record.wake) = (pod, wake),
            None => drop(pods.insert(uid.to_owned(), Record::new(pod, wake))),
        }
    }

    /// A new state of a pod; the old one when it may have asked for other amounts.
    pub(crate) fn set(&self, uid: &str, pod: Arc<Pod>) -> Option<Arc<Pod>> {
        let change = |record: &mut Record| {
            let old = std::mem::replace(&mut record.pod, pod);
            asks_otherwise(&old, &record.pod).then_some(old)
        };
        self.change(uid, change).flatten()
    }

    /// Changes what is known of one pod, if there is such a one.
    pub(crate) fn change<T>(&self, uid: &str, change: impl FnOnce(&mut Record) -> T) -> Option<T> {
        self.0.lock().get_mut(uid).map(change)
    }

    /// Changes what is known of all pods, by uid.
    pub(crate) fn all<T>(&self, change: impl FnOnce(&mut HashMap<String, Record>) -> T) -> T {
        change(&mut self.0.lock())
    }

    /// The pod with what it was given instead of what it asks for.
    pub(crate) fn allocated(&self, uid: &str, pod: Arc<Pod>) -> Arc<Pod> {
        let pods = self.0.lock();
        let own = pods.get(uid).and_then(|record| record.given.allocated.as_ref());
        own.map_or_else(|| pod.clone(), |own| own.apply(&pod))
    }

    /// How often the pod was given something else.
    pub(crate) fn turn(&self, uid: &str) -> u64 {
        self.0.lock().get(uid).map_or(0, |record| record.given.turn)
    }

    /// What is to be kept of an admitted pod.
    pub(crate) fn kept(&self, uid: &str) -> Option<Kept> {
        let pods = self.0.lock();
        let given = &pods.get(uid)?.given;
        Some(Kept { allocated: given.allocated.clone()?, actuated: given.actuated.clone() })
    }

    /// The runtime was told what a container may use.
    pub(crate) fn set_actuated(&self, uid: &str, container: &str, figures: Figures) {
        self.change(uid, |record| record.given.actuated.insert(container.to_owned(), figures));
    }

    /// Adds what the runtime was told to what it has.
    pub(crate) fn fill(&self, uid: &str, observed: &mut ObservedPod) {
        let pods = self.0.lock();
        let Some(record) = pods.get(uid) else { return };
        for container in &mut observed.containers {
            container.actuated = record.given.actuated.get(&container.name).copied();
        }
    }

    /// The conditions that tell of a resize.
    pub(crate) fn resizes(&self, uid: &str) -> Vec<PodCondition> {
        let pods = self.0.lock();
        let given = pods.get(uid).map(|record| &record.given);
        given.map_or_else(Vec::new, |own| {
            own.pending.iter().chain(&own.in_progress).cloned().collect()
        })
    }

    pub(crate) fn set_status(&self, uid: &str, status: Arc<PodStatus>) {
        if let Some(record) = self.0.lock().get_mut(uid) {
            record.status = Some(status);
        }
    }

    pub(crate) fn set_ended(&self, uid: &str) {
        if let Some(record) = self.0.lock().get_mut(uid) {
            record.ended = true;
        }
    }

    pub(crate) fn remove(&self, uid: &str) {
        self.0.lock().remove(uid);
    }

    /// Admits a pod, with what was kept of it, if `check`, given those that take resources already, has nothing against it.
    pub(crate) fn admit<E>(
        &self,
        uid: &str,
        kept: &Kept,
        check: impl FnOnce(&[Arc<Pod>]) -> Result<(), E>,
    ) -> Result<(), E> {
        // One lock over check and entry, so that two pods never take the same place.
        let mut pods = self.0.lock();
        let others: Vec<Arc<Pod>> = pods
            .iter()
            .filter(|(other, record)| *other != uid && record.admitted && !record.ended)
            .map(|(_, record)| record.counted())
            .collect();
        check(&others)?;
        if let Some(record) = pods.get_mut(uid) {
            record.admitted = true;
            record.given.allocated = Some(kept.allocated.clone());
            record.given.actuated.clone_from(&kept.actuated);
        }
        Ok(())
    }

    /// The pod of this name; a running one before one that ended.
    pub(crate) fn find(&self, namespace: &str, name: &str) -> Option<Record> {
        let pods = self.0.lock();
        let named = pods.values().filter(|record| {
            let meta = &record.pod.metadata;
            meta.namespace.as_deref() == Some(namespace) && meta.name.as_deref() == Some(name)
        });
        named.min_by_key(|record| record.ended).cloned()
    }

    /// Every pod with the newest status, in the order of their names.
    pub(crate) fn list(&self) -> Vec<Pod> {
        let records: Vec<Record> = self.0.lock().values().cloned().collect();
        let mut pods: Vec<Pod> = records.into_iter().map(with_status).collect();
        pods.sort_by_key(|pod| {
            let id = spec::PodId::of(pod);
            (id.namespace, id.name, id.uid)
        });
        pods
    }

    /// How many pods run.
    pub(crate) fn running(&self) -> usize {
        self.0.lock().values().filter(|record| record.admitted && !record.ended).count()
    }
}

fn with_status(record: Record) -> Pod {
    let mut pod = Pod::clone(&record.pod);
    if let Some(status) = record.status {
        pod.status = Some(PodStatus::clone(&status));
    }
    pod
}
