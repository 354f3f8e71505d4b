//! The protobuf forms beside the rows: forgotten when no list has asked for them for a while.

use super::Inner;
use parking_lot::Mutex;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio_util::task::AbortOnDropHandle;

/// How long forms are kept that nobody asks for; up to twice that.
const KEPT: Duration = Duration::from_secs(120);

/// Whether the forms are in use, and the task that forgets them.
#[derive(Debug, Default)]
pub(super) struct Warm {
    used: Arc<AtomicBool>,
    task: Mutex<Option<AbortOnDropHandle<()>>>,
}

impl Warm {
    pub(super) fn touch(&self, inner: &Arc<Inner>) {
        if self.used.swap(true, Ordering::AcqRel) {
            return;
        }
        let mut task = self.task.lock();
        if task.as_ref().is_none_or(AbortOnDropHandle::is_finished) {
            let forgetting = forget(inner.clone(), self.used.clone());
            *task = Some(AbortOnDropHandle::new(tokio::spawn(forgetting)));
        }
    }
}

/// Goes on for as long as the forms are used, and then twice more, so that none made meanwhile stays.
async fn forget(inner: Arc<Inner>, used: Arc<AtomicBool>) {
    let mut unused = 0;
    while unused < 2 {
        inner.options.clock.sleep(KEPT).await;
        if used.swap(false, Ordering::AcqRel) {
            unused = 0;
            continue;
        }
        unused += 1;
        let snapshot = inner.snapshot.load_full();
        snapshot.rows.values().for_each(|row| row.forget_protobuf());
    }
}
