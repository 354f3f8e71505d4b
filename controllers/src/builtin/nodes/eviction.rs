use super::{figures::Evictions, pods_on, taints};
use crate::{Action, Context, Controller, Error, Sources, builtin::pods};
use async_trait::async_trait;
use k8s_openapi::api::core::v1::{Node, ObjectReference, Pod, Taint, Toleration};
use kubeplane_client::{Change, EventType, ObjectKey};
use kubeplane_core::features::Features;
use kubeplane_telemetry::Metrics;
use kubeplane_workload::{phase::node_name, tolerates_comparing};
use parking_lot::Mutex;
use std::{collections::HashMap, slice::from_ref, time::Duration};

/// Deletes pods from nodes with NoExecute taints, after as long as they tolerate them.
pub(crate) struct TaintEviction {
    /// When each pod that tolerates for a while is to leave. Tolerations and taints that change meanwhile do not put it
    /// off.
    planned: Mutex<HashMap<ObjectKey, Plan>>,
    /// Whether tolerations may compare numbers.
    comparing: bool,
    figures: Evictions,
}

/// What is to come of a pod.
struct Plan {
    /// Of the pod; another may have its name later.
    uid: String,
    /// When it is to leave; nothing once it was told to.
    due: Option<Duration>,
}

/// What follows from a pod's tolerations for the taints of its node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Stay,
    Leave,
    LeaveAfter(Duration),
}

impl TaintEviction {
    pub(crate) fn new(features: &Features, metrics: Option<&Metrics>) -> Self {
        let comparing = features.is_on("TaintTolerationComparisonOperators");
        Self { planned: Mutex::default(), comparing, figures: Evictions::shown(metrics) }
    }

    /// Has the pod of this uid leave then, unless something is planned for it already.
    fn plan(&self, key: &ObjectKey, uid: String, due: Duration) {
        let mut all = self.planned.lock();
        if all.get(key).is_none_or(|planned| planned.uid != uid) {
            all.insert(key.clone(), Plan { uid, due: Some(due) });
        }
    }

    /// When the pod of this uid is to leave.
    fn due(&self, key: &ObjectKey, uid: &str) -> Option<Duration> {
        let all = self.planned.lock();
        all.get(key).filter(|planned| planned.uid == uid).and_then(|planned| planned.due)
    }

    /// Forgets a deletion that was planned, and says so.
    fn cancel(&self, context: &Context, key: &ObjectKey, pod: &Pod) {
        let planned = self.planned.lock().remove(key);
        if planned.is_some_and(|planned| planned.due.is_some()) {
            let message = format!("Cancelling deletion of Pod {key}");
            context.recorder().event_for(pod, EventType::Normal, "TaintManagerEviction", message);
        }
    }

    /// The same of a pod that is gone.
    fn cancel_of(&self, context: &Context, key: &ObjectKey) {
        let planned = self.planned.lock().remove(key);
        let Some(planned) = planned.filter(|planned| planned.due.is_some()) else { return };
        let about = ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Pod".to_owned()),
            namespace: Some(key.namespace.clone()),
            name: Some(key.name.clone()),
            uid: Some(planned.uid),
            ..ObjectReference::default()
        };
        let message = format!("Cancelling deletion of Pod {key}");
        context.recorder().event(&about, EventType::Normal, "TaintManagerEviction", message);
    }

    /// Deletes a pod that was to leave at `due`, and notes that it was told to.
    async fn evict(
        &self,
        context: &Context,
        key: &ObjectKey,
        pod: &Pod,
        due: Duration,
    ) -> Result<Action, Error> {
        let message = format!("Marking for deletion Pod {key}");
        context.recorder().event_for(pod, EventType::Normal, "TaintManagerEviction", message);
        let message = "Taint manager: deleting due to NoExecute taint";
        pods::disrupt(context, pod, "DeletionByTaintManager", message).await?;
        self.figures.deleted(context.clock().elapsed().saturating_sub(due));
        let told = Plan { uid: pod.metadata.uid.clone().unwrap_or_default(), due: None };
        self.planned.lock().insert(key.clone(), told);
        Ok(Action::Done)
    }
}

fn no_execute(node: &Node) -> Vec<Taint> {
    taints(node).iter().filter(|taint| taint.effect == "NoExecute").cloned().collect()
}

fn judge(tolerations: &[Toleration], taints: &[Taint], comparing: bool) -> Verdict {
    let mut shortest: Option<i64> = None;
    for taint in taints {
        let covers = |own: &&Toleration| tolerates_comparing(from_ref(*own), taint, comparing);
        let Some(used) = tolerations.iter().find(covers) else { return Verdict::Leave };
        if let Some(seconds) = used.toleration_seconds {
            shortest = Some(shortest.map_or(seconds, |other| other.min(seconds)));
        }
    }
    match shortest {
        None => Verdict::Stay,
        Some(seconds) => {
            Verdict::LeaveAfter(Duration::from_secs(u64::try_from(seconds).unwrap_or_default()))
        }
    }
}

#[async_trait]
impl Controller for TaintEviction {
    type Request = ObjectKey;
    type Error = Error;

