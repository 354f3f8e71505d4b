//! Runs the components of a control plane: in order, until the first failure or a shutdown.

use kubeplane_clock::SharedClock;
use kubeplane_core::component::{Component, ComponentError, Supervision, lifecycle};
use std::{fmt, future::Future, sync::Arc, time::Duration};
use tokio::task::{Id, JoinError, JoinSet};

/// How long a component may take to stop, on the clock of the control plane, before it is dropped.
const STOP_LIMIT: Duration = Duration::from_secs(15);

/// Called with a component's name.
type Callback = Arc<dyn Fn(&str) + Send + Sync>;

/// Why a control plane ended by itself.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ControlPlaneError {
    /// A component failed.
    #[error("{component}: {source}")]
    Failed {
        /// Its name.
        component: String,
        /// Why.
        source: ComponentError,
    },
    /// A component ended although nobody asked it to.
    #[error("{component} ended unexpectedly")]
    Ended {
        /// Its name.
        component: String,
    },
    /// A component panicked.
    #[error("{component} panicked")]
    Panicked {
        /// Its name.
        component: String,
    },
    /// Somebody could not wait until everything had stopped.
    #[error("ended at once, before these had stopped: {}", components.join(", "))]
    Hurried {
        /// The names of those that were cut off, in the order of their start.
        components: Vec<String>,
    },
}

/// A control plane: components that start one after the other, each when those before it are ready, and
/// stop in reverse order.
///
/// ```
/// # async fn run(api: impl kubeplane_core::component::Component) -> Result<(), Box<dyn std::error::Error>> {
/// use kubeplane::ControlPlane;
/// ControlPlane::new().with(api).on_ready(|name| eprintln!("{name} is ready")).run_until(async {
///     // your shutdown signal
/// }).await?;
/// # Ok(()) }
/// ```
pub struct ControlPlane {
    components: Vec<Box<dyn Component>>,
    on_ready: Option<Callback>,
    on_stopped: Option<Callback>,
    clock: SharedClock,
}

impl Default for ControlPlane {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for ControlPlane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.components.iter().map(|component| component.name())).finish()
    }
}

struct Running {
    name: String,
    task: Id,
    supervision: Supervision,
}

impl ControlPlane {
    /// Without components, on the machine's clock.
    #[must_use]
    pub fn new() -> Self {
        Self {
            components: Vec::new(),
            on_ready: None,
            on_stopped: None,
            clock: kubeplane_clock::real(),
        }
    }

    /// Takes time from this clock: a component gets 15 seconds of it to stop.
    #[must_use]
    pub fn clock(mut self, clock: SharedClock) -> Self {
        self.clock = clock;
        self
    }

    /// Adds a component, to start after those added before.
    #[must_use]
    pub fn with(self, component: impl Component) -> Self {
        self.with_boxed(Box::new(component))
    }

    /// As [`with`](Self::with), of a component whose type is not known.
    #[must_use]
    pub fn with_boxed(mut self, component: Box<dyn Component>) -> Self {
        self.components.push(component);
        self
    }

    /// Calls back with a component's name when it is ready.
    #[must_use]
    pub fn on_ready(mut self, callback: impl Fn(&str) + Send + Sync + 'static) -> Self {
        self.on_ready = Some(Arc::new(callback));
        self
    }

    /// Calls back with a component's name when it has ended after it was asked to; what had to be dropped instead is
    /// only logged.
    #[must_use]
    pub fn on_stopped(mut self, callback: impl Fn(&str) + Send + Sync + 'static) -> Self {
        self.on_stopped = Some(Arc::new(callback));
        self
    }

    /// Runs until `shutdown` ends or a component fails; either way everything is stopped, last started first.
    ///
    /// # Errors
    /// The first failure of a component.
    ///
    /// # Cancellation
    /// Dropping the future stops all components at once, without grace.
    pub async fn run_until(
        self,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), ControlPlaneError> {
        self.run_until_hurried(shutdown, std::future::pending()).await
    }

