use super::{
    directory::Directory,
    disk::DiskFile,
    file::{Header, Kind},
    recover::Tail,
};
use std::{
    fs::File,
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
};

/// What is read at once of what is written again, in bytes.
const COPIED: usize = 1024 * 1024;

/// The log that is being written. After an error of any of its calls nothing is known about its end, so nothing
/// may be written behind it.
#[derive(Debug)]
pub(crate) struct LogFile {
    file: Box<dyn DiskFile>,
    /// The revision before its first change.
    revision: u64,
    /// Whether all that was appended is on the disk.
    flushed: bool,
}

impl LogFile {
    /// Begins the log of the changes after `revision`.
    pub(crate) fn create(directory: &Directory, revision: u64) -> io::Result<Self> {
        let mut file = directory.disk().create(&directory.log(revision))?;
        file.write_all(&Header { kind: Kind::Log, revision }.encode())?;
        file.sync()?;
        directory.sync()?;
        Ok(Self { file, revision, flushed: true })
    }

    /// Removes, durably, what a failure left of the log that was to begin after `revision`: while it is there, the one
    /// before must not be torn.
    pub(crate) fn take_back(directory: &Directory, revision: u64) -> io::Result<()> {
        match directory.disk().remove(&directory.log(revision)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed.and_then(|()| directory.sync()),
        }
    }

    /// Goes on with a log; what is behind its good bytes is cut off. With `sync` all of it is on the disk then.
    ///
    /// What the process before did not flush was read, but perhaps only from the memory of the system, which takes
    /// it for written after a flush that failed, so that another one would find nothing to do: it is written
    /// again, in its place.
    pub(crate) fn resume(directory: &Directory, tail: Tail, sync: bool) -> io::Result<Self> {
        let Tail { revision, unflushed, len } = tail;
        let path = directory.log(revision);
        let from = if sync { unflushed } else { len };
        let mut file = directory.disk().resume(&path, from, len)?;
        if sync {
            let mut written = File::open(&path)?;
            written.seek(SeekFrom::Start(from))?;
            let mut rest = written.take(len - from);
            let mut buffer = Vec::new();
            while rest.by_ref().take(COPIED as u64).read_to_end(&mut buffer)? > 0 {
                file.write_all(&buffer)?;
                buffer.clear();
            }
            file.sync()?;
            directory.sync()?;
        }
        Ok(Self { file, revision, flushed: sync })
    }

    /// The revision before its first change.
    pub(crate) fn revision(&self) -> u64 {
        self.revision
    }

    /// Whether all that was appended is on the disk.
    pub(crate) fn flushed(&self) -> bool {
        self.flushed
    }

    /// Writes all of `frame` behind what is there.
    pub(crate) fn append(&mut self, frame: &[u8]) -> io::Result<()> {
        self.flushed = false;
        self.file.write_all(frame)
    }

    /// Makes everything appended durable.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        if !self.flushed {
            self.file.sync()?;
            self.flushed = true;
        }
        Ok(())
    }
}
