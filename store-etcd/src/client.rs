use crate::{
    failure::{self, OutOfRange, out_of_range},
    generated::etcdserverpb::{
        CompactionRequest, LeaseGrantRequest, RangeRequest, RangeResponse, StatusRequest,
        StatusResponse, TxnRequest, TxnResponse, kv_client::KvClient, lease_client::LeaseClient,
        maintenance_client::MaintenanceClient, watch_client::WatchClient,
    },
    wire::{self, ZERO},
};
use bytes::Bytes;
use kubeplane_store_trait::{Error, Result, Revision};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tonic::{Request, Response, Status, transport::Channel};

/// What a call returns.
type Reply<T> = std::result::Result<T, Status>;

/// The calls, each with its time limit. Cloning shares the connections.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    channel: Channel,
    timeout: Duration,
    /// How often a call that reached nobody is tried.
    attempts: usize,
    /// The latest revision in any answer.
    seen: Arc<AtomicU64>,
}

impl Client {
    pub(crate) fn new(channel: Channel, timeout: Duration, members: usize) -> Self {
        let attempts = if members > 1 { members * 2 } else { 1 };
        Self { channel, timeout, attempts, seen: Arc::default() }
    }

    pub(crate) fn seen(&self) -> Revision {
        Revision(self.seen.load(Ordering::Relaxed))
    }

    fn note(&self, revision: Revision) {
        self.seen.fetch_max(revision.0, Ordering::Relaxed);
    }

    /// Makes a call; one that reached no member is tried on the next.
    async fn call<Q, A, F>(&self, request: Q, call: impl Fn(Request<Q>) -> F) -> Reply<A>
    where
        Q: Clone,
        F: Future<Output = Reply<Response<A>>>,
    {
        let mut attempt = 1;
        loop {
            let mut request = Request::new(request.clone());
            request.set_timeout(self.timeout);
            match call(request).await {
                Ok(response) => return Ok(response.into_inner()),
                Err(status) if attempt < self.attempts && failure::is_unsent(&status) => {
                    attempt += 1;
                }
                Err(status) => return Err(status),
            }
        }
    }

    pub(crate) async fn range(&self, request: RangeRequest) -> Reply<RangeResponse> {
        let client = KvClient::new(self.channel.clone()).max_decoding_message_size(usize::MAX);
        let call = |request| {
            let mut client = client.clone();
            async move { client.range(request).await }
        };
        let response = self.call(request, call).await?;
        self.note(wire::header_revision(response.header.as_ref()));
        Ok(response)
    }

    pub(crate) async fn txn(&self, request: TxnRequest) -> Reply<TxnResponse> {
        let client = KvClient::new(self.channel.clone()).max_decoding_message_size(usize::MAX);
        let call = |request| {
            let mut client = client.clone();
            async move { client.txn(request).await }
        };
        let response = self.call(request, call).await?;
        self.note(wire::header_revision(response.header.as_ref()));
        Ok(response)
    }

    pub(crate) async fn compact(&self, through: Revision) -> Reply<()> {
        let client = KvClient::new(self.channel.clone());
        let request = CompactionRequest { revision: wire::number(through), physical: false };
        let call = |request| {
            let mut client = client.clone();
            async move { client.compact(request).await }
        };
        self.call(request, call).await.map(|_| ())
    }

    /// A new lease of that many seconds.
    pub(crate) async fn grant(&self, seconds: i64) -> Reply<i64> {
        let client = LeaseClient::new(self.channel.clone());
        let request = LeaseGrantRequest { ttl: seconds, id: 0 };
        let call = |request| {
            let mut client = client.clone();
            async move { client.lease_grant(request).await }
        };
        self.call(request, call).await.map(|lease| lease.id)
    }

    pub(crate) async fn status(&self) -> Reply<StatusResponse> {
        let client = MaintenanceClient::new(self.channel.clone());
        let call = |request| {
            let mut client = client.clone();
            async move { client.status(request).await }
        };
        self.call(StatusRequest {}, call).await
    }

    pub(crate) fn watch(&self) -> WatchClient<Channel> {
        WatchClient::new(self.channel.clone()).max_decoding_message_size(usize::MAX)
    }

    /// The latest revision, linearizable.
    pub(crate) async fn latest(&self) -> Result<Revision> {
        let response = self.range(probe(0)).await.map_err(|status| failure::read(&status))?;
        Ok(wire::header_revision(response.header.as_ref()))
    }

    /// Whether nothing has been compacted.
    pub(crate) async fn reads_first_revision(&self) -> Result<bool> {
        match self.range(probe(1)).await {
            Ok(_) => Ok(true),
            Err(status) => match out_of_range(&status) {
                Some(OutOfRange::Compacted) => Ok(false),
                _ => Err(failure::read(&status)),
            },
        }
    }

    /// Fails when the state at `requested` is no longer kept.
    pub(crate) async fn check_kept(&self, requested: Revision) -> Result<()> {
        match self.range(probe(wire::number(requested).max(1))).await {
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
        match crate::watch::compaction_point(self).await {
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
}

/// A read that returns nothing but its revision.
fn probe(revision: i64) -> RangeRequest {
    let key = Bytes::from_static(ZERO);
    RangeRequest { key, revision, count_only: true, ..RangeRequest::default() }
}
