use crate::{Context, Sources};
use async_trait::async_trait;
use std::{fmt::Debug, hash::Hash, time::Duration};

/// What follows a successful reconciliation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Nothing, until something changes.
    Done,
    /// The same request again after this time, even if nothing changes.
    RequeueAfter(Duration),
}

/// What follows a failed reconciliation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// Again after a pause that grows with the number of failures.
    Backoff,
    /// Again after this time.
    After(Duration),
    /// Not again, until something changes.
    Drop,
}

/// A loop that brings the world closer to what some objects say.
///
/// # Contract
/// `reconcile` is level-triggered: it looks at the present state, whatever change led to the request, and is
/// right however often it runs. One request is worked on by one worker at a time; equal requests that arrive
/// while one waits collapse into it. A failure or panic concerns its request alone.
///
/// # Cancellation
/// The future of `reconcile` is dropped when the process does not stop in time; the next run finds what it left.
#[async_trait]
pub trait Controller: Send + Sync + 'static {
    /// What is worked on at a time; mostly the key of an object.
    type Request: Clone + Eq + Hash + Debug + Send + Sync + 'static;
    /// How it fails.
    type Error: std::error::Error + Send + Sync + 'static;

    /// The name in `--controllers`, logs, metrics and health checks, as in `deployment-controller`.
    fn name(&self) -> &'static str;

    /// The service account (in `kube-system`) whose rights it needs, and its name as a source of events; empty for
    /// what works as the manager itself.
    fn identity(&self) -> &'static str {
        self.name()
    }

    /// What its events name as their source: the identity, unless the original uses another name.
    fn event_source(&self) -> &'static str {
        if self.identity().is_empty() { self.name() } else { self.identity() }
    }

    /// How many requests are worked on at once.
    fn workers(&self) -> usize {
        5
    }

    /// Declares which changes lead to which requests. Called once, before any reconciliation.
    fn watches(&self, sources: &mut Sources<Self::Request>);

    /// Does the work.
    ///
    /// # Errors
    /// When the work is not finished and must be tried again; see [`on_error`](Self::on_error).
    async fn reconcile(
        &self,
        request: &Self::Request,
        context: &Context,
    ) -> Result<Action, Self::Error>;

    /// Decides what follows a failure; `failures` counts those since the last success, this one included.
    fn on_error(&self, request: &Self::Request, error: &Self::Error, failures: u32) -> Retry {
        let _ = (request, error, failures);
        Retry::Backoff
    }
}
