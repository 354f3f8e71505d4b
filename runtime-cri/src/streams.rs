use crate::Result;
use async_trait::async_trait;
use futures::future::BoxFuture;
use std::fmt;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::mpsc,
};

/// Bytes that come from a process or a port.
pub type Reader = Box<dyn AsyncRead + Send + Unpin>;

/// Bytes that go to a process or a port.
pub type Writer = Box<dyn AsyncWrite + Send + Unpin>;

/// Both directions of one byte stream.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// A connection to a port inside a sandbox.
pub type PortStream = Box<dyn Duplex>;

/// The size of a terminal, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TerminalSize {
    /// Columns.
    pub width: u16,
    /// Rows.
    pub height: u16,
}

/// Where the streams of an exec or attach are found.
#[derive(Debug)]
#[non_exhaustive]
pub enum Streaming {
    /// A server of the runtime that speaks the remote command protocols; asked for once, soon.
    Url(String),
    /// The streams themselves.
    InProcess(ProcessStreams),
}

/// Where the connections of a port-forward are made.
#[derive(Debug)]
#[non_exhaustive]
pub enum Forwarding {
    /// A server of the runtime that speaks the port-forward protocol; asked for once, soon.
    Url(String),
    /// A dialler in this process.
    InProcess(Box<dyn DialPort>),
}

/// Opens connections to ports inside one sandbox.
#[async_trait]
pub trait DialPort: fmt::Debug + Send + Sync + 'static {
    /// A new connection to `port`.
    ///
    /// # Cancellation
    /// Dropping the future gives the connection up.
    async fn dial(&self, port: u16) -> Result<PortStream>;
}

/// The caller's ends of the streams of a process.
///
/// Dropping `stdin` tells the process that its input is over; dropping everything detaches from it.
#[non_exhaustive]
pub struct ProcessStreams {
    /// What the process reads, when asked for.
    pub stdin: Option<Writer>,
    /// What the process writes to its standard output, when asked for.
    pub stdout: Option<Reader>,
    /// What the process writes to its standard error, when asked for and not a terminal.
    pub stderr: Option<Reader>,
    /// Sizes of the caller's terminal, for a process that has one.
    pub resize: Option<mpsc::Sender<TerminalSize>>,
    /// Resolves when the process has ended, with its exit code.
    pub exit: BoxFuture<'static, Result<i32>>,
}

impl ProcessStreams {
    /// No stream but the end of the process.
    #[must_use]
    pub fn new(exit: BoxFuture<'static, Result<i32>>) -> Self {
        Self { stdin: None, stdout: None, stderr: None, resize: None, exit }
    }
}

impl fmt::Debug for ProcessStreams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProcessStreams")
            .field("stdin", &self.stdin.is_some())
            .field("stdout", &self.stdout.is_some())
            .field("stderr", &self.stderr.is_some())
            .field("resize", &self.resize.is_some())
            .finish_non_exhaustive()
    }
}
