//! Passes the streams of a process on to a client.

use futures::{FutureExt, future::BoxFuture};
use kubeplane_runtime_cri::{self as cri, Reader, Streaming, Writer};
use kubeplane_streaming::remote_command::{
    self, Options, Outcome, RemoteStreams, ResizeReceiver, ResizeSender,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    sync::mpsc,
};

/// A process, wherever it runs.
pub(super) struct Process {
    stdin: Option<Writer>,
    stdout: Option<Reader>,
    stderr: Option<Reader>,
    resize: Resize,
    end: BoxFuture<'static, Outcome>,
}

enum Resize {
    No,
    Here(mpsc::Sender<cri::TerminalSize>),
    There(ResizeSender),
}

impl Process {
    /// The process a runtime started, connected to if its streams are elsewhere.
    ///
    /// # Errors
    /// When they cannot be reached.
    pub(super) async fn new(streaming: Streaming, options: Options) -> Result<Self, String> {
        match streaming {
            Streaming::InProcess(process) => Ok(Self {
                stdin: process.stdin,
                stdout: process.stdout,
                stderr: process.stderr,
                resize: process.resize.map_or(Resize::No, Resize::Here),
                end: process
                    .exit
                    .map(|exit| match exit {
                        Ok(code) => Outcome::exited(code),
                        Err(error) => Outcome::Failed(format!(
                            "error executing command in container: {error}"
                        )),
                    })
                    .boxed(),
            }),
            Streaming::Url(url) => {
                let process =
                    remote_command::dial(&url, options).await.map_err(|error| error.to_string())?;
                let status = process.status;
                Ok(Self {
                    stdin: process.stdin.map(|stdin| Box::new(stdin) as Writer),
                    stdout: process.stdout.map(|stdout| Box::new(stdout) as Reader),
                    stderr: process.stderr.map(|stderr| Box::new(stderr) as Reader),
                    resize: process.resize.map_or(Resize::No, Resize::There),
                    end: async move {
                        status
                            .wait()
                            .await
                            .unwrap_or_else(|error| Outcome::Failed(error.to_string()))
                    }
                    .boxed(),
                })
            }
            _ => Err("the runtime answered with streams of an unknown kind".to_owned()),
        }
    }
}

/// Copies until the process has ended and its output is sent, or the client is gone.
pub(super) async fn pump(process: Process, streams: RemoteStreams) {
    let RemoteStreams { stdin, stdout, stderr, resize, status, .. } = streams;
    let output = async {
        tokio::join!(copy(process.stdout, stdout), copy(process.stderr, stderr));
    };
    // These two end with the client at the latest, so they are not waited for.
    let input = async {
        tokio::join!(copy(stdin, process.stdin), sizes(resize, process.resize));
        std::future::pending::<()>().await;
    };
    let ended = async { tokio::join!(process.end, output).0 };
    let outcome = tokio::select! {
        outcome = ended => outcome,
        () = input => return,
        () = status.closed() => return,
    };
    if let Err(error) = status.send(outcome).await {
        tracing::debug!(%error, "a client did not wait for the end of its command");
    }
}

async fn copy<R, W>(from: Option<R>, to: Option<W>)
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let (Some(mut from), Some(mut to)) = (from, to) else { return };
    if let Err(error) = tokio::io::copy(&mut from, &mut to).await {
        tracing::debug!(%error, "a stream of a command broke");
    }
    // Whoever reads there may be gone already.
    let _ = to.shutdown().await;
}

async fn sizes(from: Option<ResizeReceiver>, mut to: Resize) {
    let Some(mut from) = from else { return };
    while let Some(size) = from.recv().await {
        let sent = match &mut to {
            Resize::No => true,
            Resize::Here(sender) => {
                let size = cri::TerminalSize { width: size.width, height: size.height };
                sender.send(size).await.is_ok()
            }
            Resize::There(sender) => sender.send(size).await.is_ok(),
        };
        if !sent {
            return;
        }
    }
}
