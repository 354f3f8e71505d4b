use crate::{LogLine, LogStream, LogTag, Writer};
use bytes::Bytes;
use kubeplane_clock::SharedClock;
use parking_lot::Mutex;
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::PathBuf,
    sync::{Arc, OnceLock},
};
use tokio::{io::AsyncWriteExt, sync::broadcast};

/// Lines are cut at this length, as other runtimes do.
const MAX_LINE: usize = 16 << 10;
/// How many pieces of output one who is attached may be behind.
const ATTACHED: usize = 256;
/// How much of the output of a command is kept, as kubelets do.
const MAX_CAPTURED: usize = 16 << 20;

/// The log of a container, and those who read along.
#[derive(Debug)]
pub(super) struct Log {
    clock: SharedClock,
    path: Option<PathBuf>,
    inner: Mutex<Inner>,
    /// Made for the first who reads along: hardly any container has one.
    live: OnceLock<broadcast::Sender<(LogStream, Bytes)>>,
}

#[derive(Debug, Default)]
struct Inner {
    file: Option<File>,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl Log {
    pub(super) fn new(clock: SharedClock, path: Option<PathBuf>) -> Self {
        Self { clock, path, inner: Mutex::default(), live: OnceLock::new() }
    }

    /// Opens the file, anew if it is open.
    pub(super) fn open(&self) -> io::Result<()> {
        let Some(path) = &self.path else {
            return Ok(());
        };
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        self.inner.lock().file = Some(file);
        Ok(())
    }

    pub(super) fn path(&self) -> String {
        self.path.as_ref().map(|path| path.display().to_string()).unwrap_or_default()
    }

    pub(super) fn follow(&self) -> broadcast::Receiver<(LogStream, Bytes)> {
        self.live.get_or_init(|| broadcast::Sender::new(ATTACHED)).subscribe()
    }

    pub(super) fn write(&self, stream: LogStream, bytes: &[u8]) {
        if let Some(live) = self.live.get() {
            // Who was attached may have gone.
            let _ = live.send((stream, Bytes::copy_from_slice(bytes)));
        }
        let time = self.clock.now();
        let mut inner = self.inner.lock();
        let mut pending = std::mem::take(inner.pending(stream));
        pending.extend_from_slice(bytes);
        let mut lines = Vec::new();
        let mut rest = &pending[..];
        loop {
            let end = rest.iter().position(|byte| *byte == b'\n');
            let (text, tag, next) = match end {
                Some(end) if end <= MAX_LINE => (&rest[..end], LogTag::Full, end + 1),
                _ if rest.len() > MAX_LINE => (&rest[..MAX_LINE], LogTag::Partial, MAX_LINE),
                _ => break,
            };
            LogLine { time, stream, tag, text }.write(&mut lines);
            rest = &rest[next..];
        }
        let kept = rest.to_vec();
        *inner.pending(stream) = kept;
        inner.append(&lines);
    }

    /// Writes what waits for the end of its line; the process has ended.
    pub(super) fn finish(&self) {
        let time = self.clock.now();
        let mut inner = self.inner.lock();
        for stream in [LogStream::Stdout, LogStream::Stderr] {
            let text = std::mem::take(inner.pending(stream));
            if !text.is_empty() {
                let mut line = Vec::new();
                LogLine { time, stream, tag: LogTag::Partial, text: &text }.write(&mut line);
                inner.append(&line);
            }
        }
        inner.file = None;
    }
}

impl Inner {
    fn pending(&mut self, stream: LogStream) -> &mut Vec<u8> {
        match stream {
            LogStream::Stdout => &mut self.stdout,
            LogStream::Stderr => &mut self.stderr,
        }
    }

    fn append(&mut self, lines: &[u8]) {
        if let Some(file) = &mut self.file
            && let Err(error) = file.write_all(lines)
        {
            tracing::warn!(%error, "a container's log cannot be written");
        }
    }
}

/// Where a process writes to.
pub(super) enum Output {
    /// The log of its container.
    Log(Arc<super::Container>),
    /// Whoever runs it, with both streams in one on a terminal.
    Streams { stdout: Option<Writer>, stderr: Option<Writer>, tty: bool },
    /// Memory.
    Captured { stdout: Vec<u8>, stderr: Vec<u8> },
}

impl Output {
    pub(super) async fn write(&mut self, stream: LogStream, bytes: &[u8]) {
        match self {
            Self::Log(container) => container.log.write(stream, bytes),
            Self::Captured { stdout, stderr } => {
                let buffer = if stream == LogStream::Stdout { stdout } else { stderr };
                let room = MAX_CAPTURED.saturating_sub(buffer.len()).min(bytes.len());
                buffer.extend_from_slice(&bytes[..room]);
            }
            Self::Streams { stdout, stderr, tty } => {
                let writer = if stream == LogStream::Stdout || *tty { stdout } else { stderr };
                if let Some(open) = writer
                    && open.write_all(bytes).await.is_err()
                {
                    *writer = None;
                }
            }
        }
    }
}
