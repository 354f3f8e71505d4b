use super::{Options, Outcome, ResizeSender, STREAM_TYPE};
use crate::{
    Error, Result,
    handshake::{self, Dialled},
    pipe::{Duplex, StreamReader, StreamWriter},
    spdy::{Connection, Headers, Role},
};
use tokio::io::AsyncReadExt;

/// The protocols a client offers, the best first.
const PROTOCOLS: [&str; 4] =
    ["v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io"];
/// What is read of an error stream at most.
const MAX_STATUS: u64 = 1 << 20;

/// The streams of a process that runs elsewhere, as the side that asked for it has them.
#[derive(Debug)]
#[non_exhaustive]
pub struct RemoteProcess {
    /// What the process reads; shut it down to end its input.
    pub stdin: Option<StreamWriter>,
    /// The standard output of the process.
    pub stdout: Option<StreamReader>,
    /// The standard error of the process.
    pub stderr: Option<StreamReader>,
    /// Takes the sizes of the terminal.
    pub resize: Option<ResizeSender>,
    /// Tells how the process ended; owns the connection.
    pub status: StatusReceiver,
}

/// Tells how a remote command ended. Dropping it ends the connection at once.
#[derive(Debug)]
pub struct StatusReceiver {
    connection: Connection,
    error: StreamReader,
    version: u8,
}

impl StatusReceiver {
    /// Waits for the end of the command.
    ///
    /// The output must be read meanwhile, for a full stream holds up the whole connection.
    ///
    /// # Errors
    /// `Io` when the status cannot be read, `Closed` when the connection broke before it came.
    pub async fn wait(self) -> Result<Outcome> {
        let mut text = Vec::new();
        self.error.take(MAX_STATUS).read_to_end(&mut text).await?;
        if text.is_empty() && self.version >= 4 {
            return Err(Error::Closed);
        }
        self.connection.close().await;
        Ok(Outcome::decode(&text, self.version))
    }
}

/// Asks the server at a streaming URL, as runtimes give them, for a remote command.
///
/// # Errors
/// `Refused` when the server does not upgrade, `BadOptions` when the URL is not `http://host:port/path`,
/// `Io` when it cannot be reached.
pub async fn dial(url: &str, options: Options) -> Result<RemoteProcess> {
    let Dialled { io, protocol } = handshake::dial(url, &PROTOCOLS).await?;
    let version = match protocol.as_str() {
        "v4.channel.k8s.io" => 4,
        "v3.channel.k8s.io" => 3,
        "v2.channel.k8s.io" => 2,
        _ => 1,
    };
    connect(io, version, options).await
}

/// The client's end of a remote command over SPDY, on a connection that was upgraded for `version` (1 to
/// 4) of the protocol.
///
/// # Errors
/// `StreamReset` or `Closed` when the server does not accept the streams.
pub async fn connect<T: Duplex + 'static>(
    io: T,
    version: u8,
    options: Options,
) -> Result<RemoteProcess> {
    // A client takes no streams, so they are refused.
    let (connection, _) = Connection::new(io, Role::Client);
    let open = async |kind: &str, wanted: bool| {
        if !wanted {
            return Ok(None);
        }
        let headers = Headers::new().with(STREAM_TYPE, kind);
        connection.open(headers).await.map(|stream| Some(stream.into_split()))
    };
    let error = open("error", true).await?.ok_or(Error::Closed)?;
    let stdin = open("stdin", options.stdin).await?;
    let stdout = open("stdout", options.stdout).await?;
    let stderr = open("stderr", options.stderr && !options.tty).await?;
    let resize = open("resize", options.tty && version >= 3).await?;
    Ok(RemoteProcess {
        stdin: stdin.map(|(_, writer)| writer),
        stdout: stdout.map(|(reader, _)| reader),
        stderr: stderr.map(|(reader, _)| reader),
        resize: resize.map(|(_, writer)| ResizeSender::new(writer)),
        status: StatusReceiver { connection, error: error.0, version },
    })
}
