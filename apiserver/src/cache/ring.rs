use super::Row;
use crate::stored::Shape;
use bytes::{BufMut, Bytes, BytesMut};
use kubeplane_core::protobuf;
use kubeplane_store_trait::Revision;
use std::{
    collections::VecDeque,
    sync::{Arc, OnceLock},
    time::Duration,
};

/// The most events kept.
const CAPACITY: usize = 2048;
/// Events older than this are dropped when newer ones come; the store still has them.
const KEPT: Duration = Duration::from_secs(180);

/// What a change is to one watcher.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    Added,
    Modified,
    Deleted,
}

impl Change {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Added => "ADDED",
            Self::Modified => "MODIFIED",
            Self::Deleted => "DELETED",
        }
    }
}

/// One change of one object, with the frames made from it so far.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) revision: Revision,
    /// The object as it is; `None` once deleted.
    pub(crate) row: Option<Arc<Row>>,
    /// The object as it was; `None` when it is new.
    pub(crate) previous: Option<Arc<Row>>,
    frames: [OnceLock<Bytes>; 3],
    protobuf_frames: [OnceLock<Bytes>; 3],
}

impl Event {
    pub(crate) fn new(
        revision: Revision,
        row: Option<Arc<Row>>,
        previous: Option<Arc<Row>>,
    ) -> Self {
        let (frames, protobuf_frames) = Default::default();
        Self { revision, row, previous, frames, protobuf_frames }
    }

    /// What the change is to a watcher that sees the objects `matches` accepts.
    pub(crate) fn change(&self, matches: impl Fn(&Row) -> bool) -> Option<Change> {
        let is = self.row.as_ref().is_some_and(|row| matches(row));
        let was = self.previous.as_ref().is_some_and(|row| matches(row));
        match (was, is) {
            (false, true) => Some(Change::Added),
            (true, true) => Some(Change::Modified),
            (true, false) => Some(Change::Deleted),
            (false, false) => None,
        }
    }

    /// The object such a change shows: the last state that was seen, for a deletion.
    pub(crate) fn shown(&self, change: Change) -> Option<&Arc<Row>> {
        if change == Change::Deleted { self.previous.as_ref() } else { self.row.as_ref() }
    }

    /// The change as one line of a JSON watch, shared by all watchers.
    pub(crate) fn frame(&self, shape: &Shape, change: Change) -> Bytes {
        let frame = self.frames[change as usize].get_or_init(|| {
            let Some(row) = self.shown(change) else { return Bytes::new() };
            let mut out = BytesMut::with_capacity(row.value.len() + 96);
            open_frame(&mut out, change.as_str());
            shape.write(&row.value, self.revision, &mut out);
            close_frame(&mut out);
            out.freeze()
        });
        frame.clone()
    }

    /// The change as one frame of a protobuf watch, shared by all watchers.
    pub(crate) fn protobuf_frame(&self, shape: &Shape, change: Change) -> protobuf::Result<Bytes> {
        let slot = &self.protobuf_frames[change as usize];
        if let Some(frame) = slot.get() {
            return Ok(frame.clone());
        }
        let Some(row) = self.shown(change) else { return Ok(Bytes::new()) };
        let raw = shape.protobuf(&row.value, Some(self.revision))?;
        Ok(slot.get_or_init(|| protobuf_frame(shape, change.as_str(), &raw)).clone())
    }
}

/// A frame of a protobuf watch around an object's message.
pub(crate) fn protobuf_frame(shape: &Shape, event: &str, raw: &[u8]) -> Bytes {
    let definition = shape.definition();
    let version = definition.group_version().to_string();
    protobuf::frame(event, &protobuf::wrap(&version, &definition.kind.kind, raw)).into()
}

/// Begins a line of a JSON watch.
pub(crate) fn open_frame(out: &mut BytesMut, kind: &str) {
    out.put_slice(b"{\"type\":\"");
    out.put_slice(kind.as_bytes());
    out.put_slice(b"\",\"object\":");
}

/// Ends a line of a JSON watch.
pub(crate) fn close_frame(out: &mut BytesMut) {
    out.put_slice(b"}\n");
}

/// The newest events of a cache, for all its watchers.
#[derive(Debug, Default)]
pub(crate) struct Ring {
    events: VecDeque<(Duration, Arc<Event>)>,
    /// The number of the first event held.
    first: u64,
    /// All changes after this revision are held.
    floor: Revision,
    pub(super) epoch: u64,
}

impl Ring {
    /// Forgets everything; what follows is after `floor`.
    pub(super) fn restart(&mut self, floor: Revision, epoch: u64) {
        self.first += self.events.len() as u64;
        self.events.clear();
        self.floor = floor;
        self.epoch = epoch;
    }

    pub(super) fn push(&mut self, now: Duration, event: Arc<Event>) {
        let old = now.saturating_sub(KEPT);
        while self.events.len() >= CAPACITY || self.events.front().is_some_and(|(at, _)| *at < old)
        {
            let Some((_, dropped)) = self.events.pop_front() else { break };
            self.floor = dropped.revision;
            self.first += 1;
        }
        self.events.push_back((now, event));
    }

    /// The number of the first event after a revision; `None` when some after it are no longer held.
    pub(super) fn seek(&self, after: Revision) -> Option<u64> {
        let found = self.events.partition_point(|(_, event)| event.revision <= after);
        (after >= self.floor).then_some(self.first + found as u64)
    }

    /// Up to `most` events from number `from` on, and the rest of the last one's revision; `None` when the ring has
    /// lapped it.
    pub(super) fn read(&self, from: u64, most: usize) -> Option<Vec<Arc<Event>>> {
        let skip = usize::try_from(from.checked_sub(self.first)?).ok()?;
        let mut taken: Vec<Arc<Event>> = Vec::new();
        for (_, event) in self.events.iter().skip(skip) {
            let last = taken.last().map(|last| last.revision);
            if taken.len() >= most && last != Some(event.revision) {
                break;
            }
            taken.push(event.clone());
        }
        Some(taken)
    }
}
