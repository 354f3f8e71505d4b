//! API priority and fairness (KEP-1040): how many requests are served at once, and whose turn it is.
//!
//! ```text
//!   request ─> Plan: the first FlowSchema about it ─> Desk: seat, queue or 429 of its level ─> served
//!                                                       └─ /debug/api_priority_and_fairness/...
//! ```
//!
//! Other than in the original idle seats are lent from one request to the next, and not for ten seconds at a time; and
//! every request takes one seat.

mod desk;
mod dump;
mod plan;
mod rules;

pub(crate) use desk::Desk;
pub(crate) use dump::Dump;
pub(crate) use plan::Placed;

use super::{Exchange, Next, Step};
use crate::{
    body::Body,
    cache::Snapshot,
    metrics::{ApiMetrics, FlowMetrics},
    registry::{Registry, Resource},
};
use arc_swap::ArcSwap;
use async_trait::async_trait;
use desk::{Asked, Turn};
use http::{Response, StatusCode};
use kubeplane_clock::SharedClock;
use kubeplane_core::{ApiError, GroupResource, status::ApiResult};
use parking_lot::Mutex;
use plan::{Plan, Seen};
use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};
use tracing::Instrument;

/// How long a request waits for its turn.
const PATIENCE: Duration = Duration::from_secs(15);
const GROUP: &str = "flowcontrol.apiserver.k8s.io";

/// Bounds how many requests are served at once; those above it wait, or are sent away.
#[derive(Debug)]
pub(crate) struct Fairness {
    registry: Arc<Registry>,
    clock: SharedClock,
    metrics: ApiMetrics,
    flows: FlowMetrics,
    /// The kinds, once they are served.
    kinds: OnceLock<[Arc<Resource>; 2]>,
    plan: ArcSwap<Plan>,
    /// Held by who makes the next plan.
    making: Mutex<()>,
    desk: Arc<Desk>,
    unplaced: Arc<str>,
}

impl Fairness {
    pub(crate) fn new(
        registry: Arc<Registry>,
        clock: SharedClock,
        metrics: ApiMetrics,
        flows: FlowMetrics,
        desk: Arc<Desk>,
    ) -> Self {
        // Shown from the start, though nobody waits.
        drop([false, true].map(|writes| metrics.waiting(writes)));
        Self {
            registry,
            clock,
            metrics,
            flows,
            kinds: OnceLock::new(),
            plan: ArcSwap::default(),
            making: Mutex::default(),
            desk,
            unplaced: Arc::from(""),
        }
    }

    /// The plan of what is stored, or the last one while that is not known.
    fn plan(&self) -> Arc<Plan> {
        let plan = self.plan.load_full();
        let Some(stored) = self.stored() else { return plan };
        let seen = Seen::of(&stored);
        if plan.seen == Some(seen) {
            return plan;
        }
        let Some(_making) = self.making.try_lock() else { return plan };
        let made = Arc::new(Plan::of(seen, &stored, &self.flows));
        self.desk.configure(&made.limits);
        self.plan.store(made.clone());
        made
    }

    /// Schemas and levels as far as the caches have them.
    fn stored(&self) -> Option<[Arc<Snapshot>; 2]> {
        let kinds = match self.kinds.get() {
            Some(kinds) => kinds,
            None => {
                let kind = |plural: &'static str| {
                    self.registry.resource(&GroupResource::new(GROUP, plural))
                };
                let found = [kind("flowschemas")?, kind("prioritylevelconfigurations")?];
                self.kinds.get_or_init(|| found)
            }
        };
        let [schemas, levels] = kinds.each_ref().map(|kind| {
            let found = kind.cache().peek();
            if found.is_none() {
                kind.cache().start();
            }
            found
        });
        Some([schemas?, levels?])
    }

    fn refuse(&self, exchange: &Exchange, of: (&str, &str), reason: &'static str) -> ApiError {
        self.flows.rejected(of.0, of.1, reason);
        self.metrics.terminated(&exchange.labels, StatusCode::TOO_MANY_REQUESTS);
        ApiError::too_many_requests("Too many requests, please try again later.", 1)
    }
}

#[async_trait]
impl Step for Fairness {
    async fn run(&self, exchange: Exchange, next: Next<'_>) -> ApiResult<Response<Body>> {
        let watches = exchange.info.verb == "watch";
        if exchange.info.is_long_running() && !watches {
            return next.run(exchange).await;
        }
        let span = tracing::debug_span!("queue");
        let plan = span.in_scope(|| self.plan());
        let schema = plan.schema(&exchange.info, &exchange.user);
        if let Some(placed) = schema.and_then(|schema| schema.answer.clone()) {
            // Set once: a request is placed once.
            let _ = exchange.placed.set(placed);
        }
        if schema.is_none() && Plan::is_exempt(&exchange.user) {
            return next.run(exchange).await;
        }
        let level = schema.map_or(&self.unplaced, |schema| &schema.level);
        let names = (schema.map_or("", |schema| &*schema.name), &**level);
        let (info, user) = (exchange.info.clone(), exchange.user.clone());
        let asked = match schema {
            Some(schema) => schema.asked(info, user),
            None => Asked { schema: self.unplaced.clone(), by: None, info, user, hash: 0 },
        };
        let exempt = schema.is_some_and(|schema| schema.exempt);
        let writes = !watches && !matches!(exchange.info.verb.as_str(), "get" | "list");
        let seat = match self.desk.ask(level, asked) {
            Turn::Now(seat) => seat,
            Turn::Never(reason) => return Err(self.refuse(&exchange, names, reason)),
            Turn::Later(waiting) => {
                let counted = self.metrics.waiting(writes);
                let seat = kubeplane_clock::timeout(self.clock.as_ref(), PATIENCE, waiting.seat());
                let seat = seat.instrument(span).await;
                drop(counted);
                seat.ok_or_else(|| self.refuse(&exchange, names, "time-out"))?
            }
        };
        if let Some(schema) = schema {
            schema.dispatched.inc();
        }
        // What watchers get is no work of this request's.
        let counted = (!watches && !exempt).then(|| self.metrics.inflight(writes));
        let answer = next.run(exchange).await;
        drop((counted, seat));
        answer
    }
}
