use super::{Options, Outcome, ResizeReceiver, STREAM_TYPE};
use crate::{
    Carrier, Error, Result, Upgrade,
    pipe::{BoxDuplex, Duplex, Stream, StreamReader, StreamWriter},
    spdy::{Connection, Incoming, Role},
    websocket::{Channels, Tunnel},
};
use bytes::Bytes;
use tokio::io::AsyncWriteExt;

/// The streams of a process, as the side that runs it has them.
#[derive(Debug)]
#[non_exhaustive]
pub struct RemoteStreams {
    /// What the client sends; ends when the client closes it or is gone.
    pub stdin: Option<StreamReader>,
    /// What the client gets as standard output.
    pub stdout: Option<StreamWriter>,
    /// What the client gets as standard error.
    pub stderr: Option<StreamWriter>,
    /// The sizes of the client's terminal.
    pub resize: Option<ResizeReceiver>,
    /// Takes how the process ended; owns the connection.
    pub status: StatusSender,
}

/// Tells the client how its command ended. Dropping it ends the connection at once.
#[derive(Debug)]
pub struct StatusSender {
    connection: Carried,
    error: StreamWriter,
    /// The way back on the stream of standard input. Its end would tell the client to send no more.
    _stdin: Option<StreamWriter>,
    version: u8,
}

#[derive(Debug)]
enum Carried {
    Spdy(Connection),
    Channels(Channels),
}

impl StatusSender {
    /// Waits until the client is gone; whoever runs the process then ends it.
    pub async fn closed(&self) {
        match &self.connection {
            Carried::Spdy(connection) => connection.closed().await,
            Carried::Channels(channels) => channels.closed().await,
        }
    }

    /// Sends the outcome and ends the connection in order, with everything written before.
    ///
    /// # Errors
    /// `Io` when the client is gone.
    ///
    /// # Cancellation
    /// The future ends when the client has closed its side, which the caller bounds by dropping it.
    pub async fn send(mut self, outcome: Outcome) -> Result<()> {
        let text = outcome.encode(self.version);
        if !text.is_empty() {
            self.error.write_all(&text).await?;
        }
        self.error.shutdown().await?;
        match self.connection {
            Carried::Spdy(connection) => connection.close().await,
            Carried::Channels(channels) => channels.close().await,
        }
        Ok(())
    }
}

/// The server's end of a remote command, over `io`, on which the 101 answer of `upgrade` was sent.
///
/// Waits until the client has opened its streams, which the caller bounds in time: the original gives 30
/// seconds.
///
/// # Errors
/// `Closed` when the client goes before it has opened its streams, `Protocol` when it opens others.
///
/// # Cancellation
/// Dropping the future ends the connection.
pub async fn serve<T: Duplex + 'static>(
    io: T,
    upgrade: &Upgrade,
    options: Options,
) -> Result<RemoteStreams> {
    match upgrade.carrier() {
        Carrier::Spdy => spdy(io, upgrade.version(), options).await,
        Carrier::SpdyInWebSocket => {
            let tunnel: BoxDuplex = Box::new(Tunnel::server(io).await);
            spdy(tunnel, upgrade.version(), options).await
        }
        Carrier::WebSocket { .. } => channels(io, upgrade, options).await,
    }
}

async fn channels<T: Duplex + 'static>(
    io: T,
    upgrade: &Upgrade,
    options: Options,
) -> Result<RemoteStreams> {
    let (connection, ends) = Channels::serve(io, upgrade.codec(), 5).await;
    let Ok([stdin, stdout, stderr, error, resize]) = <[_; 5]>::try_from(ends) else {
        return Err(Error::protocol("five channels were not made"));
    };
    // An empty message on the first writable channel tells the client that the connection stands.
    let first = if options.stdout {
        &stdout.1
    } else if options.stderr {
        &stderr.1
    } else {
        &error.1
    };
    first.message(Bytes::new()).await?;
    Ok(RemoteStreams {
        stdin: options.stdin.then_some(stdin.0),
        stdout: options.stdout.then_some(stdout.1),
        stderr: options.stderr.then_some(stderr.1),
        resize: options.tty.then(|| ResizeReceiver::new(resize.0)),
        status: StatusSender {
            connection: Carried::Channels(connection),
            error: error.1,
            _stdin: Some(stdin.1),
            version: upgrade.version(),
        },
    })
}

/// The streams a SPDY client has opened so far.
#[derive(Debug, Default)]
struct Opened {
    error: Option<Stream>,
    stdin: Option<Stream>,
    stdout: Option<Stream>,
    stderr: Option<Stream>,
    resize: Option<Stream>,
}

impl Opened {
    fn is_complete(&self, version: u8, options: Options) -> bool {
        self.error.is_some()
            && (self.stdin.is_some() || !options.stdin)
            && (self.stdout.is_some() || !options.stdout)
            && (self.stderr.is_some() || !options.stderr)
            && (self.resize.is_some() || !options.tty || version < 3)
    }

    async fn next(&mut self, incoming: &mut Incoming) -> Result<()> {
        let syn = incoming.next().await.ok_or(Error::Closed)?;
        let kind = syn.headers().first(STREAM_TYPE).unwrap_or_default().to_owned();
        let place = match kind.as_str() {
            "error" => &mut self.error,
            "stdin" => &mut self.stdin,
            "stdout" => &mut self.stdout,
            "stderr" => &mut self.stderr,
            "resize" => &mut self.resize,
            _ => return Err(Error::protocol(format!("unexpected stream type: {kind:?}"))),
        };
        if place.is_some() {
            return Err(Error::protocol(format!("a second stream of type {kind:?}")));
        }
        *place = Some(syn.accept().await?);
        Ok(())
    }
}

async fn spdy<T: Duplex + 'static>(io: T, version: u8, options: Options) -> Result<RemoteStreams> {
    let (connection, mut incoming) = Connection::new(io, Role::Server);
    let mut opened = Opened::default();
    while !opened.is_complete(version, options) {
        opened.next(&mut incoming).await?;
    }
    let error = opened.error.ok_or(Error::Closed)?.into_split().1;
    let stdin = opened.stdin.filter(|_| options.stdin).map(Stream::into_split);
    let (stdin, back) = stdin.unzip();
    Ok(RemoteStreams {
        stdin,
        stdout: opened.stdout.filter(|_| options.stdout).map(|stream| stream.into_split().1),
        stderr: opened.stderr.filter(|_| options.stderr).map(|stream| stream.into_split().1),
        resize: opened.resize.map(|stream| ResizeReceiver::new(stream.into_split().0)),
        status: StatusSender {
            connection: Carried::Spdy(connection),
            error,
            _stdin: back,
            version,
        },
    })
}
