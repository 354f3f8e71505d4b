use super::{
    directory::Directory,
    file::{Header, Kind},
    frame::{self, Found},
    frames::Frames,
    pace::Pace,
    record::{self, Item, Items},
};
use crate::{
    DataLoss, OpenError,
    state::{Record, State},
    wall::Wall,
};
use bytes::Bytes;
use kubeplane_store_trait::{Key, KeyRange};
use std::{collections::BTreeMap, fs, io, path::Path, sync::Arc, time::Instant};

/// Frames of a snapshot are about this large, in bytes.
const FRAME: usize = 256 * 1024;
/// Of a snapshot that is being written, at most about this much waits for the disk, in bytes: a flush of the log waits
/// for all of it.
const UNFLUSHED: u64 = 256 * 1024;

/// The bytes of a snapshot's file, in parts of a frame each.
#[derive(Debug)]
pub(crate) struct Chunks {
    state: Arc<State>,
    wall: Wall,
    next: Step,
}

#[derive(Debug)]
enum Step {
    Header,
    /// The entries of a range: those that were not written yet.
    Entries(KeyRange),
    Done,
}

impl Chunks {
    pub(crate) fn new(state: Arc<State>, wall: Wall) -> Self {
        Self { state, wall, next: Step::Header }
    }

    fn entries(&mut self, range: &KeyRange) -> Vec<u8> {
        let mut buffer = Vec::with_capacity(FRAME + FRAME / 4);
        frame::begin(&mut buffer);
        self.next = Step::Done;
        for entry in self.state.entries.range(range) {
            let expires = self.wall.expires(entry.deadline());
            let numbers = [expires, entry.revision, entry.created];
            record::entry(&mut buffer, &entry.key, &entry.value, numbers);
            if buffer.len() >= FRAME {
                self.next = Step::Entries(range.after(&entry.key));
                break;
            }
        }
        if matches!(self.next, Step::Done) {
            record::count(&mut buffer, self.state.entries.len() as u64);
        }
        frame::seal(&mut buffer, self.state.revision, true);
        buffer
    }
}

impl Iterator for Chunks {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        match std::mem::replace(&mut self.next, Step::Done) {
            Step::Header => {
                self.next = Step::Entries(KeyRange::all());
                Some(
                    Header { kind: Kind::Snapshot, revision: self.state.revision }
                        .encode()
                        .to_vec(),
                )
            }
            Step::Entries(range) => Some(self.entries(&range)),
            Step::Done => None,
        }
    }
}

/// Writes every entry of `state`; returns the size of the file once it is durable under its name. A failure leaves
/// nothing of it: what is missing may be the very room it takes.
pub(crate) fn write(
    directory: &Directory,
    state: &Arc<State>,
    wall: Wall,
    pace: &Pace,
) -> io::Result<u64> {
    let written = write_file(directory, state, wall, pace);
    if written.is_err() {
        // It may never have been made, or have its name already.
        let _ = directory.disk().remove(&directory.unfinished());
    }
    written
}

fn write_file(
    directory: &Directory,
    state: &Arc<State>,
    wall: Wall,
    pace: &Pace,
) -> io::Result<u64> {
    let unfinished = directory.unfinished();
    let mut file = directory.disk().create(&unfinished)?;
    let (mut size, mut flushed, mut started) = (0, 0, Instant::now());
    for chunk in Chunks::new(state.clone(), wall) {
        file.write_all(&chunk)?;
        size += chunk.len() as u64;
        if size - flushed >= UNFLUSHED {
            file.sync()?;
            flushed = size;
            pace.rest(started.elapsed());
            started = Instant::now();
        }
    }
    file.sync()?;
    directory.disk().rename(&unfinished, &directory.snapshot(state.revision))?;
    directory.sync()?;
    Ok(size)
}

/// What a snapshot's file held.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// In order of their keys.
    pub(crate) records: Vec<Arc<Record>>,
    pub(crate) revision: u64,
    /// The size of the file.
    pub(crate) size: u64,
    /// A checksum of all entries, whatever the file was cut into.
    pub(crate) hash: u32,
}

