mod backoff;
mod conditions;
mod figures;
mod gang;
mod indexes;
mod manage;
mod orphans;
mod policy;
mod sync;
mod track;

use super::{
    figures::Place,
    pods,
    replicas::scale::Pace,
    written::{LAGGING, Written},
};
use crate::{Action, Context, Controller, Enqueue, Error, Sources, sources::owner_key};
use async_trait::async_trait;
use figures::Figures;
use gang::Gangs;
use k8s_openapi::api::{batch::v1::Job, core::v1::Pod};
use kubeplane_client::{
    Change, ControllerRefManager, EventType, Informer, ObjectKey, controller_of, finalizers,
};
use kubeplane_clock::SharedClock;
use kubeplane_core::features::Features;
use kubeplane_telemetry::Metrics;
use std::sync::Arc;
use sync::Sync;

pub(super) use conditions::{finished, is_finished};

/// The finalizer that keeps a Job's pod until the Job has counted it.
const TRACKING: &str = "batch.kubernetes.io/job-tracking";
/// The `managedBy` of Jobs that are this controller's.
const NAME: &str = "kubernetes.io/job-controller";

/// Runs pods to completion, and counts each exactly once.
pub(super) struct Jobs {
    jobs: Written,
    pods: Written,
    pace: Pace,
    backoffs: backoff::Records,
    figures: Figures,
    /// Where pods of a Job may be scheduled together.
    gangs: Option<Gangs>,
}

impl Jobs {
    pub(super) fn new(clock: SharedClock, features: &Features, metrics: Option<&Metrics>) -> Self {
        let skips = Place::new(metrics, "job_controller").skips();
        Self {
            gangs: features.is_on("WorkloadWithJob").then(|| Gangs::new(&clock, &skips)),
            jobs: Written::new(clock.clone()).counted(&skips),
            pods: Written::new(clock).counted(&skips),
            pace: Pace::default(),
            backoffs: backoff::Records::default(),
            figures: Figures::shown(metrics),
        }
    }

    fn forget(&self, key: &ObjectKey) {
        self.jobs.forget(key);
        self.pods.forget(key);
        self.pace.forget(key);
        self.backoffs.forget(key);
        self.gangs.iter().for_each(|gangs| gangs.forget(key));
    }

    async fn sync(&self, key: &ObjectKey, context: &Context) -> Result<Action, Error> {
        let informers = context.informers();
        let (all_jobs, all_pods) = (informers.of::<Job>(), informers.of::<Pod>());
        // By a status from before the last write, an index whose pod is counted already would get another one.
        let seen = self.jobs.is_seen(key, &all_jobs)
            && self.pods.is_seen(key, &all_pods)
            && self.gangs.as_ref().is_none_or(|gangs| gangs.are_seen(key, context));
        let Some(job) = all_jobs.get(&key.namespace, &key.name) else {
            self.forget(key);
            return Ok(Action::Done);
        };
        if managed_elsewhere(&job) {
            return Ok(Action::Done);
        }
        if !seen {
            return Ok(LAGGING);
        }
        if is_finished(&job) {
            self.forget(key);
            return Ok(Action::Done);
        }
        let mode = job.spec.as_ref().and_then(|spec| spec.completion_mode.as_deref());
        if !matches!(mode, None | Some("NonIndexed" | "Indexed")) {
            let message = "Skipped Job sync because completion mode is unknown";
            let reason = "UnknownCompletionMode";
            context.recorder().event_for(&*job, EventType::Warning, reason, message);
            return Ok(Action::Done);
        }
        let pods = claim(context, &job, &all_pods).await?;
        let group = match &self.gangs {
            Some(gangs) => gangs.group_of(context, key, &job, &pods).await?,
            None => None,
        };
        Sync::new(self, context, key, (*job).clone(), pods).of_group(group).run().await
    }
}

/// The pods of a Job, after adoption and release.
async fn claim(context: &Context, job: &Job, all: &Informer<Pod>) -> Result<Vec<Arc<Pod>>, Error> {
    let meta = &job.metadata;
    let selector = job.spec.as_ref().and_then(|spec| spec.selector.clone()).unwrap_or_default();
    let uid = meta.uid.as_deref().unwrap_or_default();
    let found = pods::managed_or_orphaned(all, uid, meta.namespace.as_deref().unwrap_or_default());
    let claims =
        ControllerRefManager::new(context.client(), job, &selector)?.with_finalizer(TRACKING);
    let claimed = claims.claim(found, |_| true).await?;
    let with_finalizer = |pod: Arc<Pod>| {
        if controller_of(&*pod).is_some() || finalizers::has(&*pod, TRACKING) {
            return pod;
        }
        // Adoption has put the finalizer there, which the cache does not show yet.
        let mut adopted = (*pod).clone();
        adopted.metadata.finalizers.get_or_insert_default().push(TRACKING.to_owned());
        Arc::new(adopted)
    };
    Ok(claimed.into_iter().map(with_finalizer).collect())
}

