//! What is told of a cluster whose test fails.

use super::{StartError, faults::Faults, history::History};
use parking_lot::Mutex;
use std::{
    convert::Infallible,
    ffi::OsString,
    fmt,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

/// The variable with the seed of tests that say none.
pub(super) const SEED: &str = "KUBEPLANE_SEED";

/// The seed that was asked for by the environment, if one was.
pub(super) fn asked_seed() -> Result<Option<u64>, StartError> {
    std::env::var_os(SEED).map(parsed).transpose()
}

fn parsed(text: OsString) -> Result<u64, StartError> {
    let text = text.to_string_lossy();
    text.trim().parse().map_err(|_| StartError::Seed { text: text.into_owned() })
}

/// What a test returns, as far as [`run`](fn@super::run) and `#[kubeplane::test]` have to know: one that failed tells
/// its seed and the last writes. Who has a [`Termination`](std::process::Termination) of his own says by this what it is.
pub trait Outcome {
    /// Whether the test failed.
    fn has_failed(&self) -> bool;
}

impl Outcome for () {
    fn has_failed(&self) -> bool {
        false
    }
}

impl Outcome for Infallible {
    fn has_failed(&self) -> bool {
        match *self {}
    }
}

impl Outcome for ExitCode {
    fn has_failed(&self) -> bool {
        // Nothing else is to be had of it that all supported versions of Rust have.
        format!("{self:?}") != format!("{:?}", Self::SUCCESS)
    }
}

impl<T: Outcome, E> Outcome for Result<T, E> {
    fn has_failed(&self) -> bool {
        self.as_ref().map_or(true, Outcome::has_failed)
    }
}

/// Clones are of the same cluster: it is told once.
#[derive(Debug, Clone, Default)]
pub(super) struct Story {
    pub(super) seed: u64,
    pub(super) history: History,
    pub(super) faults: Option<Faults>,
    /// Where it goes in place of the standard error output.
    pub(super) kept: Option<Arc<Mutex<String>>>,
    pub(super) told: Arc<AtomicBool>,
}

impl Story {
    /// Tells it, unless it was told.
    pub(super) fn tell(&self) {
        if self.told.swap(true, Ordering::Relaxed) {
            return;
        }
        match &self.kept {
            Some(kept) => kept.lock().push_str(&self.to_string()),
            None => eprint!("{self}"),
        }
    }
}

impl fmt::Display for Story {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "-- writes:\n{}", self.history.tail())?;
        let struck = self.faults.as_ref().map(Faults::struck).unwrap_or_default();
        if !struck.is_empty() {
            writeln!(f, "-- planned faults:\n{}", struck.join("\n"))?;
        }
        writeln!(f, "-- again with {SEED}={}", self.seed)
    }
}
