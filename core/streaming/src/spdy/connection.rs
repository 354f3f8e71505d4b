use super::{Headers, driver};
use crate::{
    Error, Result,
    pipe::{Command, Duplex, OUTBOUND, Shared, Stream, StreamReader, StreamWriter},
};
use std::sync::Arc;
use tokio::{
    sync::{Mutex, mpsc, oneshot},
    task::JoinSet,
};

/// Which side of a connection this is: clients open streams with odd numbers, servers with even ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The side that asked for the upgrade.
    Client,
    /// The side that was asked.
    Server,
}

/// A SPDY/3.1 connection. Dropping it ends it and its streams at once; [`Connection::close`] ends it in
/// order.
#[derive(Debug)]
pub struct Connection {
    shared: Arc<Shared>,
    outbound: mpsc::Sender<Command>,
    next: Mutex<u32>,
    tasks: JoinSet<()>,
}

/// The streams the peer opens.
#[derive(Debug)]
pub struct Incoming {
    streams: mpsc::Receiver<Syn>,
}

/// A stream the peer wants to open; dropping it refuses it.
#[derive(Debug)]
pub struct Syn {
    pub(super) id: u32,
    pub(super) headers: Headers,
    pub(super) halves: Option<(StreamReader, StreamWriter)>,
    pub(super) outbound: mpsc::Sender<Command>,
    pub(super) refused: mpsc::Sender<u32>,
}

impl Connection {
    /// A connection over `io`, on which the request for an upgrade was already answered.
    #[must_use]
    pub fn new<T: Duplex + 'static>(io: T, role: Role) -> (Self, Incoming) {
        let shared = Shared::new();
        let (outbound, commands) = mpsc::channel(OUTBOUND);
        let mut tasks = JoinSet::new();
        let streams = driver::spawn(&mut tasks, io, role, &shared, &outbound, commands);
        let next = Mutex::new(if role == Role::Client { 1 } else { 2 });
        (Self { shared, outbound, next, tasks }, Incoming { streams })
    }

    /// Opens a stream and waits until the peer accepts it.
    ///
    /// # Errors
    /// `StreamReset` when the peer refuses it, `Closed` when the connection is over.
    ///
    /// # Cancellation
    /// A dropped call may leave a stream open at the peer until the connection ends.
    pub async fn open(&self, headers: Headers) -> Result<Stream> {
        let (reply, replied) = oneshot::channel();
        // Numbers must go out in order, so the next one is taken only when this one is queued.
        let mut next = self.next.lock().await;
        let id = *next;
        if *self.shared.closed.borrow() {
            return Err(Error::Closed);
        }
        let halves = self.shared.register(id, &self.outbound);
        if let Some(entry) = self.shared.streams.lock().get_mut(&id) {
            entry.reply = Some(reply);
        }
        let command = Command::Open { id, headers: headers.clone() };
        self.outbound.send(command).await.map_err(|_| Error::Closed)?;
        *next = id.checked_add(2).ok_or(Error::Closed)?;
        drop(next);
        tokio::select! {
            biased;
            answer = replied => answer.map_err(|_| Error::StreamReset)?,
            () = self.shared.wait_closed() => return Err(Error::Closed),
        }
        Ok(Stream::new(id, headers, halves))
    }

    /// Waits until the connection is over, whoever ended it.
    pub async fn closed(&self) {
        self.shared.wait_closed().await;
    }

    /// Sends everything that was written, finishes every stream, says goodbye and waits until the peer
    /// has closed its side, so that nothing underway is lost.
    ///
    /// # Cancellation
    /// Dropping the future closes at once; callers bound the wait for a peer that does not close.
    pub async fn close(mut self) {
        // A connection that is gone already needs no goodbye.
        let _ = self.outbound.send(Command::Close).await;
        while self.tasks.join_next().await.is_some() {}
    }
}

impl Incoming {
    /// The next stream the peer opens; `None` when no more come.
    ///
    /// # Cancellation
    /// Nothing is lost when the future is dropped.
    pub async fn next(&mut self) -> Option<Syn> {
        self.streams.recv().await
    }
}

impl Syn {
    /// What the stream is for.
    #[must_use]
    pub fn headers(&self) -> &Headers {
        &self.headers
    }

    /// The number of the stream in its connection.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Accepts the stream.
    ///
    /// # Errors
    /// `Closed` when the connection is over.
    pub async fn accept(mut self) -> Result<Stream> {
        let halves = self.halves.take().ok_or(Error::Closed)?;
        let reply = Command::Reply { id: self.id };
        self.outbound.send(reply).await.map_err(|_| Error::Closed)?;
        Ok(Stream::new(self.id, std::mem::take(&mut self.headers), halves))
    }
}

impl Drop for Syn {
    fn drop(&mut self) {
        if self.halves.take().is_some() {
            // With the queue full the peer learns of it when the connection ends.
            let _ = self.refused.try_send(self.id);
        }
    }
}
