//! One watch at one member, and how it is made.

use crate::{
    client::{Client, require_leader},
    failure,
    generated::etcdserverpb::{
        WatchCreateRequest, WatchRequest, WatchResponse, watch_client::WatchClient,
        watch_request::RequestUnion,
    },
    login::Token,
    members::Member,
    wire,
};
use bytes::Bytes;
use kubeplane_clock::timeout;
use kubeplane_store_trait::{Error, KeyRange, Result, Revision};
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Status, Streaming};

/// One watch on a stream of its own, so that each reader holds up nobody but itself: etcd stops sending when the
/// stream's window is full, and keeps no events for it but those in its own history.
pub(super) struct Session {
    pub(super) requests: mpsc::Sender<WatchRequest>,
    pub(super) responses: Streaming<WatchResponse>,
    /// The member's revision when the watch was made.
    created: Revision,
    /// What lies up to here is asked for only to see whether it is still there.
    pub(super) after: Revision,
    /// Whether the member's progress answers must be confirmed.
    pub(super) confirm: bool,
    pub(super) member: Arc<Member>,
}

/// Why a watch was not made.
pub(super) enum Refused {
    /// By this member, or by no answer of it; another may do.
    Here(Error),
    /// With another token it may be made.
    Token(Error),
    /// For good.
    Everywhere(Error),
}

impl Refused {
    pub(super) fn error(self) -> Error {
        match self {
            Self::Here(error) | Self::Token(error) | Self::Everywhere(error) => error,
        }
    }
}

impl Session {
    /// Opens a watch on the first member that makes one.
    async fn open(
        client: &Client,
        bounds: Option<&(Bytes, Bytes)>,
        start: Revision,
    ) -> Result<Self> {
        let mut last = Error::Unavailable { reason: "no member was asked".into() };
        for member in client.members().order() {
            match Self::try_open(client, &member, bounds, start).await {
                Ok(session) => return Ok(session),
                Err(Refused::Here(error)) => {
                    client.members().is_away(&member);
                    last = error;
                }
                Err(refused) => return Err(refused.error()),
            }
        }
        Err(last)
    }

    pub(super) async fn try_open(
        client: &Client,
        member: &Arc<Member>,
        bounds: Option<&(Bytes, Bytes)>,
        start: Revision,
    ) -> std::result::Result<Self, Refused> {
        let mut renewed = false;
        loop {
            let token = client.token().await.map_err(|status| refusal(&status))?;
            let open = Self::open_on(client, member, &token, bounds, start);
            let opened = timeout(client.clock().as_ref(), client.patience(), open).await;
            match opened {
                Some(Err(Refused::Token(error))) => {
                    if renewed || !client.refused(&token).await {
                        return Err(Refused::Everywhere(error));
                    }
                    renewed = true;
                }
                Some(other) => return other,
                None => {
                    let reason = format!("{} does not answer", member.name);
                    return Err(Refused::Here(Error::Unavailable { reason }));
                }
            }
        }
    }

    async fn open_on(
        client: &Client,
        member: &Arc<Member>,
        token: &Token,
        bounds: Option<&(Bytes, Bytes)>,
        start: Revision,
    ) -> std::result::Result<Self, Refused> {
        let version = match member.version() {
            Some(version) => version,
            None => {
                let status = client.status_of(member, client.patience()).await;
                status.map_err(|status| refusal(&status))?;
                member.version().unwrap_or_default()
            }
        };
        let (requests, sent) = mpsc::channel(8);
        let (key, range_end) = match bounds {
            Some((key, end)) => (key.clone(), end.clone()),
            // A range without keys is watched as one key, whose events are filtered like any other.
            None => (client.probe_key(), Bytes::new()),
        };
        let create = WatchCreateRequest {
            key,
            range_end,
            start_revision: wire::number(start),
            progress_notify: true,
            prev_kv: true,
            watch_id: 0,
            fragment: true,
        };
        let create = WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
        let ended = || Refused::Here(Error::Unavailable { reason: "etcd ended the watch".into() });
        requests.try_send(create).map_err(|_| ended())?;
        let mut request = Request::new(ReceiverStream::new(sent));
        require_leader(&mut request);
        token.sign(&mut request);
        let mut watch = WatchClient::new(member.watches()).max_decoding_message_size(usize::MAX);
        let mut responses =
            watch.watch(request).await.map_err(|status| refusal(&status))?.into_inner();
        let first = responses.message().await.map_err(|status| refusal(&status))?;
        let first = first.ok_or_else(ended)?;
        if first.canceled {
            return Err(canceled(first.cancel_reason));
        }
        let created = wire::header_revision(first.header.as_ref());
        member.is_back();
        Ok(Self {
            requests,
            responses,
            created,
            after: Revision(start.0.saturating_sub(1)),
            confirm: !version.orders_progress(),
            member: member.clone(),
        })
    }
}

pub(super) fn refusal(status: &Status) -> Refused {
    let error = failure::read(status);
    match () {
        () if failure::is_stale_token(status) => Refused::Token(error),
        () if failure::is_worth_another_member(status) => Refused::Here(error),
        () => Refused::Everywhere(error),
    }
}

fn canceled(reason: String) -> Refused {
    let token = failure::is_stale_token_reason(&reason) || failure::is_denied_reason(&reason);
    let error = Error::Unavailable { reason };
    if token { Refused::Token(error) } else { Refused::Everywhere(error) }
}

/// Opens a watch of everything after `after`.
///
/// etcd says that a start is compacted only when that lies before the compaction point, and (before 3.5.13) may
/// have dropped the deletes of the point itself. So a watch into the past starts at `after`, whose events are
/// thrown away, and is good exactly when the state at `after` is still kept.
pub(super) async fn establish(
    client: &Client,
    range: &KeyRange,
    after: Revision,
) -> Result<Session> {
    let bounds = wire::bounds(range);
    let past = Revision(after.0.max(1));
    let next = Revision(after.0.saturating_add(1));
    let from = if after < client.seen() { past } else { next };
    let mut session = Session::open(client, bounds.as_ref(), from).await?;
    if from != past && session.created > after {
        session = Session::open(client, bounds.as_ref(), past).await?;
    }
    // Also where the member lags behind the others: they may have compacted what it still has.
    if session.created > after || from == past {
        client.check_kept(after).await?;
    }
    session.after = after;
    Ok(session)
}
