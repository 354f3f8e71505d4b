//! A disk that is as slow, as full and as broken as a test wants.

use crate::log::disk::{Disk, DiskFile, Job, SystemDisk};
use parking_lot::{Condvar, Mutex};
use std::{
    collections::BTreeMap,
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

pub(super) const EIO: i32 = 5;
pub(super) const EAGAIN: i32 = 11;
pub(super) const EMFILE: i32 = 24;
pub(super) const ENOSPC: i32 = 28;

#[derive(Debug, Clone, Default)]
pub(super) struct TestDisk {
    pub(super) state: Arc<(Mutex<DiskState>, Condvar)>,
}

#[derive(Debug, Default)]
pub(super) struct DiskState {
    /// Flushes wait.
    pub(super) held: bool,
    pub(super) waiting: bool,
    pub(super) flushed: usize,
    /// Flushes of snapshots wait, those of logs do not.
    pub(super) snapshots_held: bool,
    /// Flushes panic.
    pub(super) panics: bool,
    /// How long every write takes.
    pub(super) slowness: Duration,
    /// Nothing is really flushed, for tests with very many flushes.
    pub(super) pretends: bool,
    /// The most writes of a file that waited for a flush together.
    pub(super) unflushed: usize,
    /// Calls so far, and which of them fails, and how; all after it work again.
    pub(super) calls: usize,
    pub(super) fault: Option<(usize, Fault)>,
    pub(super) failed: Option<&'static str>,
    /// The call from which on all fail, doing nothing.
    pub(super) gone_at: Option<usize>,
    /// The same behind the first of these calls.
    pub(super) gone_behind: Option<Calls>,
    /// Which calls fail for as long as this stands, doing nothing, and with which error.
    pub(super) broken: Option<(Calls, i32)>,
    /// How many bytes all files of a directory may have together.
    pub(super) room: Option<u64>,
    /// What files were cut to, in order.
    pub(super) shortened: Vec<(PathBuf, u64)>,
    /// How many files were removed.
    pub(super) removed: usize,
    /// The directories whose entries were made durable.
    pub(super) synced: Vec<PathBuf>,
    /// What a loss of power leaves of each file: what was flushed without an error.
    durable: BTreeMap<PathBuf, Vec<u8>>,
    /// What was written to each file and not flushed yet, and where.
    dirty: BTreeMap<PathBuf, Vec<(usize, Vec<u8>)>>,
    /// What was done to names since their directory was flushed, oldest first.
    pub(super) names: Vec<Name>,
}

/// What was done to a name.
#[derive(Debug)]
pub(super) enum Name {
    Created(PathBuf),
    /// From one name to another, and what the latter stood for before.
    Renamed(PathBuf, PathBuf, Option<Vec<u8>>),
    Removed(PathBuf, Vec<u8>),
}

impl Name {
    fn path(&self) -> &Path {
        match self {
            Self::Created(path) | Self::Renamed(_, path, _) | Self::Removed(path, _) => path,
        }
    }
}

impl DiskState {
    /// What of a file is on the disk; one from before this disk is taken for flushed.
    fn forget(&mut self, path: &Path) -> Option<Vec<u8>> {
        self.dirty.remove(path);
        self.durable.remove(path).or_else(|| fs::read(path).ok())
    }

    fn undo(&mut self, name: Name) {
        let (path, bytes) = match name {
            Name::Created(path) => (path, None),
            Name::Renamed(from, to, before) => {
                if fs::rename(&to, &from).is_ok()
                    && let Some(bytes) = self.durable.remove(&to)
                {
                    self.durable.insert(from, bytes);
                }
                (to, before)
            }
            Name::Removed(path, bytes) => (path, Some(bytes)),
        };
        match bytes {
            Some(bytes) => {
                fs::write(&path, &bytes).unwrap();
                self.durable.insert(path, bytes);
            }
            None => {
                // It may have been removed or renamed since.
                let _ = fs::remove_file(&path);
                self.durable.remove(&path);
            }
        }
    }
}

/// Which calls, by what is done to which file.
pub(super) type Calls = fn(&str, &Path) -> bool;

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Fault {
    /// The call does nothing and fails.
    Before(i32),
    /// The call does its work, a write half of it, and then fails.
    After(i32),
}

impl TestDisk {
    pub(super) fn set<T>(&self, change: impl FnOnce(&mut DiskState) -> T) -> T {
        let changed = change(&mut self.state.0.lock());
        self.state.1.notify_all();
        changed
    }

    /// Waits until a flush waits.
    pub(super) async fn is_flushed(&self) {
        self.until(|state| state.waiting).await;
    }

    pub(super) async fn until(&self, reached: fn(&DiskState) -> bool) {
        let disk = self.clone();
        let wait = move || {
            let mut state = disk.state.0.lock();
            disk.state.1.wait_while(&mut state, |state| !reached(state));
        };
        tokio::task::spawn_blocking(wait).await.unwrap();
    }

    /// The machine loses power: of every file that is left what was flushed, under the name that was flushed.
    pub(super) fn lose_power(&self) {
        self.lose(|_| false);
    }

    /// The same on a file system where removals come to the disk before all else.
    pub(super) fn lose_power_after_removals(&self) {
        self.lose(|name| matches!(name, Name::Removed(..)));
    }

    /// The same where all names have come to the disk by themselves.
    pub(super) fn lose_power_after_names(&self) {
        self.lose(|_| true);
    }

    fn lose(&self, kept: fn(&Name) -> bool) {
        let mut state = self.state.0.lock();
        state.dirty.clear();
        while let Some(name) = state.names.pop() {
            if !kept(&name) {
                state.undo(name);
            }
        }
        for (path, bytes) in state.durable.iter().filter(|(path, _)| path.exists()) {
            fs::write(path, bytes).unwrap();
        }
    }

    fn call<T>(
        &self,
        (name, path): (&'static str, &Path),
        call: impl FnOnce(bool) -> io::Result<T>,
    ) -> io::Result<T> {
        let fault = {
            let mut state = self.state.0.lock();
            state.calls += 1;
            let calls = state.calls;
            let fault = state.fault.filter(|(at, _)| *at == calls).map(|(_, fault)| fault);
            if fault.is_some() {
                state.failed = Some(name);
            }
            let broken = state.broken.filter(|(which, _)| which(name, path));
            if state.gone_at.is_none() && state.gone_behind.is_some_and(|which| which(name, path)) {
                state.gone_at = Some(calls + 1);
            }
            let gone = state.gone_at.filter(|at| *at <= calls).map(|_| EIO);
            fault.or(broken.map(|(_, code)| code).or(gone).map(Fault::Before))
        };
        match fault {
            None => call(false),
            Some(Fault::Before(code)) => Err(io::Error::from_raw_os_error(code)),
            Some(Fault::After(code)) => {
                call(true)?;
                Err(io::Error::from_raw_os_error(code))
            }
        }
    }

    fn open(&self, path: &Path, at: u64, file: Box<dyn DiskFile>) -> Box<dyn DiskFile> {
        let at = usize::try_from(at).unwrap();
        Box::new(TestFile { disk: self.clone(), path: path.to_owned(), at, file })
    }

    /// How many of `bytes` have room at `at` in the file.
    fn fit(&self, path: &Path, at: usize, bytes: usize) -> io::Result<usize> {
        let Some(room) = self.state.0.lock().room else { return Ok(bytes) };
        let length = |path: &Path| fs::metadata(path).map_or(0, |file| file.len());
        let files = fs::read_dir(path.parent().unwrap())?;
        let used: u64 = files.map(|file| length(&file.unwrap().path())).sum();
        let there = length(path).saturating_sub(at as u64);
        let fitting = usize::try_from(there + room.saturating_sub(used)).unwrap().min(bytes);
        if fitting == 0 { Err(io::Error::from_raw_os_error(ENOSPC)) } else { Ok(fitting) }
    }
}

#[derive(Debug)]
struct TestFile {
    disk: TestDisk,
    path: PathBuf,
    at: usize,
    file: Box<dyn DiskFile>,
}

impl Disk for TestDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let file = self.call(("create", path), |_| {
            let there = path.exists();
            let file = SystemDisk.create(path)?;
            self.set(|state| {
                state.dirty.remove(path);
                state.durable.insert(path.to_owned(), Vec::new());
                if !there {
                    state.names.push(Name::Created(path.to_owned()));
                }
            });
            Ok(file)
        })?;
        Ok(self.open(path, 0, file))
    }

    fn resume(&self, path: &Path, from: u64, len: u64) -> io::Result<Box<dyn DiskFile>> {
        let file = self.call(("resume", path), |_| SystemDisk.resume(path, from, len))?;
        self.set(|state| {
            state.dirty.remove(path);
            // A file from before this disk is taken for flushed.
            let known = state.durable.entry(path.to_owned());
            known.or_insert_with(|| fs::read(path).unwrap()).truncate(len.try_into().unwrap());
        });
        Ok(self.open(path, from, file))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.call(("rename", from), |_| {
            self.set(|state| {
                let before = state.forget(to);
                SystemDisk.rename(from, to)?;
                if let Some(bytes) = state.durable.remove(from) {
                    state.durable.insert(to.to_owned(), bytes);
                }
                state.names.push(Name::Renamed(from.to_owned(), to.to_owned(), before));
                Ok(())
            })
        })
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.call(("remove", path), |_| {
            self.set(|state| {
                // It need not be there.
                let bytes = state.forget(path).unwrap_or_default();
                SystemDisk.remove(path)?;
                state.removed += 1;
                state.names.push(Name::Removed(path.to_owned(), bytes));
                Ok(())
            })
        })
    }

    fn shorten(&self, path: &Path, len: u64) -> io::Result<()> {
        self.call(("shorten", path), |_| SystemDisk.shorten(path, len))?;
        self.set(|state| {
            let kept = usize::try_from(len).unwrap();
            state.durable.entry(path.to_owned()).or_default().truncate(kept);
            state.shortened.push((path.to_owned(), len));
        });
        Ok(())
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        self.call(("sync directory", path), |_| {
            self.set(|state| {
                if !state.pretends {
                    SystemDisk.sync_directory(path)?;
                }
                state.names.retain(|name| name.path().parent() != Some(path));
                state.synced.push(path.to_owned());
                Ok(())
            })
        })
    }

    fn aside(&self, job: Job) -> io::Result<JoinHandle<io::Result<u64>>> {
        // Not one of the calls: a thread is started or not, and never both.
        let broken = self.state.0.lock().broken;
        match broken.filter(|(which, _)| which("aside", Path::new(""))) {
            Some((_, code)) => Err(io::Error::from_raw_os_error(code)),
            None => SystemDisk.aside(job),
        }
    }
}

