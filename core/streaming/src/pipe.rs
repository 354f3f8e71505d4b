//! One stream of a multiplexed connection, whatever multiplexes it.

use crate::{Error, Result, spdy::Headers};
use bytes::{Buf, Bytes};
use parking_lot::Mutex;
use std::{
    collections::HashMap,
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::{mpsc, oneshot, watch},
};
use tokio_util::sync::PollSender;

/// Both directions of any byte stream a connection can run on.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// A byte stream of some kind.
pub type BoxDuplex = Box<dyn Duplex>;

/// How much one frame or message carries at most.
pub(crate) const CHUNK: usize = 32 << 10;
/// How many frames wait for a reader before the whole connection waits for it.
pub(crate) const INBOUND: usize = 64;
/// How many frames wait to be written before writers wait.
pub(crate) const OUTBOUND: usize = 32;

/// What the writing task of a connection is told.
#[derive(Debug)]
pub(crate) enum Command {
    Open {
        id: u32,
        headers: Headers,
    },
    Reply {
        id: u32,
    },
    Data {
        id: u32,
        bytes: Bytes,
    },
    Finish {
        id: u32,
    },
    Reset {
        id: u32,
    },
    Pong {
        id: u32,
    },
    /// Looks at the streams that were dropped.
    Nudge,
    Close,
}

/// One stream, as the tasks of the connection see it.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) inbound: Option<mpsc::Sender<Bytes>>,
    pub(crate) reply: Option<oneshot::Sender<()>>,
    pub(crate) finished: bool,
    pub(crate) reset: Arc<AtomicBool>,
}

/// What the tasks of a connection and its streams share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) streams: Mutex<HashMap<u32, Entry>>,
    pub(crate) dropped: Mutex<Vec<u32>>,
    pub(crate) closed: watch::Sender<bool>,
    discarding: watch::Sender<bool>,
}

impl Shared {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            streams: Mutex::default(),
            dropped: Mutex::default(),
            closed: watch::Sender::new(false),
            discarding: watch::Sender::new(false),
        })
    }

    /// Makes both ends of a stream known under `id`.
    pub(crate) fn register(
        self: &Arc<Self>,
        id: u32,
        outbound: &mpsc::Sender<Command>,
    ) -> (StreamReader, StreamWriter) {
        let (inbound, chunks) = mpsc::channel(INBOUND);
        let reset = Arc::new(AtomicBool::new(false));
        let entry =
            Entry { inbound: Some(inbound), reply: None, finished: false, reset: reset.clone() };
        self.streams.lock().insert(id, entry);
        let writer = StreamWriter {
            id,
            sink: PollSender::new(outbound.clone()),
            shared: self.clone(),
            reset,
            finished: false,
        };
        (StreamReader { chunks, current: Bytes::new() }, writer)
    }

    /// The peer sends nothing more on a stream.
    pub(crate) fn remote_finished(&self, id: u32) {
        let mut streams = self.streams.lock();
        if let Some(entry) = streams.get_mut(&id) {
            entry.inbound = None;
            if entry.finished {
                streams.remove(&id);
            }
        }
    }

    /// This side sends nothing more on a stream; whether that is news.
    pub(crate) fn local_finished(&self, id: u32) -> bool {
        let mut streams = self.streams.lock();
        let Some(entry) = streams.get_mut(&id) else {
            return false;
        };
        let news = !entry.finished;
        entry.finished = true;
        if entry.inbound.is_none() {
            streams.remove(&id);
        }
        news
    }

    /// Both directions of a stream are over at once; whether it was still there.
    pub(crate) fn forget(&self, id: u32) -> bool {
        let entry = self.streams.lock().remove(&id);
        if let Some(entry) = &entry {
            entry.reset.store(true, Ordering::Release);
        }
        entry.is_some()
    }

    /// Hands data to the reader of a stream, waiting for room; drops it when nobody reads.
    pub(crate) async fn deliver(&self, id: u32, bytes: Bytes) {
        let inbound = self.streams.lock().get(&id).and_then(|entry| entry.inbound.clone());
        if let Some(inbound) = inbound
            && !bytes.is_empty()
        {
            // A reader that is gone wants no data, which is no fault of the connection.
            tokio::select! {
                _ = inbound.send(bytes) => {}
                () = self.wait_discard() => {}
            }
        }
    }

    /// What arrives from now on is of no use, so nothing waits for readers any more.
    pub(crate) fn discard(&self) {
        self.discarding.send_replace(true);
    }

    pub(crate) async fn wait_discard(&self) {
        // The sender lives in this value, so waiting cannot fail.
        let _ = self.discarding.subscribe().wait_for(|discarding| *discarding).await;
    }

    /// The connection is over: readers see the end, writers an error.
    pub(crate) fn close(&self) {
        for entry in std::mem::take(&mut *self.streams.lock()).into_values() {
            entry.reset.store(true, Ordering::Release);
        }
        self.closed.send_replace(true);
    }

    /// Waits until the connection is over.
    pub(crate) async fn wait_closed(&self) {
        // The sender lives in this value, so waiting cannot fail.
        let _ = self.closed.subscribe().wait_for(|closed| *closed).await;
    }
}

