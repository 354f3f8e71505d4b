//! Takes the status of one pod to the API.

use crate::{
    api,
    spec::{self, PodId},
    status::conditions::{OWNED, PASSING},
};
use k8s_openapi::api::core::v1::{Pod, PodCondition, PodStatus};
use kube::api::{Api, Patch, PatchParams};
use kubeplane_clock::SharedClock;
use kubeplane_workload::typed::untyped;
use serde_json::{Map, Value, json};
use std::{sync::Arc, time::Duration};
use tokio::{sync::watch, task::JoinSet};

const FIRST_RETRY: Duration = Duration::from_millis(200);
const LAST_RETRY: Duration = Duration::from_secs(10);

/// What admission says of a status of a pod that is bound to another node, or to none.
const OF_ANOTHER_NODE: &str =
    "can only update pod status for pods with spec.nodeName set to itself";

/// What is to be written, and what the API is known to have.
#[derive(Debug, Clone)]
struct Wanted {
    version: u64,
    status: Arc<PodStatus>,
    /// The pod as the API last showed it.
    shown: Arc<Pod>,
}

/// Writes the newest status it was given; those in between may be left out.
#[derive(Debug)]
pub(crate) struct StatusWriter {
    wanted: watch::Sender<Wanted>,
    written: watch::Receiver<u64>,
    _task: JoinSet<()>,
}

impl StatusWriter {
    /// A writer for a pod that the API shows like this.
    pub(crate) fn new(
        client: kube::Client,
        clock: SharedClock,
        id: PodId,
        shown: Arc<Pod>,
    ) -> Self {
        let known = spec::status(&shown).into_owned();
        let known_at = version_of(&shown);
        let status = Arc::new(known.clone());
        let (wanted, receiver) = watch::channel(Wanted { version: 0, status, shown });
        let (sender, written) = watch::channel(0);
        let mut task = JoinSet::new();
        let api = Api::namespaced(client, &id.namespace);
        let writing = Writing { api, clock, id, known, known_at };
        task.spawn(writing.run(receiver, sender));
        Self { wanted, written, _task: task }
    }

    /// Asks for this status to be written, given what the API shows.
    pub(crate) fn set(&self, status: Arc<PodStatus>, shown: &Arc<Pod>) {
        self.wanted.send_if_modified(|wanted| {
            let same = *wanted.status == *status && wanted.version > 0;
            if same && version_of(&wanted.shown) == version_of(shown) {
                return false;
            }
            wanted.version += 1;
            wanted.status = status;
            wanted.shown = shown.clone();
            true
        });
    }

    /// Waits until the newest status is written, or the pod is gone.
    pub(crate) async fn flush(&mut self) {
        let version = self.wanted.borrow().version;
        // An error means that the task has ended because there is no pod to write to any more.
        let _ = self.written.wait_for(|written| *written >= version).await;
    }
}

/// How new a state of a pod is.
fn version_of(pod: &Pod) -> u64 {
    let version = pod.metadata.resource_version.as_deref();
    version.and_then(|version| version.parse().ok()).unwrap_or(0)
}

struct Writing {
    api: Api<Pod>,
    clock: SharedClock,
    id: PodId,
    known: PodStatus,
    known_at: u64,
}

enum Written {
    Yes,
    Later,
    PodGone,
}

impl Writing {
    async fn run(mut self, mut wanted: watch::Receiver<Wanted>, written: watch::Sender<u64>) {
        let mut wait = FIRST_RETRY;
        while wanted.changed().await.is_ok() {
            loop {
                let Wanted { version, status, shown } = wanted.borrow_and_update().clone();
                match self.write(&status, &shown).await {
                    Written::Yes => {
                        wait = FIRST_RETRY;
                        written.send_replace(version);
                        break;
                    }
                    Written::PodGone => return,
                    Written::Later => {
                        self.clock.sleep(wait).await;
                        wait = (wait * 2).min(LAST_RETRY);
                    }
                }
            }
        }
    }

    async fn write(&mut self, status: &PodStatus, shown: &Pod) -> Written {
        // Someone else may have written over it, as is done for nodes that seem to be gone.
        if version_of(shown) > self.known_at {
            self.known = spec::status(shown).into_owned();
            self.known_at = version_of(shown);
        }
        let Some(change) = change(&self.known, status) else { return Written::Yes };
        let patch = json!({"metadata": {"uid": self.id.uid}, "status": change});
        let params = PatchParams::default();
        match self.api.patch_status(&self.id.name, &params, &Patch::Strategic(&patch)).await {
            Ok(pod) => {
                self.known_at = version_of(&pod);
                self.known = pod.status.unwrap_or_default();
                Written::Yes
            }
            Err(error) if api::is_status(&error, 404) => Written::PodGone,
            Err(error) if api::is_status(&error, 409) && api::message(&error).contains("UID") => {
                Written::PodGone
            }
            Err(error) => {
                if self.is_of_another(&error).await {
                    return Written::PodGone;
                }
                tracing::warn!(pod = %self.id, %error, "failed to write the status of a pod");
                Written::Later
            }
        }
    }

