use crate::{client::Client, failure};
use kubeplane_clock::SharedClock;
use kubeplane_store_trait::Result;
use std::{collections::HashMap, time::Duration};
use tokio::sync::Mutex;

/// The most entries on one lease: what expires together is deleted in one go.
const SHARED: usize = 1000;

/// The longest time to live that etcd grants, in seconds.
const LONGEST: i64 = 9_000_000_000;

/// Leases shared by entries that are written within a short time with the same time to live, because a lease
/// per entry is what makes etcd slow. An entry lives at most a twentieth of its time (or a minute) longer.
#[derive(Debug)]
pub(crate) struct Leases {
    clock: SharedClock,
    /// The last lease of each time to live. Held while one is granted, so that many writers share it.
    recent: Mutex<HashMap<i64, Recent>>,
}

#[derive(Debug)]
struct Recent {
    id: i64,
    /// Until when entries may be put on it.
    closes: Duration,
    entries: usize,
}

impl Leases {
    pub(crate) fn new(clock: SharedClock) -> Self {
        Self { clock, recent: Mutex::default() }
    }

    /// A lease that ends no sooner than `ttl` from now; zero, which means none, without a `ttl`.
    pub(crate) async fn lease(&self, client: &Client, ttl: Option<Duration>) -> Result<i64> {
        let Some(ttl) = ttl else { return Ok(0) };
        let seconds = i64::try_from(ttl.as_millis().div_ceil(1000)).unwrap_or(i64::MAX);
        let seconds = seconds.clamp(1, LONGEST);
        let slack = (seconds / 20).min(60);
        let mut recent = self.recent.lock().await;
        let now = self.clock.elapsed();
        recent.retain(|_, lease| now < lease.closes && lease.entries < SHARED);
        if let Some(lease) = recent.get_mut(&seconds) {
            lease.entries += 1;
            return Ok(lease.id);
        }
        let id = client
            .grant(seconds.saturating_add(slack).min(LONGEST))
            .await
            .map_err(|status| failure::read(&status))?;
        if slack > 0 {
            let slack = Duration::from_secs(slack.unsigned_abs());
            recent.insert(seconds, Recent { id, closes: now.saturating_add(slack), entries: 1 });
        }
        Ok(id)
    }

    /// A lease was found to have ended.
    pub(crate) async fn forget(&self, id: i64) {
        self.recent.lock().await.retain(|_, lease| lease.id != id);
    }
}
