mod collect;
mod graph;
mod monitors;

use super::{discovery::Resources, figures::Place};
use crate::{Action, Context, Controller, Enqueue, Error, Sources};
use async_trait::async_trait;
use graph::{Graph, Work};
use kubeplane_client::MetadataInformer;
use kubeplane_telemetry::Metrics;
use parking_lot::{Mutex, RwLock};
use prometheus_client::metrics::counter::Counter;
use std::{
    collections::HashMap,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::sync::Notify;

/// How long work waits for the graph to be built for the first time before looking again.
const NOT_READY: Duration = Duration::from_millis(200);

/// How often it is asked about an owner that is there but was never seen: when it came and went while nothing was
/// watched, nobody tells.
const UNSEEN: Duration = Duration::from_secs(60);

/// Deletes what has lost all its owners, and carries out foreground and orphaning deletion.
pub(super) struct Garbage {
    shared: Arc<Shared>,
}

/// What the graph's builder and the workers share.
#[derive(Default)]
struct Shared {
    graph: Mutex<Graph>,
    resources: RwLock<Resources>,
    /// What was last told of the objects that are followed, by apiVersion and kind.
    seen: RwLock<HashMap<(String, String), MetadataInformer>>,
    /// Where work that is found on the way goes.
    queue: OnceLock<Enqueue<Work>>,
    /// Asks for a new look at which resources there are.
    refresh: Notify,
    /// Whether the graph shows everything that was there at the start.
    ready: AtomicBool,
    /// How often it was not told which resources there are.
    untold: Counter,
}

impl Garbage {
    pub(super) fn new(metrics: Option<&Metrics>) -> Self {
        let place = Place::new(metrics, "garbagecollector_controller");
        let help = "Times that it could not be found out what to collect";
        let untold = place.show("resources_sync_error", help);
        Self { shared: Arc::new(Shared { untold, ..Shared::default() }) }
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

    fn event_source(&self) -> &'static str {
        "garbage-collector-controller"
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
        let again = more.contains(request);
        if let Some(queue) = self.shared.queue.get() {
            more.into_iter().filter(|work| work != request).for_each(|work| queue.add(work));
        }
        if again {
            let text =
                "an owner is not where one dependent has it, but may be where another has it";
            return Err(Error::Incomplete(text.to_owned()));
        }
        if let Work::Delete(uid) = request
            && self.shared.graph.lock().is_unseen(uid)
        {
            return Ok(Action::RequeueAfter(UNSEEN));
        }
        Ok(Action::Done)
    }
}
