//! Pods leave devices whose taints drive them out.

mod due;
mod holders;
mod rules;

use super::{figures::Place, pods, resource_claims};
use crate::{Action, Context, Controller, Enqueue, Error, Sources};
use async_trait::async_trait;
use due::{Due, devices, drives_out, given};
use holders::Holders;
use k8s_openapi::api::{
    core::v1::Pod,
    resource::v1::{ResourceClaim, ResourceSlice},
};
use kube::{Api, ResourceExt};
use kubeplane_client::{EventType, Informer, ObjectKey};
use kubeplane_telemetry::Metrics;
use kubeplane_workload::{DeviceTaintRule, phase::node_name};
use parking_lot::Mutex;
use prometheus_client::metrics::{counter::Counter, histogram::Histogram};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

const REASON: &str = "DeviceTaintManagerEviction";
/// The index of slices by their pool.
const SLICES: &str = "device-pool";
/// The index of claims by the pools of the devices they were given.
const CLAIMS: &str = "allocated-pool";

/// Deletes pods whose devices have NoExecute taints, after as long as their claims tolerate them (KEP-5055). Taints are
/// those of ResourceSlices and, where there are such, of DeviceTaintRules, of which it is told what follows from them.
pub(super) struct DeviceTaints {
    with_rules: bool,
    /// Whether PodGroups have claims, too.
    groups: bool,
    /// The pods that are to be deleted, with their uids, so that it can be told when they are not after all.
    planned: Mutex<BTreeMap<(String, String), String>>,
    /// How many pods each rule (by uid) has driven out.
    evicted: Arc<Mutex<BTreeMap<String, u64>>>,
    /// Known when there is a rule.
    queue: Arc<Mutex<Option<Enqueue<Request>>>>,
    deleted: Counter,
    /// Seconds from when pods were to go to their deletion.
    late: Histogram,
}

/// The bounds of the original's histogram, in seconds.
const LATE: [f64; 12] = [0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 10.0, 30.0, 60.0, 120.0, 180.0, 240.0];

/// What is looked at.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Request {
    Pod(ObjectKey),
    Rule(String),
}

impl DeviceTaints {
    /// `with_rules` where the API has DeviceTaintRules, `groups` where PodGroups have claims, too.
    pub(super) fn new(with_rules: bool, groups: bool, metrics: Option<&Metrics>) -> Self {
        let place = Place::new(metrics, "device_taint_eviction_controller");
        let help = "Seconds from when a pod was to go by its device's taint to its deletion";
        let late = Histogram::new(LATE);
        Self {
            with_rules,
            groups,
            deleted: place.show("pod_deletions", "Pods deleted by the taints of their devices"),
            late: place.show_this("pod_deletion_duration_seconds", help, late),
            planned: Mutex::default(),
            evicted: Arc::default(),
            queue: Arc::default(),
        }
    }

    fn plan(&self, key: &ObjectKey, uid: &str) {
        let name = (key.namespace.clone(), key.name.clone());
        self.planned.lock().insert(name, uid.to_owned());
    }

    /// Forgets a deletion that was planned; whether it was of the pod of this uid, and not of one before it.
    fn forget(&self, key: &ObjectKey, uid: &str) -> bool {
        let known = self.planned.lock().remove(&(key.namespace.clone(), key.name.clone()));
        known.is_some_and(|own| own == uid)
    }

    /// Has it told by and by of rules that something followed from them.
    fn tell_of(&self, due: &Due) {
        let Some(queue) = self.queue.lock().clone() else { return };
        for (name, _) in &due.rules {
            queue.add_after(Request::Rule(name.clone()), rules::PERIOD);
        }
    }

    fn count(&self, due: &Due) {
        let mut evicted = self.evicted.lock();
        for (_, uid) in &due.rules {
            *evicted.entry(uid.clone()).or_default() += 1;
        }
    }

    fn watch_rules(&self, sources: &mut Sources<Request>, holders: Holders) {
        let claims = sources.informer::<ResourceClaim>();
        let (evicted, slot) = (self.evicted.clone(), self.queue.clone());
        sources.handle::<DeviceTaintRule>(move |change, queue| {
            *slot.lock() = Some(queue.clone());
            let rule = change.object();
            let states: Vec<&DeviceTaintRule> =
                change.old().into_iter().chain([rule]).map(|own| &**own).collect();
            if change.is_deleted() {
                evicted.lock().remove(rule.metadata.uid.as_deref().unwrap_or_default());
            } else if let [old, new] = states[..]
                && old.metadata.uid == new.metadata.uid
                && old.spec == new.spec
            {
                return;
            }
            let told = (!change.is_deleted()).then(|| Request::Rule(rule.name_any()));
            let effective =
                states.iter().copied().filter(|own| own.spec.taint.effect == due::NO_EXECUTE);
            let pods = due::holders(&claims, &holders, effective);
            let requests = told.into_iter().chain(pods.into_iter().map(Request::Pod));
            requests.for_each(|request| queue.add(request));
        });
    }

