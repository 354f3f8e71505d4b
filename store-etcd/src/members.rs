//! The members of the cluster, and which of them a call goes to.

use crate::{
    generated::etcdserverpb::{StatusRequest, maintenance_client::MaintenanceClient},
    options::{ConnectError, EtcdOptions},
    transport::Channels,
    version::Version,
};
use kubeplane_clock::SharedClock;
use parking_lot::Mutex;
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::task::JoinSet;
use tonic::{Request, transport::Channel};

/// How long a member that did not answer is left alone before it is asked how it is.
const REST: Duration = Duration::from_millis(500);
/// How long it has to answer that.
const PROBE: Duration = Duration::from_secs(2);

/// One member and what is known of it.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) name: String,
    channels: Channels,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// It did not answer, and is asked again at this time.
    away: Option<Duration>,
    version: Option<Version>,
}

impl Member {
    /// For calls.
    pub(crate) fn channel(&self) -> Channel {
        self.channels.calls.clone()
    }

    /// For watches.
    pub(crate) fn watches(&self) -> Channel {
        self.channels.watches.clone()
    }

    /// It answered.
    pub(crate) fn is_back(&self) {
        self.state.lock().away = None;
    }

    pub(crate) fn version(&self) -> Option<Version> {
        self.state.lock().version
    }

    pub(crate) fn is_of(&self, version: Version) {
        self.state.lock().version = Some(version);
    }

    /// It did not answer; it may come back as another version.
    fn is_away(&self, until: Duration) {
        let mut state = self.state.lock();
        state.away = Some(until);
        state.version = None;
    }

    /// Whether it is time to ask an absent member; says so once in a while.
    fn is_due(&self, now: Duration) -> bool {
        let mut state = self.state.lock();
        match state.away {
            Some(due) if due <= now => {
                state.away = Some(now.saturating_add(PROBE + REST));
                true
            }
            _ => false,
        }
    }
}

/// All of them. Calls go round; those that did not answer come last until a probe brings them back.
#[derive(Debug)]
pub(crate) struct Members {
    all: Vec<Arc<Member>>,
    next: AtomicUsize,
    clock: SharedClock,
    probes: Mutex<JoinSet<()>>,
}

impl Members {
    pub(crate) fn new(options: &EtcdOptions) -> Result<Self, ConnectError> {
        let mut all = Vec::new();
        for name in &options.endpoints {
            let channels = Channels::new(name, options)
                .map_err(|reason| ConnectError::Endpoint { endpoint: name.clone(), reason })?;
            all.push(Arc::new(Member { name: name.clone(), channels, state: Mutex::default() }));
        }
        if all.is_empty() {
            return Err(ConnectError::NoEndpoint);
        }
        let (next, clock) = (AtomicUsize::new(0), options.clock.clone());
        Ok(Self { all, next, clock, probes: Mutex::default() })
    }

    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    /// The members in the order they are to be tried.
    pub(crate) fn order(&self) -> Vec<Arc<Member>> {
        let first = self.next.fetch_add(1, Ordering::Relaxed) % self.all.len();
        let (tail, head) = self.all.split_at(first);
        let turned = head.iter().chain(tail).cloned();
        if self.all.len() == 1 {
            return turned.collect();
        }
        let now = self.clock.elapsed();
        let (mut order, absent): (Vec<_>, Vec<_>) =
            turned.partition(|member| member.state.lock().away.is_none());
        for member in &absent {
            if member.is_due(now) {
                self.probe(member.clone());
            }
        }
        order.extend(absent);
        order
    }

    pub(crate) fn is_away(&self, member: &Member) {
        member.is_away(self.clock.elapsed().saturating_add(REST));
    }

    fn probe(&self, member: Arc<Member>) {
        let mut probes = self.probes.lock();
        while probes.try_join_next().is_some() {}
        probes.spawn(async move {
            let mut client = MaintenanceClient::new(member.channel());
            let mut request = Request::new(StatusRequest {});
            request.set_timeout(PROBE);
            // One that has no leader cannot serve anybody.
            if let Ok(status) = client.status(request).await.map(tonic::Response::into_inner)
                && status.leader != 0
            {
                tracing::info!(member = %member.name, "etcd member is back");
                member.is_of(Version::parse(&status.version));
                member.is_back();
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kubeplane_clock::PausedClock;

    #[tokio::test]
    async fn calls_go_round_and_absent_members_come_last() {
        let clock = Arc::new(PausedClock::starting_at("2026-01-01T00:00:00Z".parse().unwrap()));
        let mut options = EtcdOptions::new(["http://a:1", "http://b:1", "http://c:1"]);
        options.clock = clock.clone();
        let members = Members::new(&options).unwrap();
        let order = || {
            let order = members.order();
            order.iter().map(|member| member.name.as_str().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(order(), ["http://a:1", "http://b:1", "http://c:1"]);
        assert_eq!(order(), ["http://b:1", "http://c:1", "http://a:1"]);
        members.is_away(&members.all[2]);
        assert_eq!(order(), ["http://a:1", "http://b:1", "http://c:1"]);
        assert_eq!(order(), ["http://a:1", "http://b:1", "http://c:1"]);
        members.all[2].is_back();
        assert_eq!(order()[0], "http://b:1");
        assert_eq!(order()[0], "http://c:1");
    }
}
