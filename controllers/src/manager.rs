mod builder;

pub use builder::ManagerBuilder;

use crate::{
    Context, Error,
    runner::{BoxController, Job},
};
use async_trait::async_trait;
use kubeplane_client::{
    EventRecorder, Informers, LeaderElector, LeaderStatus, LeaseConfig, QueueMetrics,
};
use kubeplane_clock::{Seed, SharedClock};
use kubeplane_core::component::{Component, ComponentError, Lifecycle};
use parking_lot::Mutex;
use std::{fmt, sync::Arc};
use tokio::{sync::oneshot, task::JoinSet};
use tokio_util::sync::CancellationToken;

type ClientFor = Arc<dyn Fn(&str) -> kube::Client + Send + Sync>;

/// Runs controllers as one component of a control plane.
pub struct Manager {
    client: kube::Client,
    client_for: Option<ClientFor>,
    informers: Informers,
    clock: SharedClock,
    seed: Seed,
    host: String,
    metrics: QueueMetrics,
    lease: Option<LeaseConfig>,
    election: LeaderStatus,
    controllers: Vec<BoxController>,
    status: Arc<Mutex<Status>>,
}

/// What health checks ask for.
#[derive(Debug, Default)]
struct Status {
    waiting: Vec<&'static str>,
    leading: bool,
    /// Controllers whose task is over although nobody stopped them.
    ended: Vec<&'static str>,
    /// Cancelled when the manager is to stop.
    token: Option<CancellationToken>,
}

impl fmt::Debug for Manager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Manager").field("controllers", &self.controllers).finish_non_exhaustive()
    }
}

impl Manager {
    /// Starts an assembly; `client` lists and watches, and writes unless the builder is told otherwise.
    pub fn builder(client: kube::Client) -> ManagerBuilder {
        ManagerBuilder::new(client)
    }

    fn context(&self, controller: &BoxController) -> Context {
        let client = match (controller.identity(), &self.client_for) {
            ("", _) | (_, None) => self.client.clone(),
            (identity, Some(for_identity)) => for_identity(identity),
        };
        let source = controller.event_source();
        let recorder = EventRecorder::new(client.clone(), self.clock.clone(), source, &self.host);
        let (informers, clock, seed) =
            (self.informers.clone(), self.clock.clone(), self.seed.clone());
        Context { client, informers, clock, recorder, seed }
    }

    /// Runs all controllers until `token` is cancelled.
    async fn lead(mut self, token: CancellationToken, lifecycle: &Lifecycle) -> Result<(), Error> {
        self.status.lock().leading = true;
        let mut tasks = JoinSet::new();
        let mut starts = Vec::new();
        for controller in std::mem::take(&mut self.controllers) {
            let name = controller.name();
            let (started, start) = oneshot::channel();
            let context = self.context(&controller);
            let job = Job { context, metrics: self.metrics.clone(), token: token.clone(), started };
            starts.push((name, start));
            tasks.spawn(async move {
                controller.run(job).await;
                name
            });
        }
        let status = self.status.clone();
        let all_started = async {
            for (name, start) in starts {
                // A controller that ends without starting is noticed by its task.
                if start.await.is_ok() {
                    status.lock().waiting.retain(|waiting| *waiting != name);
                }
            }
            lifecycle.ready();
            std::future::pending::<()>().await;
        };
        let ended = tokio::select! {
            biased;
            () = token.cancelled() => None,
            ended = tasks.join_next() => ended,
            () = all_started => None,
        };
        if !token.is_cancelled()
            && let Some(ended) = ended
        {
            self.status.lock().ended.extend(ended.as_ref().ok().copied());
            return Err(Error::Ended(ended.map_or_else(|error| error.to_string(), str::to_owned)));
        }
        while tasks.join_next().await.is_some() {}
        Ok(())
    }
}

#[async_trait]
impl Component for Manager {
    fn name(&self) -> &str {
        "kube-controller-manager"
    }

    async fn run(self: Box<Self>, lifecycle: Lifecycle) -> Result<(), ComponentError> {
        let token = lifecycle.token();
        self.status.lock().token = Some(token.clone());
        let Some(lease) = self.lease.clone() else {
            return self.lead(token, &lifecycle).await.map_err(Into::into);
        };
        // Whoever waits to lead is as ready as it can be.
        lifecycle.ready();
        let elector = LeaderElector::new(self.client.clone(), self.clock.clone(), lease)
            .reporting_to(self.election.clone());
        let mut outcome = Ok(());
        elector.run(token, async |leading| outcome = self.lead(leading, &lifecycle).await).await?;
        outcome.map_err(Into::into)
    }
}
