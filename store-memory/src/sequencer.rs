use crate::{
    ledger::{Ledger, Outcome, Write},
    log::{appender::LogFile, directory::Directory},
    published::Published,
};
use inbox::{Inbox, Request, Taken};
use kubeplane_clock::SharedClock;
use kubeplane_store_trait::{Error, Result};
use parking_lot::Mutex;
use std::{
    io,
    sync::{Arc, OnceLock},
    thread::{self, JoinHandle},
};
use worker::Worker;

mod inbox;
mod worker;

/// The one writer of a durable store: a thread that takes all waiting writes, makes them durable together,
/// publishes them and answers.
#[derive(Debug)]
pub(crate) struct Sequencer {
    inbox: Arc<Inbox>,
    condition: Arc<Condition>,
    sync: bool,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// How the writer is.
#[derive(Debug, Default)]
pub(crate) struct Condition {
    /// Why nothing is written any more.
    failure: OnceLock<String>,
    /// What does not work though everything is written: the snapshot that was tried last.
    trouble: Mutex<Option<String>>,
}

/// What the thread starts with.
#[derive(Debug)]
pub(crate) struct Start {
    pub(crate) ledger: Ledger,
    pub(crate) published: Arc<Published>,
    pub(crate) clock: SharedClock,
    pub(crate) directory: Directory,
    pub(crate) log: LogFile,
    /// Whether writes are flushed to the disk before they are acknowledged.
    pub(crate) sync: bool,
    /// Writes of keys that begin so are acknowledged before the flush.
    pub(crate) relaxed: Vec<Vec<u8>>,
    /// Bytes of log that call for a snapshot, at least.
    pub(crate) snapshot_after: u64,
    pub(crate) logged: u64,
    pub(crate) snapshot_size: u64,
}

impl Sequencer {
    pub(crate) fn spawn(start: Start) -> io::Result<Self> {
        let inbox = Arc::new(Inbox::default());
        let condition = Arc::new(Condition::default());
        let sync = start.sync;
        let worker = Worker::new(start, inbox.clone(), condition.clone());
        let thread = thread::Builder::new().name("store-log".into()).spawn(move || worker.run())?;
        Ok(Self { inbox, condition, sync, thread: Mutex::new(Some(thread)) })
    }

    /// Whether writes are flushed to the disk before they are acknowledged.
    pub(crate) fn sync(&self) -> bool {
        self.sync
    }

    pub(crate) async fn submit(&self, write: Write) -> Result<Outcome> {
        let answer = self.inbox.push(write).await.map_err(|closed| match self.failure() {
            Some(reason) => Error::Unavailable { reason: reason.clone() },
            None => closed,
        })?;
        answer.await.unwrap_or_else(|_| {
            Err(Error::Indeterminate { reason: "the log's writer has ended".into() })
        })
    }

    /// Why nothing is written any more, if so.
    pub(crate) fn failure(&self) -> Option<&String> {
        self.condition.failure.get()
    }

    /// What does not work though everything is written, if anything.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.condition.trouble.lock().clone()
    }

    /// Takes no more writes, and waits until those taken are done and the directory is released, whoever closes it.
    pub(crate) fn close(&self) {
        self.inbox.close();
        // Held until the thread has ended, so that a second caller waits for that too.
        let mut thread = self.thread.lock();
        if let Some(thread) = thread.take()
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

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed test says where")]
mod tests;
