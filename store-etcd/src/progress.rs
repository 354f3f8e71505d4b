use kubeplane_clock::{SharedClock, Sleep};
use kubeplane_store_trait::Revision;
use std::time::Duration;

/// How long an old etcd may take until a watch that fell behind is up to date again: it looks every 100 ms.
const CATCH_UP: Duration = Duration::from_millis(300);
/// A reader that is away for longer may have let the watch fall behind.
const AWAY: Duration = Duration::from_millis(20);
/// How many round trips without an event confirm an answer.
const QUIET: u32 = 2;

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Wait,
    /// Send a progress request.
    Ask,
    /// Everything through this revision has been delivered.
    Bookmark(Revision),
}

/// Decides which progress answers are believed.
///
/// A new etcd answers when every event through its revision has been sent. An old one answers at once, and events
/// that wait in its queues come later. Then an answer counts only if the watch cannot be behind and further
/// round trips bring no event: what had been queued before the first answer would have come between.
pub(crate) struct Progress {
    clock: SharedClock,
    confirm: bool,
    /// Asked for, but not before `settled`.
    wanted: bool,
    settled: Duration,
    sleep: Option<Sleep>,
    candidate: Option<(Revision, u32)>,
    asking: bool,
    promised: Revision,
    left_at: Option<Duration>,
}

impl Progress {
    pub(crate) fn new(clock: SharedClock, confirm: bool) -> Self {
        let mut progress = Self {
            clock,
            confirm,
            wanted: false,
            settled: Duration::ZERO,
            sleep: None,
            candidate: None,
            asking: false,
            promised: Revision(0),
            left_at: None,
        };
        // A write may come between the look at the revision and the start of the watch.
        progress.unsettle();
        progress
    }

    /// The watch goes on over another stream, to a member that may be of another age.
    pub(crate) fn reconnected(&mut self, confirm: bool) {
        self.confirm = confirm;
        self.asking = false;
        self.unsettle();
    }

    /// The latest revision that was given out as a bookmark and not by an event.
    pub(crate) fn promised(&self) -> Revision {
        self.promised
    }

    /// The reader wants a bookmark.
    pub(crate) fn wanted(&mut self) -> Step {
        self.wanted = true;
        self.due()
    }

    /// Looks whether it is time to ask.
    pub(crate) fn due(&mut self) -> Step {
        self.sleep = None;
        if !self.confirm && self.wanted {
            return Step::Ask;
        }
        if !self.wanted || self.asking {
            return Step::Wait;
        }
        let now = self.clock.elapsed();
        if now < self.settled {
            self.sleep = Some(self.clock.sleep(self.settled - now));
            return Step::Wait;
        }
        self.asking = true;
        Step::Ask
    }

    /// Waits for the time to look again; for ever when there is none. Dropping the future loses nothing.
    pub(crate) async fn wait(&mut self) {
        match &mut self.sleep {
            Some(sleep) => sleep.as_mut().await,
            None => std::future::pending().await,
        }
    }

    /// etcd has answered that it has reached `reached`.
    pub(crate) fn answered(&mut self, reached: Revision, manual: bool) -> Step {
        if !self.confirm || !manual {
            if manual {
                self.wanted = false;
            }
            return self.promise(reached);
        }
        let (candidate, quiet) = match self.candidate {
            Some((candidate, quiet)) => (candidate, quiet + 1),
            None => (reached, 0),
        };
        if quiet < QUIET {
            self.candidate = Some((candidate, quiet));
            return Step::Ask;
        }
        self.candidate = None;
        self.asking = false;
        self.wanted = false;
        self.promise(candidate)
    }

    fn promise(&mut self, through: Revision) -> Step {
        self.promised = self.promised.max(through);
        Step::Bookmark(through)
    }

    /// Events have come.
    pub(crate) fn disturbed(&mut self) {
        self.candidate = None;
    }

    /// The reader was given something and goes away.
    pub(crate) fn yielded(&mut self) {
        self.left_at = Some(self.clock.elapsed());
    }

    /// The reader is back.
    pub(crate) fn resumed(&mut self) {
        if let Some(left) = self.left_at.take()
            && self.clock.elapsed().saturating_sub(left) > AWAY
        {
            self.unsettle();
        }
    }

    fn unsettle(&mut self) {
        self.settled = self.clock.elapsed().saturating_add(CATCH_UP);
        self.candidate = None;
    }
}