/// Who manages the Job in this controller's place.
fn other_manager(job: &Job) -> Option<&str> {
    let manager = job.spec.as_ref()?.managed_by.as_deref()?;
    (manager != NAME).then_some(manager)
}

fn managed_elsewhere(job: &Job) -> bool {
    other_manager(job).is_some()
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Request {
    /// A Job to bring forward.
    Job(ObjectKey),
    /// A pod whose finalizer no Job may ever remove.
    Orphan(ObjectKey),
}

#[async_trait]
impl Controller for Jobs {
    type Request = Request;
    type Error = Error;

    fn name(&self) -> &'static str {
        "job-controller"
    }

    fn watches(&self, sources: &mut Sources<Request>) {
        self.gangs.iter().for_each(|gangs| gangs.watch(sources));
        let jobs = sources.informer::<Job>();
        let all = sources.informer::<Pod>();
        pods::index(&all);
        let figures = self.figures.clone();
        sources.handle::<Job>(move |change, queue| {
            let job = change.object();
            if let (Change::Added(_), Some(manager)) = (change, other_manager(job)) {
                figures.managed_elsewhere(manager);
            }
            if change.is_deleted() || is_finished(job) {
                // Mostly they have no finalizer any more; this is for those that still have.
                let uid = job.metadata.uid.as_deref().unwrap_or_default();
                for pod in pods::managed(&all, uid) {
                    if finalizers::has(&*pod, TRACKING) {
                        queue.add(Request::Orphan(ObjectKey::of(&*pod)));
                    }
                }
            }
            queue.add(Request::Job(ObjectKey::of(&**job)));
        });
        let figures = self.figures.clone();
        let handler = PodHandler { jobs, written: self.pods.clone(), figures };
        sources.handle::<Pod>(move |change, queue| handler.handle(change, queue));
    }

    async fn reconcile(&self, request: &Request, context: &Context) -> Result<Action, Error> {
        match request {
            Request::Job(key) => self.sync(key, context).await,
            Request::Orphan(key) => orphans::release(context, key).await,
        }
    }
}

struct PodHandler {
    jobs: Informer<Job>,
    written: Written,
    figures: Figures,
}

impl PodHandler {
    fn handle(&self, change: &Change<Pod>, queue: &Enqueue<Request>) {
        self.figures.saw(change);
        let pod = change.object();
        let owner = owner_key::<Job, _>(&**pod);
        if let Some(owner) = owner.as_ref().filter(|_| change.is_deleted()) {
            self.written.gone(owner, &**pod);
        }
        let before = change.old().and_then(|old| owner_key::<Job, _>(&**old));
        if let Some(before) = before.filter(|before| Some(before) != owner.as_ref()) {
            queue.add(Request::Job(before));
        }
        let left_over = !change.is_deleted() && finalizers::has(&**pod, TRACKING);
        if let Some(owner) = owner {
            let job = self.jobs.get(&owner.namespace, &owner.name);
            let uid = controller_of(&**pod).map(|owner| owner.uid.as_str());
            let theirs = job.filter(|job| job.metadata.uid.as_deref() == uid);
            if left_over && theirs.is_none_or(|job| is_finished(&job)) {
                queue.add(Request::Orphan(ObjectKey::of(&**pod)));
            }
            queue.add(Request::Job(owner));
        } else if controller_of(&**pod).is_none() {
            if left_over {
                queue.add(Request::Orphan(ObjectKey::of(&**pod)));
            }
            self.adopters(change, queue);
        }
    }

    /// Wakes the Jobs that might adopt the pod.
    fn adopters(&self, change: &Change<Pod>, queue: &Enqueue<Request>) {
        let pod = change.object();
        let labels = pod.metadata.labels.as_ref();
        let changed = change.old().is_none_or(|old| {
            old.metadata.labels.as_ref() != labels || controller_of(&**old).is_some()
        });
        if change.is_deleted() || !changed || labels.is_none() {
            return;
        }
        for job in self.jobs.list_in(pod.metadata.namespace.as_deref().unwrap_or_default()) {
            let selector = job.spec.as_ref().and_then(|spec| spec.selector.as_ref());
            if selector.is_some_and(|selector| pods::selects(selector, labels)) {
                queue.add(Request::Job(ObjectKey::of(&*job)));
            }
        }
    }
}
