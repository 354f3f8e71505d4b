mod status;

pub use status::LeaderStatus;

use crate::{Error, Result};
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
};
use kube::{Api, api::PostParams};
use kubeplane_clock::{Seed, SharedClock, timeout};
use std::{fmt, future::Future, time::Duration};
use tokio_util::sync::CancellationToken;

/// Which Lease to compete for, and how patiently.
#[derive(Debug, Clone)]
pub struct LeaseConfig {
    /// The Lease's namespace.
    pub namespace: String,
    /// The Lease's name.
    pub name: String,
    /// Who this candidate is; unique among all candidates.
    pub identity: String,
    /// How long others leave a leader alone that does not renew.
    pub lease_duration: Duration,
    /// How long a leader goes on without a successful renewal; less than `lease_duration`.
    pub renew_deadline: Duration,
    /// How often to try; well below `renew_deadline`.
    pub retry_period: Duration,
}

impl LeaseConfig {
    /// The original's times: 15 s, 10 s, 2 s.
    #[must_use]
    pub fn new(namespace: &str, name: &str, identity: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            identity: identity.to_owned(),
            lease_duration: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry_period: Duration::from_secs(2),
        }
    }
}

/// Makes sure that of several candidates one at a time leads, by a Lease.
///
/// Other candidates' clocks are not trusted: a lease counts as expired when this candidate has seen it
/// unchanged for its duration. A leader stops leading `lease_duration - renew_deadline` before anyone else may
/// begin, measured from before its last successful renewal was sent.
pub struct LeaderElector {
    api: Api<Lease>,
    clock: SharedClock,
    seed: Seed,
    config: LeaseConfig,
    observed: Option<Observed>,
    status: LeaderStatus,
}

struct Observed {
    lease: Lease,
    at: Duration,
}

impl fmt::Debug for LeaderElector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LeaderElector").field("config", &self.config).finish_non_exhaustive()
    }
}

impl LeaderElector {
    /// A candidate.
    #[must_use]
    pub fn new(client: kube::Client, clock: SharedClock, config: LeaseConfig) -> Self {
        let api = Api::namespaced(client, &config.namespace);
        let status = LeaderStatus::new(clock.clone());
        Self { api, clock, seed: Seed::random(), config, observed: None, status }
    }

    /// Tells how it stands there.
    #[must_use]
    pub fn reporting_to(mut self, status: LeaderStatus) -> Self {
        self.status = status;
        self
    }

    /// Waits to become the leader, then runs `on_lead` with a token that is cancelled when leadership is lost
    /// or `token` is cancelled. The lease is given up when `on_lead` ends.
    ///
    /// # Errors
    /// [`Error::LeadershipLost`] when the lease could not be renewed in time; the process should then end.
    ///
    /// # Cancellation
    /// Dropping the future drops `on_lead`; the lease then expires by itself.
    pub async fn run<F, Fut>(mut self, token: CancellationToken, on_lead: F) -> Result<()>
    where
        F: FnOnce(CancellationToken) -> Fut,
        Fut: Future<Output = ()>,
    {
        let (status, name) = (self.status.clone(), self.config.name.clone());
        status.waits(&name);
        let acquired = tokio::select! {
            biased;
            acquired = self.acquire() => acquired,
            () = token.cancelled() => return Ok(()),
        };
        status.leads(&name, acquired, self.config.lease_duration);
        let leading = token.child_token();
        let work = on_lead(leading.clone());
        tokio::pin!(work);
        tokio::select! {
            biased;
            () = &mut work => {
                status.waits(&name);
                self.release().await;
                Ok(())
            }
            () = self.renew(acquired) => {
                leading.cancel();
                let left = self.config.lease_duration.saturating_sub(self.config.renew_deadline) / 2;
                // Whatever does not stop by itself is dropped before another candidate may lead.
                let _ = timeout(&*self.clock, left, work).await;
                status.waits(&name);
                Err(Error::LeadershipLost { namespace: self.config.namespace, name: self.config.name })
            }
        }
    }

    /// Ends as the leader; gives the time before the winning request was sent.
    async fn acquire(&mut self) -> Duration {
        loop {
            let before = self.clock.elapsed();
            match self.attempt().await {
                Ok(true) => return before,
                Ok(false) => {}
                Err(error) => tracing::debug!(lease = self.config.name, %error, "cannot acquire"),
            }
            let jitter = 1.2_f64.mul_add(self.seed.fraction(), 1.0);
            self.clock.sleep(self.config.retry_period.mul_f64(jitter)).await;
        }
    }