    fn name(&self) -> &'static str {
        "taint-eviction-controller"
    }

    fn identity(&self) -> &'static str {
        "node-controller"
    }

    fn event_source(&self) -> &'static str {
        "taint-eviction-controller"
    }

    fn workers(&self) -> usize {
        8
    }

    fn watches(&self, sources: &mut Sources<ObjectKey>) {
        let pods = sources.informer::<Pod>();
        super::index(&pods);
        sources.watch::<Pod>(|change| {
            let parts = |pod: &Pod| {
                pod.spec.as_ref().map(|spec| (spec.node_name.clone(), spec.tolerations.clone()))
            };
            let unchanged = change.old().is_some_and(|old| parts(old) == parts(change.object()));
            if unchanged { Vec::new() } else { vec![ObjectKey::of(&**change.object())] }
        });
        sources.watch::<Node>(move |change| {
            let before = change.old().map(|old| no_execute(old));
            let node = change.object();
            if matches!(change, Change::Deleted(_))
                || before.is_some_and(|before| before == no_execute(node))
            {
                return Vec::new();
            }
            let name = node.metadata.name.as_deref().unwrap_or_default();
            pods_on(&pods, name).iter().map(|pod| ObjectKey::of(&**pod)).collect()
        });
    }

    async fn reconcile(&self, request: &ObjectKey, context: &Context) -> Result<Action, Error> {
        let informers = context.informers();
        let Some(pod) = informers.of::<Pod>().get(&request.namespace, &request.name) else {
            self.cancel_of(context, request);
            return Ok(Action::Done);
        };
        let Some(name) = node_name(&pod) else { return Ok(Action::Done) };
        let now = context.clock().elapsed();
        // Nothing more is known of a node that is gone: what was planned before holds.
        if let Some(node) = informers.of::<Node>().get("", name) {
            let taints = no_execute(&node);
            let tolerations =
                pod.spec.as_ref().and_then(|spec| spec.tolerations.as_deref()).unwrap_or_default();
            match judge(tolerations, &taints, self.comparing) {
                Verdict::Stay => self.cancel(context, request, &pod),
                Verdict::Leave => {
                    self.cancel(context, request, &pod);
                    return self.evict(context, request, &pod, now).await;
                }
                Verdict::LeaveAfter(wait) => {
                    let uid = pod.metadata.uid.clone().unwrap_or_default();
                    self.plan(request, uid, now.saturating_add(wait));
                }
            }
        }
        match self.due(request, pod.metadata.uid.as_deref().unwrap_or_default()) {
            None => Ok(Action::Done),
            Some(due) if due > now => Ok(Action::RequeueAfter(due.saturating_sub(now))),
            Some(due) => self.evict(context, request, &pod, due).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_planned_is_not_put_off() {
        let (eviction, key) =
            (TaintEviction::new(&Features::default(), None), ObjectKey::new("shop", "web"));
        let plan = |uid: &str, seconds: u64| {
            eviction.plan(&key, uid.to_owned(), Duration::from_secs(seconds));
            eviction.due(&key, uid).map(|due| due.as_secs())
        };
        assert_eq!([plan("a", 10), plan("a", 100), plan("a", 5)], [Some(10); 3]);
        assert_eq!(plan("b", 50), Some(50), "another pod of that name");
        assert_eq!(eviction.due(&key, "a"), None);
        eviction.planned.lock().insert(key.clone(), Plan { uid: "b".to_owned(), due: None });
        assert_eq!(plan("b", 60), None, "it was told to leave");
    }

    #[test]
    fn the_shortest_toleration_counts_and_a_missing_one_most() {
        let taints: Vec<Taint> = serde_json::from_value(
            json!([{"key": "a", "effect": "NoExecute"}, {"key": "b", "effect": "NoExecute"}]),
        )
        .unwrap();
        let table = [
            (json!([]), Verdict::Leave),
            (json!([{"key": "a", "operator": "Exists"}]), Verdict::Leave),
            (json!([{"operator": "Exists"}]), Verdict::Stay),
            (
                json!([{"key": "a", "operator": "Exists", "tolerationSeconds": 300},
                       {"key": "b", "operator": "Exists", "tolerationSeconds": 60}]),
                Verdict::LeaveAfter(Duration::from_secs(60)),
            ),
            (
                json!([{"key": "a", "operator": "Exists"}, {"key": "b", "operator": "Exists", "tolerationSeconds": 0}]),
                Verdict::LeaveAfter(Duration::ZERO),
            ),
            (
                json!([{"operator": "Exists", "tolerationSeconds": -1}]),
                Verdict::LeaveAfter(Duration::ZERO),
            ),
        ];
        for (tolerations, expected) in table {
            let tolerations: Vec<Toleration> = serde_json::from_value(tolerations.clone()).unwrap();
            assert_eq!(judge(&tolerations, &taints, false), expected, "{tolerations:?}");
        }
    }

    #[test]
    fn a_limit_is_borne_where_numbers_are_compared() {
        let own =
            json!([{"key": "failures", "operator": "Lt", "value": "5", "tolerationSeconds": 60}]);
        let own: Vec<Toleration> = serde_json::from_value(own).unwrap();
        let verdict = |failures: &str, comparing: bool| {
            let taint = json!([{"key": "failures", "value": failures, "effect": "NoExecute"}]);
            let taints: Vec<Taint> = serde_json::from_value(taint).unwrap();
            judge(&own, &taints, comparing)
        };
        assert_eq!(verdict("4", true), Verdict::LeaveAfter(Duration::from_secs(60)));
        assert_eq!(verdict("5", true), Verdict::Leave);
        assert_eq!(verdict("4", false), Verdict::Leave);
    }
}
