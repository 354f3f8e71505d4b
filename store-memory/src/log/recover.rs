use super::{
    directory::Directory,
    file::{Header, Kind},
    frame::{self, Found, Frame},
    frames::Frames,
    pace::Pace,
    record::{Item, Items},
    snapshot,
};
use crate::{
    DataLoss, OpenError,
    ledger::{HistoryLimits, Ledger},
    state::State,
    wall::Wall,
};
use std::{fs, io, path::Path, sync::Arc, time::Duration};

/// How far the revision jumps when something was dropped, so that no revision that somebody may have seen is given
/// to something else.
const JUMP: u64 = 1_000_000_000;

/// What a data directory held.
#[derive(Debug)]
pub(crate) struct Recovered {
    pub(crate) ledger: Ledger,
    /// The log to go on with.
    pub(crate) log: Option<Tail>,
    /// Bytes in logs behind the snapshot.
    pub(crate) logged: u64,
    pub(crate) snapshot_size: u64,
    /// What was dropped.
    pub(crate) losses: Vec<DataLoss>,
}

/// How far a log is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tail {
    /// The revision before its first change.
    pub(crate) revision: u64,
    /// Where the part begins that need not be on the disk: at the last frame that says that everything before it
    /// was, at the start when there is none.
    pub(crate) unflushed: u64,
    /// How many of its bytes are good.
    pub(crate) len: u64,
}

/// How a data directory is read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reading {
    pub(crate) limits: HistoryLimits,
    pub(crate) wall: Wall,
    /// The clock's elapsed time.
    pub(crate) now: Duration,
    /// Whether what is damaged may be dropped.
    pub(crate) accept_data_loss: bool,
}

/// Reads everything in a data directory.
pub(crate) fn recover(directory: &Directory, reading: Reading) -> Result<Recovered, OpenError> {
    let contents = directory.contents().map_err(OpenError::io(directory.path()))?;
    discard(&directory.unfinished())?;
    let mut losses = Vec::new();
    let (state, snapshot_size) = match contents.snapshots.last() {
        Some(revision) => {
            let loaded = load(&directory.snapshot(*revision), *revision, reading, &mut losses)?;
            (State::of(loaded.records, *revision), loaded.size)
        }
        None => (State::empty(), 0),
    };
    let start = state.revision;
    let ledger = Ledger::new(state, reading.limits);
    let mut recovered = Recovered { ledger, log: None, logged: 0, snapshot_size, losses };
    let (mut highest, mut broken) = (start, false);
    for (index, revision) in contents.logs.iter().enumerate() {
        let next = contents.logs.get(index + 1);
        if next.is_some_and(|next| *next <= start) {
            continue;
        }
        let path = directory.log(*revision);
        let lossy = !recovered.losses.is_empty();
        let replay = Replay { path: &path, last: next.is_none(), lossy, reading };
        let replayed = if broken {
            Err(OpenError::corrupt(&path, Header::LEN, "it follows what was dropped"))
        } else {
            replay.run(&mut recovered.ledger, *revision)
        };
        match replayed {
            Ok(tail) => {
                recovered.logged += tail.map_or(0, |tail| tail.len);
                recovered.log = tail;
            }
            Err(OpenError::Corrupt { offset, reason, .. }) if reading.accept_data_loss => {
                let (loss, seen) = replay.loss(offset, reason)?;
                recovered.losses.push(loss);
                highest = highest.max(seen).max(*revision);
                broken = true;
            }
            Err(error) => return Err(error),
        }
    }
    recovered.ledger.trim(reading.now);
    if !recovered.losses.is_empty() {
        let highest = highest.max(recovered.ledger.state.revision);
        begin_anew(directory, &mut recovered, highest + JUMP, reading)
            .map_err(OpenError::io(directory.path()))?;
    }
    Ok(recovered)
}

fn load(
    path: &Path,
    revision: u64,
    reading: Reading,
    losses: &mut Vec<DataLoss>,
) -> Result<snapshot::Loaded, OpenError> {
    match snapshot::read(path, Some(revision), reading.wall) {
        Err(OpenError::Corrupt { offset, reason, .. }) if reading.accept_data_loss => {
            let (loaded, loss) = snapshot::salvage(path, revision, reading.wall, (offset, reason))?;
            losses.push(loss);
            Ok(loaded)
        }
        read => read,
    }
}

/// Writes down what is left, so that the next start finds nothing damaged, and keeps the damaged files under other
/// names.
fn begin_anew(
    directory: &Directory,
    recovered: &mut Recovered,
    revision: u64,
    reading: Reading,
) -> io::Result<()> {
    let records = recovered.ledger.state.entries.iter().cloned().collect();
    let state = Arc::new(State::of(records, revision));
    recovered.snapshot_size = snapshot::write(directory, &state, reading.wall, &Pace::hurried())?;
    for file in directory.set_aside(revision)? {
        tracing::error!(file = %file.display(), "kept a damaged file, or one behind it");
    }
    for loss in &recovered.losses {
        tracing::error!(%loss, "data was lost");
    }
    recovered.ledger = Ledger::new((*state).clone(), reading.limits);
    (recovered.log, recovered.logged) = (None, 0);
    Ok(())
}

fn discard(path: &Path) -> Result<(), OpenError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(OpenError::Io { path: path.to_owned(), source: error })
        }
        _ => Ok(()),
    }
}