impl Write for TestFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let (disk, path) = (&self.disk, self.path.as_path());
        let (at, file) = (&mut self.at, &mut self.file);
        disk.call(("write", path), |half| {
            let bytes = if half { &bytes[..bytes.len() / 2] } else { bytes };
            let fitting = disk.fit(path, *at, bytes.len())?;
            let written = file.write(&bytes[..fitting])?;
            let dirty = (*at, bytes[..written].to_vec());
            *at += written;
            let slowness = disk.set(|state| {
                let waiting = state.dirty.entry(path.to_owned()).or_default();
                waiting.push(dirty);
                state.unflushed = state.unflushed.max(waiting.len());
                state.slowness
            });
            thread::sleep(slowness);
            Ok(written)
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl DiskFile for TestFile {
    fn sync(&mut self) -> io::Result<()> {
        let snapshot = self.path.ends_with("snapshot.unfinished");
        let mut state = self.disk.state.0.lock();
        if !(snapshot && state.snapshots_held) {
            state.waiting = true;
            self.disk.state.1.notify_all();
        }
        self.disk
            .state
            .1
            .wait_while(&mut state, |state| state.held || snapshot && state.snapshots_held);
        state.waiting = false;
        state.flushed += 1;
        let (panics, pretends) = (state.panics, state.pretends);
        drop(state);
        assert!(!panics, "a flush that a test wants to panic");
        let (disk, path, file) = (&self.disk, self.path.as_path(), &mut self.file);
        let synced = disk.call(("flush", path), |_| {
            if !pretends {
                file.sync()?;
            }
            disk.set(|state| {
                let durable = state.durable.entry(path.to_owned()).or_default();
                for (at, bytes) in state.dirty.remove(path).unwrap_or_default() {
                    let end = at + bytes.len();
                    durable.resize(durable.len().max(end), 0);
                    durable[at..end].copy_from_slice(&bytes);
                }
            });
            Ok(())
        });
        // After a flush that failed Linux takes the pages for written: the next flush has nothing to do.
        disk.set(|state| drop(state.dirty.remove(path)));
        synced
    }
}
