use crate::{client::Client, failure};
use kubeplane_clock::SharedClock;
use kubeplane_store_trait::Result;
use parking_lot::Mutex;
use std::{collections::HashMap, time::Duration};

/// The most entries on one lease: what expires together is deleted in one go.
const SHARED: usize = 1000;

/// Leases shared by entries that are written within a short time with the same time to live, because a lease
/// per entry is what makes etcd slow. An entry lives at most a twentieth of its time (or a minute) longer.
#[derive(Debug)]
pub(crate) struct Leases {
    clock: SharedClock,
    recent: Mutex<HashMap<i64, Recent>>,
}

#[derive(Debug)]
struct Recent {
    id: i64,
    granted: Duration,
    entries: usize,
}

impl Leases {
    pub(crate) fn new(clock: SharedClock) -> Self {
        Self { clock, recent: Mutex::default() }
    }

    /// A lease that ends no sooner than `ttl` from now; zero, which means none, without a `ttl`.
    pub(crate) async fn lease(&self, client: &Client, ttl: Option<Duration>) -> Result<i64> {
        let Some(ttl) = ttl else { return Ok(0) };
        let seconds = i64::try_from(ttl.as_millis().div_ceil(1000)).unwrap_or(i64::MAX).max(1);
        let slack = (seconds / 20).min(60);
        if let Some(id) = self.reuse(seconds, slack) {
            return Ok(id);
        }
        let granted = self.clock.elapsed();
        let id = client
            .grant(seconds.saturating_add(slack))
            .await
            .map_err(|status| failure::read(&status))?;
        if slack > 0 {
            self.recent.lock().insert(seconds, Recent { id, granted, entries: 1 });
        }
        Ok(id)
    }

    fn reuse(&self, seconds: i64, slack: i64) -> Option<i64> {
        let slack = Duration::from_secs(u64::try_from(slack).unwrap_or(0));
        let now = self.clock.elapsed();
        let mut recent = self.recent.lock();
        let lease = recent.get_mut(&seconds)?;
        if now.saturating_sub(lease.granted) >= slack || lease.entries >= SHARED {
            recent.remove(&seconds);
            return None;
        }
        lease.entries += 1;
        Some(lease.id)
    }
}
