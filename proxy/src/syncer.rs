//! Brings the table of one family to the desired rules.

use crate::{
    Result,
    compile::Compiled,
    conntrack::{self, UdpPorts},
    metrics::ProxyMetrics,
    nft,
    ruleset::{Family, Ruleset, TABLE},
    transaction::{self, Transaction},
};
use kubeplane_clock::SharedClock;
use std::{collections::BTreeMap, fmt, io, sync::Arc, time::Duration};

/// How long an unused chain is left alone before it is deleted.
const STALE_FOR: Duration = Duration::from_secs(1);

/// Forgets the flows of a family that lead where no endpoint is, and says how many.
type Forget = Arc<dyn Fn(Family, &UdpPorts) -> io::Result<usize> + Send + Sync>;

/// One family's table.
pub(crate) struct Syncer {
    family: Family,
    clock: SharedClock,
    metrics: ProxyMetrics,
    /// What the kernel holds; `None` when that is not known.
    applied: Option<Ruleset>,
    /// Chains to delete, and since when they are unused.
    stale: BTreeMap<String, Duration>,
    forget_flows: Forget,
    /// Whether flows may be left that lead where no endpoint is any more.
    flows_left: bool,
}

impl fmt::Debug for Syncer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Syncer")
            .field("family", &self.family)
            .field("applied", &self.applied.is_some())
            .field("flows_left", &self.flows_left)
            .finish_non_exhaustive()
    }
}

impl Syncer {
    pub(crate) fn new(family: Family, clock: SharedClock, metrics: ProxyMetrics) -> Self {
        Self {
            family,
            clock,
            metrics,
            applied: None,
            stale: BTreeMap::new(),
            forget_flows: Arc::new(conntrack::forget_stale),
            flows_left: false,
        }
    }

    pub(crate) fn family(&self) -> Family {
        self.family
    }

    /// Applies rules in one transaction, and forgets UDP flows that they lead elsewhere; what could not be
    /// forgotten is tried again with the next call.
    ///
    /// # Errors
    /// Nothing was changed; the next call writes the whole table anew.
    pub(crate) async fn apply(&mut self, compiled: Compiled) -> Result<()> {
        // A kernel without IPv6 has no such table, and nobody misses it.
        if self.applied.is_none() && compiled.ports == 0 && self.family == Family::V6 {
            let _ = nft::run(&transaction::removal(&compiled.rules)).await;
            return Ok(());
        }
        let started = self.clock.elapsed();
        self.delete_stale(&compiled.rules).await;
        let full = self.applied.is_none();
        let transaction = match &self.applied {
            Some(applied) => Transaction::between(applied, &compiled.rules),
            None => Transaction::full(&compiled.rules),
        };
        if !transaction.is_empty()
            && let Err(error) = nft::run(&transaction.text).await
        {
            self.metrics.failed(self.family);
            self.forget();
            return Err(error);
        }
        self.flows_left |= !transaction.is_empty();
        self.redirect_datagrams(compiled.udp).await;
        let now = self.clock.elapsed();
        self.stale.retain(|name, _| !compiled.rules.chains.contains_key(name));
        self.stale.extend(transaction.stale.into_iter().map(|name| (name, now)));
        self.applied = Some(compiled.rules);
        let wall = self.clock.now().as_millisecond() as f64 / 1000.0;
        self.metrics.synced(self.family, now.saturating_sub(started), full, wall);
        self.metrics.no_local(self.family, compiled.no_local_internal, compiled.no_local_external);
        Ok(())
    }

    /// Forgets what the kernel holds when somebody else emptied the table.
    pub(crate) async fn verify(&mut self) {
        let there = nft::has_chain(self.family.word(), TABLE, "services").await;
        if self.applied.is_some() && !there.unwrap_or(true) {
            tracing::warn!(family = self.family.name(), "the rules are gone, writing them anew");
            self.forget();
        }
    }

    /// Deletes the table.
    pub(crate) async fn remove(&mut self) -> Result<()> {
        self.forget();
        nft::run(&transaction::removal(&Ruleset::new(self.family))).await
    }

    fn forget(&mut self) {
        self.applied = None;
        self.stale.clear();
    }

    /// The kernel goes on sending datagrams of a known flow where it sent the first; flows to endpoints that are gone
    /// must be forgotten.
    async fn redirect_datagrams(&mut self, udp: UdpPorts) {
        if !self.flows_left || udp.is_empty() {
            self.flows_left = false;
            return;
        }
        let (family, forget) = (self.family, self.forget_flows.clone());
        let forgotten = tokio::task::spawn_blocking(move || forget(family, &udp)).await;
        let forgotten = forgotten.unwrap_or_else(|error| Err(io::Error::other(error)));
        self.flows_left = forgotten.is_err();
        match forgotten {
            Ok(0) => {}
            Ok(count) => tracing::debug!(family = family.name(), count, "forgot stale UDP flows"),
            Err(error) => {
                tracing::warn!(family = family.name(), %error, "stale UDP flows stay for now");
            }
        }
    }

    async fn delete_stale(&mut self, wanted: &Ruleset) {
        let now = self.clock.elapsed();
        let due = |(name, since): &(&String, &Duration)| {
            now.saturating_sub(**since) >= STALE_FOR && !wanted.chains.contains_key(*name)
        };
        let names: Vec<_> = self.stale.iter().filter(due).map(|(name, _)| name.clone()).collect();
        if names.is_empty() {
            return;
        }
        match nft::run(&transaction::deletion(wanted, names.iter())).await {
            Ok(()) => self.stale.retain(|name, _| !names.contains(name)),
            Err(error) => {
                tracing::warn!(family = self.family.name(), %error, "unused chains stay for now");
                self.metrics.cleanup_failed(self.family);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kubeplane_telemetry::Metrics;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// The kernel may be out of memory for a moment, and the client goes on sending to a pod that is gone.
    #[tokio::test]
    async fn flows_that_could_not_be_forgotten_are_tried_again_without_a_change() {
        let metrics = ProxyMetrics::register(&Metrics::new());
        let mut syncer = Syncer::new(Family::V4, kubeplane_clock::real(), metrics);
        let calls = Arc::new(AtomicUsize::new(0));
        let counted = calls.clone();
        syncer.forget_flows = Arc::new(move |_, _| match counted.fetch_add(1, Ordering::Relaxed) {
            0 => Err(io::ErrorKind::OutOfMemory.into()),
            call => Ok(call),
        });
        let ports = || {
            let service = "10.96.0.11:53".parse().unwrap();
            UdpPorts::of(service, "10.244.1.10:8080".parse().unwrap())
        };
        let mut seen = Vec::new();
        for changed in [false, true, false, false] {
            syncer.flows_left |= changed;
            syncer.redirect_datagrams(ports()).await;
            seen.push(calls.load(Ordering::Relaxed));
        }
        assert_eq!(seen, [0, 1, 2, 2], "once more after the failure, and no more after that");
        syncer.flows_left = true;
        syncer.redirect_datagrams(UdpPorts::default()).await;
        assert_eq!(
            calls.load(Ordering::Relaxed),
            2,
            "without UDP services there is none to forget"
        );
    }
}
