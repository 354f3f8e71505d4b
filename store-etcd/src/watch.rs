use crate::{
    client::{Client, require_leader},
    failure,
    generated::etcdserverpb::{
        RangeRequest, WatchCancelRequest, WatchCreateRequest, WatchProgressRequest, WatchRequest,
        WatchResponse, watch_client::WatchClient, watch_request::RequestUnion,
    },
    login::Token,
    members::Member,
    progress::{Progress, Step},
    wire,
};
use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use kubeplane_clock::timeout;
use kubeplane_store_trait::{
    BoxWatcher, Error, Event, KeyRange, Result, Revision, WatchBatch, Watcher,
};
use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::sync::{Notify, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Status, Streaming};

/// How long to wait before looking for another member again, at first and at most.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// One watch on a stream of its own, so that each reader holds up nobody but itself: etcd stops sending when the
/// stream's window is full, and keeps no events for it but those in its own history.
struct Session {
    requests: mpsc::Sender<WatchRequest>,
    responses: Streaming<WatchResponse>,
    /// The member's revision when the watch was made.
    created: Revision,
    /// What lies up to here is asked for only to see whether it is still there.
    after: Revision,
    /// Whether the member's progress answers must be confirmed.
    confirm: bool,
    member: Arc<Member>,
}

/// Why a watch was not made.
enum Refused {
    /// By this member, or by no answer of it; another may do.
    Here(Error),
    /// With another token it may be made.
    Token(Error),
    /// For good.
    Everywhere(Error),
}

