use crate::{
    failure::{self, OutOfRange, out_of_range},
    generated::etcdserverpb::{
        CompactionRequest, LeaseGrantRequest, RangeRequest, RangeResponse, StatusRequest,
        StatusResponse, TxnRequest, TxnResponse, kv_client::KvClient, lease_client::LeaseClient,
        maintenance_client::MaintenanceClient,
    },
    login::{Login, Token},
    members::{Member, Members},
    options::{ConnectError, EtcdOptions, chain},
    version::Version,
    wire,
};
use bytes::Bytes;
use kubeplane_clock::{SharedClock, timeout};
use kubeplane_store_trait::{Error, Result, Revision};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tonic::{Request, Response, Status, metadata::MetadataValue, transport::Channel};

/// What a call returns.
pub(crate) type Reply<T> = std::result::Result<T, Status>;

/// How long to wait for a leader before asking again.
const ELECTION: Duration = Duration::from_millis(50);

/// Whether a call may be made twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effect {
    /// Twice is as good as once.
    None,
    /// It must surely not have happened before it is tried again.
    Once,
}

/// The calls, each with its time limit. Cloning shares the connections.
#[derive(Debug, Clone)]
pub(crate) struct Client(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    members: Members,
    login: Login,
    clock: SharedClock,
    timeout: Duration,
    /// A key that the user may read, if any.
    probe: Bytes,
    /// The latest revision in any answer.
    seen: AtomicU64,
}

impl Client {
    pub(crate) fn new(options: &EtcdOptions) -> std::result::Result<Self, ConnectError> {
        Ok(Self(Arc::new(Inner {
            members: Members::new(options)?,
            login: Login::new(options.user.clone()),
            clock: options.clock.clone(),
            timeout: options.timeout,
            probe: format!("{}/health", options.prefix.trim_end_matches('/')).into(),
            seen: AtomicU64::new(0),
        })))
    }

    pub(crate) fn clock(&self) -> &SharedClock {
        &self.0.clock
    }

    pub(crate) fn members(&self) -> &Members {
        &self.0.members
    }

    /// How long a call may take in all.
    pub(crate) fn timeout(&self) -> Duration {
        self.0.timeout
    }

    /// How long one member is waited for while there are others.
    pub(crate) fn patience(&self) -> Duration {
        let members = u32::try_from(self.0.members.len()).unwrap_or(u32::MAX);
        self.0.timeout / members.max(1)
    }

    pub(crate) fn probe_key(&self) -> Bytes {
        self.0.probe.clone()
    }

    pub(crate) fn seen(&self) -> Revision {
        Revision(self.0.seen.load(Ordering::Relaxed))
    }

    fn note(&self, revision: Revision) {
        self.0.seen.fetch_max(revision.0, Ordering::Relaxed);
    }

    /// The token to send. Fails within the time of a call, however many wait for one; nothing was sent then.
    pub(crate) async fn token(&self) -> Reply<Token> {
        if self.0.login.is_nobody() {
            return Ok(Token::default());
        }
        let token = self.0.login.token(&self.0.members, self.patience());
        match timeout(self.clock().as_ref(), self.timeout(), token).await {
            Some(Err(status))
                if failure::is_worth_another_member(&status)
                    && !failure::has_no_leader(&status) =>
            {
                // All were asked.
                let reason = format!("no member lets the user in: {}", chain(&status));
                Err(Status::unauthenticated(reason))
            }
            Some(token) => token,
            None => Err(Status::unauthenticated("no member lets the user in in time")),
        }
    }

    pub(crate) async fn refused(&self, token: &Token) -> bool {
        self.0.login.refused(token).await
    }

