use super::{Condition, Inbox, Request, Start, Taken, inbox::LINGER};
use crate::{
    ledger::{Ledger, Outcome, Write},
    log::{appender::LogFile, directory::Directory, frame, pace::Pace, record, snapshot},
    published::Published,
    state::What,
    wall::Wall,
};
use kubeplane_clock::SharedClock;
use kubeplane_store_trait::{Error, Result};
use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};
use tokio::sync::oneshot;

/// How long relaxed writes may wait for a flush when no other write brings one before.
const RELAXED: Duration = Duration::from_millis(100);
/// How long after a snapshot failed it is tried again: at first, and at most.
const RETRY: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(60)];
/// What the buffer may keep of its memory between groups, in bytes: only a replacement needs more.
const KEPT: usize = 16 * 1024 * 1024;

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
    /// What the disk holds after a failed write is unknown, so the ledger, which is ahead of what is published,
    /// is never used again then.
    condition: Arc<Condition>,
    snapshot_after: u64,
    logged: u64,
    snapshot_size: u64,
    snapshot: Option<Job>,
    /// When the snapshot that failed is tried again, by the machine's own clock too, and how long that was put off.
    retry: Option<(Instant, Duration)>,
}

/// A snapshot that is being written.
struct Job {
    thread: JoinHandle<io::Result<u64>>,
    pace: Pace,
    /// Whether it has been written, or failed.
    done: Arc<AtomicBool>,
}

