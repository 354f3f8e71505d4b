mod counting;
mod freed;

use super::monitors::{Monitors, RESYNC, SETTLING};
use crate::{Action, Context, Controller, Enqueue, Error, Retry, Sources};
use async_trait::async_trait;
use counting::{Counted, Shared, may_free};
use freed::{Freed, Freeing, less};
use futures::StreamExt;
use k8s_openapi::{
    api::core::v1::{PersistentVolumeClaim, Pod, ResourceQuota, Service},
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{Api, api::PostParams};
use kubeplane_client::{Change, Informer, ObjectKey, Watchable};
use kubeplane_core::{Object, quantity::Quantity};
use kubeplane_workload::{
    quota::{Evaluator, amounts},
    resources::Resources,
};
use parking_lot::Mutex;
use serde::Serialize;
use std::{collections::HashMap, sync::Arc, time::Duration};

/// What was charged that long ago has been stored and seen, or was refused: as long as a server under load may
/// take from charging to storing, and a cache to see it.
const IN_FLIGHT: Duration = Duration::from_secs(5);

/// Notes in each ResourceQuota its limits and what its namespace takes of them.
///
/// Admission charges quotas for what is not stored yet, so a count below what is noted says nothing by
/// itself: free is what was seen to go, and what was noted long ago and is not there now.
pub(super) struct ResourceQuotas {
    shared: Arc<Shared>,
    freed: Arc<Freed>,
    /// What was noted in quotas that seemed too high, and when that was seen.
    suspected: Mutex<HashMap<ObjectKey, (Duration, Resources)>>,
    /// How often everything is counted anew, whatever was seen; zero for never.
    period: Duration,
}

impl ResourceQuotas {
    pub(super) fn new(period: Duration) -> Self {
        Self { shared: Arc::default(), freed: Arc::default(), suspected: Mutex::default(), period }
    }

    /// What a quota is to say is used, and whether it must be looked at again; `noted` is without what was
    /// seen to go.
    fn used(
        &self,
        key: &ObjectKey,
        now: Duration,
        noted: &Resources,
        counted: &Resources,
    ) -> (Resources, Option<Duration>) {
        let lower =
            counted.iter().any(|(name, count)| noted.get(name).is_some_and(|noted| noted > count));
        let mut suspected = self.suspected.lock();
        if !lower {
            suspected.remove(key);
            return (counted.clone(), None);
        }
        let (since, then) = suspected.entry(key.clone()).or_insert_with(|| (now, noted.clone()));
        // What went since is not noted any more.
        for (name, then) in then.iter_mut() {
            if let Some(noted) = noted.get(name).filter(|noted| *noted < then) {
                *then = noted.clone();
            }
        }
        let age = now.saturating_sub(*since);
        if age < IN_FLIGHT {
            let raised = counted.iter().map(|(name, count)| {
                let noted = noted.get(name).filter(|noted| *noted > count);
                (name.clone(), noted.unwrap_or(count).clone())
            });
            return (raised.collect(), Some(IN_FLIGHT - age));
        }
        let settled = counted.iter().map(|(name, count)| {
            let value = settle(then.get(name), noted.get(name), count);
            (name.clone(), value)
        });
        let settled: Resources = settled.collect();
        suspected.remove(key);
        let again = (settled != *counted).then_some(IN_FLIGHT);
        (settled, again)
    }
}

/// What was noted `then` and is not counted now is free; what was charged since stays.
fn settle(then: Option<&Quantity>, noted: Option<&Quantity>, count: &Quantity) -> Quantity {
    let (Some(then), Some(noted)) = (then, noted) else { return count.clone() };
    let mut value = noted.clone();
    if then > count {
        value.sub(then);
        value.add(count);
    }
    // Amounts are written as they are counted, not as they were noted.
    if value > *count { value } else { count.clone() }
}

impl ResourceQuotas {
    /// Asks for the quotas that a change of a `K` may leave with room.
    fn replenish<K: Watchable + Serialize>(
        &self,
        sources: &mut Sources<ObjectKey>,
        quotas: &Informer<ResourceQuota>,
        evaluator: Evaluator,
        may_matter: impl Fn(&K, &K) -> bool + Send + 'static,
    ) {
        let (quotas, freed) = (quotas.clone(), self.freed.clone());
        sources.watch::<K>(move |change| {
            let (before, after) = match change {
                Change::Added(_) => return Vec::new(),
                Change::Updated { old, new } if !may_matter(old, new) => return Vec::new(),
                Change::Updated { old, new } => (old, Some(new)),
                Change::Deleted(old) => (old, None),
            };
            let Some(namespace) = before.meta().namespace.as_deref() else { return Vec::new() };
            let keys = limiting(&quotas, namespace, &evaluator);
            // An object that cannot be written down is found gone by counting.
            if !keys.is_empty()
                && let Ok(before) = Object::encode(&**before)
                && let Ok(after) = after.map(|after| Object::encode(&**after)).transpose()
            {
                let freeing = Freeing { evaluator: evaluator.clone(), before, after };
                keys.iter().for_each(|key| freed.add(key.clone(), [freeing.clone()]));
            }
            keys
        });
    }
}

#[async_trait]
impl Controller for ResourceQuotas {
    type Request = ObjectKey;
    type Error = Error;

    fn name(&self) -> &'static str {
        "resourcequota-controller"
    }

    fn watches(&self, sources: &mut Sources<ObjectKey>) {
        let quotas = sources.informer::<ResourceQuota>();
        sources.watch::<ResourceQuota>(|change| {
            let hard =
                |quota: &ResourceQuota| quota.spec.as_ref().and_then(|spec| spec.hard.clone());
            let quota = change.object();
            let same = change.old().is_some_and(|old| hard(old) == hard(quota));
            if same { Vec::new() } else { vec![ObjectKey::of(&**quota)] }
        });
        let of = |plural| Evaluator::of(&kubeplane_core::GroupResource::new("", plural));
        if let Some(pods) = of("pods") {
            self.replenish::<Pod>(sources, &quotas, pods, may_free);
        }
        if let Some(services) = of("services") {
            self.replenish::<Service>(sources, &quotas, services, |old, new| old.spec != new.spec);
        }
        if let Some(claims) = of("persistentvolumeclaims") {
            self.replenish::<PersistentVolumeClaim>(sources, &quotas, claims, |old, new| {
                old.spec != new.spec || old.status != new.status
            });
        }
        let followed = Followed {
            shared: self.shared.clone(),
            freed: self.freed.clone(),
            quotas,
            period: self.period,
        };
        sources.background(move |queue, context| follow(followed, queue, context));
    }

    async fn reconcile(&self, key: &ObjectKey, context: &Context) -> Result<Action, Error> {
        let cached = context.informers().of::<ResourceQuota>().get(&key.namespace, &key.name);
        let Some(quota) = cached else {
            self.suspected.lock().remove(key);
            self.freed.take(key);
            return Ok(Action::Done);
        };
        let object = Object::encode(&*quota).map_err(|error| Error::Invalid(error.to_string()))?;
        let counted = self.shared.count(context, &object)?;
        let noted = amounts(&object, &["status", "used"]);
        let freed = self.freed.take(key);
        let left = less(&noted, &freed, &object, context.now());
        let (mut used, again) = self.used(key, context.clock().elapsed(), &left, &counted);
        let hard = amounts(&object, &["spec", "hard"]);
        // What nobody counts stays as it was.
        for (name, amount) in &noted {
            if hard.contains_key(name) {
                used.entry(name.clone()).or_insert_with(|| amount.clone());
            }
        }
        let status = quota.status.as_ref();
        let filled = status.is_some_and(|status| status.hard.is_some() && status.used.is_some());
        // Nobody charged the quota for what is older than its limits, and a cache may yet have to see it.
        let new = !filled || hard != amounts(&object, &["status", "hard"]);
        let again = again.or(new.then_some(IN_FLIGHT));
        if new || used != noted {
            let mut next = (*quota).clone();
            let status = next.status.get_or_insert_default();
            let shown = |list: Resources| {
                Some(list.into_iter().map(|(name, amount)| (name, amount.to_api())).collect())
            };
            status.hard = shown(hard);
            status.used = shown(used);
            let api: Api<ResourceQuota> = Api::namespaced(context.client(), &key.namespace);
            let written = api.replace_status(&key.name, &PostParams::default(), &next).await;
            if written.is_err() {
                self.freed.add(key.clone(), freed);
            }
            crate::error::unless_gone(written)?;
        }
        Ok(again.map_or(Action::Done, Action::RequeueAfter))
    }

    fn on_error(&self, _: &ObjectKey, error: &Error, _: u32) -> Retry {
        match error {
            // Admission charged the quota meanwhile; its newer state is about to be seen.
            error if error.is_conflict() => Retry::After(Duration::from_millis(20)),
            Error::Incomplete(_) => Retry::After(SETTLING),
            _ => Retry::Backoff,
        }
    }
}

