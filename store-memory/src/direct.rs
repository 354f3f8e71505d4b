use crate::{
    ledger::{Ledger, Outcome, Write},
    published::Published,
};
use kubeplane_clock::SharedClock;
use kubeplane_store_trait::{Error, Result};
use parking_lot::{Mutex, MutexGuard};
use std::sync::Arc;

/// How often a writer looks whether the one before it is done, before it lets its thread sleep: for a few microseconds.
const LOOKS: usize = 64;

/// The writes of a store without a log: one at a time, at once, by whoever asks for them. A write takes about a
/// microsecond, less than it takes to hand it to another thread or to put a task to sleep.
#[derive(Debug)]
pub(crate) struct Direct {
    /// `None` once the store is closed.
    ledger: Mutex<Option<Ledger>>,
    published: Arc<Published>,
    clock: SharedClock,
}

impl Direct {
    pub(crate) fn new(ledger: Ledger, published: Arc<Published>, clock: SharedClock) -> Self {
        Self { ledger: Mutex::new(Some(ledger)), published, clock }
    }

    pub(crate) fn submit(&self, write: Write) -> Result<Outcome> {
        let now = self.clock.elapsed();
        let mut open = self.locked();
        let Some(ledger) = &mut *open else {
            return Err(Error::Unavailable { reason: "the store was closed".into() });
        };
        ledger.trim(now);
        let outcome = ledger.apply(write, now)?;
        let told = self.published.publish(ledger.state.clone());
        drop(open);
        told.wake();
        Ok(outcome)
    }

    /// The one before is done sooner than a thread falls asleep and wakes again.
    fn locked(&self) -> MutexGuard<'_, Option<Ledger>> {
        for _ in 0..LOOKS {
            if let Some(open) = self.ledger.try_lock() {
                return open;
            }
            std::hint::spin_loop();
        }
        self.ledger.lock()
    }

    /// Takes no more writes.
    pub(crate) fn close(&self) {
        drop(self.ledger.lock().take());
    }
}
