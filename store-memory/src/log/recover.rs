use super::{
    directory::Directory,
    file::{Header, Kind},
    frame::{self, Found, Frame},
    record::{Item, Items},
    snapshot,
};
use crate::{
    OpenError,
    ledger::{HistoryLimits, Ledger},
    state::State,
    wall::Wall,
};
use std::{fs, io, path::Path, time::Duration};

/// What a data directory held.
#[derive(Debug)]
pub(crate) struct Recovered {
    pub(crate) ledger: Ledger,
    /// The log to go on with: its revision and how many of its bytes are good.
    pub(crate) log: Option<(u64, u64)>,
    /// Bytes in logs behind the snapshot.
    pub(crate) logged: u64,
    pub(crate) snapshot_size: u64,
}

/// Reads everything in a data directory.
pub(crate) fn recover(
    directory: &Directory,
    limits: HistoryLimits,
    wall: Wall,
    now: Duration,
) -> Result<Recovered, OpenError> {
    let contents = directory.contents().map_err(OpenError::io(directory.path()))?;
    discard(&directory.unfinished())?;
    let (state, snapshot_size) = match contents.snapshots.last() {
        Some(revision) => snapshot::read(&directory.snapshot(*revision), *revision, wall)?,
        None => (State::empty(), 0),
    };
    let start = state.revision;
    let mut recovered =
        Recovered { ledger: Ledger::new(state, limits), log: None, logged: 0, snapshot_size };
    for (index, revision) in contents.logs.iter().enumerate() {
        let next = contents.logs.get(index + 1);
        if next.is_some_and(|next| *next <= start) {
            continue;
        }
        let replay = Replay { path: &directory.log(*revision), last: next.is_none(), wall, now };
        let len = replay.run(&mut recovered.ledger, *revision)?;
        recovered.logged += len;
        recovered.log = (len > 0).then_some((*revision, len));
    }
    recovered.ledger.trim(now);
    Ok(recovered)
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
    wall: Wall,
    now: Duration,
}

impl Replay<'_> {
    /// Applies what the log holds; returns how many of its bytes are good, zero when not even its header is.
    fn run(&self, ledger: &mut Ledger, revision: u64) -> Result<u64, OpenError> {
        let bytes = fs::read(self.path).map_err(OpenError::io(self.path))?;
        let unwritten = bytes.len() < Header::LEN || bytes.iter().all(|byte| *byte == 0);
        if unwritten && self.last {
            tracing::warn!(log = %self.path.display(), "a log that was only begun is begun anew");
            return Ok(0);
        }
        Header { kind: Kind::Log, revision }.check(&bytes, self.path)?;
        if revision > ledger.state.revision {
            return Err(self.missing(Header::LEN, ledger, revision));
        }
        let mut at = Header::LEN;
        loop {
            match frame::read(&bytes, at) {
                Found::Frame(frame) => {
                    self.apply(ledger, &frame, at)?;
                    at = frame.end;
                }
                Found::End => break,
                Found::Torn if self.last => {
                    let lost = bytes.len() - at;
                    tracing::warn!(log = %self.path.display(), at, lost, "cut off a torn tail");
                    break;
                }
                Found::Torn => return Err(self.corrupt(at, "the log ends inside a frame")),
                Found::Damaged(reason) => return Err(self.corrupt(at, reason)),
            }
        }
        Ok(at as u64)
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

    fn change(&self, ledger: &mut Ledger, item: Item, at: usize) -> Result<(), OpenError> {
        match item {
            Item::Put { key, value, expires } => {
                ledger.put(key, value, self.wall.deadline(expires), self.now);
            }
            Item::Delete { key } if ledger.state.entries.contains_key(&key) => {
                ledger.remove(key, self.now);
            }
            _ => return Err(self.corrupt(at, "a record does not fit what came before")),
        }
        Ok(())
    }

    fn missing(&self, at: usize, ledger: &Ledger, through: u64) -> OpenError {
        let first = ledger.state.revision + 1;
        self.corrupt(at, &format!("revisions {first} to {through} are missing"))
    }

    fn corrupt(&self, offset: usize, reason: &str) -> OpenError {
        OpenError::Corrupt {
            file: self.path.to_owned(),
            offset: offset as u64,
            reason: reason.to_owned(),
        }
    }
}