    /// Makes a call. What did not reach a member, and what may be repeated, is tried on the next one.
    async fn call<Q, A, F>(
        &self,
        effect: Effect,
        message: Q,
        call: impl Fn(Channel, Request<Q>) -> F,
    ) -> Reply<A>
    where
        Q: Clone,
        F: Future<Output = Reply<Response<A>>>,
    {
        let Inner { members, clock, timeout, .. } = &*self.0;
        let deadline = clock.elapsed().saturating_add(*timeout);
        let mut failed = 0;
        // Of all rounds: whoever was asked before surely did nothing, or nothing that matters.
        let mut last = Status::deadline_exceeded("no member answered in time");
        loop {
            for member in members.order() {
                if clock.elapsed() >= deadline {
                    return Err(last);
                }
                let patience = if effect == Effect::None { self.patience() } else { *timeout };
                match self.ask(&member, (patience, deadline), &message, &call).await {
                    Ok(answer) => {
                        member.is_back();
                        return Ok(answer);
                    }
                    Err(status) => {
                        self.next(effect, &member, &status).then_some(()).ok_or(status.clone())?;
                        last = status;
                    }
                }
            }
            failed += 1;
            let waits = failure::has_no_leader(&last);
            if !waits && (failed > 1 || members.len() == 1) {
                return Err(last);
            }
            // A try that ends before it can be answered would leave open what is known now.
            if clock.elapsed().saturating_add(2 * ELECTION) >= deadline {
                return Err(last);
            }
            clock.sleep(ELECTION).await;
        }
    }

    /// Learns from a failure; whether the next member may be tried.
    fn next(&self, effect: Effect, member: &Member, status: &Status) -> bool {
        let safe = failure::is_unsent(status) || failure::has_no_leader(status);
        if safe || failure::is_cut_off(status) {
            self.0.members.is_away(member);
        }
        safe || (effect == Effect::None && failure::is_worth_another_member(status))
    }

    /// One call of one member, with another token if the first is not taken. It may take `patience` and ends at
    /// `deadline`, however many calls wait for the same connection.
    async fn ask<Q, A, F>(
        &self,
        member: &Member,
        (patience, deadline): (Duration, Duration),
        message: &Q,
        call: &impl Fn(Channel, Request<Q>) -> F,
    ) -> Reply<A>
    where
        Q: Clone,
        F: Future<Output = Reply<Response<A>>>,
    {
        let mut renewed = false;
        loop {
            let token = self.token().await?;
            let left = deadline.saturating_sub(self.clock().elapsed()).min(patience);
            if left.is_zero() {
                return Err(Status::unauthenticated("no member let the user in in time"));
            }
            let mut request = Request::new(message.clone());
            request.set_timeout(left);
            require_leader(&mut request);
            token.sign(&mut request);
            // The time limit of the request begins when it has a connection, for which it may have to wait.
            let answer =
                timeout(self.clock().as_ref(), left, call(member.channel(), request)).await;
            match answer.unwrap_or_else(|| Err(no_answer(member))) {
                Ok(response) => return Ok(response.into_inner()),
                Err(status)
                    if !renewed
                        && failure::is_stale_token(&status)
                        && self.refused(&token).await =>
                {
                    renewed = true;
                }
                Err(status) => return Err(status),
            }
        }
    }

    pub(crate) async fn range(&self, request: RangeRequest) -> Reply<RangeResponse> {
        let call = |channel, request| async move { kv(channel).range(request).await };
        let response = self.call(Effect::None, request, call).await?;
        self.note(wire::header_revision(response.header.as_ref()));
        Ok(response)
    }

    pub(crate) async fn txn(&self, request: TxnRequest) -> Reply<TxnResponse> {
        let call = |channel, request| async move { kv(channel).txn(request).await };
        let response = self.call(Effect::Once, request, call).await?;
        self.note(wire::header_revision(response.header.as_ref()));
        Ok(response)
    }

    pub(crate) async fn compact(&self, through: Revision) -> Reply<()> {
        let request = CompactionRequest { revision: wire::number(through), physical: false };
        let call = |channel, request| async move { kv(channel).compact(request).await };
        self.call(Effect::Once, request, call).await.map(|_| ())
    }

