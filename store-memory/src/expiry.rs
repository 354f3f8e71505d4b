use crate::store::Inner;
use parking_lot::Mutex;
use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::task::JoinSet;

/// The task that deletes entries when their time has come; it starts with the first such entry, and again when the
/// runtime it was on is gone, on that of whoever calls next.
#[derive(Debug, Default)]
pub(crate) struct Expirer {
    started: Arc<AtomicBool>,
    tasks: Mutex<JoinSet<()>>,
}

impl Expirer {
    /// Starts the task if something will expire and it does not run yet. Call it inside a tokio runtime.
    pub(crate) fn ensure(&self, inner: &Arc<Inner>) {
        if self.started.load(Ordering::Relaxed) || inner.next_deadline().is_none() {
            return;
        }
        if !self.started.swap(true, Ordering::Relaxed) {
            let started = Started { flag: self.started.clone(), ended: false };
            let inner = Arc::downgrade(inner);
            let mut tasks = self.tasks.lock();
            while tasks.try_join_next().is_some() {}
            tasks.spawn(async move {
                let mut started = started;
                expire(inner).await;
                started.ended = true;
            });
        }
    }
}

/// Takes back that the task was started when it is dropped before it has come to its end.
#[derive(Debug)]
struct Started {
    flag: Arc<AtomicBool>,
    ended: bool,
}

impl Drop for Started {
    fn drop(&mut self) {
        if !self.ended {
            self.flag.store(false, Ordering::Relaxed);
        }
    }
}

async fn expire(inner: Weak<Inner>) {
    loop {
        let Some(strong) = inner.upgrade() else {
            return;
        };
        let now = strong.clock().elapsed();
        let wait = match strong.next_deadline() {
            Some(deadline) if deadline <= now => {
                if strong.expire().await.is_err() {
                    return;
                }
                continue;
            }
            Some(deadline) => deadline - now,
            None => Duration::MAX,
        };
        let sleep = (wait != Duration::MAX).then(|| strong.clock().sleep(wait));
        let published = strong.published().clone();
        drop(strong);
        let changed = published.deadline_changed().notified();
        match sleep {
            Some(sleep) => tokio::select! {
                biased;
                () = sleep => {}
                () = changed => {}
            },
            None => changed.await,
        }
    }
}