    /// Ends when the lease is no longer safely held.
    async fn renew(&mut self, acquired: Duration) {
        let (clock, retry, patience) =
            (self.clock.clone(), self.config.retry_period, self.config.renew_deadline);
        let mut renewed = acquired;
        loop {
            let left = |now: Duration| patience.saturating_sub(now.saturating_sub(renewed));
            let pause = retry.min(left(clock.elapsed()));
            clock.sleep(pause).await;
            let before = clock.elapsed();
            let left = left(before);
            if left.is_zero() {
                return;
            }
            match timeout(&*clock, left, self.attempt()).await {
                Some(Ok(true)) => {
                    renewed = before;
                    let config = &self.config;
                    self.status.leads(&config.name, before, config.lease_duration);
                }
                Some(Ok(false)) => return,
                Some(Err(error)) => {
                    tracing::warn!(lease = self.config.name, %error, "cannot renew")
                }
                None => return,
            }
        }
    }

    /// Whether this candidate holds the lease afterwards.
    async fn attempt(&mut self) -> Result<bool> {
        let Some(lease) = self.api.get_opt(&self.config.name).await? else {
            let lease = self.claim(None);
            return match self.api.create(&PostParams::default(), &lease).await {
                Ok(created) => {
                    self.observe(created);
                    Ok(true)
                }
                Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(false),
                Err(error) => Err(error.into()),
            };
        };
        self.observe(lease.clone());
        if !self.is_mine(&lease) && !self.is_free(&lease) {
            return Ok(false);
        }
        let claim = self.claim(Some(&lease));
        match self.api.replace(&self.config.name, &PostParams::default(), &claim).await {
            Ok(updated) => {
                self.observe(updated);
                Ok(true)
            }
            Err(kube::Error::Api(status)) if status.is_conflict() => {
                Err(kube::Error::Api(status).into())
            }
            Err(error) => Err(error.into()),
        }
    }

    fn observe(&mut self, lease: Lease) {
        if self.observed.as_ref().is_none_or(|seen| seen.lease.spec != lease.spec) {
            self.observed = Some(Observed { lease, at: self.clock.elapsed() });
        }
    }

    fn is_mine(&self, lease: &Lease) -> bool {
        holder(lease) == Some(self.config.identity.as_str())
    }

    fn is_free(&self, lease: &Lease) -> bool {
        if holder(lease).is_none_or(str::is_empty) {
            return true;
        }
        let seconds = lease.spec.as_ref().and_then(|spec| spec.lease_duration_seconds);
        let lasts =
            seconds.and_then(|seconds| u64::try_from(seconds).ok()).map(Duration::from_secs);
        let lasts = lasts.unwrap_or(self.config.lease_duration);
        self.observed
            .as_ref()
            .is_some_and(|seen| self.clock.elapsed() >= seen.at.saturating_add(lasts))
    }

    /// The lease as it is when this candidate holds it.
    fn claim(&self, present: Option<&Lease>) -> Lease {
        let now = MicroTime(self.clock.now());
        let spec = present.and_then(|lease| lease.spec.clone()).unwrap_or_default();
        let stays = present.is_some_and(|lease| self.is_mine(lease));
        let transitions = spec.lease_transitions.unwrap_or_default();
        let spec = LeaseSpec {
            holder_identity: Some(self.config.identity.clone()),
            lease_duration_seconds: i32::try_from(self.config.lease_duration.as_secs()).ok(),
            acquire_time: if stays { spec.acquire_time } else { Some(now.clone()) },
            renew_time: Some(now),
            lease_transitions: Some(if stays || present.is_none() {
                transitions
            } else {
                transitions + 1
            }),
            ..spec
        };
        let metadata = present.map_or_else(
            || ObjectMeta {
                name: Some(self.config.name.clone()),
                namespace: Some(self.config.namespace.clone()),
                ..ObjectMeta::default()
            },
            |lease| lease.metadata.clone(),
        );
        Lease { metadata, spec: Some(spec) }
    }

    /// Lets others in at once.
    async fn release(&mut self) {
        if !self.observed.take().is_some_and(|seen| self.is_mine(&seen.lease)) {
            return;
        }
        match timeout(&*self.clock, self.config.renew_deadline, self.give_back()).await {
            Some(Ok(())) => {}
            Some(Err(error)) => tracing::debug!(lease = self.config.name, %error, "cannot release"),
            None => tracing::debug!(lease = self.config.name, "release timed out"),
        }
    }

    /// Of the lease as it is: the last renewal may have been given up on its way and come to be written all the same.
    async fn give_back(&self) -> Result<()> {
        loop {
            let lease = self.api.get(&self.config.name).await?;
            if !self.is_mine(&lease) {
                return Ok(());
            }
            let now = MicroTime(self.clock.now());
            let spec = LeaseSpec {
                holder_identity: Some(String::new()),
                lease_duration_seconds: Some(1),
                acquire_time: Some(now.clone()),
                renew_time: Some(now),
                ..lease.spec.clone().unwrap_or_default()
            };
            let free = Lease { spec: Some(spec), ..lease };
            match self.api.replace(&self.config.name, &PostParams::default(), &free).await {
                Err(kube::Error::Api(status)) if status.is_conflict() => {}
                other => return Ok(other.map(drop)?),
            }
        }
    }
}

fn holder(lease: &Lease) -> Option<&str> {
    lease.spec.as_ref()?.holder_identity.as_deref()
}

#[cfg(test)]
mod tests;
