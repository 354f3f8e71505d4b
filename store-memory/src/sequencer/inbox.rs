use crate::ledger::{Outcome, Write};
use kubeplane_store_trait::{Error, Result};
use parking_lot::{Condvar, Mutex};
use std::{
    collections::VecDeque,
    thread,
    time::{Duration, Instant},
};
use tokio::sync::{Semaphore, oneshot};

/// Writes that can wait for the log before their senders do.
const ROOM: usize = 4096;
/// The most writes and the most bytes (roughly) of one group commit.
const GROUP: usize = 1024;
const GROUP_BYTES: usize = 4 * 1024 * 1024;

/// How long the thread may stay awake for the next write, by the machine's own clock: about as long as it takes to put
/// it to sleep and to wake it up.
pub(super) const LINGER: Duration = Duration::from_micros(100);

/// The writes that wait for the log.
#[derive(Debug)]
pub(crate) struct Inbox {
    queue: Mutex<Queue>,
    filled: Condvar,
    room: Semaphore,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Request>,
    closed: bool,
    /// Whether the thread sleeps until something is pushed.
    asleep: bool,
    /// Whether the thread is to look up though nothing was pushed.
    called: bool,
}

#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) write: Write,
    pub(crate) reply: oneshot::Sender<Result<Outcome>>,
}

/// What the thread found.
#[derive(Debug)]
pub(crate) enum Taken {
    Group,
    /// Nothing until the given time, or until a call.
    Late,
    Closed,
}

impl Default for Inbox {
    fn default() -> Self {
        let (queue, filled) = (Mutex::default(), Condvar::default());
        Self { queue, filled, room: Semaphore::new(ROOM) }
    }
}

impl Inbox {
    /// Puts a write behind those that wait, once there is room; returns where the answer comes.
    pub(crate) async fn push(&self, write: Write) -> Result<oneshot::Receiver<Result<Outcome>>> {
        let closed = || Error::Unavailable { reason: "the store was closed".into() };
        let room = self.room.acquire().await.map_err(|_| closed())?;
        let (reply, answer) = oneshot::channel();
        let mut queue = self.queue.lock();
        if queue.closed {
            return Err(closed());
        }
        room.forget();
        queue.waiting.push_back(Request { write, reply });
        let asleep = std::mem::take(&mut queue.asleep);
        drop(queue);
        if asleep {
            self.filled.notify_one();
        }
        Ok(answer)
    }

    /// Makes the thread look up though there is nothing to write.
    pub(crate) fn call(&self) {
        self.queue.lock().called = true;
        self.filled.notify_one();
    }

    /// Takes no more writes.
    pub(crate) fn close(&self) {
        self.room.close();
        self.queue.lock().closed = true;
        self.filled.notify_one();
    }

    /// Ends what waits without an answer; for when nobody will take it any more.
    pub(crate) fn abandon(&self) {
        self.close();
        let waiting = std::mem::take(&mut self.queue.lock().waiting);
        drop(waiting);
    }

    /// Stays awake for a moment, until somebody pushes, or closes. A single writer sends the next write as soon as it has
    /// its answer; to wake the thread for that takes a good part of a flush. Others have the processor meanwhile.
    pub(crate) fn linger(&self) {
        let free = Instant::now();
        let quiet = || self.room.available_permits() >= ROOM && !self.room.is_closed();
        while quiet() && free.elapsed() < LINGER {
            thread::yield_now();
        }
    }

    /// Waits for writes, until a call, or `deadline` if there is one, and moves those of the next group into `group`.
    pub(crate) fn take(&self, group: &mut Vec<Request>, deadline: Option<Instant>) -> Taken {
        let mut queue = self.queue.lock();
        while queue.waiting.is_empty() {
            if queue.closed {
                return Taken::Closed;
            }
            if std::mem::take(&mut queue.called) {
                return Taken::Late;
            }
            queue.asleep = true;
            match deadline {
                None => self.filled.wait(&mut queue),
                Some(deadline) => {
                    if self.filled.wait_until(&mut queue, deadline).timed_out() {
                        queue.asleep = false;
                        if queue.waiting.is_empty() {
                            return Taken::Late;
                        }
                    }
                }
            }
        }
        queue.next_group(group);
        drop(queue);
        self.room.add_permits(group.len());
        Taken::Group
    }
}

impl Queue {
    fn next_group(&mut self, group: &mut Vec<Request>) {
        let mut bytes = 0;
        while let Some(next) = self.waiting.front() {
            let full = group.len() >= GROUP || bytes >= GROUP_BYTES;
            if !group.is_empty() && (full || next.write.alone()) {
                break;
            }
            let alone = next.write.alone();
            bytes += next.write.size();
            group.extend(self.waiting.pop_front());
            if alone {
                break;
            }
        }
    }
}
