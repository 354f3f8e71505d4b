use super::{Pods, owner::Owner, rank, total};
use crate::{Context, Error, builtin::pods};
use futures::{StreamExt, future::join_all, stream::FuturesUnordered};
use jiff::Timestamp;
use k8s_openapi::api::{apps::v1::ReplicaSet, core::v1::Pod};
use kubeplane_client::{Expectations, ObjectKey, controller_of, is_controlled_by};
use kubeplane_workload::is_ready;
use parking_lot::Mutex;
use prometheus_client::metrics::histogram::Histogram;
use std::{any::Any, collections::HashSet, sync::Arc};

/// The most pods that are created or deleted before their events are awaited.
pub(in crate::builtin) const BURST: usize = 500;

/// Creates missing pods or deletes surplus ones.
pub(super) struct Scale<'a, O> {
    pub(super) context: &'a Context,
    pub(super) owner: &'a O,
    pub(super) key: &'a ObjectKey,
    pub(super) expectations: &'a Expectations,
    pub(super) ages: &'a Histogram,
    pub(super) pace: &'a Pace,
}

/// How many pods are asked for at once before the first answer: one, or more by those of whose pods a whole burst was
/// just created.
#[derive(Debug, Default)]
pub(in crate::builtin) struct Pace(Mutex<HashSet<ObjectKey>>);

/// The more are they, the more may fail once what went well until now no longer does.
const AT_PACE: usize = 64;

impl Pace {
    pub(in crate::builtin) fn first(&self, key: &ObjectKey) -> usize {
        if self.0.lock().remove(key) { AT_PACE } else { 1 }
    }

    /// So many were created.
    pub(in crate::builtin) fn went_well(&self, key: &ObjectKey, created: usize) {
        if created == BURST {
            self.0.lock().insert(key.clone());
        }
    }

    pub(in crate::builtin) fn forget(&self, key: &ObjectKey) {
        self.0.lock().remove(key);
    }
}

impl<O: Owner> Scale<'_, O> {
    pub(super) async fn run(&self, pods: &Pods) -> Result<(), Error> {
        let wanted = usize::try_from(self.owner.replicas()).unwrap_or_default();
        let active = usize::try_from(total(&pods.active)).unwrap_or_default();
        let missing = wanted.saturating_sub(active).min(BURST);
        let surplus = active.saturating_sub(wanted).min(BURST);
        if missing > 0 {
            self.create(missing).await
        } else if surplus > 0 {
            self.delete(&pods.listed, surplus).await
        } else {
            Ok(())
        }
    }

    async fn create(&self, count: usize) -> Result<(), Error> {
        let Some(template) = self.owner.template() else { return Ok(()) };
        self.expectations.expect_creations(self.key, count);
        let (created, result) = slow_start(count, self.pace.first(self.key), || async {
            match pods::create(self.context, self.owner, template).await {
                // Creation fails until the namespace is gone, and the owner with it.
                Err(error) if error.is_namespace_terminating() => Ok(()),
                other => other,
            }
        })
        .await;
        self.expectations.creations_observed(self.key, count - created);
        self.pace.went_well(self.key, created);
        result
    }

    async fn delete(&self, active: &[Arc<Pod>], count: usize) -> Result<(), Error> {
        let now = self.context.now();
        let youngest = active.iter().filter(|pod| is_ready(pod)).filter_map(|pod| created(pod));
        let youngest = youngest.max().filter(|_| count < active.len());
        let doomed = rank::to_delete(active.to_vec(), &self.related(), count, now);
        if let Some(youngest) = youngest {
            let age = |made: Timestamp| now.duration_since(made).as_millis();
            // In whole numbers, as the original does.
            let ages = doomed.iter().filter(|pod| is_ready(pod)).filter_map(|pod| created(pod));
            let ratios = ages.map(|made| age(made) / age(youngest).max(1));
            ratios.for_each(|ratio| {
                self.ages.observe(i32::try_from(ratio).map_or(f64::MAX, f64::from))
            });
        }
        let uid = |pod: &Pod| pod.metadata.uid.clone().unwrap_or_default();
        self.expectations.expect_deletions(self.key, doomed.iter().map(|pod| uid(pod)));
        let deletions = doomed.iter().map(|pod| async move {
            let name = pod.metadata.name.as_deref().unwrap_or_default();
            let result = pods::delete(self.context, self.owner, name).await;
            if result.is_err() {
                self.expectations.deletion_observed(self.key, &uid(pod));
            }
            result
        });
        let failures = join_all(deletions).await.into_iter().filter_map(Result::err);
        failures.into_iter().find(|error| !error.is_not_found()).map_or(Ok(()), Err)
    }

    /// The pods of all replica sets that have the same controller as this one.
    fn related(&self) -> Vec<Arc<Pod>> {
        let owner: &dyn Any = self.owner;
        let Some(this) = owner.downcast_ref::<ReplicaSet>() else { return Vec::new() };
        let Some(controller) = controller_of(this) else { return Vec::new() };
        let informers = self.context.informers();
        let pods = informers.of::<Pod>();
        let siblings = informers.of::<ReplicaSet>().list_in(&self.key.namespace);
        let siblings =
            siblings.iter().filter(|sibling| is_controlled_by(&***sibling, &controller.uid));
        siblings
            .flat_map(|set| pods::managed(&pods, set.metadata.uid.as_deref().unwrap_or_default()))
            .collect()
    }
}