/// The quotas of a namespace that limit what `evaluator` knows.
fn limiting(
    quotas: &Informer<ResourceQuota>,
    namespace: &str,
    evaluator: &Evaluator,
) -> Vec<ObjectKey> {
    let limits = |quota: &ResourceQuota| {
        let hard = quota.spec.as_ref().and_then(|spec| spec.hard.as_ref());
        hard.into_iter().flatten().any(|(name, _)| evaluator.counts(name))
    };
    let all = quotas.list_in(namespace);
    all.iter().filter(|quota| limits(quota)).map(|quota| ObjectKey::of(&**quota)).collect()
}

/// What is kept track of, and how.
struct Followed {
    shared: Arc<Shared>,
    freed: Arc<Freed>,
    quotas: Informer<ResourceQuota>,
    period: Duration,
}

/// Keeps track of what there is to count, and of what goes.
async fn follow(followed: Followed, queue: Enqueue<ObjectKey>, context: Context) {
    let Followed { shared, freed, quotas, period } = followed;
    let clock = context.clock().clone();
    // What is there is counted when it is asked for.
    let mut monitors = Monitors::new(context.clone(), |step| step.deleted);
    let mut definitions = context.informers().of::<CustomResourceDefinition>().subscribe();
    let mut look = clock.sleep(Duration::ZERO);
    let mut full = clock.sleep(period);
    let everything = || {
        for quota in quotas.list() {
            queue.add(ObjectKey::of(&*quota));
        }
    };
    loop {
        tokio::select! {
            biased;
            Some((resource, change)) = monitors.next() => {
                let namespace = change.metadata().namespace.clone();
                if let Some(namespace) = namespace
                    && let Some(counted) = shared.counted(&resource)
                {
                    for key in limiting(&quotas, &namespace, &counted.evaluator) {
                        let evaluator = counted.evaluator.clone();
                        let before = Object::default();
                        freed.add(key.clone(), [Freeing { evaluator, before, after: None }]);
                        queue.add(key.clone());
                        // Where another cache is counted, that may see the change later.
                        queue.add_after(key, SETTLING);
                    }
                }
            }
            Some(_) = definitions.next() => look = clock.sleep(SETTLING),
            () = &mut look => {
                look = clock.sleep(RESYNC);
                match monitors.sync(counting::is_followed).await {
                    Ok(resources) => {
                        let all = resources.preferred.into_iter().filter(counting::is_counted);
                        if shared.set(all.filter_map(Counted::of).collect()) {
                            everything();
                        }
                    }
                    Err(error) => {
                        tracing::warn!(%error, "cannot discover what to count");
                        look = clock.sleep(SETTLING);
                    }
                }
            }
            () = &mut full, if !period.is_zero() => {
                full = clock.sleep(period);
                everything();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resources(value: i64) -> Resources {
        [("pods".to_owned(), Quantity::new(value, kubeplane_core::quantity::Format::DecimalSi))]
            .into()
    }

    #[test]
    fn only_what_was_noted_long_ago_and_is_not_there_is_given_back() {
        let quotas = ResourceQuotas::new(Duration::ZERO);
        let key = ObjectKey::new("ns", "quota");
        let at = Duration::from_millis;
        let used = |now, noted, counted| {
            quotas.used(&key, at(now), &resources(noted), &resources(counted))
        };
        assert_eq!(used(0, 0, 3), (resources(3), None));
        assert_eq!(used(0, 5, 3), (resources(5), Some(IN_FLIGHT)));
        assert_eq!(used(3000, 6, 4), (resources(6), Some(at(2000))));
        // Of the five of then four are there now; the two charged since may be on their way.
        assert_eq!(used(5000, 7, 4), (resources(6), Some(IN_FLIGHT)));
        assert_eq!(used(10_000, 6, 4), (resources(6), Some(IN_FLIGHT)));
        assert_eq!(used(15_000, 6, 4), (resources(4), None));
    }

    #[test]
    fn what_was_seen_to_go_is_given_back_at_once_and_what_is_on_its_way_is_not() {
        let quotas = ResourceQuotas::new(Duration::ZERO);
        let key = ObjectKey::new("ns", "quota");
        let quota = serde_json::json!({"spec": {"hard": {"pods": "9"}}});
        let quota = Object::from_value(quota).unwrap();
        let pod = Object::default();
        let evaluator = Evaluator::of(&kubeplane_core::GroupResource::new("", "pods")).unwrap();
        quotas.freed.add(key.clone(), [Freeing { evaluator, before: pod, after: None }]);
        let freed = quotas.freed.take(&key);
        let left = less(&resources(5), &freed, &quota, jiff::Timestamp::UNIX_EPOCH);
        assert_eq!(left, resources(4));
        let used = quotas.used(&key, Duration::ZERO, &left, &resources(3));
        assert_eq!(used, (resources(4), Some(IN_FLIGHT)));
        assert!(quotas.freed.take(&key).is_empty());
    }
}
