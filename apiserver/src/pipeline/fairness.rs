//! API priority and fairness (KEP-1040): how many requests are served at once, and whose turn it is.
//!
//! ```text
//!   request ─> Plan: the first FlowSchema about it ─> Desk: seats, queue or 429 of its level ─> served
//!           └> Estimator: how many seats                └─ /debug/api_priority_and_fairness/...
//! ```

mod desk;
mod dump;
mod estimate;
mod plan;
mod rules;
mod watchers;

pub(crate) use desk::Desk;
pub(crate) use dump::Dump;
pub(crate) use plan::Placed;

use super::{Exchange, Next, Step};
use crate::{
    body::Body,
    cache::Snapshot,
    held::Held,
    metrics::{ApiMetrics, FlowMetrics},
    registry::{Registry, Resource},
};
use arc_swap::ArcSwap;
use async_trait::async_trait;
use desk::{Asked, Seat, Turn, Waiting};
use estimate::Estimator;
use http::{Response, StatusCode};
use hyper::upgrade::OnUpgrade;
use kubeplane_clock::SharedClock;
use kubeplane_core::{ApiError, GroupResource, features::Features, status::ApiResult};
use parking_lot::Mutex;
use plan::{Plan, Schema, Seen};
use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};
use tracing::Instrument;
use watchers::Watchers;

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
    estimator: Estimator,
    watchers: Watchers,
    unplaced: Arc<str>,
}

impl Fairness {
    pub(crate) fn new(
        registry: Arc<Registry>,
        clock: SharedClock,
        metrics: ApiMetrics,
        flows: FlowMetrics,
        desk: Arc<Desk>,
        features: &Features,
    ) -> Self {
        // Shown from the start, though nobody waits.
        drop([false, true].map(|writes| metrics.waiting(writes)));
        Self {
            estimator: Estimator::new(registry.clone(), clock.clone(), features),
            watchers: Watchers::default(),
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

    /// Asks for the seats of a request.
    fn ask(&self, exchange: &Exchange, schema: Option<&Schema>) -> Turn {
        let (info, user) = (exchange.info.clone(), exchange.user.clone());
        let widest = schema.map_or(0, |schema| schema.widest);
        let width = self.estimator.width(&info, &exchange.head.uri, widest, &self.watchers);
        let Some(schema) = schema else {
            let schema = self.unplaced.clone();
            let asked = Asked { schema, by: None, info, user, hash: 0, width };
            return self.desk.ask(&self.unplaced, asked);
        };
        self.desk.ask(&schema.level, schema.asked(info, user, width))
    }

    /// Waits for seats, though not for long.
    async fn wait(&self, waiting: Waiting, writes: bool) -> Option<Seat> {
        self.desk.attend();
        let counted = self.metrics.waiting(writes);
        let seat = kubeplane_clock::timeout(self.clock.as_ref(), PATIENCE, waiting.seat()).await;
        drop(counted);
        seat
    }

    fn refuse(
        &self,
        exchange: &Exchange,
        schema: Option<&Schema>,
        reason: &'static str,
    ) -> ApiError {
        let (schema, level) = schema.map_or(("", ""), |schema| (&schema.name, &schema.level));
        self.flows.rejected(schema, level, reason);
        self.metrics.terminated(&exchange.labels, StatusCode::TOO_MANY_REQUESTS);
        ApiError::too_many_requests("Too many requests, please try again later.", 1)
    }

    /// Serves a request, noting who watches.
    async fn served(&self, mut exchange: Exchange, next: Next<'_>) -> ApiResult<Response<Body>> {
        let watching = self.watchers.register(&exchange.info, &exchange.head.uri).map(Arc::new);
        if let Some(watching) = &watching
            && exchange.head.extensions.get::<OnUpgrade>().is_some()
        {
            Held::add(&mut exchange.head.extensions, watching.clone());
        }
        let answer = next.run(exchange).await;
        match watching {
            Some(watching) => {
                answer.map(|answer| answer.map(|body| watchers::counted(body, watching)))
            }
            None => answer,
        }
    }
}

fn writes(verb: &str) -> bool {
    !matches!(verb, "get" | "list" | "watch")
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
            return self.served(exchange, next).await;
        }
        let turn = self.ask(&exchange, schema);
        let seat = match turn {
            Turn::Now(seat) => seat,
            Turn::Never(reason) => return Err(self.refuse(&exchange, schema, reason)),
            Turn::Later(waiting) => {
                let writes = writes(&exchange.info.verb);
                let seat = self.wait(waiting, writes).instrument(span).await;
                seat.ok_or_else(|| self.refuse(&exchange, schema, "time-out"))?
            }
        };
        if let Some(schema) = schema {
            schema.dispatched.inc();
        }
        let exempt = schema.is_some_and(|schema| schema.exempt);
        // What watchers get is no work of this request's.
        let counted =
            (!watches && !exempt).then(|| self.metrics.inflight(writes(&exchange.info.verb)));
        let answer = self.served(exchange, next).await;
        drop((counted, seat));
        answer
    }
}