/// Reads a snapshot; `revision` is what its name says, if it says anything.
pub(crate) fn read(path: &Path, revision: Option<u64>, wall: Wall) -> Result<Loaded, OpenError> {
    let (mut frames, header) = Frames::open(path).map_err(OpenError::io(path))?;
    if let Some(revision) = revision {
        Header { kind: Kind::Snapshot, revision }.check(&header, path)?;
    }
    let revision = Header::read(Kind::Snapshot, &header, path)?;
    let size = frames.len() as u64;
    let mut loaded = Loaded { records: Vec::new(), revision, size, hash: 0 };
    loop {
        let at = frames.at();
        let corrupt = |reason: &str| OpenError::corrupt(path, at, reason);
        let Some(frame) = frames.read().map_err(OpenError::io(path))? else {
            return Err(corrupt(&diagnosis(path, at)?));
        };
        for item in Items::new(frame.payload) {
            match item {
                Some(Item::Entry(entry)) => {
                    let (bytes, record) = entry.into_record(wall);
                    if loaded.records.last().is_some_and(|last| last.key >= record.key) {
                        return Err(corrupt("the keys are out of order"));
                    }
                    loaded.hash = crc32c::crc32c_append(loaded.hash, bytes);
                    loaded.records.push(Arc::new(record));
                }
                Some(Item::Count { entries }) if entries == loaded.records.len() as u64 => {
                    return Ok(loaded);
                }
                Some(Item::Count { .. }) => return Err(corrupt("the snapshot lacks entries")),
                _ => return Err(corrupt("a record makes no sense")),
            }
        }
    }
}

/// Why no frame can be read at `at`.
fn diagnosis(path: &Path, at: usize) -> Result<String, OpenError> {
    let bytes = fs::read(path).map_err(OpenError::io(path))?;
    Ok(match frame::read(&bytes, at.min(bytes.len())) {
        Found::Damaged(reason) => reason.to_owned(),
        _ => "the snapshot ends before its last record".to_owned(),
    })
}

/// Takes what is whole out of a damaged snapshot.
pub(crate) fn salvage(
    path: &Path,
    revision: u64,
    wall: Wall,
    (offset, reason): (u64, String),
) -> Result<(Loaded, DataLoss), OpenError> {
    let bytes = fs::read(path).map_err(OpenError::io(path))?;
    let (mut records, mut count) = (BTreeMap::<Key, Arc<Record>>::new(), None);
    let mut at = Some(Header::LEN.min(bytes.len()));
    while let Some(start) = at {
        let Found::Frame(frame) = frame::read(&bytes, start) else {
            at = (start < bytes.len()).then(|| frame::next_whole(&bytes, start)).flatten();
            continue;
        };
        for item in Items::new(frame.payload).flatten() {
            match item {
                Item::Entry(entry) => {
                    let (_, record) = entry.into_record(wall);
                    records.insert(record.key.clone(), Arc::new(record));
                }
                Item::Count { entries } => count = Some(entries),
                _ => {}
            }
        }
        at = Some(frame.end);
    }
    let kept = records.len() as u64;
    let dropped = match count {
        Some(count) => format!("{} of {count} entries", count.saturating_sub(kept)),
        None => format!("an unknown number of entries beside the {kept} that are whole"),
    };
    let loss = DataLoss { file: path.to_owned(), offset, reason, dropped };
    let records = records.into_values().collect();
    Ok((Loaded { records, revision, size: bytes.len() as u64, hash: 0 }, loss))
}

/// An entry as it stands in a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stored<'a> {
    /// The whole record.
    pub(crate) bytes: &'a [u8],
    pub(crate) key: Key,
    pub(crate) value: Bytes,
    pub(crate) expires: u64,
    pub(crate) revision: u64,
    pub(crate) created: u64,
}

impl<'a> Stored<'a> {
    fn into_record(self, wall: Wall) -> (&'a [u8], Record) {
        let deadline = wall.deadline(self.expires);
        let record = Record::new(self.key, self.value, self.revision, self.created, deadline);
        (self.bytes, record)
    }
}