    /// As [`run_until`](Self::run_until), for whoever may lose patience: when `hurry` ends while components are being
    /// stopped, those that still run are dropped at once, as `kill -9` would. It is polled only from the moment
    /// the stop begins, so that two futures that wait for the same signal are a first one and a second one.
    ///
    /// # Errors
    /// The first failure of a component, or [`ControlPlaneError::Hurried`].
    ///
    /// # Cancellation
    /// Dropping the future stops all components at once, without grace.
    pub async fn run_until_hurried(
        self,
        shutdown: impl Future<Output = ()>,
        hurry: impl Future<Output = ()>,
    ) -> Result<(), ControlPlaneError> {
        let mut tasks = JoinSet::new();
        let mut running: Vec<Running> = Vec::new();
        let outcome = {
            let start = start(self.components, self.on_ready, &mut tasks, &mut running);
            tokio::select! {
                biased;
                outcome = start => outcome,
                () = shutdown => Ok(()),
            }
        };
        let stopped = {
            let stop = stop(&self.clock, self.on_stopped, &mut tasks, &mut running);
            tokio::select! {
                biased;
                stopped = stop => Some(stopped),
                () = hurry => None,
            }
        };
        // What still runs goes with its tasks.
        let hurried = || {
            let components = running.into_iter().map(|component| component.name).collect();
            Err(ControlPlaneError::Hurried { components })
        };
        outcome.and(stopped.unwrap_or_else(hurried))
    }
}

/// Starts everything, then waits; returns only when a component ends.
async fn start(
    components: Vec<Box<dyn Component>>,
    on_ready: Option<Callback>,
    tasks: &mut JoinSet<Result<(), ComponentError>>,
    running: &mut Vec<Running>,
) -> Result<(), ControlPlaneError> {
    for component in components {
        let name = component.name().to_owned();
        let (own, mut supervision) = lifecycle();
        let task = tasks.spawn(component.run(own)).id();
        running.push(Running { name: name.clone(), task, supervision: supervision.clone() });
        tokio::select! {
            biased;
            ended = next_end(tasks, running) => return ended,
            // Without it the component has ended, which the branch above is about to tell.
            true = supervision.became_ready() => {}
        }
        tracing::info!(component = name, "ready");
        if let Some(callback) = &on_ready {
            callback(&name);
        }
    }
    next_end(tasks, running).await
}

/// Waits for the end of any component, which is a failure while nobody asked for it.
async fn next_end(
    tasks: &mut JoinSet<Result<(), ComponentError>>,
    running: &mut Vec<Running>,
) -> Result<(), ControlPlaneError> {
    match tasks.join_next_with_id().await {
        None => std::future::pending().await,
        Some(ended) => {
            let (component, outcome) = settle(running, ended);
            outcome.and(Err(ControlPlaneError::Ended { component }))
        }
    }
}

type Ended = Result<(Id, Result<(), ComponentError>), JoinError>;

/// Takes an ended component off the list; says which it was and how it went.
fn settle(running: &mut Vec<Running>, ended: Ended) -> (String, Result<(), ControlPlaneError>) {
    let task = match &ended {
        Ok((task, _)) => *task,
        Err(error) => error.id(),
    };
    let index = running.iter().position(|component| component.task == task);
    let component = index.map(|index| running.remove(index).name).unwrap_or_default();
    let outcome = match ended {
        Ok((_, Ok(()))) => Ok(()),
        Ok((_, Err(source))) => {
            Err(ControlPlaneError::Failed { component: component.clone(), source })
        }
        Err(_) => Err(ControlPlaneError::Panicked { component: component.clone() }),
    };
    (component, outcome)
}

/// Stops what still runs, last started first, each within [`STOP_LIMIT`].
async fn stop(
    clock: &SharedClock,
    on_stopped: Option<Callback>,
    tasks: &mut JoinSet<Result<(), ComponentError>>,
    running: &mut Vec<Running>,
) -> Result<(), ControlPlaneError> {
    let mut first = Ok(());
    while let Some(last) = running.last() {
        let (task, name) = (last.task, last.name.clone());
        last.supervision.stop();
        let wait = async {
            while running.iter().any(|component| component.task == task) {
                let Some(ended) = tasks.join_next_with_id().await else { break };
                let (component, outcome) = settle(running, ended);
                tracing::info!(component, "stopped");
                if let Some(callback) = &on_stopped {
                    callback(&component);
                }
                first = std::mem::replace(&mut first, Ok(())).and(outcome);
            }
        };
        if kubeplane_clock::timeout(clock.as_ref(), STOP_LIMIT, wait).await.is_none() {
            tracing::warn!(component = name, "did not stop in time");
            running.retain(|component| component.task != task);
        }
    }
    tasks.shutdown().await;
    first
}

