use super::{
    directory::Directory,
    disk::DiskFile,
    file::{Header, Kind},
};
use std::io;

/// The log that is being written. After an error of any of its calls nothing is known about its end, so nothing
/// may be written behind it.
#[derive(Debug)]
pub(crate) struct LogFile {
    file: Box<dyn DiskFile>,
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
        Ok(Self { file, flushed: true })
    }

    /// Goes on with a log that holds `len` good bytes; what is behind them is cut off.
    pub(crate) fn resume(directory: &Directory, revision: u64, len: u64) -> io::Result<Self> {
        let mut file = directory.disk().resume(&directory.log(revision), len)?;
        // It was read, but the process before may have died before it was on the disk.
        file.sync()?;
        Ok(Self { file, flushed: true })
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
