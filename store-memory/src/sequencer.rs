use crate::{
    ledger::{Ledger, Outcome, Write},
    log::{
        appender::{LogFile, Sink},
        directory::Directory,
        frame, record, snapshot,
    },
    published::Published,
    wall::Wall,
};
use kubeplane_clock::SharedClock;
use kubeplane_store_trait::{Error, Result};
use parking_lot::Mutex;
use std::{
    io,
    sync::Arc,
    thread::{self, JoinHandle},
};
use tokio::sync::{mpsc, oneshot};

/// Writes that can wait for the log before senders do.
const QUEUE: usize = 4096;
/// The most writes and the most bytes (roughly) of one group commit.
const GROUP: usize = 1024;
const GROUP_BYTES: usize = 4 * 1024 * 1024;

/// The one writer of a durable store: a thread that takes all waiting writes, makes them durable together,
/// publishes them and answers.
#[derive(Debug)]
pub(crate) struct Sequencer {
    requests: Mutex<Option<mpsc::Sender<Request>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug)]
struct Request {
    write: Write,
    reply: oneshot::Sender<Result<Outcome>>,
}

/// What the thread starts with.
#[derive(Debug)]
pub(crate) struct Start {
    pub(crate) ledger: Ledger,
    pub(crate) published: Arc<Published>,
    pub(crate) clock: SharedClock,
    pub(crate) directory: Directory,
    pub(crate) sink: Box<dyn Sink>,
    /// Whether writes are flushed to the disk before they are acknowledged.
    pub(crate) sync: bool,
    /// Bytes of log that call for a snapshot, at least.
    pub(crate) snapshot_after: u64,
    pub(crate) logged: u64,
    pub(crate) snapshot_size: u64,
}

impl Sequencer {
    pub(crate) fn spawn(start: Start) -> io::Result<Self> {
        let (sender, requests) = mpsc::channel(QUEUE);
        let worker = Worker {
            requests,
            held: None,
            buffer: Vec::new(),
            failed: None,
            snapshot: None,
            directory: Arc::new(start.directory),
            ledger: start.ledger,
            published: start.published,
            clock: start.clock,
            sink: start.sink,
            sync: start.sync,
            snapshot_after: start.snapshot_after,
            logged: start.logged,
            snapshot_size: start.snapshot_size,
        };
        let thread = thread::Builder::new().name("store-log".into()).spawn(move || worker.run())?;
        Ok(Self { requests: Mutex::new(Some(sender)), thread: Mutex::new(Some(thread)) })
    }

    pub(crate) async fn submit(&self, write: Write) -> Result<Outcome> {
        let closed = || Error::Unavailable { reason: "the store was closed".into() };
        let sender = self.requests.lock().clone().ok_or_else(closed)?;
        let (reply, answer) = oneshot::channel();
        sender.send(Request { write, reply }).await.map_err(|_| closed())?;
        drop(sender);
        answer.await.unwrap_or_else(|_| {
            Err(Error::Indeterminate { reason: "the log's writer has ended".into() })
        })
    }

    /// Takes no more writes, and waits until those taken are done and the directory is released.
    pub(crate) fn close(&self) {
        drop(self.requests.lock().take());
        let thread = self.thread.lock().take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::error!("the log's writer panicked");
        }
    }
}

impl Drop for Sequencer {
    fn drop(&mut self) {
        self.close();
    }
}

struct Worker {
    requests: mpsc::Receiver<Request>,
    /// Taken from the queue, but to be done in the next group.
    held: Option<Request>,
    ledger: Ledger,
    published: Arc<Published>,
    clock: SharedClock,
    directory: Arc<Directory>,
    sink: Box<dyn Sink>,
    buffer: Vec<u8>,
    sync: bool,
    /// Why nothing is written any more. What the disk holds after a failed write is unknown, so the ledger,
    /// which is ahead of it, must never be published or added to.
    failed: Option<String>,
    snapshot: Option<JoinHandle<Option<u64>>>,
    snapshot_after: u64,
    logged: u64,
    snapshot_size: u64,
}

impl Worker {
    fn run(mut self) {
        while let Some(first) = self.held.take().or_else(|| self.requests.blocking_recv()) {
            let group = self.gather(first);
            if let Some(reason) = &self.failed {
                for request in group {
                    let reason = reason.clone();
                    // A caller that has gone away needs no answer; so everywhere below.
                    let _ = request.reply.send(Err(Error::Unavailable { reason }));
                }
                continue;
            }
            self.commit(group);
            self.consider_snapshot();
        }
        self.published.close();
        if let Some(job) = self.snapshot.take() {
            let _ = job.join();
        }
    }

