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
use std::{collections::BTreeMap, time::Duration};

/// How long an unused chain is left alone before it is deleted.
const STALE_FOR: Duration = Duration::from_secs(1);

/// One family's table.
#[derive(Debug)]
pub(crate) struct Syncer {
    family: Family,
    clock: SharedClock,
    metrics: ProxyMetrics,
    /// What the kernel holds; `None` when that is not known.
    applied: Option<Ruleset>,
    /// Chains to delete, and since when they are unused.
    stale: BTreeMap<String, Duration>,
}

impl Syncer {
    pub(crate) fn new(family: Family, clock: SharedClock, metrics: ProxyMetrics) -> Self {
        Self { family, clock, metrics, applied: None, stale: BTreeMap::new() }
    }

    pub(crate) fn family(&self) -> Family {
        self.family
    }

    /// Applies rules in one transaction.
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
        if !transaction.is_empty() {
            self.redirect_datagrams(compiled.udp).await;
        }
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
    async fn redirect_datagrams(&self, udp: UdpPorts) {
        if udp.is_empty() {
            return;
        }
        let family = self.family;
        let forgotten = tokio::task::spawn_blocking(move || conntrack::forget_stale(family, &udp));
        match forgotten.await {
            Ok(Ok(0)) | Err(_) => {}
            Ok(Ok(count)) => {
                tracing::debug!(family = family.name(), count, "forgot stale UDP flows")
            }
            Ok(Err(error)) => {
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
