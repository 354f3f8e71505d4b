//! What is told of pods and groups: one write of an object after the other, so that the last word stays.

use kubeplane_clock::SharedClock;
use std::{
    collections::{HashMap, hash_map::Entry},
    time::Duration,
};
use tokio::{sync::oneshot, task::JoinSet};

/// How often a write is tried that the server could not take.
const TRIES: u32 = 5;
/// How long the first pause between tries is; each is twice the one before.
const PAUSE: Duration = Duration::from_millis(100);

/// Ends when the write it belongs to has.
pub(super) type Turn = oneshot::Receiver<()>;

/// Writes on their way, at most one of each object at a time.
#[derive(Default)]
pub(super) struct Reports {
    writes: JoinSet<(String, u64)>,
    /// The last write of each object, by uid.
    last: HashMap<String, (u64, Turn)>,
    number: u64,
}

impl Reports {
    /// Writes after all that was told of the object before.
    pub(super) fn spawn(&mut self, uid: &str, write: impl Future<Output = ()> + Send + 'static) {
        let before = self.turn(uid);
        let (done, turn) = oneshot::channel();
        self.number += 1;
        let (uid, number) = (uid.to_owned(), self.number);
        self.last.insert(uid.clone(), (number, turn));
        self.writes.spawn(async move {
            if let Some(before) = before {
                // It says nothing; that its sender is gone is enough.
                let _ = before.await;
            }
            write.await;
            drop(done);
            (uid, number)
        });
    }

    /// The end of the last write of an object, for one that must come after it.
    pub(super) fn turn(&mut self, uid: &str) -> Option<Turn> {
        self.last.remove(uid).map(|(_, turn)| turn)
    }

    /// Waits for a write to end; `None` when there is none.
    pub(super) async fn next(&mut self) -> Option<()> {
        let ended = self.writes.join_next().await?;
        if let Ok((uid, number)) = ended
            && let Entry::Occupied(own) = self.last.entry(uid)
            && own.get().0 == number
        {
            own.remove();
        }
        Some(())
    }
}

/// Tries a write again while the server cannot take it. One of an object that is gone or another one by now ends in
/// its error.
pub(super) async fn insist<W, F, T>(clock: &SharedClock, mut write: W) -> Result<T, kube::Error>
where
    W: FnMut() -> F + Send,
    F: Future<Output = Result<T, kube::Error>> + Send,
{
    let mut pause = PAUSE;
    for _ in 1..TRIES {
        match write().await {
            Err(kube::Error::Api(status)) if !passes(status.code) => {
                return Err(kube::Error::Api(status));
            }
            Err(_) => clock.sleep(pause).await,
            written => return written,
        }
        pause *= 2;
    }
    write().await
}

/// Whether the same request may be answered otherwise a moment later.
fn passes(code: u16) -> bool {
    code == 429 || code >= 500
}

#[cfg(test)]
mod tests {
    use super::*;
    use parking_lot::Mutex;
    use std::sync::Arc;

    #[tokio::test(start_paused = true)]
    async fn what_is_told_last_is_written_last() {
        let (mut reports, written) = (Reports::default(), Arc::new(Mutex::new(Vec::new())));
        for (uid, what, takes) in [("a", 1, 30), ("a", 2, 1), ("b", 3, 10), ("a", 4, 1)] {
            let written = written.clone();
            reports.spawn(uid, async move {
                tokio::time::sleep(Duration::from_millis(takes)).await;
                written.lock().push(what);
            });
        }
        while reports.next().await.is_some() {}
        assert_eq!(*written.lock(), [3, 1, 2, 4]);
        assert!(reports.last.is_empty(), "nothing is kept of writes that ended");
    }

    #[tokio::test(start_paused = true)]
    async fn a_binding_waits_for_what_was_told_before() {
        let (mut reports, written) = (Reports::default(), Arc::new(Mutex::new(false)));
        let mark = written.clone();
        reports.spawn("a", async move {
            tokio::time::sleep(Duration::from_millis(30)).await;
            *mark.lock() = true;
        });
        let turn = reports.turn("a").unwrap();
        let _ = turn.await;
        assert!(*written.lock());
    }
}