    /// The writes of the next group: all that wait, up to the limits. A compaction is a group of its own,
    /// because it takes away the very history from which the others in its group would be delivered.
    fn gather(&mut self, first: Request) -> Vec<Request> {
        let alone = matches!(first.write, Write::Compact { .. });
        let mut bytes = first.write.size();
        let mut group = vec![first];
        while !alone && group.len() < GROUP && bytes < GROUP_BYTES {
            let Ok(next) = self.requests.try_recv() else {
                break;
            };
            if matches!(next.write, Write::Compact { .. }) {
                self.held = Some(next);
                break;
            }
            bytes += next.write.size();
            group.push(next);
        }
        group
    }

    fn commit(&mut self, group: Vec<Request>) {
        let now = self.clock.elapsed();
        let wall = Wall::of(&*self.clock);
        let before = self.ledger.state.revision;
        self.ledger.trim(now);
        frame::begin(&mut self.buffer);
        let mut answers = Vec::with_capacity(group.len());
        for request in group {
            let compaction = match &request.write {
                Write::Compact { through } => Some(through.0),
                _ => None,
            };
            let result = self.ledger.apply(request.write, now);
            if let (Ok(_), Some(through)) = (&result, compaction) {
                record::compact(&mut self.buffer, through);
            }
            answers.push((request.reply, result));
        }
        if let Err(error) = self.write(before, wall) {
            let reason = format!("the log cannot be written: {error}");
            tracing::error!(%reason, "the store takes no more writes");
            for (reply, result) in answers {
                let _ = reply.send(Err(unknown(&result, &reason)));
            }
            self.failed = Some(reason);
            return;
        }
        for (reply, result) in answers {
            let _ = reply.send(result);
        }
    }

    /// Makes the changes after `before` durable, then visible.
    fn write(&mut self, before: u64, wall: Wall) -> io::Result<()> {
        for change in self.ledger.state.changes_after(before) {
            match &change.after {
                Some(record) => {
                    let expires = wall.expires(record.deadline);
                    record::put(&mut self.buffer, &change.key, &record.value, expires);
                }
                None => record::delete(&mut self.buffer, &change.key),
            }
        }
        if self.buffer.len() == frame::HEADER {
            return Ok(());
        }
        frame::seal(&mut self.buffer, before);
        self.sink.append(&self.buffer)?;
        self.logged += self.buffer.len() as u64;
        self.published.publish(self.ledger.state.clone());
        Ok(())
    }

    /// Starts a snapshot in a thread of its own when the log has grown enough. The log is cut first, so that
    /// everything in the older ones is in the snapshot.
    fn consider_snapshot(&mut self) {
        if self.logged < self.snapshot_after.max(self.snapshot_size) {
            return;
        }
        if let Some(job) = self.snapshot.take_if(|job| job.is_finished())
            && let Ok(Some(size)) = job.join()
        {
            self.snapshot_size = size;
        }
        if self.snapshot.is_some() || self.failed.is_some() {
            return;
        }
        if let Err(error) = self.begin_snapshot() {
            let reason = format!("the log cannot be cut: {error}");
            tracing::error!(%reason, "the store takes no more writes");
            self.failed = Some(reason);
        }
    }

    fn begin_snapshot(&mut self) -> io::Result<()> {
        let state = self.ledger.state.clone();
        self.sink = Box::new(LogFile::create(&self.directory, state.revision, self.sync)?);
        self.logged = 0;
        let directory = self.directory.clone();
        let wall = Wall::of(&*self.clock);
        let job = move || {
            let written = snapshot::write(&directory, &state, wall)
                .and_then(|size| directory.prune(state.revision).map(|()| size));
            match written {
                Ok(size) => Some(size),
                Err(error) => {
                    // Nothing is lost: the logs are still there, and the next snapshot covers them.
                    tracing::warn!(%error, "a snapshot failed; the logs are kept");
                    None
                }
            }
        };
        self.snapshot = Some(thread::Builder::new().name("store-snapshot".into()).spawn(job)?);
        Ok(())
    }
}

/// What is said of a write whose log record may or may not have reached the disk.
fn unknown(result: &Result<Outcome>, reason: &str) -> Error {
    let reason = reason.to_owned();
    match result {
        Ok(_) => Error::Indeterminate { reason },
        Err(_) => Error::Unavailable { reason },
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed test says where")]
mod tests;
