use super::{
    directory::{Directory, PRIVATE},
    file::{Header, Kind},
};
use std::os::unix::fs::OpenOptionsExt as _;
use std::{
    fmt::Debug,
    fs::File,
    io::{self, Write},
};

/// Where frames go.
pub(crate) trait Sink: Debug + Send {
    /// Writes all of `frame` behind what is there, as durably as was promised.
    fn append(&mut self, frame: &[u8]) -> io::Result<()>;
}

/// The log that is being written.
#[derive(Debug)]
pub(crate) struct LogFile {
    file: File,
    sync: bool,
}

impl LogFile {
    /// Begins the log of the changes after `revision`.
    pub(crate) fn create(directory: &Directory, revision: u64, sync: bool) -> io::Result<Self> {
        let mut file = File::options()
            .mode(PRIVATE)
            .create(true)
            .write(true)
            .truncate(true)
            .open(directory.log(revision))?;
        file.write_all(&Header { kind: Kind::Log, revision }.encode())?;
        file.sync_all()?;
        directory.sync()?;
        Ok(Self { file, sync })
    }

    /// Goes on with a log that holds `len` good bytes; what is behind them is cut off.
    pub(crate) fn resume(
        directory: &Directory,
        revision: u64,
        len: u64,
        sync: bool,
    ) -> io::Result<Self> {
        let file = File::options().append(true).open(directory.log(revision))?;
        if file.metadata()?.len() != len {
            file.set_len(len)?;
            file.sync_all()?;
        }
        Ok(Self { file, sync })
    }
}

impl Sink for LogFile {
    fn append(&mut self, frame: &[u8]) -> io::Result<()> {
        self.file.write_all(frame)?;
        if self.sync { self.file.sync_data() } else { Ok(()) }
    }
}
