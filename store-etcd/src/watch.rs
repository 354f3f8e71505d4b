use crate::{
    client::Client,
    failure,
    generated::etcdserverpb::{
        WatchCreateRequest, WatchProgressRequest, WatchRequest, WatchResponse,
        watch_request::RequestUnion,
    },
    progress::{Progress, Step},
    wire::{self, ZERO},
};
use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use kubeplane_clock::SharedClock;
use kubeplane_store_trait::{
    BoxWatcher, Error, Event, KeyRange, Result, Revision, WatchBatch, Watcher,
};
use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};
use tokio::sync::{Notify, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

/// One watch on a stream of its own.
struct Session {
    requests: mpsc::Sender<WatchRequest>,
    responses: Streaming<WatchResponse>,
    /// The store's revision when the watch was made.
    created: Revision,
}

impl Session {
    async fn open(
        client: &Client,
        bounds: Option<(Bytes, Bytes)>,
        start: Revision,
    ) -> Result<Self> {
        let (requests, sent) = mpsc::channel(8);
        // A range without keys is watched as one key, whose events are filtered like any other.
        let (key, range_end) = bounds.unwrap_or((Bytes::from_static(ZERO), Bytes::new()));
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
        let ended = || Error::Unavailable { reason: "etcd ended the watch".into() };
        requests.try_send(create).map_err(|_| ended())?;
        let mut responses = client
            .watch()
            .watch(ReceiverStream::new(sent))
            .await
            .map_err(|status| failure::read(&status))?
            .into_inner();
        let first = responses.message().await.map_err(|status| failure::read(&status))?;
        let first = first.ok_or_else(ended)?;
        if first.canceled {
            return Err(Error::Unavailable { reason: first.cancel_reason });
        }
        let created = wire::header_revision(first.header.as_ref());
        Ok(Self { requests, responses, created })
    }
}

/// Establishes a watch of everything after `after`.
///
/// etcd says that a start is compacted only when that lies before the compaction point, and (before 3.5.13) may
/// have dropped the deletes of the point itself. So a watch into the past starts at `after`, whose events are
/// thrown away, and is good exactly when the state at `after` is still kept.
pub(crate) async fn start(
    client: &Client,
    clock: &SharedClock,
    range: &KeyRange,
    after: Revision,
    confirm: bool,
) -> Result<BoxWatcher> {
    let past = Revision(after.0.max(1));
    let next = Revision(after.0.saturating_add(1));
    let from = if after < client.seen() { past } else { next };
    let mut session = Session::open(client, wire::bounds(range), from).await?;
    if from != past && session.created > after {
        session = Session::open(client, wire::bounds(range), past).await?;
    }
    if session.created > after {
        client.check_kept(after).await?;
    }
    let asked = Arc::new(Notify::new());
    let feed = Feed {
        progress: Progress::new(clock.clone(), confirm),
        session,
        range: range.clone(),
        through: after,
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

/// Turns the answers of one watch into batches.
struct Feed {
    session: Session,
    range: KeyRange,
    through: Revision,
    /// The parts so far of a batch that comes in several.
    parts: Vec<Event>,
    progress: Progress,
    asked: Arc<Notify>,
    ended: bool,
}

enum Input {
    Asked,
    Due,
    Answer(Result<WatchResponse>),
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
                Input::Due => self.progress.due(),
                Input::Answer(Err(error)) => break Err(error),
                Input::Answer(Ok(answer)) => match self.take(answer) {
                    Ok(Taken::Batch(batch)) => break Ok(batch),
                    Ok(Taken::Step(step)) => step,
                    Err(error) => break Err(error),
                },
            };
            match step {
                Step::Wait => {}
                Step::Ask => self.ask(),
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
            answer = self.session.responses.message() => Input::Answer(match answer {
                Ok(Some(answer)) => Ok(answer),
                Ok(None) => Err(Error::Unavailable { reason: "etcd ended the watch".into() }),
                Err(status) => Err(failure::read(&status)),
            }),
        }
    }

    /// A full queue means that etcd has not taken the last requests yet; they will be answered all the same.
    fn ask(&self) {
        let ask = RequestUnion::ProgressRequest(WatchProgressRequest {});
        let _ = self.session.requests.try_send(WatchRequest { request_union: Some(ask) });
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
