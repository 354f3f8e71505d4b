use super::directory::PRIVATE;
use std::os::unix::fs::OpenOptionsExt as _;
use std::{
    fmt::Debug,
    fs::{self, File},
    io::{self, Seek as _},
    path::Path,
    thread::{self, JoinHandle},
};

/// What is done beside the writing of the log; how many bytes came of it.
pub(crate) type Job = Box<dyn FnOnce() -> io::Result<u64> + Send>;

/// What the log changes on a file system. Tests put one in its place that fails.
pub(crate) trait Disk: Debug + Send + Sync {
    /// Makes a file, or empties the one there.
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;
    /// Opens a file to write from `from` on; what is behind its first `len` bytes is cut off.
    fn resume(&self, path: &Path, from: u64, len: u64) -> io::Result<Box<dyn DiskFile>>;
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Cuts a file that nobody needs any more to its first `len` bytes, durably or not.
    fn shorten(&self, path: &Path, len: u64) -> io::Result<()>;
    /// Makes the creation, renaming and removal of files in a directory durable.
    fn sync_directory(&self, path: &Path) -> io::Result<()>;
    /// Does what takes long in a thread of its own.
    fn aside(&self, job: Job) -> io::Result<JoinHandle<io::Result<u64>>> {
        thread::Builder::new().name("store-snapshot".into()).spawn(job)
    }
}

/// A file that is written from one place to its end.
pub(crate) trait DiskFile: io::Write + Debug + Send {
    /// Makes what was written durable.
    fn sync(&mut self) -> io::Result<()>;
}

/// The operating system's.
#[derive(Debug)]
pub(crate) struct SystemDisk;

impl Disk for SystemDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut options = File::options();
        let file = options.mode(PRIVATE).create(true).write(true).truncate(true).open(path)?;
        Ok(Box::new(file))
    }

    fn resume(&self, path: &Path, from: u64, len: u64) -> io::Result<Box<dyn DiskFile>> {
        let mut file = File::options().write(true).open(path)?;
        if file.metadata()?.len() != len {
            file.set_len(len)?;
            file.sync_all()?;
        }
        file.seek(io::SeekFrom::Start(from))?;
        Ok(Box::new(file))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn shorten(&self, path: &Path, len: u64) -> io::Result<()> {
        File::options().write(true).open(path)?.set_len(len)
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }
}

impl DiskFile for File {
    fn sync(&mut self) -> io::Result<()> {
        // The size of a file is among the data that this makes durable.
        self.sync_data()
    }
}
