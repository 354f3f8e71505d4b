use super::{Event, Inner, Progress};
use kubeplane_clock::watch;
use kubeplane_store_trait::Revision;
use std::sync::Arc;

/// How many events are taken from the ring at once.
const BATCH: usize = 256;

/// One watcher's place in the ring.
#[derive(Debug)]
pub(crate) struct Cursor {
    inner: Arc<Inner>,
    progress: watch::Receiver<Progress>,
    next: u64,
    after: Revision,
    epoch: u64,
}

/// What a cursor found.
#[derive(Debug)]
pub(crate) enum Next {
    /// Some events, in order.
    Events(Vec<Arc<Event>>),
    /// No event, but every change up to this revision has been seen.
    Progress(Revision),
    /// The watcher was too slow, or the resource is served no more.
    Ended,
}

impl Cursor {
    pub(super) fn open(inner: &Arc<Inner>, after: Revision) -> Option<Self> {
        let progress = inner.progress.subscribe();
        let ring = inner.ring.read();
        let next = ring.seek(after)?;
        let epoch = ring.epoch;
        drop(ring);
        Some(Self { inner: inner.clone(), progress, next, after, epoch })
    }

    /// Waits for what comes next.
    ///
    /// # Cancellation
    /// Nothing is lost.
    pub(crate) async fn next(&mut self) -> Next {
        loop {
            let now = *self.progress.borrow_and_update();
            // The ring is begun anew before that is told, so a young cursor may be ahead.
            if now.epoch > self.epoch || self.inner.closed.is_cancelled() {
                return Next::Ended;
            }
            let Some(mut events) = self.inner.ring.read().read(self.next, BATCH) else {
                return Next::Ended;
            };
            if !events.is_empty() {
                self.next += events.len() as u64;
                events.retain(|event| event.revision > self.after);
                if let Some(last) = events.last() {
                    self.after = last.revision;
                    return Next::Events(events);
                }
                continue;
            }
            if now.through > self.after {
                self.after = now.through;
                return Next::Progress(now.through);
            }
            tokio::select! {
                biased;
                changed = self.progress.changed() => {
                    if changed.is_err() {
                        return Next::Ended;
                    }
                }
                () = self.inner.closed.cancelled() => return Next::Ended,
            }
        }
    }
}
