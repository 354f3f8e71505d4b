//! One watch: what is there, then what the store still remembers, then what comes.
//!
//! ```text
//!   initial rows ─> (bookmark "initial-events-end") ─> backfill from the store ─> cursor on the shared ring
//! ```

mod backfill;
mod frames;

pub(crate) use frames::Frames;

use crate::{
    api::Api,
    cache::{Cursor, Event, Freshness, Next, Row},
    filter::Filter,
    registry::Resource,
};
use backfill::{Backfill, Fill};
use bytes::{Bytes, BytesMut};
use http::StatusCode;
use kubeplane_clock::{SharedClock, Sleep};
use kubeplane_core::status::{ApiError, ApiResult};
use kubeplane_store_trait::Revision;
use std::{collections::VecDeque, sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;

/// How often a watcher that asked for bookmarks gets one.
const BOOKMARK: Duration = Duration::from_secs(50);
/// How long before its end a watch sends a last bookmark.
const LAST_BOOKMARK: Duration = Duration::from_secs(2);
/// How long the store gets to tell its progress.
const PROGRESS: Duration = Duration::from_millis(200);
/// How many bytes of events are sent at once.
const CHUNK: usize = 32 * 1024;

/// What a client asked to watch.
#[derive(Debug)]
pub(crate) struct Start {
    pub(crate) resource: Arc<Resource>,
    pub(crate) filter: Filter,
    pub(crate) after: Option<Revision>,
    pub(crate) initial_events: Option<bool>,
    pub(crate) bookmarks: bool,
    pub(crate) timeout: Duration,
}

/// Where the events come from now.
#[derive(Debug)]
enum Source {
    Backfill(Box<Backfill>),
    Cursor(Box<Cursor>),
    /// The client is told why, then the watch ends.
    Failed(ApiError),
    Ended,
}

/// A watch under way.
pub(crate) struct Watch {
    resource: Arc<Resource>,
    filter: Filter,
    frames: Frames,
    bookmarks: bool,
    initial: VecDeque<Arc<Row>>,
    /// The bookmark that ends the initial events is still to be sent.
    end_initial: Option<Revision>,
    source: Source,
    seen: Revision,
    clock: SharedClock,
    next_bookmark: Sleep,
    /// The store was asked for its progress; the next turn sends the bookmark.
    asked: bool,
    ends: Duration,
    deadline: Sleep,
    stopping: CancellationToken,
}

impl Watch {
    /// Begins a watch.
    ///
    /// # Errors
    /// When the cache cannot be read; a revision that is too old, or too far ahead, is told in the stream.
    pub(crate) async fn open(api: &Api, start: Start, frames: Frames) -> ApiResult<Self> {
        let Start { resource, filter, after, initial_events, bookmarks, timeout } = start;
        let unversioned = after.is_none_or(|after| after.0 == 0);
        let wants_rows = initial_events.unwrap_or(unversioned);
        let (mut initial, mut end_initial, mut late) = (VecDeque::new(), None, None);
        let cache = resource.cache();
        let from = if wants_rows || unversioned {
            let freshness = match after {
                None => Freshness::Consistent,
                Some(Revision(0)) => Freshness::Any,
                Some(after) => Freshness::AtLeast(after),
            };
            match cache.snapshot(freshness).await {
                Err(error) if error.code() == StatusCode::GATEWAY_TIMEOUT => {
                    late = Some(error);
                    Revision(0)
                }
                Err(error) => return Err(error),
                Ok(snapshot) if wants_rows => {
                    let range = resource.range(&filter.namespace);
                    let rows = snapshot.range(&range).map(|(_, row)| row);
                    initial = rows.filter(|row| filter.matches(row)).cloned().collect();
                    end_initial =
                        (initial_events == Some(true) && bookmarks).then_some(snapshot.through);
                    snapshot.through
                }
                Ok(snapshot) => snapshot.through,
            }
        } else {
            cache.snapshot(Freshness::Any).await?;
            after.unwrap_or_default()
        };
        let clock = api.clock().clone();
        let source = match late {
            Some(error) => Source::Failed(error),
            None => Self::source(api, &resource, from).await,
        };
        Ok(Self {
            resource,
            filter,
            frames,
            bookmarks,
            initial,
            end_initial,
            source,
            seen: from,
            next_bookmark: clock.sleep(bookmark_in(timeout)),
            asked: false,
            ends: clock.elapsed().saturating_add(timeout),
            deadline: clock.sleep(timeout),
            clock,
            stopping: api.stopping().clone(),
        })
    }

    async fn source(api: &Api, resource: &Arc<Resource>, from: Revision) -> Source {
        if let Some(cursor) = resource.cache().cursor(from) {
            return Source::Cursor(Box::new(cursor));
        }
        match Backfill::open(api, resource, from).await {
            Ok(backfill) => Source::Backfill(Box::new(backfill)),
            Err(error) => Source::Failed(error),
        }
    }

    /// The next bytes to send and how many events they hold; `None` at the end.
    pub(crate) async fn next(&mut self) -> Option<(Bytes, u64)> {
        if self.ends <= self.clock.elapsed() {
            return None;
        }
        if let Some(sent) = self.initial_frames() {
            return Some(sent);
        }
        loop {
            let step = tokio::select! {
                biased;
                () = self.stopping.cancelled() => return None,
                () = &mut self.deadline => return None,
                step = Self::step(&mut self.source) => step,
                () = &mut self.next_bookmark, if self.bookmarks => {
                    let Some(sent) = self.bookmark() else { continue };
                    return Some(sent);
                }
            };
            match step {
                Step::Events(events) => {
                    if let Some(sent) = self.event_frames(&events) {
                        return Some(sent);
                    }
                }
                Step::Progress(revision) => self.seen = self.seen.max(revision),
                Step::Caught(revision) => {
                    self.source = match self.resource.cache().cursor(revision) {
                        Some(cursor) => Source::Cursor(Box::new(cursor)),
                        None => Source::Ended,
                    };
                }
                Step::Failed(error) => {
                    self.source = Source::Ended;
                    return Some((self.frames.error(&error), 1));
                }
                Step::Ended => return None,
            }
        }
    }

    /// Asks the store how far it is, and the next time tells the client.
    fn bookmark(&mut self) -> Option<(Bytes, u64)> {
        let cache = self.resource.cache();
        self.asked = !self.asked;
        if self.asked {
            cache.ask_progress();
            self.next_bookmark = self.clock.sleep(PROGRESS);
            return None;
        }
        let left = self.ends.saturating_sub(self.clock.elapsed());
        self.next_bookmark = self.clock.sleep(bookmark_in(left));
        Some((self.frames.bookmark(cache.shape(), self.seen, false), 1))
    }

    async fn step(source: &mut Source) -> Step {
        match source {
            Source::Cursor(cursor) => match cursor.next().await {
                Next::Events(events) => Step::Events(events),
                Next::Progress(revision) => Step::Progress(revision),
                Next::Ended => Step::Ended,
            },
            Source::Backfill(backfill) => match backfill.next().await {
                Fill::Events(events) => Step::Events(events),
                Fill::Caught(revision) => Step::Caught(revision),
                Fill::Failed(error) => Step::Failed(error),
            },
            Source::Failed(error) => Step::Failed(error.clone()),
            Source::Ended => Step::Ended,
        }
    }

    fn initial_frames(&mut self) -> Option<(Bytes, u64)> {
        let shape = self.resource.cache().shape();
        let (mut out, mut count) = (BytesMut::new(), 0);
        while let Some(row) = self.initial.pop_front() {
            self.frames.initial(shape, &row, self.clock.now(), &mut out);
            count += 1;
            if out.len() >= CHUNK {
                return Some((out.freeze(), count));
            }
        }
        if let Some(revision) = self.end_initial.take() {
            out.extend_from_slice(&self.frames.bookmark(shape, revision, true));
            count += 1;
        }
        (!out.is_empty()).then(|| (out.freeze(), count))
    }

    fn event_frames(&mut self, events: &[Arc<Event>]) -> Option<(Bytes, u64)> {
        let shape = self.resource.cache().shape();
        let mut picked = Vec::new();
        for event in events {
            self.seen = self.seen.max(event.revision);
            if let Some(change) = event.change(|row| self.filter.matches(row)) {
                picked.push(self.frames.event(shape, event, change, self.clock.now()));
            }
        }
        let count = picked.len() as u64;
        match picked.len() {
            0 => None,
            1 => picked.pop().map(|frame| (frame, count)),
            _ => {
                let mut out = BytesMut::with_capacity(picked.iter().map(Bytes::len).sum());
                picked.iter().for_each(|frame| out.extend_from_slice(frame));
                Some((out.freeze(), count))
            }
        }
    }
}

/// When the next bookmark is due: now and then, and once more shortly before the end.
fn bookmark_in(left: Duration) -> Duration {
    match left.checked_sub(LAST_BOOKMARK) {
        Some(left) => left.min(BOOKMARK),
        None => left.max(PROGRESS),
    }
}

/// What one turn of a watch found.
enum Step {
    Events(Vec<Arc<Event>>),
    Progress(Revision),
    /// The backfill is done up to here; the ring has the rest.
    Caught(Revision),
    Failed(ApiError),
    Ended,
}
