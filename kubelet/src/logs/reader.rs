use super::LogOptions;
use crate::{Error, Result};
use bytes::Bytes;
use kubeplane_clock::SharedClock;
use kubeplane_runtime_cri::{ContainerId, ContainerRuntime, LogLine, LogTag, v1::ContainerState};
use std::{
    fs::File,
    io::{Read, Seek, SeekFrom},
    os::unix::fs::MetadataExt,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};
use tokio::sync::mpsc;

/// How often a log is looked at for more.
const LOOK: Duration = Duration::from_millis(100);
const BLOCK: usize = 64 << 10;
/// A line longer than this is no log line.
const MAX_LINE: usize = 1 << 20;

/// Sends the log of one container, and what comes to it.
#[derive(Debug)]
pub(crate) struct LogReader {
    path: PathBuf,
    options: LogOptions,
    clock: SharedClock,
    runtime: Arc<dyn ContainerRuntime>,
    container: ContainerId,
    file: File,
    /// Bytes that are no whole line yet.
    rest: Vec<u8>,
    left: Option<u64>,
}

impl LogReader {
    /// Opens a log where reading is to begin.
    ///
    /// # Errors
    /// When there is no such file.
    pub(crate) fn open(
        path: PathBuf,
        options: LogOptions,
        clock: SharedClock,
        runtime: Arc<dyn ContainerRuntime>,
        container: ContainerId,
    ) -> Result<Self> {
        let open = || {
            let mut file = File::open(&path)?;
            if let Some(lines) = options.tail {
                let start = tail_start(&mut file, lines)?;
                file.seek(SeekFrom::Start(start))?;
            }
            Ok::<_, std::io::Error>(file)
        };
        let file = open().map_err(|error| Error::file(&path, error))?;
        let left = options.limit;
        Ok(Self { path, options, clock, runtime, container, file, rest: Vec::new(), left })
    }

    /// Sends until the log is over, its limit is reached or nobody reads any more.
    pub(crate) async fn run(mut self, out: mpsc::Sender<Bytes>) {
        let mut last_look = false;
        loop {
            let block = match self.block() {
                Ok(block) => block,
                Err(error) => {
                    tracing::debug!(%error, "failed to read the log of a container");
                    return;
                }
            };
            if let Some(block) = block {
                if !block.is_empty() && out.send(block).await.is_err() {
                    return;
                }
                if self.left == Some(0) {
                    return;
                }
                continue;
            }
            if !self.options.follow || last_look {
                return;
            }
            if self.reopen() {
                continue;
            }
            // What a container wrote just before its end is still to be read.
            last_look = !self.is_running().await;
            if !last_look {
                tokio::select! {
                    () = self.clock.sleep(LOOK) => {}
                    () = out.closed() => return,
                }
            }
        }
    }

    /// The next lines in the form asked for; `None` at the end of the file.
    fn block(&mut self) -> std::io::Result<Option<Bytes>> {
        let mut buffer = vec![0; BLOCK];
        let count = self.file.read(&mut buffer)?;
        if count == 0 {
            return Ok(None);
        }
        self.rest.extend_from_slice(&buffer[..count]);
        let mut out = Vec::new();
        let mut from = 0;
        while let Some(length) = self.rest[from..].iter().position(|byte| *byte == b'\n') {
            let line = &self.rest[from..from + length];
            render(line, &self.options, &mut out);
            from += length + 1;
        }
        self.rest.drain(..from);
        if self.rest.len() > MAX_LINE {
            self.rest.clear();
        }
        if let Some(left) = &mut self.left {
            let limit = usize::try_from(*left).unwrap_or(usize::MAX);
            out.truncate(limit);
            *left -= u64::try_from(out.len()).unwrap_or(0);
        }
        Ok(Some(out.into()))
    }

    /// Goes on with the file that stands where this one was, if it was moved away.
    fn reopen(&mut self) -> bool {
        let same = |file: &File| {
            let (old, new) = (file.metadata().ok()?, std::fs::metadata(&self.path).ok()?);
            Some(old.ino() == new.ino() && old.dev() == new.dev() && new.len() >= self.position())
        };
        if same(&self.file) != Some(false) {
            return false;
        }
        match File::open(&self.path) {
            Ok(file) => {
                self.file = file;
                self.rest.clear();
                true
            }
            Err(_) => false,
        }
    }

    fn position(&self) -> u64 {
        let mut file = &self.file;
        file.stream_position().unwrap_or(0)
    }

    async fn is_running(&self) -> bool {
        match self.runtime.container_status(&self.container).await {
            Ok(status) => status.state() == ContainerState::ContainerRunning,
            Err(error) => !error.is_not_found(),
        }
    }
}

fn render(line: &[u8], options: &LogOptions, out: &mut Vec<u8>) {
    let Some(line) = LogLine::parse(line) else { return };
    if options.stream.is_some_and(|stream| stream != line.stream)
        || options.since.is_some_and(|since| line.time < since)
    {
        return;
    }
    // Only the beginning of a line has a time.
    let begins = out.last().is_none_or(|byte| *byte == b'\n');
    if options.timestamps && begins {
        out.extend_from_slice(format!("{:.9} ", line.time).as_bytes());
    }
    out.extend_from_slice(line.text);
    if line.tag == LogTag::Full {
        out.push(b'\n');
    }
}

/// Where the last `lines` lines of a file begin.
fn tail_start(file: &mut File, lines: usize) -> std::io::Result<u64> {
    let length = file.seek(SeekFrom::End(0))?;
    if lines == 0 {
        return Ok(length);
    }
    let mut left = length;
    let mut seen = 0;
    let mut buffer = vec![0; BLOCK];
    while left > 0 {
        let size = usize::try_from(left).unwrap_or(BLOCK).min(BLOCK);
        left -= u64::try_from(size).unwrap_or(0);
        file.seek(SeekFrom::Start(left))?;
        file.read_exact(&mut buffer[..size])?;
        for (index, byte) in buffer[..size].iter().enumerate().rev() {
            let at = left + u64::try_from(index).unwrap_or(0);
            if *byte == b'\n' && at + 1 < length {
                seen += 1;
                if seen == lines {
                    return Ok(at + 1);
                }
            }
        }
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn text(options: &LogOptions) -> String {
        let mut out = Vec::new();
        for line in [
            "2026-01-01T00:00:01.000000001Z stdout P par",
            "2026-01-01T00:00:02Z stdout F tial",
            "2026-01-01T00:00:03Z stderr F oops",
        ] {
            render(line.as_bytes(), options, &mut out);
        }
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn lines_are_joined_stamped_and_chosen() {
        assert_eq!(text(&LogOptions::default()), "partial\noops\n");
        let stamped = text(&LogOptions { timestamps: true, ..LogOptions::default() });
        assert_eq!(
            stamped,
            "2026-01-01T00:00:01.000000001Z partial\n2026-01-01T00:00:03.000000000Z oops\n"
        );
        let since = "2026-01-01T00:00:03Z".parse().ok();
        assert_eq!(text(&LogOptions { since, ..LogOptions::default() }), "oops\n");
    }

    #[test]
    fn the_tail_begins_at_a_line() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"one\ntwo\nthree\n").unwrap();
        assert_eq!(tail_start(&mut file, 1).unwrap(), 8);
        assert_eq!(tail_start(&mut file, 2).unwrap(), 4);
        assert_eq!(tail_start(&mut file, 9).unwrap(), 0);
        assert_eq!(tail_start(&mut file, 0).unwrap(), 14);
    }
}
