use super::{Inbox, Request, Start, Taken};
use crate::{
    ledger::{Ledger, Outcome, Write},
    log::{
        appender::LogFile,
        directory::Directory,
        frame, record,
        snapshot::{self, Pace},
    },
    published::Published,
    state::What,
    wall::Wall,
};
use kubeplane_clock::SharedClock;
use kubeplane_store_trait::{Error, Result};
use std::{
    io,
    sync::{Arc, OnceLock},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};
use tokio::sync::oneshot;

/// How long relaxed writes may wait for a flush when no other write brings one.
const RELAXED: Duration = Duration::from_millis(100);

type Answer = (oneshot::Sender<Result<Outcome>>, Result<Outcome>);

pub(super) struct Worker {
    inbox: Arc<Inbox>,
    ledger: Ledger,
    published: Arc<Published>,
    clock: SharedClock,
    directory: Arc<Directory>,
    log: LogFile,
    buffer: Vec<u8>,
    sync: bool,
    relaxed: Vec<Vec<u8>>,
    /// When relaxed writes must be flushed at the latest, by the machine's own clock: it is about the disk.
    flush_by: Option<Instant>,
    /// Why nothing is written any more. What the disk holds after a failed write is unknown, so the ledger,
    /// which is ahead of what is published, is never used again.
    failure: Arc<OnceLock<String>>,
    snapshot_after: u64,
    logged: u64,
    snapshot_size: u64,
    snapshot: Option<JoinHandle<Option<u64>>>,
    pace: Pace,
}

impl Worker {
    pub(super) fn new(start: Start, inbox: Arc<Inbox>, failure: Arc<OnceLock<String>>) -> Self {
        Self {
            inbox,
            buffer: Vec::new(),
            flush_by: None,
            failure,
            snapshot: None,
            pace: Pace::default(),
            directory: Arc::new(start.directory),
            ledger: start.ledger,
            published: start.published,
            clock: start.clock,
            log: start.log,
            sync: start.sync,
            relaxed: start.relaxed,
            snapshot_after: start.snapshot_after,
            logged: start.logged,
            snapshot_size: start.snapshot_size,
        }
    }

    pub(super) fn run(mut self) {
        let mut group = Vec::new();
        loop {
            match self.inbox.take(&mut group, self.flush_by) {
                Taken::Closed => break,
                Taken::Late => self.flush(),
                Taken::Group => {
                    self.handle(&mut group);
                    self.consider_snapshot();
                }
            }
        }
        self.flush();
        self.published.close();
        self.pace.hurry();
        if let Some(job) = self.snapshot.take() {
            let _ = job.join();
        }
    }

    fn handle(&mut self, group: &mut Vec<Request>) {
        if self.failure.get().is_none() {
            // Only those in front: what is behind a write that is not relaxed waits with it.
            let relaxed = group.iter().take_while(|request| self.is_relaxed(&request.write));
            let relaxed = relaxed.count();
            if relaxed > 0 {
                self.commit(group.drain(..relaxed), false);
            }
        }
        match self.failure.get() {
            None if group.is_empty() => {}
            None => self.commit(group.drain(..), self.sync),
            Some(reason) => {
                for request in group.drain(..) {
                    let refusal = Error::Unavailable { reason: reason.clone() };
                    // The writer may have stopped waiting; so may those below.
                    let _ = request.reply.send(Err(refusal));
                }
            }
        }
    }

    fn is_relaxed(&self, write: &Write) -> bool {
        let relaxed = |key: &[u8]| self.relaxed.iter().any(|prefix| key.starts_with(prefix));
        !self.relaxed.is_empty() && write.key().is_some_and(|key| relaxed(key.as_bytes()))
    }

    fn commit(&mut self, group: impl Iterator<Item = Request>, flush: bool) {
        let now = self.clock.elapsed();
        let before = self.ledger.state.revision;
        self.ledger.trim(now);
        frame::begin(&mut self.buffer);
        let mut answers = Vec::with_capacity(group.size_hint().0);
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
        let written = self.write(before, flush);
        self.answer(answers, written);
    }

    fn answer(&mut self, answers: Vec<Answer>, written: io::Result<()>) {
        let failed = written.err().map(|error| self.fail("the log cannot be written", &error));
        for (reply, result) in answers {
            let result = match &failed {
                None => result,
                Some(reason) => Err(unknown(&result, reason)),
            };
            let _ = reply.send(result);
        }
    }

    fn fail(&self, what: &str, error: &io::Error) -> String {
        let reason = format!("{what}: {error}");
        tracing::error!(%reason, "the store takes no more writes");
        self.failure.get_or_init(|| reason).clone()
    }

    /// Makes the changes after `before` as durable as they must be, then visible.
    fn write(&mut self, before: u64, flush: bool) -> io::Result<()> {
        let wall = Wall::of(&*self.clock);
        for change in self.ledger.state.changes_after(before) {
            match &change.what {
                What::Put { after, .. } => {
                    let expires = wall.expires(after.deadline());
                    record::put(&mut self.buffer, &after.key, &after.value, expires);
                }
                What::Delete { before } => record::delete(&mut self.buffer, &before.key),
            }
        }
        if self.buffer.len() > frame::MAX {
            return Err(io::Error::other("a group of writes is too large for the log"));
        }
        if self.buffer.len() > frame::HEADER {
            frame::seal(&mut self.buffer, before, self.log.flushed());
            self.log.append(&self.buffer)?;
            self.logged += self.buffer.len() as u64;
        }
        if flush {
            // Answers that tell of relaxed writes are as durable as what they tell.
            self.log.flush()?;
            self.flush_by = None;
        } else if self.sync && !self.log.flushed() {
            self.flush_by.get_or_insert_with(|| Instant::now() + RELAXED);
        }
        if self.buffer.len() > frame::HEADER {
            self.published.publish(self.ledger.state.clone()).wake();
        }
        Ok(())
    }

    /// Flushes the relaxed writes.
    fn flush(&mut self) {
        self.flush_by = None;
        if self.failure.get().is_none()
            && let Err(error) = self.log.flush()
        {
            self.fail("the log cannot be flushed", &error);
        }
    }

    /// Starts a snapshot in a thread of its own when the log has grown enough. The log is cut first, so that
    /// everything in the older ones is in the snapshot.
    fn consider_snapshot(&mut self) {
        if self.logged < self.snapshot_after.max(2 * self.snapshot_size) {
            return;
        }
        if let Some(job) = self.snapshot.take_if(|job| job.is_finished())
            && let Ok(Some(size)) = job.join()
        {
            self.snapshot_size = size;
        }
        if self.snapshot.is_some() || self.failure.get().is_some() {
            return;
        }
        if let Err(error) = self.begin_snapshot() {
            self.fail("the log cannot be cut", &error);
        }
    }

    fn begin_snapshot(&mut self) -> io::Result<()> {
        // Only the last log may be torn.
        self.log.flush()?;
        self.flush_by = None;
        let state = Arc::new(self.ledger.state.clone());
        self.log = LogFile::create(&self.directory, state.revision)?;
        self.logged = 0;
        let directory = self.directory.clone();
        let (wall, pace) = (Wall::of(&*self.clock), self.pace.clone());
        let job = move || {
            let written = snapshot::write(&directory, &state, wall, &pace)
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

impl Drop for Worker {
    fn drop(&mut self) {
        // Also when it panics, nobody waits for ever.
        self.inbox.abandon();
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