/// Ends at the first SIGINT or SIGTERM.
pub async fn shutdown_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        let _ = tokio::signal::ctrl_c().await;
        return;
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kubeplane_core::component::Lifecycle;
    use parking_lot::Mutex;

    type Log = Arc<Mutex<Vec<String>>>;

    #[derive(Debug)]
    struct Part {
        name: &'static str,
        log: Log,
        fails: bool,
    }

    #[async_trait::async_trait]
    impl Component for Part {
        fn name(&self) -> &str {
            self.name
        }

        async fn run(self: Box<Self>, lifecycle: Lifecycle) -> Result<(), ComponentError> {
            self.log.lock().push(format!("start {}", self.name));
            if self.fails {
                return Err("no luck".into());
            }
            lifecycle.ready();
            lifecycle.stopping().await;
            self.log.lock().push(format!("stop {}", self.name));
            Ok(())
        }
    }

    fn plane(fails: bool) -> (ControlPlane, Log) {
        let log = Log::default();
        let part = |name, fails| Part { name, log: log.clone(), fails };
        (ControlPlane::new().with(part("a", false)).with(part("b", fails)), log)
    }

    #[tokio::test]
    async fn components_start_in_order_and_stop_in_reverse() {
        let (plane, log) = plane(false);
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let stop = Mutex::new(Some(stop));
        let told = log.clone();
        let plane = plane.on_stopped(move |name| told.lock().push(format!("{name} stopped")));
        let plane = plane.on_ready(move |name| {
            if name == "b" {
                drop(stop.lock().take());
            }
        });
        plane.run_until(async { stopped.await.unwrap_or_default() }).await.unwrap();
        let all = ["start a", "start b", "stop b", "b stopped", "stop a", "a stopped"];
        assert_eq!(*log.lock(), all);
    }

    /// Is told to stop, and does not.
    #[derive(Debug)]
    struct Stubborn(Option<tokio::sync::oneshot::Sender<()>>);

    #[async_trait::async_trait]
    impl Component for Stubborn {
        fn name(&self) -> &str {
            "stubborn"
        }

        async fn run(mut self: Box<Self>, lifecycle: Lifecycle) -> Result<(), ComponentError> {
            lifecycle.ready();
            lifecycle.stopping().await;
            drop(self.0.take());
            std::future::pending().await
        }
    }

    #[tokio::test]
    async fn what_does_not_stop_is_dropped_when_the_clock_says_so() {
        let (told, is_told) = tokio::sync::oneshot::channel::<()>();
        let clock = Arc::new(kubeplane_clock::PausedClock::starting_at(Default::default()));
        let log = Log::default();
        let plane = ControlPlane::new()
            .clock(clock.clone())
            .with(Part { name: "a", log: log.clone(), fails: false })
            .with(Stubborn(Some(told)));
        let (ready, is_ready) = tokio::sync::oneshot::channel::<()>();
        let ready = Mutex::new(Some(ready));
        let plane = plane.on_ready(move |name| {
            if name == "stubborn" {
                drop(ready.lock().take());
            }
        });
        let running = tokio::spawn(plane.run_until(async { is_ready.await.unwrap_or_default() }));
        is_told.await.unwrap_err();
        assert_eq!(clock.next_wake(), Some(STOP_LIMIT), "it waits on the clock");
        clock.advance(STOP_LIMIT);
        running.await.unwrap().unwrap();
        assert_eq!(*log.lock(), ["start a", "stop a"], "the rest stops as ever");
    }

    /// As a first and a second Ctrl-C; the clock stands still, so that no limit helps.
    #[tokio::test]
    async fn whoever_asks_twice_does_not_wait() {
        let (told, is_told) = tokio::sync::oneshot::channel::<()>();
        let clock = Arc::new(kubeplane_clock::PausedClock::starting_at(Default::default()));
        let log = Log::default();
        let plane = ControlPlane::new()
            .clock(clock)
            .with(Part { name: "a", log: log.clone(), fails: false })
            .with(Stubborn(Some(told)));
        let (ready, is_ready) = tokio::sync::oneshot::channel::<()>();
        let ready = Mutex::new(Some(ready));
        let plane = plane.on_ready(move |name| {
            if name == "stubborn" {
                drop(ready.lock().take());
            }
        });
        let first = async { is_ready.await.unwrap_or_default() };
        // Only what is being stopped lets go of it.
        let second = async { is_told.await.unwrap_or_default() };
        let error = plane.run_until_hurried(first, second).await.unwrap_err();
        let said = "ended at once, before these had stopped: a, stubborn";
        assert_eq!(error.to_string(), said);
        assert_eq!(*log.lock(), ["start a"], "nobody else was asked");
    }

    #[tokio::test]
    async fn the_first_failure_stops_the_rest() {
        let (plane, log) = plane(true);
        let ready = Log::default();
        let seen = ready.clone();
        let plane = plane.on_ready(move |name| seen.lock().push(name.to_owned()));
        let error = plane.run_until(std::future::pending()).await.unwrap_err();
        assert_eq!(error.to_string(), "b: no luck");
        assert_eq!(*ready.lock(), ["a"], "what failed was never ready");
        assert_eq!(*log.lock(), ["start a", "start b", "stop a"]);
    }
}