    async fn look_at(&self, key: &ObjectKey, context: &Context) -> Result<Action, Error> {
        let found = context.informers().of::<Pod>().get(&key.namespace, &key.name);
        let Some(pod) = found.filter(|pod| pod.metadata.deletion_timestamp.is_none()) else {
            self.forget(key, "");
            return Ok(Action::Done);
        };
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        let rules = if self.with_rules { rules::evicting(context) } else { Vec::new() };
        let Some(due) = due::of_pod(context, &rules, &pod, self.groups) else {
            if self.forget(key, uid) {
                let (recorder, message) = (context.recorder(), "Cancelling deletion");
                recorder.event_for(&*pod, EventType::Normal, REASON, message);
            }
            return Ok(Action::Done);
        };
        self.tell_of(&due);
        let left = Duration::try_from(due.at.duration_since(context.now())).unwrap_or_default();
        if !left.is_zero() {
            self.plan(key, uid);
            return Ok(Action::RequeueAfter(left));
        }
        if evict(context, key, pod.metadata.uid.as_deref()).await? {
            self.count(&due);
            let late = Duration::try_from(context.now().duration_since(due.at));
            self.deleted.inc();
            self.late.observe(late.unwrap_or_default().as_secs_f64());
        }
        self.forget(key, uid);
        Ok(Action::Done)
    }
}

fn pool_key(driver: &str, pool: &str) -> String {
    format!("{driver}/{pool}")
}

fn pool_of(slice: &ResourceSlice) -> String {
    pool_key(&slice.spec.driver, &slice.spec.pool.name)
}

fn pools_of(claim: &ResourceClaim) -> Vec<String> {
    let pools = given(claim).iter().map(|own| pool_key(&own.driver, &own.pool));
    pools.collect::<BTreeSet<_>>().into_iter().collect()
}

fn is_tainted(slice: &ResourceSlice) -> bool {
    devices(slice).any(|device| device.taints.iter().flatten().any(|taint| drives_out(&taint)))
}

/// Also of a slice without taints: by its generation it may put others of the pool out of use, or into it.
fn matters(
    slices: &Informer<ResourceSlice>,
    old: Option<&ResourceSlice>,
    new: &ResourceSlice,
) -> bool {
    old.is_some_and(is_tainted)
        || is_tainted(new)
        || slices.by_index(SLICES, &pool_of(new)).iter().any(|other| is_tainted(other))
}

#[async_trait]
impl Controller for DeviceTaints {
    type Request = Request;
    type Error = Error;

    fn name(&self) -> &'static str {
        "device-taint-eviction-controller"
    }

    fn watches(&self, sources: &mut Sources<Request>) {
        let slices = sources.informer::<ResourceSlice>();
        slices.add_index(SLICES, |slice| vec![pool_of(slice)]);
        let claims = sources.informer::<ResourceClaim>();
        claims.add_index(CLAIMS, pools_of);
        let holders = Holders::new(&sources.informer::<Pod>(), self.groups);
        sources.watch::<Pod>(|change| {
            let pod = change.object();
            let parts = |pod: &Pod| {
                let status = pod.status.as_ref();
                let told = status.and_then(|status| status.resource_claim_statuses.clone());
                (node_name(pod).map(str::to_owned), told)
            };
            let same = change.old().is_some_and(|old| parts(old) == parts(pod));
            let concerned = !resource_claims::entries(pod).is_empty();
            let asks = concerned && (change.is_deleted() || !same);
            asks.then(|| Request::Pod(ObjectKey::of(&**pod))).into_iter().collect()
        });
        let of_claim = holders.clone();
        sources.watch::<ResourceClaim>(move |change| {
            let states = change.old().into_iter().chain([change.object()]);
            let mut pods: Vec<_> = states.flat_map(|claim| of_claim.of(claim)).collect();
            pods.dedup();
            pods.into_iter().map(Request::Pod).collect()
        });
        let of_slice = holders.clone();
        sources.watch::<ResourceSlice>(move |change| {
            let slice = change.object();
            if !matters(&slices, change.old().map(|old| &**old), slice) {
                return Vec::new();
            }
            let held: Vec<Arc<ResourceClaim>> = claims.by_index(CLAIMS, &pool_of(slice));
            held.iter().flat_map(|claim| of_slice.of(claim)).map(Request::Pod).collect()
        });
        if self.with_rules {
            self.watch_rules(sources, holders);
        }
    }

    async fn reconcile(&self, request: &Request, context: &Context) -> Result<Action, Error> {
        match request {
            Request::Pod(key) => self.look_at(key, context).await,
            Request::Rule(name) => {
                let rule = context.informers().of::<DeviceTaintRule>().get("", name);
                let uid = rule.and_then(|rule| rule.metadata.uid.clone()).unwrap_or_default();
                let evicted = self.evicted.lock().get(&uid).copied().unwrap_or_default();
                rules::tell(context, name, evicted, self.groups).await
            }
        }
    }
}

/// Deletes this pod, unless it is going already: the cache may be late. Whether it did.
async fn evict(context: &Context, key: &ObjectKey, uid: Option<&str>) -> Result<bool, Error> {
    let api: Api<Pod> = Api::namespaced(context.client(), &key.namespace);
    let present = api.get_opt(&key.name).await?.filter(|pod| {
        pod.metadata.uid.as_deref() == uid && pod.metadata.deletion_timestamp.is_none()
    });
    let Some(pod) = present else { return Ok(false) };
    context.recorder().event_for(&pod, EventType::Normal, REASON, "Marking for deletion");
    let message = "Device Taint manager: deleting due to NoExecute taint";
    pods::disrupt(context, &pod, "DeletionByDeviceTaintManager", message).await?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_planned_for_a_pod_says_nothing_of_the_next_of_its_name() {
        let taints = DeviceTaints::new(false, false, None);
        let key = ObjectKey::new("d", "web-0");
        taints.plan(&key, "first");
        assert!(!taints.forget(&key, "second"));
        assert!(!taints.forget(&key, "first"), "it was forgotten with the pod");
        taints.plan(&key, "second");
        assert!(taints.forget(&key, "second"));
    }
}
