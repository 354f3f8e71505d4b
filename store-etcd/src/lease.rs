use crate::{client::Client, failure};
use kubeplane_clock::{SharedClock, timeout};
use kubeplane_store_trait::{Error, Result};
use parking_lot::Mutex;
use std::{collections::HashMap, time::Duration};

/// The most entries on one lease: what expires together is deleted in one go.
const SHARED: usize = 1000;

/// The longest time to live that etcd grants, in seconds.
const LONGEST: i64 = 9_000_000_000;

/// Leases shared by entries that are written within a short time with the same time to live, because a lease
/// per entry is what makes etcd slow. An entry lives longer by at most a twentieth of its time (or a minute), or by
/// as long as a call may take if that is more, and a second.
#[derive(Debug)]
pub(crate) struct Leases {
    clock: SharedClock,
    /// The last lease of each time to live.
    recent: Mutex<HashMap<i64, Recent>>,
    /// Held while one is granted, so that many writers share it.
    granting: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct Recent {
    id: i64,
    /// Until when entries may be put on it.
    closes: Duration,
    entries: usize,
}

/// What is asked of etcd for a time to live.
#[derive(Debug, PartialEq, Eq)]
struct Term {
    /// For how many seconds the lease is.
    granted: i64,
    /// How long entries may be put on it.
    open: Duration,
}

impl Term {
    /// A lease runs from before the put, which may take as long as a call: so it is longer than what it is for, and
    /// taken by no put that could outlast the difference. For what lives shorter than a call may take, its own time
    /// again must do.
    fn of(seconds: i64, call: Duration) -> Self {
        let call = i64::try_from(call.as_millis().div_ceil(1000)).unwrap_or(LONGEST);
        let slack = (seconds / 20).min(60).max(call.min(seconds));
        let granted = seconds.saturating_add(slack).saturating_add(1).min(LONGEST);
        let open = Duration::from_secs(slack.saturating_sub(call).max(0).unsigned_abs());
        Self { granted, open }
    }
}

impl Leases {
    pub(crate) fn new(clock: SharedClock) -> Self {
        Self { clock, recent: Mutex::default(), granting: tokio::sync::Mutex::default() }
    }

    /// A lease that ends no sooner than `ttl` after a put that begins now; zero, which means none, without a `ttl`.
    /// Fails when there is none within the time of a call, however many wait for one.
    pub(crate) async fn lease(&self, client: &Client, ttl: Option<Duration>) -> Result<i64> {
        let Some(ttl) = ttl else { return Ok(0) };
        let seconds = i64::try_from(ttl.as_millis().div_ceil(1000)).unwrap_or(i64::MAX);
        let lease = self.shared(client, seconds.clamp(1, LONGEST));
        let lease = timeout(self.clock.as_ref(), client.timeout(), lease).await;
        lease.unwrap_or_else(|| {
            Err(Error::Unavailable { reason: "etcd grants no lease in time".into() })
        })
    }

    async fn shared(&self, client: &Client, seconds: i64) -> Result<i64> {
        if let Some(id) = self.open(seconds) {
            return Ok(id);
        }
        let _granting = self.granting.lock().await;
        if let Some(id) = self.open(seconds) {
            return Ok(id);
        }
        let now = self.clock.elapsed();
        let term = Term::of(seconds, client.timeout());
        let id = client.grant(term.granted).await.map_err(|status| failure::read(&status))?;
        if !term.open.is_zero() {
            let closes = now.saturating_add(term.open);
            self.recent.lock().insert(seconds, Recent { id, closes, entries: 1 });
        }
        Ok(id)
    }

    /// The lease that takes another entry.
    fn open(&self, seconds: i64) -> Option<i64> {
        let now = self.clock.elapsed();
        let mut recent = self.recent.lock();
        recent.retain(|_, lease| now < lease.closes && lease.entries < SHARED);
        let lease = recent.get_mut(&seconds)?;
        lease.entries += 1;
        Some(lease.id)
    }

    /// A lease was found to have ended.
    pub(crate) fn forget(&self, id: i64) {
        self.recent.lock().retain(|_, lease| lease.id != id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_outlasts_the_slowest_put_on_it() {
        let call = Duration::from_secs(10);
        for (seconds, granted, open) in [
            (1, 3, 0),
            (5, 11, 0),
            (20, 31, 0),
            (200, 211, 0),
            (400, 421, 10),
            (3600, 3661, 50),
            (LONGEST, LONGEST, 50),
        ] {
            let term = Term::of(seconds, call);
            assert_eq!(term, Term { granted, open: Duration::from_secs(open) }, "{seconds}");
        }
        let term = Term::of(60, Duration::from_millis(500));
        assert_eq!(term, Term { granted: 64, open: Duration::from_secs(2) });
    }
}