    /// A new lease of that many seconds.
    pub(crate) async fn grant(&self, seconds: i64) -> Reply<i64> {
        let request = LeaseGrantRequest { ttl: seconds, id: 0 };
        let call =
            |channel, request| async move { LeaseClient::new(channel).lease_grant(request).await };
        // One that was granted unseen ends by itself.
        self.call(Effect::None, request, call).await.map(|lease| lease.id)
    }

    /// How one member is; needs neither a leader nor a user.
    pub(crate) async fn status_of(
        &self,
        member: &Member,
        patience: Duration,
    ) -> Reply<StatusResponse> {
        let mut request = Request::new(StatusRequest {});
        request.set_timeout(patience);
        let mut maintenance = MaintenanceClient::new(member.channel());
        let status = timeout(self.clock().as_ref(), patience, maintenance.status(request)).await;
        let status = status.unwrap_or_else(|| Err(no_answer(member)))?.into_inner();
        member.is_of(Version::parse(&status.version));
        Ok(status)
    }

    /// How the first member is that answers.
    pub(crate) async fn status(&self) -> Reply<StatusResponse> {
        let mut last = Status::unavailable("no member was asked");
        for member in self.0.members.order() {
            match self.status_of(&member, self.patience()).await {
                Ok(status) => return Ok(status),
                Err(status) => {
                    self.0.members.is_away(&member);
                    last = status;
                }
            }
        }
        Err(last)
    }

    /// The latest revision, linearizable.
    pub(crate) async fn latest(&self) -> Result<Revision> {
        let response = self.range(self.probe(0)).await.map_err(|status| failure::read(&status))?;
        Ok(wire::header_revision(response.header.as_ref()))
    }

    /// Whether nothing has been compacted.
    pub(crate) async fn reads_first_revision(&self) -> Result<bool> {
        match self.range(self.probe(1)).await {
            Ok(_) => Ok(true),
            Err(status) => match out_of_range(&status) {
                Some(OutOfRange::Compacted) => Ok(false),
                _ => Err(failure::read(&status)),
            },
        }
    }

    /// Fails when the state at `requested` is no longer kept.
    pub(crate) async fn check_kept(&self, requested: Revision) -> Result<()> {
        match self.range(self.probe(wire::number(requested).max(1))).await {
            Ok(_) => Ok(()),
            Err(status) => match out_of_range(&status) {
                Some(OutOfRange::Future) => Ok(()),
                Some(OutOfRange::Compacted) => Err(self.compacted(requested).await),
                None => Err(failure::read(&status)),
            },
        }
    }

    /// The error for a revision that is gone.
    pub(crate) async fn compacted(&self, requested: Revision) -> Error {
        match crate::watch::compaction_point(self, requested).await {
            Ok(oldest) => Error::Compacted { requested, oldest },
            Err(error) => error,
        }
    }

    /// The error for a revision that is not there yet.
    pub(crate) async fn future(&self, requested: Revision) -> Error {
        match self.latest().await {
            Ok(latest) => Error::Future { requested, latest },
            Err(error) => error,
        }
    }

    /// A read that returns nothing but its revision.
    fn probe(&self, revision: i64) -> RangeRequest {
        RangeRequest { key: self.probe_key(), revision, count_only: true, ..Default::default() }
    }
}

fn no_answer(member: &Member) -> Status {
    Status::deadline_exceeded(format!("{} did not answer in time", member.name))
}

/// Asks a member that has lost its leader to say so instead of keeping us waiting.
pub(crate) fn require_leader<T>(request: &mut Request<T>) {
    request.metadata_mut().insert("hasleader", MetadataValue::from_static("true"));
}

fn kv(channel: Channel) -> KvClient<Channel> {
    KvClient::new(channel).max_decoding_message_size(usize::MAX)
}
