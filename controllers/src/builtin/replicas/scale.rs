use super::{owner::Owner, rank};
use crate::{Context, Error, builtin::pods};
use futures::future::join_all;
use jiff::Timestamp;
use k8s_openapi::api::{apps::v1::ReplicaSet, core::v1::Pod};
use kubeplane_client::{Expectations, ObjectKey, controller_of, is_controlled_by};
use kubeplane_workload::is_ready;
use prometheus_client::metrics::histogram::Histogram;
use std::{any::Any, sync::Arc};

/// The most pods that are created or deleted before their events are awaited.
const BURST: usize = 500;

/// Creates missing pods or deletes surplus ones.
pub(super) struct Scale<'a, O> {
    pub(super) context: &'a Context,
    pub(super) owner: &'a O,
    pub(super) key: &'a ObjectKey,
    pub(super) expectations: &'a Expectations,
    pub(super) ages: &'a Histogram,
}

impl<O: Owner> Scale<'_, O> {
    pub(super) async fn run(&self, active: Vec<Arc<Pod>>) -> Result<(), Error> {
        let wanted = usize::try_from(self.owner.replicas()).unwrap_or_default();
        let missing = wanted.saturating_sub(active.len()).min(BURST);
        let surplus = active.len().saturating_sub(wanted).min(BURST);
        if missing > 0 {
            self.create(missing).await
        } else if surplus > 0 {
            self.delete(active, surplus).await
        } else {
            Ok(())
        }
    }

    async fn create(&self, count: usize) -> Result<(), Error> {
        let Some(template) = self.owner.template() else { return Ok(()) };
        self.expectations.expect_creations(self.key, count);
        let (created, result) = slow_start(count, || async {
            match pods::create(self.context, self.owner, template).await {
                // Creation fails until the namespace is gone, and the owner with it.
                Err(error) if error.is_namespace_terminating() => Ok(()),
                other => other,
            }
        })
        .await;
        self.expectations.creations_observed(self.key, count - created);
        result
    }

    async fn delete(&self, active: Vec<Arc<Pod>>, count: usize) -> Result<(), Error> {
        let now = self.context.now();
        let youngest = active.iter().filter(|pod| is_ready(pod)).filter_map(|pod| created(pod));
        let youngest = youngest.max().filter(|_| count < active.len());
        let doomed = rank::to_delete(active, &self.related(), count, now);
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

/// Calls `step` up to `count` times in batches of 1, 2, 4 and so on, until a batch has a failure, so that what
/// fails always is not tried a thousand times. Gives the number of successes.
pub(in crate::builtin) async fn slow_start<F, Fut>(
    count: usize,
    step: F,
) -> (usize, Result<(), Error>)
where
    F: Fn() -> Fut,
    Fut: Future<Output = Result<(), Error>>,
{
    let (mut left, mut done, mut batch) = (count, 0, 1);
    while left > 0 {
        let size = batch.min(left);
        let results = join_all((0..size).map(|_| step())).await;
        let failures = results.into_iter().filter_map(Result::err).collect::<Vec<_>>();
        done += size - failures.len();
        if let Some(failure) = failures.into_iter().next() {
            return (done, Err(failure));
        }
        left -= size;
        batch *= 2;
    }
    (done, Ok(()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[tokio::test]
    async fn what_fails_is_tried_in_growing_batches_only() {
        for (limit, count, tried, done) in
            [(100, 7, 7, 7), (0, 100, 1, 0), (3, 100, 7, 3), (5, 5, 5, 5)]
        {
            let calls = Cell::new(0);
            let step = || {
                calls.set(calls.get() + 1);
                let failed = calls.get() > limit;
                async move { if failed { Err(Error::Invalid("no".into())) } else { Ok(()) } }
            };
            let (created, result) = slow_start(count, step).await;
            assert_eq!((calls.get(), created), (tried, done), "limit {limit} of {count}");
            assert_eq!(result.is_ok(), done == count);
        }
    }
}