impl Worker {
    pub(super) fn new(start: Start, inbox: Arc<Inbox>, condition: Arc<Condition>) -> Self {
        Self {
            inbox,
            buffer: Vec::new(),
            flush_by: None,
            condition,
            snapshot: None,
            retry: None,
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
        let (mut group, mut lingers) = (Vec::new(), false);
        loop {
            let free = Instant::now();
            if lingers {
                self.inbox.linger();
            }
            match self.inbox.take(&mut group, self.wake_by()) {
                Taken::Closed => break,
                Taken::Late => {}
                Taken::Group => {
                    // Only for a single writer, and as long as it pays: of many, those that are woken up with the thread
                    // share its next flush, and one that comes seldom is not worth the wait.
                    lingers = group.len() == 1 && free.elapsed() < 2 * LINGER;
                    self.handle(&mut group);
                }
            }
            // Also when there is always something to write.
            if self.flush_by.is_some_and(|by| by <= Instant::now()) {
                self.flush();
            }
            self.consider_snapshot();
        }
        self.flush();
    }

    /// When there is something to do without a write.
    fn wake_by(&self) -> Option<Instant> {
        let retry = self.retry.filter(|_| self.snapshot.is_none()).map(|(at, _)| at);
        match (self.flush_by, retry) {
            (Some(flush), Some(retry)) => Some(flush.min(retry)),
            (one, other) => one.or(other),
        }
    }

    fn failure(&self) -> Option<&String> {
        self.condition.failure.get()
    }

    fn handle(&mut self, group: &mut Vec<Request>) {
        if self.failure().is_none() {
            // Only those in front: what is behind a write that is not relaxed waits with it.
            let relaxed = group.iter().take_while(|request| self.is_relaxed(&request.write));
            let relaxed = relaxed.count();
            if relaxed > 0 {
                self.commit(group.drain(..relaxed), false);
            }
        }
        match self.condition.failure.get() {
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
        if self.buffer.capacity() > KEPT {
            self.buffer = Vec::new();
        }
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

    fn fail(&mut self, what: &str, error: &io::Error) -> String {
        let reason = format!("{what}: {error}");
        tracing::error!(%reason, "the store takes no more writes");
        self.retry = None;
        self.condition.failure.get_or_init(|| reason).clone()
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
        if self.failure().is_none()
            && let Err(error) = self.log.flush()
        {
            self.fail("the log cannot be flushed", &error);
        }
    }

    /// Starts a snapshot in a thread of its own when the log has grown enough, or when the last one failed a while
    /// ago. One that takes too long is hurried, and then waited for: the disk is not filled up meanwhile.
    fn consider_snapshot(&mut self) {
        if let Some(job) = &self.snapshot {
            let limit = self.limit();
            if self.logged >= limit {
                job.pace.hurry();
            }
            if !job.done.load(Ordering::Acquire) && self.logged < 2 * limit {
                return;
            }
            self.finish_snapshot();
        }
        let due = match self.retry {
            Some((at, _)) => at <= Instant::now(),
            None => self.logged >= self.limit(),
        };
        if !due || self.failure().is_some() {
            return;
        }
        // Only the last log may be torn, and the snapshot never is ahead of the logs.
        self.flush();
        if self.failure().is_none()
            && let Err(error) = self.begin_snapshot()
        {
            self.put_off(&error.to_string());
        }
    }

    /// Bytes of log that call for a snapshot.
    fn limit(&self) -> u64 {
        self.snapshot_after.max(2 * self.snapshot_size)
    }

    /// Waits for the snapshot that is being written, and notes what became of it.
    fn finish_snapshot(&mut self) {
        let Some(job) = self.snapshot.take() else { return };
        let failed = match job.thread.join() {
            Ok(Ok(size)) => {
                self.snapshot_size = size;
                self.retry = None;
                *self.condition.trouble.lock() = None;
                return;
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => "its thread panicked".to_owned(),
        };
        self.put_off(&failed);
    }

    /// Tries the snapshot again later, and says why there is none. Nothing is lost: the logs are still there, and the
    /// next snapshot covers them.
    fn put_off(&mut self, failed: &str) {
        let [first, most] = RETRY;
        let pause = self.retry.map_or(first, |(_, pause)| (2 * pause).min(most));
        self.retry = self.failure().is_none().then(|| (Instant::now() + pause, pause));
        tracing::warn!(error = failed, again = ?pause, "a snapshot failed; the logs are kept");
        *self.condition.trouble.lock() =
            Some(format!("the log grows, as no snapshot can be written: {failed}"));
    }

    /// The log, which is on the disk, is cut first, so that everything in the older ones is in the snapshot; not when one
    /// is tried again and little was written since, so that no try takes room of its own.
    fn begin_snapshot(&mut self) -> io::Result<()> {
        let state = Arc::new(self.ledger.state.clone());
        if self.retry.is_none() || self.logged >= self.limit() {
            // A log of compactions alone begins where the next one would.
            if self.log.revision() < state.revision {
                self.cut_log(state.revision)?;
            }
            self.logged = 0;
        }
        let directory = self.directory.clone();
        let (wall, pace) = (Wall::of(&*self.clock), Pace::default());
        let (slowly, done) = (pace.clone(), Arc::new(AtomicBool::new(false)));
        let end = End { done: done.clone(), inbox: self.inbox.clone() };
        let job = move || {
            let _end = end;
            let size = snapshot::write(&directory, &state, wall, &slowly)?;
            directory.prune(state.revision, &slowly).map(|()| size)
        };
        let thread = self.directory.disk().aside(Box::new(job))?;
        self.snapshot = Some(Job { thread, pace, done });
        Ok(())
    }

    /// Begins the next log. When it cannot be, nothing is left of it, and the one before, which is whole, goes on.
    fn cut_log(&mut self, revision: u64) -> io::Result<()> {
        match LogFile::create(&self.directory, revision) {
            Ok(log) => self.log = log,
            Err(error) => {
                if let Err(error) = LogFile::take_back(&self.directory, revision) {
                    self.fail(
                        "what is left of a log that was only begun cannot be removed",
                        &error,
                    );
                }
                return Err(error);
            }
        }
        Ok(())
    }
}

/// Calls the log's thread when the snapshot's ends, however it does.
struct End {
    done: Arc<AtomicBool>,
    inbox: Arc<Inbox>,
}

impl Drop for End {
    fn drop(&mut self) {
        self.done.store(true, Ordering::Release);
        self.inbox.call();
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Also when it panics, nobody waits for ever or believes that all is well.
        if thread::panicking() {
            self.condition.failure.get_or_init(|| "the log's writer panicked".to_owned());
        }
        self.inbox.abandon();
        self.published.close();
        if let Some(job) = self.snapshot.take() {
            job.pace.hurry();
            let _ = job.thread.join();
        }
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
