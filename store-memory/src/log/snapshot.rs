use super::{
    directory::{Directory, PRIVATE},
    file::{Header, Kind},
    frame::{self, Found},
    record::{self, Item, Items},
};
use crate::{
    OpenError,
    state::{Record, State},
    wall::Wall,
};
use std::os::unix::fs::OpenOptionsExt as _;
use std::{
    fs::{self, File},
    io::{self, BufWriter, Write},
    path::Path,
    sync::Arc,
};

/// Frames of a snapshot are about this large, in bytes.
const FRAME: usize = 256 * 1024;

/// Writes every entry of `state`; returns the size of the file once it is durable under its name.
pub(crate) fn write(directory: &Directory, state: &State, wall: Wall) -> io::Result<u64> {
    let unfinished = directory.unfinished();
    let options = File::options().mode(PRIVATE).create(true).write(true).truncate(true).clone();
    let mut file = BufWriter::new(options.open(&unfinished)?);
    file.write_all(&Header { kind: Kind::Snapshot, revision: state.revision }.encode())?;
    let mut buffer = Vec::with_capacity(FRAME * 2);
    frame::begin(&mut buffer);
    for (key, entry) in &state.entries {
        let expires = wall.expires(entry.deadline);
        let numbers = [expires, entry.revision, entry.created];
        record::entry(&mut buffer, key, &entry.value, numbers);
        if buffer.len() >= FRAME {
            frame::seal(&mut buffer, state.revision);
            file.write_all(&buffer)?;
            frame::begin(&mut buffer);
        }
    }
    record::count(&mut buffer, state.entries.len() as u64);
    frame::seal(&mut buffer, state.revision);
    file.write_all(&buffer)?;
    let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.sync_all()?;
    let size = file.metadata()?.len();
    fs::rename(&unfinished, directory.snapshot(state.revision))?;
    directory.sync()?;
    Ok(size)
}

/// Reads a snapshot; returns the state and the size of the file.
pub(crate) fn read(path: &Path, revision: u64, wall: Wall) -> Result<(State, u64), OpenError> {
    let bytes = fs::read(path).map_err(OpenError::io(path))?;
    Header { kind: Kind::Snapshot, revision }.check(&bytes, path)?;
    let mut state = State { revision, compacted: revision, ..State::empty() };
    let mut at = Header::LEN;
    let corrupt = |offset: usize, reason: &str| OpenError::Corrupt {
        file: path.to_owned(),
        offset: offset as u64,
        reason: reason.to_owned(),
    };
    loop {
        let frame = match frame::read(&bytes, at) {
            Found::Frame(frame) => frame,
            Found::End | Found::Torn => {
                return Err(corrupt(at, "the snapshot ends before its last record"));
            }
            Found::Damaged(reason) => return Err(corrupt(at, reason)),
        };
        for item in Items::new(frame.payload) {
            match item {
                Some(Item::Entry { key, value, expires, revision, created }) => {
                    state.size += (key.as_bytes().len() + value.len()) as u64;
                    let deadline = wall.deadline(expires);
                    let record = Record { value, revision, created, deadline };
                    state.entries.insert(key, Arc::new(record));
                }
                Some(Item::Count { entries }) if entries == state.entries.len() as u64 => {
                    return Ok((state, bytes.len() as u64));
                }
                Some(Item::Count { .. }) => {
                    return Err(corrupt(at, "the snapshot lacks entries"));
                }
                _ => return Err(corrupt(at, "a record makes no sense")),
            }
        }
        at = frame.end;
    }
}
