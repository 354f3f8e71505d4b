use crate::{Action, Context, Controller, Retry, Sources};
use async_trait::async_trait;
use futures::FutureExt;
use kubeplane_client::{QueueMetrics, QueueOptions, WorkQueue};
use kubeplane_clock::timeout;
use std::{fmt, hash::Hash, panic::AssertUnwindSafe, sync::Arc, time::Duration};
use tokio::{
    sync::oneshot,
    task::{JoinSet, coop},
};
use tokio_util::sync::CancellationToken;

/// How long requests in work may take to end when the process stops.
const GRACE: Duration = Duration::from_secs(5);

/// Any controller, whatever its request and error types.
pub struct BoxController {
    controller: Box<dyn Run>,
    workers: Option<usize>,
}

impl BoxController {
    /// Forgets the types of `controller`.
    #[must_use]
    pub fn new<C: Controller>(controller: C) -> Self {
        let controller: Erased<C::Request, C::Error> = Arc::new(controller);
        Self { controller: Box::new(Runner(controller)), workers: None }
    }

    /// Works on so many requests at once, whatever [`Controller::workers`] says; with 0 on none.
    #[must_use]
    pub fn with_workers(self, workers: usize) -> Self {
        Self { workers: Some(workers), ..self }
    }

    /// On how many requests it works at once.
    #[must_use]
    pub fn workers(&self) -> usize {
        self.workers.unwrap_or_else(|| self.controller.workers().max(1))
    }

    /// As [`Controller::name`].
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.controller.name()
    }

    /// As [`Controller::identity`].
    #[must_use]
    pub fn identity(&self) -> &'static str {
        self.controller.identity()
    }

    /// As [`Controller::event_source`].
    #[must_use]
    pub fn event_source(&self) -> &'static str {
        self.controller.event_source()
    }

    pub(crate) async fn run(self, job: Job) {
        let workers = self.workers();
        self.controller.run(job, workers).await;
    }
}

impl fmt::Debug for BoxController {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("BoxController").field(&self.name()).finish()
    }
}

/// What a controller is run with.
pub(crate) struct Job {
    pub(crate) context: Context,
    pub(crate) metrics: QueueMetrics,
    pub(crate) token: CancellationToken,
    pub(crate) started: oneshot::Sender<()>,
}

#[async_trait]
trait Run: Send + Sync {
    fn name(&self) -> &'static str;
    fn identity(&self) -> &'static str;
    fn event_source(&self) -> &'static str;
    fn workers(&self) -> usize;
    async fn run(self: Box<Self>, job: Job, workers: usize);
}

/// Nearly all controllers have one type of request and of error, and are run by the same code.
type Erased<R, E> = Arc<dyn Controller<Request = R, Error = E>>;

struct Runner<R, E>(Erased<R, E>);

#[async_trait]
impl<R, E> Run for Runner<R, E>
where
    R: Clone + Eq + Hash + fmt::Debug + Send + Sync + 'static,
    E: std::error::Error + Send + Sync + 'static,
{
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn identity(&self) -> &'static str {
        self.0.identity()
    }

    fn event_source(&self) -> &'static str {
        self.0.event_source()
    }

    fn workers(&self) -> usize {
        self.0.workers()
    }

    async fn run(self: Box<Self>, job: Job, workers: usize) {
        let Job { context, metrics, token, started } = job;
        let name = self.name();
        let options = QueueOptions::named(name).with_metrics(metrics);
        let queue = WorkQueue::new(context.clock.clone(), &options);
        let mut sources = Sources::new(context.clone());
        self.0.watches(&mut sources);

        let mut pumps = JoinSet::new();
        let caught_up = tokio::select! {
            biased;
            () = token.cancelled() => return,
            (tasks, caught_up) = sources.start(queue.clone()) => {
                tasks.into_iter().for_each(|task| drop(pumps.spawn(task)));
                caught_up
            }
        };
        tokio::select! {
            biased;
            () = token.cancelled() => return,
            () = caught_up => {}
        }

        let mut working = JoinSet::new();
        for _ in 0..workers {
            let worker = Worker {
                controller: self.0.clone(),
                context: context.clone(),
                queue: queue.clone(),
                token: token.clone(),
            };
            working.spawn(worker.run());
        }
        tracing::debug!(controller = name, "started");
        // The manager may have given up on the others already.
        let _ = started.send(());
        until_over(&token, &mut pumps, name).await;
        queue.shut_down();
        pumps.shutdown().await;
        // What does not end in time is dropped with the set.
        let _ =
            timeout(&*context.clock, GRACE, async { while working.join_next().await.is_some() {} })
                .await;
    }
}

/// Waits for the end: the process stops, or a handler panicked, without which the controller would be deaf.
async fn until_over(token: &CancellationToken, pumps: &mut JoinSet<()>, name: &str) {
    loop {
        tokio::select! {
            biased;
            () = token.cancelled() => return,
            Some(ended) = pumps.join_next() => {
                if ended.is_err_and(|error| error.is_panic()) {
                    tracing::error!(controller = name, "a handler of changes panicked");
                    return;
                }
            }
        }
    }
}

struct Worker<R, E> {
    controller: Erased<R, E>,
    context: Context,
    queue: WorkQueue<R>,
    token: CancellationToken,
}

impl<R, E> Worker<R, E>
where
    R: Clone + Eq + Hash + fmt::Debug + Send + Sync + 'static,
    E: std::error::Error + Send + Sync + 'static,
{
    async fn run(self) {
        loop {
            let request = tokio::select! {
                biased;
                () = self.token.cancelled() => return,
                request = self.queue.take() => request,
            };
            let Some(request) = request else { return };
            self.work(&request).await;
            self.queue.done(&request);
            // Requests that come back at once, and wait for nothing, would keep the thread from all else.
            coop::consume_budget().await;
        }
    }

    async fn work(&self, request: &R) {
        let name = self.controller.name();
        let reconcile = AssertUnwindSafe(self.controller.reconcile(request, &self.context));
        match reconcile.catch_unwind().await {
            Ok(Ok(Action::Done)) => self.queue.forget(request),
            Ok(Ok(Action::RequeueAfter(delay))) => {
                self.queue.forget(request);
                self.queue.add_after(request.clone(), delay);
            }
            Ok(Err(error)) => {
                let failures = self.queue.failures(request).saturating_add(1);
                let retry = self.controller.on_error(request, &error, failures);
                tracing::debug!(controller = name, ?request, %error, failures, ?retry, "reconciliation failed");
                match retry {
                    Retry::Backoff => self.queue.add_rate_limited(request.clone()),
                    Retry::After(delay) => {
                        self.queue.note_failure(request);
                        self.queue.add_after(request.clone(), delay);
                    }
                    Retry::Drop => self.queue.forget(request),
                }
            }
            Err(_) => {
                tracing::error!(controller = name, ?request, "reconciliation panicked");
                self.queue.add_rate_limited(request.clone());
            }
        }
    }
}
