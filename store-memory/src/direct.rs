use crate::{
    ledger::{Ledger, Outcome, Write},
    published::Published,
};
use kubeplane_clock::SharedClock;
use kubeplane_store_trait::{Error, Result};
use parking_lot::Mutex;
use std::{mem, sync::Arc};
use tokio::{
    runtime::Handle,
    sync::oneshot,
    task::{JoinSet, yield_now},
};

/// The writes of a store without a log. Whoever finds nobody writing writes, at once; what arrives
/// meanwhile is written together after it and published once.
#[derive(Debug)]
pub(crate) struct Direct {
    ledger: Mutex<Ledger>,
    queue: Mutex<Queue>,
    published: Arc<Published>,
    clock: SharedClock,
    /// Who goes on with the queue when writers do not stop coming.
    tasks: Mutex<JoinSet<()>>,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: Vec<Request>,
    led: bool,
}

#[derive(Debug)]
struct Request {
    write: Write,
    reply: oneshot::Sender<Result<Outcome>>,
}

impl Direct {
    pub(crate) fn new(ledger: Ledger, published: Arc<Published>, clock: SharedClock) -> Arc<Self> {
        let (queue, tasks) = (Mutex::default(), Mutex::default());
        Arc::new(Self { ledger: Mutex::new(ledger), queue, published, clock, tasks })
    }

    pub(crate) async fn submit(self: &Arc<Self>, write: Write) -> Result<Outcome> {
        let answer = {
            let mut queue = self.queue.lock();
            if mem::replace(&mut queue.led, true) {
                let (reply, answer) = oneshot::channel();
                queue.waiting.push(Request { write, reply });
                Ok(answer)
            } else {
                Err(write)
            }
        };
        match answer {
            Ok(answer) => answer.await.unwrap_or_else(|_| {
                Err(Error::Indeterminate { reason: "the writer has ended".into() })
            }),
            Err(write) => {
                let mut lead = Lead { direct: self.clone(), over: false };
                let outcome = self.one(write);
                if lead.drain() {
                    lead.hand_over();
                }
                outcome
            }
        }
    }

    fn one(&self, write: Write) -> Result<Outcome> {
        let mut ledger = self.ledger.lock();
        let now = self.clock.elapsed();
        ledger.trim(now);
        let outcome = ledger.apply(write, now)?;
        self.published.publish(ledger.state.clone());
        Ok(outcome)
    }

    /// Does what waits; false when nothing did, and then nobody leads any more.
    fn drain(&self) -> bool {
        let waiting = {
            let mut queue = self.queue.lock();
            queue.led = !queue.waiting.is_empty();
            mem::take(&mut queue.waiting)
        };
        if waiting.is_empty() {
            return false;
        }
        let mut answers = Vec::with_capacity(waiting.len());
        let mut ledger = self.ledger.lock();
        let now = self.clock.elapsed();
        ledger.trim(now);
        for request in waiting {
            if request.write.alone() {
                self.published.publish(ledger.state.clone());
            }
            answers.push((request.reply, ledger.apply(request.write, now)));
        }
        self.published.publish(ledger.state.clone());
        drop(ledger);
        for (reply, outcome) in answers {
            // The writer may have stopped waiting.
            let _ = reply.send(outcome);
        }
        true
    }
}

/// The duty to do what waits in the queue; nobody else does while this lives and is not over.
struct Lead {
    direct: Arc<Direct>,
    over: bool,
}

impl Lead {
    fn drain(&mut self) -> bool {
        self.over = !self.direct.drain();
        !self.over
    }

    /// Lets a task go on, so that the writer that leads gets its answer.
    fn hand_over(self) {
        let Ok(runtime) = Handle::try_current() else {
            return;
        };
        let direct = self.direct.clone();
        let mut tasks = direct.tasks.lock();
        while tasks.try_join_next().is_some() {}
        tasks.spawn_on(self.follow(), &runtime);
    }

    async fn follow(mut self) {
        while self.drain() {
            // Those who were answered may add to the next group.
            yield_now().await;
        }
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        while !self.over {
            self.drain();
        }
    }
}