    /// Whether a write was refused because another pod has taken the name.
    async fn is_of_another(&self, refusal: &kube::Error) -> bool {
        // Pods stay on their node, so one of another node is not ours. This node may not read it.
        if api::is_status(refusal, 403) && api::message(refusal).contains(OF_ANOTHER_NODE) {
            return true;
        }
        if !api::is_status(refusal, 403) && !api::is_status(refusal, 422) {
            return false;
        }
        match self.api.get(&self.id.name).await {
            Ok(pod) => pod.metadata.uid.as_deref() != Some(self.id.uid.as_str()),
            Err(error) => api::is_status(&error, 404),
        }
    }
}

/// The strategic merge patch of `status` that leads from `old` to `new`, if anything differs. Conditions
/// that are not the kubelet's are left alone.
pub(crate) fn change(old: &PodStatus, new: &PodStatus) -> Option<Value> {
    let object = |status: &PodStatus| match untyped(status) {
        Ok(Value::Object(map)) => map,
        _ => Map::new(),
    };
    let (old_map, new_map) = (object(old), object(new));
    let mut patch = Map::new();
    for (key, value) in &new_map {
        if old_map.get(key) == Some(value) {
            continue;
        }
        match key.as_str() {
            "conditions" => {
                let list = conditions(old, new);
                if !list.is_empty() {
                    patch.insert(key.clone(), Value::Array(list));
                }
            }
            "podIPs" => {
                patch.insert(key.clone(), Value::Array(pod_ips(old, new)));
            }
            _ => {
                patch.insert(key.clone(), value.clone());
            }
        }
    }
    for key in old_map.keys().filter(|key| !new_map.contains_key(*key)) {
        if OURS.contains(&key.as_str()) {
            patch.insert(key.clone(), Value::Null);
        }
    }
    (!patch.is_empty()).then_some(Value::Object(patch))
}

/// The fields a status of the kubelet may take away again.
const OURS: [&str; 8] = [
    "message",
    "reason",
    "podIP",
    "podIPs",
    "containerStatuses",
    "initContainerStatuses",
    "ephemeralContainerStatuses",
    "hostIPs",
];

fn conditions(old: &PodStatus, new: &PodStatus) -> Vec<Value> {
    let find = |type_: &str| old.conditions.iter().flatten().find(|c| c.type_ == type_);
    let ours = |c: &&PodCondition| OWNED.contains(&c.type_.as_str()) && find(&c.type_) != Some(*c);
    let has = |type_: &str| new.conditions.iter().flatten().any(|c| c.type_ == type_);
    let gone = PASSING.into_iter().filter(|type_| find(type_).is_some() && !has(type_));
    new.conditions
        .iter()
        .flatten()
        .filter(ours)
        .map(|condition| {
            let mut value = untyped(condition).unwrap_or_default();
            // Merging keeps what is not named, so what went away is named.
            if let (Some(old), Value::Object(map)) = (find(&condition.type_), &mut value) {
                if old.reason.is_some() && condition.reason.is_none() {
                    map.insert("reason".to_owned(), Value::Null);
                }
                if old.message.is_some() && condition.message.is_none() {
                    map.insert("message".to_owned(), Value::Null);
                }
            }
            value
        })
        .chain(gone.map(|type_| json!({"type": type_, "$patch": "delete"})))
        .collect()
}

fn pod_ips(old: &PodStatus, new: &PodStatus) -> Vec<Value> {
    let list = |status: &PodStatus| -> Vec<String> {
        status.pod_ips.iter().flatten().map(|ip| ip.ip.clone()).collect()
    };
    let (old, new) = (list(old), list(new));
    let gone = old.iter().filter(|ip| !new.contains(ip));
    let mut ips: Vec<Value> = new.iter().map(|ip| json!({"ip": ip})).collect();
    ips.extend(gone.map(|ip| json!({"ip": ip, "$patch": "delete"})));
    ips
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(value: Value) -> PodStatus {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn only_what_differs_is_sent() {
        let old = status(json!({"phase": "Pending", "message": "m", "qosClass": "BestEffort",
            "podIPs": [{"ip": "1.1.1.1"}], "resourceClaimStatuses": [{"name": "c"}],
            "conditions": [{"type": "Ready", "status": "False", "reason": "R"},
                {"type": "PodScheduled", "status": "True"}, {"type": "x/y", "status": "True"}]}));
        let new = status(json!({"phase": "Running", "qosClass": "BestEffort",
            "podIPs": [{"ip": "2.2.2.2"}],
            "conditions": [{"type": "Ready", "status": "True"}, {"type": "PodScheduled", "status": "True"}]}));
        assert_eq!(
            change(&old, &new).unwrap(),
            json!({"phase": "Running", "message": null,
                "podIPs": [{"ip": "2.2.2.2"}, {"ip": "1.1.1.1", "$patch": "delete"}],
                "conditions": [{"type": "Ready", "status": "True", "reason": null}]})
        );
        assert_eq!(change(&new, &new), None);
    }

    #[test]
    fn a_resize_that_is_over_is_not_told_of_any_more() {
        let ready = json!({"type": "Ready", "status": "True"});
        let going = json!({"type": "PodResizeInProgress", "status": "True"});
        let (old, new) = (json!({"conditions": [going, ready]}), json!({"conditions": [ready]}));
        assert_eq!(
            change(&status(old), &status(new)).unwrap(),
            json!({"conditions": [{"type": "PodResizeInProgress", "$patch": "delete"}]})
        );
    }
}
