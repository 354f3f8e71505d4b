//! A part of a control plane, and how it starts and ends.

use async_trait::async_trait;
use std::fmt::Debug;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Why a component failed.
pub type ComponentError = Box<dyn std::error::Error + Send + Sync>;

/// A part of a control plane: the API server, the scheduler, a controller manager, a kubelet, a proxy.
///
/// # Contract
/// `run` says [`Lifecycle::ready`] once when others may depend on it, ends soon after
/// [`Lifecycle::stopping`], and leaves no task behind. Returning before that is a failure of the component.
///
/// # Cancellation
/// Dropping the future of `run` stops the component at once, without grace.
#[async_trait]
pub trait Component: Debug + Send + 'static {
    /// The name in logs and start-up lines, as in `kube-scheduler`.
    fn name(&self) -> &str;

    /// Runs until asked to stop.
    ///
    /// # Errors
    /// When the component cannot start or go on.
    async fn run(self: Box<Self>, lifecycle: Lifecycle) -> Result<(), ComponentError>;
}

/// A component's side of its life.
#[derive(Debug, Clone)]
pub struct Lifecycle {
    ready: watch::Sender<bool>,
    stop: CancellationToken,
}

/// The supervisor's side of a component's life.
#[derive(Debug, Clone)]
pub struct Supervision {
    ready: watch::Receiver<bool>,
    stop: CancellationToken,
}

/// Both sides of a new life.
#[must_use]
pub fn lifecycle() -> (Lifecycle, Supervision) {
    let (ready, is_ready) = watch::channel(false);
    let stop = CancellationToken::new();
    (Lifecycle { ready, stop: stop.clone() }, Supervision { ready: is_ready, stop })
}

impl Lifecycle {
    /// Says that others may depend on the component from now on.
    pub fn ready(&self) {
        self.ready.send_replace(true);
    }

    /// Waits until the component is asked to stop.
    pub async fn stopping(&self) {
        self.stop.cancelled().await;
    }

    /// Whether the component was asked to stop.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// A token for the component's own tasks, cancelled when it is asked to stop.
    #[must_use]
    pub fn token(&self) -> CancellationToken {
        self.stop.child_token()
    }
}

impl Supervision {
    /// Waits until the component is ready; `false` when it ended before.
    pub async fn became_ready(&mut self) -> bool {
        self.ready.wait_for(|ready| *ready).await.is_ok()
    }

    /// Asks the component to stop.
    pub fn stop(&self) {
        self.stop.cancel();
    }
}
