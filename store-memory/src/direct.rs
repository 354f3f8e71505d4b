use crate::{
    ledger::{Ledger, Outcome, Write},
    published::Published,
};
use kubeplane_clock::SharedClock;
use kubeplane_store_trait::{Error, Result};
use parking_lot::Mutex;
use std::sync::Arc;

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
        let mut open = self.ledger.lock();
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

    /// Takes no more writes.
    pub(crate) fn close(&self) {
        drop(self.ledger.lock().take());
    }
}
