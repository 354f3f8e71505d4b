use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

/// How much longer than at work it rests who has time.
const REST: u32 = 3;

/// How fast the disk is used for what nobody waits for, as a snapshot.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pace {
    hurry: Arc<AtomicBool>,
}

impl Pace {
    /// As fast as it goes, from now on.
    pub(crate) fn hurry(&self) {
        self.hurry.store(true, Ordering::Relaxed);
    }

    /// As fast as it goes, from the start.
    pub(crate) fn hurried() -> Self {
        Self { hurry: Arc::new(AtomicBool::new(true)) }
    }

    /// Leaves the disk and the processor to the writers for a while. By the machine's own clock: it is about the machine.
    pub(crate) fn rest(&self, worked: Duration) {
        if !self.hurry.load(Ordering::Relaxed) {
            thread::sleep((REST * worked).min(Duration::from_millis(100)));
        }
    }
}
