//! From the answers of etcd to batches.

use super::session::{Refused, Session, establish, refusal};
use crate::{
    client::Client,
    generated::etcdserverpb::{
        RangeRequest, WatchCancelRequest, WatchCreateRequest, WatchProgressRequest, WatchRequest,
        WatchResponse, watch_request::RequestUnion,
    },
    progress::{Progress, Step},
    wire,
};
use bytes::Bytes;
use kubeplane_store_trait::{Error, Event, KeyRange, Result, Revision, WatchBatch};
use std::{sync::Arc, time::Duration};
use tokio::sync::Notify;

/// How long to wait before looking for another member again, at first and at most.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// Turns the answers of a watch, over one session after the other, into batches.
pub(super) struct Feed {
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
    pub(super) fn new(
        client: &Client,
        session: Session,
        range: &KeyRange,
        after: Revision,
        asked: Arc<Notify>,
    ) -> Self {
        Self {
            client: client.clone(),
            progress: Progress::new(client.clock().clone(), session.confirm),
            session,
            range: range.clone(),
            through: after,
            scouts: Scouts::default(),
            parts: Vec::new(),
            asked,
            ended: false,
        }
    }

    /// The next batch, or the one error before the end.
    pub(super) async fn next(&mut self) -> Option<Result<WatchBatch>> {
        if self.ended {
            return None;
        }
        self.progress.resumed();
        let item = loop {
            let step = match self.input().await {
                Input::Asked => self.progress.wanted(self.client.seen()),
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

async fn any_put(client: &Client, range: &KeyRange) -> Option<(Bytes, Revision)> {
    let (key, range_end) = wire::bounds(range)?;
    let request =
        RangeRequest { key, range_end, limit: 1, keys_only: true, ..RangeRequest::default() };
    let found = client.range(request).await.ok()?.kvs.into_iter().next()?;
    Some((found.key, wire::revision(found.mod_revision)))
}
