//! Events as lines of a file that is put away when it is large.

use super::{AuditSink, Event};
use flate2::{Compression, write::GzEncoder};
use kubeplane_clock::SharedClock;
use std::{
    ffi::OsStr,
    fs::{self, File, OpenOptions},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
    time::Duration,
};

/// How large a file grows where nothing is said.
const LARGEST: u64 = 100 * 1024 * 1024;
const DAY: u64 = 24 * 60 * 60;
/// What the names of compressed files end in.
const PACKED: &str = ".gz";

/// Where the lines go, and how much of them is kept: `--audit-log-*`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FileOptions {
    /// The file; `-` for the standard output.
    pub path: PathBuf,
    /// After how many days files that were put away are removed; 0 for never.
    pub max_age_days: u32,
    /// How many files that were put away are kept; 0 for all.
    pub max_backups: usize,
    /// How many MiB a file holds before it is put away; 0 for 100.
    pub max_size_mib: u64,
    /// Files that were put away are compressed with gzip.
    pub compress: bool,
}

/// One JSON line for each event. Files put away are named after the time, as in
/// `audit-2026-01-31T12-00-00.000.log`.
#[derive(Debug)]
pub struct AuditFile {
    options: FileOptions,
    clock: SharedClock,
    /// `None` writes to the standard output.
    file: Option<BufWriter<File>>,
    size: u64,
    line: Vec<u8>,
}

impl AuditFile {
    /// Opens or makes the file, for its owner alone.
    ///
    /// # Errors
    /// When that fails.
    pub fn open(options: FileOptions, clock: SharedClock) -> io::Result<Self> {
        let mut log = Self { options, clock, file: None, size: 0, line: Vec::new() };
        if log.options.path != Path::new("-") {
            log.reopen()?;
        }
        Ok(log)
    }

    fn reopen(&mut self) -> io::Result<()> {
        let path = &self.options.path;
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            fs::create_dir_all(folder)?;
        }
        let mut open = OpenOptions::new();
        open.create(true).append(true);
        for_the_owner(&mut open);
        let file = open.open(path)?;
        self.size = file.metadata()?.len();
        self.file = Some(BufWriter::new(file));
        Ok(())
    }

    fn limit(&self) -> u64 {
        match self.options.max_size_mib {
            0 => LARGEST,
            mib => mib.saturating_mul(1024 * 1024),
        }
    }

    fn put_away(&mut self) -> io::Result<()> {
        if let Some(mut file) = self.file.take() {
            file.flush()?;
        }
        let time = self.clock.now().strftime("%Y-%m-%dT%H-%M-%S%.3f").to_string();
        let backup = self.backup(&time);
        fs::rename(&self.options.path, &backup)?;
        self.reopen()?;
        if self.options.compress {
            compress(&backup)?;
        }
        self.clean()
    }

    fn backup(&self, time: &str) -> PathBuf {
        let path = &self.options.path;
        let (stem, extension) = parts(path);
        path.with_file_name(format!("{stem}-{time}{extension}"))
    }

    /// Removes what is too old or too much.
    fn clean(&self) -> io::Result<()> {
        let path = &self.options.path;
        let (stem, extension) = parts(path);
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let mut backups = Vec::new();
        for entry in fs::read_dir(folder.unwrap_or(Path::new(".")))? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let time = name.strip_prefix(&format!("{stem}-"));
            let time = time.map(|rest| rest.strip_suffix(PACKED).unwrap_or(rest));
            let time = time.and_then(|rest| rest.strip_suffix(&extension));
            if time.is_some_and(|time| time.len() == "2006-01-02T15-04-05.000".len()) {
                backups.push(entry.path());
            }
        }
        // Their names sort by time.
        backups.sort();
        let age = Duration::from_secs(DAY * u64::from(self.options.max_age_days));
        let oldest = self.clock.now().checked_sub(age).unwrap_or(jiff::Timestamp::MIN);
        let oldest = self.backup(&oldest.strftime("%Y-%m-%dT%H-%M-%S%.3f").to_string());
        let surplus = match self.options.max_backups {
            0 => 0,
            kept => backups.len().saturating_sub(kept),
        };
        for (index, backup) in backups.iter().enumerate() {
            if index < surplus || self.options.max_age_days > 0 && *backup < oldest {
                fs::remove_file(backup)?;
            }
        }
        Ok(())
    }
}

fn for_the_owner(open: &mut OpenOptions) {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(open, 0o600);
    #[cfg(not(unix))]
    let _ = open;
}

/// Leaves the packed file in the place of the plain one.
fn compress(path: &Path) -> io::Result<()> {
    let mut packed = path.as_os_str().to_owned();
    packed.push(PACKED);
    let mut open = OpenOptions::new();
    open.write(true).create_new(true);
    for_the_owner(&mut open);
    let file = open.open(&packed)?;
    let mut encoder = GzEncoder::new(file, Compression::default());
    io::copy(&mut File::open(path)?, &mut encoder)?;
    encoder.finish()?.sync_all()?;
    fs::remove_file(path)
}

fn parts(path: &Path) -> (String, String) {
    let text = |part: Option<&OsStr>| part.unwrap_or_default().to_string_lossy().into_owned();
    let extension = text(path.extension());
    let dotted = if extension.is_empty() { extension } else { format!(".{extension}") };
    (text(path.file_stem()), dotted)
}

impl AuditSink for AuditFile {
    fn write(&mut self, event: &Event) -> io::Result<()> {
        self.line.clear();
        serde_json::to_writer(&mut self.line, event)?;
        self.line.push(b'\n');
        if self.file.is_none() && self.options.path == Path::new("-") {
            return io::stdout().lock().write_all(&self.line);
        }
        let length = self.line.len() as u64;
        if self.size + length > self.limit() && self.size > 0 {
            self.put_away()?;
        }
        if self.file.is_none() {
            self.reopen()?;
        }
        let Some(file) = &mut self.file else { return Ok(()) };
        file.write_all(&self.line)?;
        self.size += length;
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.file {
            Some(file) => file.flush(),
            None => io::stdout().lock().flush(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::Level;
    use kubeplane_clock::{Clock as _, PausedClock};
    use std::sync::Arc;

    fn event(clock: &PausedClock, padding: usize) -> Event {
        let mut event = Event::new(Level::Metadata, "7".to_owned(), clock.now());
        event.user_agent = "x".repeat(padding);
        event
    }

    #[test]
    fn a_large_file_is_put_away_and_the_oldest_are_removed() {
        let folder = std::env::temp_dir().join(format!("kubeplane-audit-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        let clock = PausedClock::starting_at("2026-01-31T12:00:00Z".parse().unwrap());
        let options = FileOptions {
            path: folder.join("audit.log"),
            max_backups: 1,
            max_size_mib: 1,
            ..FileOptions::default()
        };
        let mut log = AuditFile::open(options, Arc::new(clock.clone())).unwrap();
        for _ in 0..4 {
            log.write(&event(&clock, 700_000)).unwrap();
            // Two files put away within a millisecond would share their name.
            clock.advance(Duration::from_millis(500));
        }
        log.flush().unwrap();
        let mut names: Vec<_> = fs::read_dir(&folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!((names.len(), names[1].as_str()), (2, "audit.log"), "{names:?}");
        assert_eq!(names[0], "audit-2026-01-31T12-00-01.500.log");
        let text = fs::read_to_string(folder.join("audit.log")).unwrap();
        assert_eq!(text.lines().count(), 1);
        assert!(text.starts_with(
            r#"{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"7","stage":"#
        ));
        fs::remove_dir_all(&folder).unwrap();
    }
}