impl Refused {
    fn error(self) -> Error {
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

    async fn try_open(
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
        let mut watch = WatchClient::new(member.channel()).max_decoding_message_size(usize::MAX);
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

fn refusal(status: &Status) -> Refused {
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

/// Establishes a watch of everything after `after`.
pub(crate) async fn start(
    client: &Client,
    range: &KeyRange,
    after: Revision,
) -> Result<BoxWatcher> {
    let session = establish(client, range, after).await?;
    let asked = Arc::new(Notify::new());
    let feed = Feed {
        client: client.clone(),
        progress: Progress::new(client.clock().clone(), session.confirm),
        session,
        range: range.clone(),
        through: after,
        scouts: Scouts::default(),
        parts: Vec::new(),
        asked: asked.clone(),
        ended: false,
    };
    let batches = stream::unfold(feed, |mut feed| async move {
        let item = feed.next().await?;
        Some((item, feed))
    });
    Ok(Box::pin(EtcdWatcher { batches: batches.boxed(), asked }))
}

/// Opens a watch of everything after `after`.
///
/// etcd says that a start is compacted only when that lies before the compaction point, and (before 3.5.13) may
/// have dropped the deletes of the point itself. So a watch into the past starts at `after`, whose events are
/// thrown away, and is good exactly when the state at `after` is still kept.
async fn establish(client: &Client, range: &KeyRange, after: Revision) -> Result<Session> {
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

/// The oldest revision that is kept; zero when nothing was compacted yet.
pub(crate) async fn compaction_point(client: &Client) -> Result<Revision> {
    if client.reads_first_revision().await? {
        return Ok(Revision(0));
    }
    // etcd tells the point only to a watch that starts before it.
    let mut session = Session::open(client, None, Revision(1)).await?;
    loop {
        let response =
            session.responses.message().await.map_err(|status| failure::read(&status))?;
        let Some(response) = response else {
            return Err(Error::Unavailable { reason: "etcd ended the watch".into() });
        };
        if response.compact_revision > 0 {
            return Ok(wire::revision(response.compact_revision));
        }
    }
}

async fn any_put(client: &Client, range: &KeyRange) -> Option<(Bytes, Revision)> {
    let (key, range_end) = wire::bounds(range)?;
    let request =
        RangeRequest { key, range_end, limit: 1, keys_only: true, ..RangeRequest::default() };
    let found = client.range(request).await.ok()?.kvs.into_iter().next()?;
    Some((found.key, wire::revision(found.mod_revision)))
}

/// Turns the answers of a watch, over one session after the other, into batches.
struct Feed {
    client: Client,
    session: Session,
    range: KeyRange,
    through: Revision,
    /// The parts so far of a batch that comes in several.
    parts: Vec<Event>,
    progress: Progress,
    scouts: Scouts,
    asked: Arc<Notify>,
    ended: bool,
}

/// The scouts of one watch; at most one is out.
#[derive(Default)]
struct Scouts {
    /// The id of the last one; that of the watch itself is zero.
    last: i64,
    returned: bool,
    /// A put in the range, which they look for.
    goal: Option<(Bytes, Revision)>,
}

impl Scouts {
    fn next(&mut self) -> i64 {
        self.last += 1;
        self.returned = false;
        self.last
    }
}

enum Input {
    Asked,
    Due,
    Answer(WatchResponse),
    /// The stream broke.
    Lost(Error),
    /// The stream ended with a refusal.
    Failed(Error),
}

impl Feed {
    async fn next(&mut self) -> Option<Result<WatchBatch>> {
        if self.ended {
            return None;
        }
        self.progress.resumed();
        let item = loop {
            let step = match self.input().await {
                Input::Asked => self.progress.wanted(),
                Input::Due => self.progress.waited(),
                Input::Failed(error) => break Err(error),
                Input::Lost(error) => match self.resume(error).await {
                    Ok(step) => step,
                    Err(error) => break Err(error),
                },
                Input::Answer(answer) if answer.watch_id > 0 => self.scouted(answer).await,
                Input::Answer(answer) => match self.take(answer) {
                    Ok(Taken::Batch(batch)) => break Ok(batch),
                    Ok(Taken::Step(step)) => step,
                    Err(error) => break Err(error),
                },
            };
            match step {
                Step::Wait => {}
                Step::Ask => self.ask(),
                Step::Scout => self.send_scout().await,
                Step::Bookmark(through) => {
                    if through >= self.through {
                        self.through = through;
                        break Ok(WatchBatch { events: Vec::new(), through });
                    }
                }
            }
        };
        self.progress.yielded();
        self.ended = item.is_err();
        Some(item)
    }

    async fn input(&mut self) -> Input {
        tokio::select! {
            biased;
            () = self.asked.notified() => Input::Asked,
            () = self.progress.wait() => Input::Due,
            answer = self.session.responses.message() => match answer {
                Ok(Some(answer)) => Input::Answer(answer),
                Ok(None) => {
                    Input::Lost(Error::Unavailable { reason: "etcd ended the watch".into() })
                }
                Err(status) => match refusal(&status) {
                    Refused::Everywhere(error) => Input::Failed(error),
                    Refused::Here(error) | Refused::Token(error) => Input::Lost(error),
                },
            },
        }
    }

    /// Goes on from the last delivered revision over a new stream, to this member or another one.
    async fn resume(&mut self, lost: Error) -> Result<Step> {
        let Self { client, range, through, .. } = self;
        client.members().is_away(&self.session.member);
        self.parts.clear();
        let deadline = client.clock().elapsed().saturating_add(client.timeout());
        let mut pause = PAUSES.0;
        let mut last = lost;
        while client.clock().elapsed() < deadline {
            match establish(client, range, *through).await {
                Ok(session) => {
                    tracing::debug!(%through, member = %session.member.name, "watch goes on");
                    self.progress.reconnected(session.confirm);
                    self.session = session;
                    return Ok(self.progress.go());
                }
                // Forgotten meanwhile: for the reader as if it had been too slow.
                Err(Error::Compacted { .. }) => return Err(Error::Lagged),
                Err(error @ Error::Unavailable { .. }) => last = error,
                Err(error) => return Err(error),
            }
            client.clock().sleep(pause).await;
            pause = (pause * 2).min(PAUSES.1);
        }
        Err(last)
    }

    /// A full queue means that etcd has not taken the last requests yet; they will be answered all the same.
    fn ask(&self) {
        let ask = RequestUnion::ProgressRequest(WatchProgressRequest {});
        let _ = self.session.requests.try_send(WatchRequest { request_union: Some(ask) });
    }

    /// Sends a scout after the last put that is known of the range.
    async fn send_scout(&mut self) {
        if self.scouts.goal.is_none() {
            self.scouts.goal = any_put(&self.client, &self.range).await;
        }
        let Some((key, revision)) = self.scouts.goal.clone() else {
            return self.progress.has_no_scout();
        };
        let create = WatchCreateRequest {
            key,
            start_revision: wire::number(revision),
            watch_id: self.scouts.next(),
            ..WatchCreateRequest::default()
        };
        let create = WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
        // Sent or not: a stream that takes no more is about to break.
        let _ = self.session.requests.send(create).await;
    }

    /// What a scout saw: the event it was sent for, or that this has been compacted; both come in the order of
    /// the events of the watch itself.
    async fn scouted(&mut self, answer: WatchResponse) -> Step {
        if answer.watch_id != self.scouts.last || self.scouts.returned {
            return Step::Wait;
        }
        if answer.created && !answer.canceled {
            self.progress.scout_started(wire::header_revision(answer.header.as_ref()));
            return Step::Wait;
        }
        if !answer.canceled {
            let cancel = WatchCancelRequest { watch_id: answer.watch_id };
            let cancel = RequestUnion::CancelRequest(cancel);
            let _ = self.session.requests.send(WatchRequest { request_union: Some(cancel) }).await;
        }
        self.scouts.returned = true;
        self.progress.scout_returned()
    }

    fn take(&mut self, answer: WatchResponse) -> Result<Taken> {
        if answer.compact_revision > 0 {
            // Compacted under a reader that had not got there yet.
            return Err(Error::Lagged);
        }
        if answer.canceled {
            return Err(Error::Unavailable { reason: answer.cancel_reason });
        }
        if answer.events.is_empty() && !answer.fragment && self.parts.is_empty() {
            let reached = wire::header_revision(answer.header.as_ref());
            // Periodic progress goes to the watch by its id and is in order in every version.
            let manual = answer.watch_id == -1;
            return Ok(Taken::Step(if answer.created {
                Step::Wait
            } else {
                self.progress.answered(reached, manual)
            }));
        }
        self.progress.disturbed();
        self.parts.extend(answer.events.into_iter().filter_map(wire::event));
        if answer.fragment {
            return Ok(Taken::Step(Step::Wait));
        }
        self.complete()
    }

    fn complete(&mut self) -> Result<Taken> {
        let mut events = std::mem::take(&mut self.parts);
        if let Some(Event::Put { entry, .. }) =
            events.iter().rfind(|event| matches!(event, Event::Put { .. }))
        {
            self.scouts.goal = Some((entry.key.as_bytes().clone(), entry.revision));
        }
        let asked_after = self.session.after;
        events.retain(|event| event.revision() > asked_after);
        let Some(last) = events.last().map(Event::revision) else {
            return Ok(Taken::Step(Step::Wait));
        };
        if self.progress.promised() >= events[0].revision() {
            // An old etcd let its progress overtake these after all.
            return Err(Error::Lagged);
        }
        let through = self.through;
        events.retain(|event| event.revision() > through && self.range.contains(event.key()));
        if events.is_empty() {
            return Ok(Taken::Step(Step::Wait));
        }
        self.through = last;
        Ok(Taken::Batch(WatchBatch { events, through: last }))
    }
}

enum Taken {
    Batch(WatchBatch),
    Step(Step),
}

struct EtcdWatcher {
    batches: stream::BoxStream<'static, Result<WatchBatch>>,
    asked: Arc<Notify>,
}

impl Stream for EtcdWatcher {
    type Item = Result<WatchBatch>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.batches.as_mut().poll_next(context)
    }
}

impl Watcher for EtcdWatcher {
    fn request_progress(self: Pin<&mut Self>) {
        self.asked.notify_one();
    }
}