/// The reading of one log.
struct Replay<'a> {
    path: &'a Path,
    /// Only the last log can be torn.
    last: bool,
    /// Whether something before it was dropped.
    lossy: bool,
    reading: Reading,
}

impl Replay<'_> {
    /// Applies what the log holds; returns how far it is good, `None` when not even its header is.
    fn run(&self, ledger: &mut Ledger, revision: u64) -> Result<Option<Tail>, OpenError> {
        let (mut frames, header) = Frames::open(self.path).map_err(OpenError::io(self.path))?;
        let begun = self.last && self.is_unwritten(&header)?;
        if !begun {
            Header { kind: Kind::Log, revision }.check(&header, self.path)?;
        }
        // Also one that was only begun says by its name what was on the disk before it.
        if revision > ledger.state.revision {
            return Err(self.missing(frames.at(), ledger, revision));
        }
        if begun {
            tracing::warn!(log = %self.path.display(), "a log that was only begun is begun anew");
            return Ok(None);
        }
        let (mut at, mut unflushed) = (frames.at(), 0);
        while let Some(frame) = frames.read().map_err(OpenError::io(self.path))? {
            if frame.anchored {
                unflushed = at as u64;
            }
            self.apply(ledger, &frame, at)?;
            ledger.trim(self.reading.now);
            at = frame.end;
        }
        if at < frames.len() {
            self.look_at_the_end(at)?;
        }
        Ok(Some(Tail { revision, unflushed, len: at as u64 }))
    }

    fn is_unwritten(&self, header: &[u8]) -> Result<bool, OpenError> {
        let zeros = |bytes: &[u8]| bytes.iter().all(|byte| *byte == 0);
        Ok(header.len() < Header::LEN
            || zeros(header) && zeros(&fs::read(self.path).map_err(OpenError::io(self.path))?))
    }

    /// Whether what stands at `at`, which is no whole frame, may be cut off.
    fn look_at_the_end(&self, at: usize) -> Result<(), OpenError> {
        let bytes = fs::read(self.path).map_err(OpenError::io(self.path))?;
        match frame::read(&bytes, at) {
            Found::Torn if self.last => {
                let lost = bytes.len() - at;
                tracing::warn!(log = %self.path.display(), at, lost, "cut off a torn tail");
                Ok(())
            }
            Found::Torn => Err(self.corrupt(at, "the log ends inside a frame")),
            Found::Damaged(reason) => Err(self.corrupt(at, reason)),
            Found::End | Found::Frame(_) => Err(self.corrupt(at, "the file changed meanwhile")),
        }
    }

    fn apply(&self, ledger: &mut Ledger, frame: &Frame<'_>, at: usize) -> Result<(), OpenError> {
        let mut revision = frame.after;
        for item in Items::new(frame.payload) {
            let item = item.ok_or_else(|| self.corrupt(at, "a record makes no sense"))?;
            if let Item::Compact { through } = item {
                // What a snapshot has forgotten already cannot be forgotten again.
                let _ = ledger.compact(through);
                continue;
            }
            revision += 1;
            let current = ledger.state.revision;
            if revision <= current + 1 {
                if revision == current + 1 {
                    self.change(ledger, item, at)?;
                }
                continue;
            }
            return Err(self.missing(at, ledger, revision - 1));
        }
        Ok(())
    }

    fn change(&self, ledger: &mut Ledger, item: Item<'_>, at: usize) -> Result<(), OpenError> {
        let Reading { wall, now, .. } = self.reading;
        match item {
            Item::Put { key, value, expires } => {
                ledger.put(key, value, wall.deadline(expires), now);
                Ok(())
            }
            Item::Delete { key } if ledger.state.entries.get(key.as_bytes()).is_some() => {
                ledger.remove(&key, now);
                Ok(())
            }
            // Its entry was in a damaged part of the snapshot.
            Item::Delete { .. } if self.lossy => {
                ledger.state.revision += 1;
                Ok(())
            }
            _ => Err(self.corrupt(at, "a record does not fit what came before")),
        }
    }

    /// What it means to drop everything from `offset` on; also the last revision that can be seen there.
    fn loss(&self, offset: u64, reason: String) -> Result<(DataLoss, u64), OpenError> {
        let bytes = fs::read(self.path).map_err(OpenError::io(self.path))?;
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
        let (mut commits, mut seen, mut at) = (0, 0, start);
        while at < bytes.len() {
            let next = match frame::read(&bytes, at) {
                Found::Frame(frame) => {
                    commits += 1;
                    seen = frame.after + Items::new(frame.payload).count() as u64;
                    Some(frame.end)
                }
                _ => frame::next_whole(&bytes, at),
            };
            at = next.unwrap_or(bytes.len());
        }
        let dropped = format!(
            "the {} bytes from there on, among them {commits} whole commits",
            bytes.len() - start
        );
        Ok((DataLoss { file: self.path.to_owned(), offset, reason, dropped }, seen))
    }

    fn missing(&self, at: usize, ledger: &Ledger, through: u64) -> OpenError {
        let first = ledger.state.revision + 1;
        self.corrupt(at, &format!("revisions {first} to {through} are missing"))
    }

    fn corrupt(&self, offset: usize, reason: &str) -> OpenError {
        OpenError::corrupt(self.path, offset, reason)
    }
}
