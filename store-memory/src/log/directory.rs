use super::{disk::Disk, pace::Pace};
use crate::OpenError;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::{
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

/// A data directory, held for as long as this lives.
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    disk: Arc<dyn Disk>,
    /// Its lock goes when it is closed, also when the process is killed.
    _lock: File,
}

/// The mode of every file: only the owner reads and writes.
pub(crate) const PRIVATE: u32 = 0o600;

/// How much of a large file goes at once, in bytes. A flush of the log may have to wait until it is gone.
const STEP: u64 = 1024 * 1024;

/// The files found in a data directory, by revision.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    pub(crate) snapshots: Vec<u64>,
    pub(crate) logs: Vec<u64>,
}

impl Directory {
    /// Makes the directory if needed and takes its lock.
    pub(crate) fn lock(path: &Path, disk: Arc<dyn Disk>) -> Result<Self, OpenError> {
        create(path, &*disk).map_err(OpenError::io(path))?;
        // Values hold secrets: nobody but the owner may look in, whatever the mask of the process.
        fs::set_permissions(path, fs::Permissions::from_mode(0o700))
            .map_err(OpenError::io(path))?;
        let file = path.join("lock");
        let lock = File::options()
            .mode(PRIVATE)
            .create(true)
            .truncate(false)
            .write(true)
            .open(&file)
            .map_err(OpenError::io(&file))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), disk, _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(OpenError::InUse { path: path.to_owned() }),
            Err(TryLockError::Error(source)) => Err(OpenError::Io { path: file, source }),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn disk(&self) -> &dyn Disk {
        &*self.disk
    }

    pub(crate) fn snapshot(&self, revision: u64) -> PathBuf {
        self.path.join(format!("snapshot-{revision:020}"))
    }

    pub(crate) fn log(&self, revision: u64) -> PathBuf {
        self.path.join(format!("log-{revision:020}"))
    }

    /// Where a snapshot is written before it has its name.
    pub(crate) fn unfinished(&self) -> PathBuf {
        self.path.join("snapshot.unfinished")
    }

    /// What is there, oldest first.
    pub(crate) fn contents(&self) -> io::Result<Contents> {
        let mut contents = Contents::default();
        for entry in fs::read_dir(&self.path)? {
            let name = entry?.file_name();
            let Some((kind, revision)) = name.to_str().and_then(|name| name.split_once('-')) else {
                continue;
            };
            let Ok(revision) = revision.parse() else {
                continue;
            };
            match kind {
                "snapshot" => contents.snapshots.push(revision),
                "log" => contents.logs.push(revision),
                _ => {}
            }
        }
        contents.snapshots.sort_unstable();
        contents.logs.sort_unstable();
        Ok(contents)
    }

    /// Removes what a snapshot at `revision`, which is on the disk, makes superfluous.
    pub(crate) fn prune(&self, revision: u64, pace: &Pace) -> io::Result<()> {
        let contents = self.contents()?;
        for old in contents.snapshots.iter().filter(|old| **old < revision) {
            self.remove(&self.snapshot(*old), pace)?;
        }
        for pair in contents.logs.windows(2) {
            // A log ends where the next begins.
            if pair[1] <= revision {
                self.remove(&self.log(pair[0]), pace)?;
            }
        }
        self.sync()
    }

    /// Removes a file from its end on, a little at a time. What is left of it when the process dies meanwhile is
    /// never read, and removed after the next snapshot.
    ///
    /// It is not written over as the next log: what stands behind the end of that would look like damage in its last
    /// group, or damage like the end, unless all of it were made zero first, and so every log written twice.
    fn remove(&self, path: &Path, pace: &Pace) -> io::Result<()> {
        let mut left = fs::metadata(path)?.len();
        while left > STEP {
            let started = Instant::now();
            left -= STEP;
            self.disk.shorten(path, left)?;
            pace.rest(started.elapsed());
        }
        self.disk.remove(path)
    }

    /// Puts everything but the snapshot at `revision` aside, under names that are not looked at again.
    pub(crate) fn set_aside(&self, revision: u64) -> io::Result<Vec<PathBuf>> {
        let contents = self.contents()?;
        let snapshots = contents.snapshots.iter().filter(|old| **old != revision);
        let files = snapshots.map(|old| self.snapshot(*old));
        let files = files.chain(contents.logs.iter().map(|log| self.log(*log)));
        let mut moved = Vec::new();
        for file in files {
            let mut name = std::ffi::OsString::from("dropped-");
            name.push(file.file_name().unwrap_or_default());
            let aside = self.path.join(name);
            self.disk.rename(&file, &aside)?;
            moved.push(aside);
        }
        self.sync()?;
        Ok(moved)
    }

    /// Makes the creation, renaming and removal of files durable.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.disk.sync_directory(&self.path)
    }
}

/// Makes a directory and those above it that are missing, so that their names are on the disk too: without that, a
/// loss of power would take all that was kept in it.
fn create(path: &Path, disk: &dyn Disk) -> io::Result<()> {
    let missing: Vec<_> = path.ancestors().take_while(|above| !above.exists()).collect();
    fs::create_dir_all(path)?;
    for made in missing.iter().rev() {
        match made.parent() {
            Some(parent) if parent.as_os_str().is_empty() => disk.sync_directory(Path::new("."))?,
            Some(parent) => disk.sync_directory(parent)?,
            None => {}
        }
    }
    if let Some(above) = missing.last().and_then(|made| made.parent()?.parent()) {
        // The one that was there may be as new, made by our caller; it may also be nobody's to look at.
        let _ = disk.sync_directory(above);
    }
    Ok(())
}
