//! The pods of this node, for admission and for the server.

use crate::spec;
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use parking_lot::Mutex;
use std::{collections::HashMap, sync::Arc};

/// One pod the kubelet works on.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub(crate) pod: Arc<Pod>,
    pub(crate) status: Option<Arc<PodStatus>>,
    /// Takes resources of the node.
    pub(crate) admitted: bool,
    /// Nothing of it runs any more.
    pub(crate) ended: bool,
}

/// All pods, by uid.
#[derive(Debug, Default)]
pub(crate) struct Pods(Mutex<HashMap<String, Record>>);

impl Pods {
    pub(crate) fn set(&self, uid: &str, pod: Arc<Pod>) {
        let mut pods = self.0.lock();
        match pods.get_mut(uid) {
            Some(record) => record.pod = pod,
            None => {
                let record = Record { pod, status: None, admitted: false, ended: false };
                pods.insert(uid.to_owned(), record);
            }
        }
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

    /// Admits a pod if `check`, given those that take resources already, has nothing against it.
    pub(crate) fn admit<E>(
        &self,
        uid: &str,
        check: impl FnOnce(&[Arc<Pod>]) -> Result<(), E>,
    ) -> Result<(), E> {
        // One lock over check and entry, so that two pods never take the same place.
        let mut pods = self.0.lock();
        let others: Vec<Arc<Pod>> = pods
            .iter()
            .filter(|(other, record)| *other != uid && record.admitted && !record.ended)
            .map(|(_, record)| record.pod.clone())
            .collect();
        check(&others)?;
        if let Some(record) = pods.get_mut(uid) {
            record.admitted = true;
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
