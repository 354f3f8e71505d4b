//! Whether the rules keep up with the changes.

use kubeplane_clock::SharedClock;
use kubeplane_telemetry::{Health, Probe};
use parking_lot::Mutex;
use std::{sync::Arc, time::Duration};

/// Since when changes wait.
#[derive(Debug, Clone)]
pub(crate) struct Progress {
    clock: SharedClock,
    waiting_since: Arc<Mutex<Option<Duration>>>,
    synced: Arc<Mutex<bool>>,
}

impl Progress {
    /// Adds the checks: `ping`, healthy while no change waits longer than `patience`, ready once rules were written.
    pub(crate) fn register(health: &Health, clock: SharedClock, patience: Duration) -> Self {
        let progress = Self {
            clock,
            waiting_since: Arc::new(Mutex::new(None)),
            synced: Arc::new(Mutex::new(false)),
        };
        health.add("ping", Probe::Both, || Ok(()));
        let this = progress.clone();
        health.add("proxy-rules", Probe::Both, move || {
            let Some(since) = *this.waiting_since.lock() else { return Ok(()) };
            let waited = this.clock.elapsed().saturating_sub(since);
            if waited <= patience {
                return Ok(());
            }
            Err(format!("changes wait since {} seconds", waited.as_secs()))
        });
        let this = progress.clone();
        health.add("proxy-synced", Probe::Ready, move || {
            if *this.synced.lock() { Ok(()) } else { Err("no rules were written yet".to_owned()) }
        });
        progress
    }

    /// Changes wait for new rules.
    pub(crate) fn queued(&self) {
        self.waiting_since.lock().get_or_insert_with(|| self.clock.elapsed());
    }

    /// The rules show all changes.
    pub(crate) fn updated(&self) {
        *self.waiting_since.lock() = None;
        *self.synced.lock() = true;
    }
}
