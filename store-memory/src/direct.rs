use crate::{
    ledger::{Ledger, Outcome, Write},
    published::Published,
};
use kubeplane_clock::SharedClock;
use kubeplane_store_trait::Result;
use parking_lot::Mutex;
use std::sync::Arc;

/// The writes of a store without a log: one at a time, at once, by whoever asks for them. A write takes about a
/// microsecond, less than it takes to hand it to another thread or to put a task to sleep.
#[derive(Debug)]
pub(crate) struct Direct {
    ledger: Mutex<Ledger>,
    published: Arc<Published>,
    clock: SharedClock,
}

impl Direct {
    pub(crate) fn new(ledger: Ledger, published: Arc<Published>, clock: SharedClock) -> Self {
        Self { ledger: Mutex::new(ledger), published, clock }
    }

    pub(crate) fn submit(&self, write: Write) -> Result<Outcome> {
        let now = self.clock.elapsed();
        let mut ledger = self.ledger.lock();
        ledger.trim(now);
        let outcome = ledger.apply(write, now)?;
        let told = self.published.publish(ledger.state.clone());
        drop(ledger);
        told.wake();
        Ok(outcome)
    }
}
