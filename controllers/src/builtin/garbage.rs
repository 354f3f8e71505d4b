mod collect;
mod graph;
mod monitors;

use super::discovery::Resources;
use crate::{Action, Context, Controller, Enqueue, Error, Sources};
use async_trait::async_trait;
use graph::{Graph, Work};
use parking_lot::{Mutex, RwLock};
use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::sync::Notify;

/// How long work waits for the graph to be built for the first time before looking again.
const NOT_READY: Duration = Duration::from_millis(200);

/// Deletes what has lost all its owners, and carries out foreground and orphaning deletion.
pub(super) struct Garbage {
    shared: Arc<Shared>,
}

/// What the graph's builder and the workers share.
#[derive(Default)]
struct Shared {
    graph: Mutex<Graph>,
    resources: RwLock<Resources>,
    /// Where work that is found on the way goes.
    queue: OnceLock<Enqueue<Work>>,
    /// Asks for a new look at which resources there are.
    refresh: Notify,
    /// Whether the graph shows everything that was there at the start.
    ready: AtomicBool,
}

impl Garbage {
    pub(super) fn new() -> Self {
        Self { shared: Arc::default() }
    }
}

#[async_trait]
impl Controller for Garbage {
    type Request = Work;
    type Error = Error;

    fn name(&self) -> &'static str {
        "garbage-collector-controller"
    }

    fn identity(&self) -> &'static str {
        "generic-garbage-collector"
    }

    fn workers(&self) -> usize {
        20
    }

    fn watches(&self, sources: &mut Sources<Work>) {
        let shared = self.shared.clone();
        sources.background(move |queue, context| monitors::run(shared, queue, context));
    }

    async fn reconcile(&self, request: &Work, context: &Context) -> Result<Action, Error> {
        if !self.shared.ready.load(Ordering::Acquire) {
            return Ok(Action::RequeueAfter(NOT_READY));
        }
        let collector = collect::Collector { shared: &self.shared, context };
        let more = match request {
            Work::Delete(uid) => collector.attempt_to_delete(uid).await?,
            Work::Orphan(uid) => collector.orphan(uid).await?,
        };
        if let Some(queue) = self.shared.queue.get() {
            more.into_iter().for_each(|work| queue.add(work));
        }
        Ok(Action::Done)
    }
}
