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
    /// When each pod (by uid) that tolerates for a while is to leave. Tolerations and taints that change meanwhile do not
    /// put it off.
    planned: Mutex<HashMap<ObjectKey, (String, Duration)>>,
    /// Whether tolerations may compare numbers.
    comparing: bool,
    figures: Evictions,
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

    /// When the pod of this uid is to leave: as is planned already, else then.
    fn plan(&self, key: &ObjectKey, uid: String, due: Duration) -> Duration {
        let mut all = self.planned.lock();
        let planned = all.entry(key.clone()).or_insert_with(|| (uid.clone(), due));
        if planned.0 != uid {
            *planned = (uid, due);
        }
        planned.1
    }

    /// Forgets a deletion that was planned, and says so.
    fn cancel(&self, context: &Context, key: &ObjectKey, pod: Option<&Pod>) {
        let planned = self.planned.lock().remove(key).is_some();
        if let Some(pod) = pod.filter(|_| planned) {
            let message = format!("Cancelling deletion of Pod {key}");
            context.recorder().event_for(pod, EventType::Normal, "TaintManagerEviction", message);
        }
    }

    /// The same of a pod that is gone.
    fn cancel_of(&self, context: &Context, key: &ObjectKey) {
        let Some((uid, _)) = self.planned.lock().remove(key) else { return };
        let about = ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Pod".to_owned()),
            namespace: Some(key.namespace.clone()),
            name: Some(key.name.clone()),
            uid: Some(uid),
            ..ObjectReference::default()
        };
        let message = format!("Cancelling deletion of Pod {key}");
        context.recorder().event(&about, EventType::Normal, "TaintManagerEviction", message);
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
        Some(seconds) => match u64::try_from(seconds) {
            Ok(seconds) if seconds > 0 => Verdict::LeaveAfter(Duration::from_secs(seconds)),
            _ => Verdict::Leave,
        },
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
        let node = node_name(&pod).and_then(|name| informers.of::<Node>().get("", name));
        let taints = node.map(|node| no_execute(&node)).unwrap_or_default();
        if pod.metadata.deletion_timestamp.is_some() || taints.is_empty() {
            let alive = pod.metadata.deletion_timestamp.is_none().then_some(&*pod);
            self.cancel(context, request, alive);
            return Ok(Action::Done);
        }
        let tolerations =
            pod.spec.as_ref().and_then(|spec| spec.tolerations.as_deref()).unwrap_or_default();
        let now = context.clock().elapsed();
        let due = match judge(tolerations, &taints, self.comparing) {
            Verdict::Stay => {
                self.cancel(context, request, Some(&pod));
                return Ok(Action::Done);
            }
            Verdict::Leave => {
                self.cancel(context, request, Some(&pod));
                now
            }
            Verdict::LeaveAfter(wait) => {
                let uid = pod.metadata.uid.clone().unwrap_or_default();
                self.plan(request, uid, now.saturating_add(wait))
            }
        };
        if due > now {
            return Ok(Action::RequeueAfter(due.saturating_sub(now)));
        }
        evict(context, request, &pod).await?;
        self.figures.deleted(context.clock().elapsed().saturating_sub(due));
        self.planned.lock().remove(request);
        Ok(Action::Done)
    }
}

async fn evict(context: &Context, key: &ObjectKey, pod: &Pod) -> Result<(), Error> {
    let message = format!("Marking for deletion Pod {key}");
    context.recorder().event_for(pod, EventType::Normal, "TaintManagerEviction", message);
    let message = "Taint manager: deleting due to NoExecute taint";
    pods::disrupt(context, pod, "DeletionByTaintManager", message).await
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
            eviction.plan(&key, uid.to_owned(), Duration::from_secs(seconds)).as_secs()
        };
        assert_eq!([plan("a", 10), plan("a", 100), plan("a", 5)], [10; 3]);
        assert_eq!(plan("b", 50), 50, "another pod of that name");
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
                Verdict::Leave,
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