fn created(pod: &Pod) -> Option<Timestamp> {
    pod.metadata.creation_timestamp.as_ref().map(|time| time.0)
}

/// Calls `step` up to `count` times: `first` times, then two more times for each that succeeded, until one fails, so that
/// what fails always is not tried a thousand times. Those are as many as with batches of 1, 2, 4 and so on, without
/// waiting for the slowest of each. No more than a burst are under way at a time. Gives the number of successes, and the
/// first failure.
pub(in crate::builtin) async fn slow_start<F, Fut>(
    count: usize,
    first: usize,
    step: F,
) -> (usize, Result<(), Error>)
where
    F: Fn() -> Fut,
    Fut: Future<Output = Result<(), Error>>,
{
    let (mut done, mut failure) = (0, None);
    let mut running: FuturesUnordered<Fut> = (0..count.min(first)).map(|_| step()).collect();
    let mut begun = running.len();
    while let Some(result) = running.next().await {
        if let Err(error) = result {
            failure.get_or_insert(error);
            continue;
        }
        done += 1;
        if failure.is_none() {
            let more = (count - begun).min(2).min(BURST.saturating_sub(running.len()));
            running.extend((0..more).map(|_| step()));
            begun += more;
        }
    }
    (done, failure.map_or(Ok(()), Err))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[tokio::test]
    async fn what_fails_is_tried_as_often_as_others_succeeded_and_once_more_at_most() {
        for (limit, count, first, tried, done) in [
            (100, 7, 1, 7, 7),
            (0, 100, 1, 1, 0),
            (3, 100, 1, 7, 3),
            (5, 5, 1, 5, 5),
            (0, 100, 4, 4, 0),
            (3, 100, 4, 10, 3),
            (100, 3, 4, 3, 3),
        ] {
            let calls = Cell::new(0);
            let step = || {
                calls.set(calls.get() + 1);
                let failed = calls.get() > limit;
                async move { if failed { Err(Error::Invalid("no".into())) } else { Ok(()) } }
            };
            let (created, result) = slow_start(count, first, step).await;
            assert_eq!((calls.get(), created), (tried, done), "limit {limit} of {count}");
            assert_eq!(result.is_ok(), done == count);
        }
    }

    #[tokio::test]
    async fn no_more_than_a_burst_are_under_way() {
        let (running, most) = (&Cell::new(0), &Cell::new(0));
        let step = || {
            running.set(running.get() + 1);
            most.set(most.get().max(running.get()));
            async move {
                tokio::task::yield_now().await;
                running.set(running.get() - 1);
                Ok(())
            }
        };
        let (done, result) = slow_start(4 * BURST, 1, step).await;
        assert!(result.is_ok());
        assert_eq!((done, most.get()), (4 * BURST, BURST));
    }

    #[test]
    fn who_got_a_whole_burst_goes_on_at_its_pace_once() {
        let (pace, key) = (Pace::default(), ObjectKey::new("default", "web"));
        let first = |created: usize| {
            pace.went_well(&key, created);
            (pace.first(&key), pace.first(&key))
        };
        assert_eq!(first(BURST - 1), (1, 1));
        assert_eq!(first(BURST), (AT_PACE, 1));
        pace.went_well(&key, BURST);
        pace.forget(&key);
        assert_eq!(pace.first(&key), 1);
    }
}