/// The reading half of a stream.
#[derive(Debug)]
pub struct StreamReader {
    chunks: mpsc::Receiver<Bytes>,
    current: Bytes,
}

impl StreamReader {
    /// The next piece of data as it came; `None` at the end.
    ///
    /// # Cancellation
    /// Nothing is lost when the future is dropped.
    pub async fn chunk(&mut self) -> Option<Bytes> {
        if self.current.has_remaining() {
            return Some(std::mem::take(&mut self.current));
        }
        self.chunks.recv().await
    }
}

impl AsyncRead for StreamReader {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.current.is_empty() {
            match ready!(self.chunks.poll_recv(cx)) {
                Some(chunk) => self.current = chunk,
                None => return Poll::Ready(Ok(())),
            }
        }
        let size = buf.remaining().min(self.current.len());
        buf.put_slice(&self.current.split_to(size));
        Poll::Ready(Ok(()))
    }
}

/// The writing half of a stream.
///
/// `shutdown` tells the peer that nothing more comes; dropping does so too. Data is on its way once
/// written, in order, and surely sent when the connection is closed in order.
#[derive(Debug)]
pub struct StreamWriter {
    id: u32,
    sink: PollSender<Command>,
    shared: Arc<Shared>,
    reset: Arc<AtomicBool>,
    finished: bool,
}

impl StreamWriter {
    /// Sends one message, also an empty one.
    pub(crate) async fn message(&self, bytes: Bytes) -> Result<()> {
        let command = Command::Data { id: self.id, bytes };
        let sender = self.sink.get_ref().ok_or(Error::Closed)?.clone();
        sender.send(command).await.map_err(|_| Error::Closed)
    }

    fn is_over(&self) -> bool {
        self.finished || self.reset.load(Ordering::Acquire)
    }
}

fn broken() -> io::Error {
    io::ErrorKind::BrokenPipe.into()
}

impl AsyncWrite for StreamWriter {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.is_over() {
            return Poll::Ready(Err(broken()));
        }
        if data.is_empty() {
            return Poll::Ready(Ok(0));
        }
        ready!(self.sink.poll_reserve(cx)).map_err(|_| broken())?;
        let size = data.len().min(CHUNK);
        let command = Command::Data { id: self.id, bytes: Bytes::copy_from_slice(&data[..size]) };
        self.sink.send_item(command).map_err(|_| broken())?;
        Poll::Ready(Ok(size))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_over() {
            return Poll::Ready(Ok(()));
        }
        ready!(self.sink.poll_reserve(cx)).map_err(|_| broken())?;
        let command = Command::Finish { id: self.id };
        self.sink.send_item(command).map_err(|_| broken())?;
        self.finished = true;
        Poll::Ready(Ok(()))
    }
}

impl Drop for StreamWriter {
    fn drop(&mut self) {
        if self.is_over() {
            return;
        }
        self.shared.dropped.lock().push(self.id);
        if let Some(sender) = self.sink.get_ref() {
            // A full queue means that the writing task runs and looks by itself.
            let _ = sender.try_send(Command::Nudge);
        }
    }
}

/// Both halves of a stream.
#[derive(Debug)]
pub struct Stream {
    id: u32,
    headers: Headers,
    reader: StreamReader,
    writer: StreamWriter,
}

impl Stream {
    pub(crate) fn new(id: u32, headers: Headers, halves: (StreamReader, StreamWriter)) -> Self {
        Self { id, headers, reader: halves.0, writer: halves.1 }
    }

    /// The number of the stream in its connection.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.id
    }

    /// What the stream was opened with.
    #[must_use]
    pub fn headers(&self) -> &Headers {
        &self.headers
    }

    /// The two halves.
    #[must_use]
    pub fn into_split(self) -> (StreamReader, StreamWriter) {
        (self.reader, self.writer)
    }

    /// Ends both directions at once, telling the peer that something went wrong.
    pub async fn reset(mut self) {
        if let Some(sender) = self.writer.sink.get_ref().cloned() {
            // On a connection that is gone there is nobody to tell.
            let _ = sender.send(Command::Reset { id: self.id }).await;
        }
        self.writer.finished = true;
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.reader).poll_read(cx, buf)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.writer).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.writer).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.writer).poll_shutdown(cx)
    }
}
