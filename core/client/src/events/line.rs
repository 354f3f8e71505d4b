use std::sync::atomic::{AtomicU64, Ordering};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
};

/// How many events may wait to be written; more are dropped.
const WAITING: usize = 1000;

pub(super) enum Message<T> {
    Event(Box<T>),
    /// Answered when all events before it were written or given up.
    Flush(oneshot::Sender<()>),
}

/// The way to a writer of events, which is a task of its own and ends with this.
pub(super) struct Line<T> {
    messages: mpsc::Sender<Message<T>>,
    dropped: AtomicU64,
    _task: JoinSet<()>,
}

impl<T> Line<T> {
    pub(super) fn new<F>(writer: impl FnOnce(mpsc::Receiver<Message<T>>) -> F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (messages, waiting) = mpsc::channel(WAITING);
        let mut task = JoinSet::new();
        task.spawn(writer(waiting));
        Self { messages, dropped: AtomicU64::new(0), _task: task }
    }

    pub(super) fn send(&self, event: T) {
        if self.messages.try_send(Message::Event(Box::new(event))).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    pub(super) async fn flush(&self) {
        let (done, written) = oneshot::channel();
        if self.messages.send(Message::Flush(done)).await.is_ok() {
            // The writer ends only with the last recorder, and this is one.
            let _ = written.await;
        }
    }
}
