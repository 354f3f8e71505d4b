use kubeplane_clock::{SharedClock, Sleep};
use kubeplane_store_trait::Revision;
use std::time::Duration;

/// How long an old etcd may take until a watch that is behind is up to date, where that cannot be found out: it
/// looks every 100 ms.
const CATCH_UP: Duration = Duration::from_millis(300);
/// How long until a question is put again that was not answered, or too early. A new etcd does not answer at all while
/// the watch is behind, and a member that lags behind the others says how far it has come.
const AGAIN: Duration = Duration::from_millis(100);
/// A reader that is away for longer may have let the watch fall behind.
const AWAY: Duration = Duration::from_millis(20);
/// How many round trips without an event confirm an answer.
const QUIET: u32 = 2;
/// How many scouts must return without an event between: what overflowed etcd's queue is put among the watches
/// that are behind while the first is out, and what these get may come after what the second one saw.
const SCOUTS: u32 = 3;
/// etcd keeps 128 messages for a watch; when it has more at once, the watch has fallen behind.
const QUEUE: u32 = 100;

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Wait,
    /// Send a progress request.
    Ask,
    /// Send a scout: a further watch on the same stream whose first event is known and lies in the past.
    Scout,
    /// Everything through this revision has been delivered.
    Bookmark(Revision),
}

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pause {
    /// That the watch is up to date, where that cannot be found out.
    CatchUp,
    /// To ask again.
    Again,
}

/// Decides which progress answers are believed.
///
/// A new etcd answers when every event through its revision has been sent. An old one answers at once, and events
/// come later: those of a watch that is behind, because it began in the past or its reader was slow, with the next
/// look at all such watches; those of one that is not, after a few more lines of code. So first it is made sure
/// that the watch is not behind: a scout starts in the past, too, and what it sees comes with the same look, on
/// the same stream. When three came back without an event between, there is none. From then on an answer counts if
/// further round trips bring no event: what had been queued before the first answer would have come between.
pub(crate) struct Progress {
    clock: SharedClock,
    confirm: bool,
    wanted: bool,
    /// What was known to be written when the reader asked last: its bookmark is not to be older.
    floor: Revision,
    /// A request or a scout is under way.
    asking: bool,
    /// The watch is known not to be behind.
    current: bool,
    /// How many messages have come since then.
    messages: u32,
    /// What was reached when the first of the unbroken row of answers was given, and how many followed it.
    candidate: Option<(Revision, u32)>,
    sleep: Option<(Pause, Sleep)>,
    promised: Revision,
    left_at: Option<Duration>,
}

impl Progress {
    pub(crate) fn new(clock: SharedClock, confirm: bool) -> Self {
        Self {
            clock,
            confirm,
            wanted: false,
            floor: Revision(0),
            asking: false,
            current: false,
            messages: 0,
            candidate: None,
            sleep: None,
            promised: Revision(0),
            left_at: None,
        }
    }

    /// The watch goes on over another stream, to a member that may be of another age.
    pub(crate) fn reconnected(&mut self, confirm: bool) {
        self.confirm = confirm;
        self.asking = false;
        self.doubt();
    }

    /// The latest revision that was given out as a bookmark and not by an event.
    pub(crate) fn promised(&self) -> Revision {
        self.promised
    }

    /// The reader wants a bookmark, at `floor` or later.
    pub(crate) fn wanted(&mut self, floor: Revision) -> Step {
        self.wanted = true;
        self.floor = self.floor.max(floor);
        self.go()
    }

    /// Asks, if somebody wants to know and it has not been asked yet.
    pub(crate) fn go(&mut self) -> Step {
        if !self.wanted {
            return Step::Wait;
        }
        if !self.confirm {
            self.pause(Pause::Again);
            return Step::Ask;
        }
        if self.asking {
            return Step::Wait;
        }
        self.asking = true;
        self.next()
    }

    fn next(&self) -> Step {
        if self.current { Step::Ask } else { Step::Scout }
    }

    /// There is no event a scout could look for: nothing is left but to wait a little.
    pub(crate) fn has_no_scout(&mut self) {
        self.pause(Pause::CatchUp);
    }

    fn pause(&mut self, pause: Pause) {
        let time = match pause {
            Pause::CatchUp => CATCH_UP,
            Pause::Again => AGAIN,
        };
        self.sleep = Some((pause, self.clock.sleep(time)));
    }

    /// The time is over for which it was to be waited.
    pub(crate) fn waited(&mut self) -> Step {
        if let Some((Pause::Again, _)) = self.sleep.take() {
            return self.go();
        }
        self.messages = 0;
        self.current = true;
        self.candidate = None;
        self.next()
    }

    /// Waits for that time to be over; for ever when there is none. Dropping the future loses nothing.
    pub(crate) async fn wait(&mut self) {
        match &mut self.sleep {
            Some((_, sleep)) => sleep.as_mut().await,
            None => std::future::pending().await,
        }
    }

    /// A scout started when etcd had reached `reached`.
    pub(crate) fn scout_started(&mut self, reached: Revision) {
        self.candidate.get_or_insert((reached, 0));
    }

    /// A scout has seen what it was sent for.
    pub(crate) fn scout_returned(&mut self) -> Step {
        let Some((reached, quiet)) = self.candidate else { return self.next() };
        if quiet + 1 < SCOUTS {
            self.candidate = Some((reached, quiet + 1));
            return Step::Scout;
        }
        self.current = true;
        self.done(reached)
    }

    /// etcd has answered that it has reached `reached`.
    pub(crate) fn answered(&mut self, reached: Revision, manual: bool) -> Step {
        if !manual {
            return self.promise(reached);
        }
        if !self.confirm {
            return self.done(reached);
        }
        if !self.current {
            // Doubted since it was asked.
            return self.next();
        }
        let (candidate, quiet) = match self.candidate {
            Some((candidate, quiet)) => (candidate, quiet + 1),
            None => (reached, 0),
        };
        if quiet < QUIET {
            self.candidate = Some((candidate, quiet));
            return Step::Ask;
        }
        self.done(candidate)
    }

    fn done(&mut self, through: Revision) -> Step {
        self.candidate = None;
        self.messages = 0;
        self.asking = false;
        self.sleep = None;
        self.wanted = through < self.floor;
        if self.wanted {
            self.pause(Pause::Again);
        }
        self.promise(through)
    }

    fn promise(&mut self, through: Revision) -> Step {
        self.promised = self.promised.max(through);
        Step::Bookmark(through)
    }

    /// Events have come.
    pub(crate) fn disturbed(&mut self) {
        self.candidate = None;
        self.messages = self.messages.saturating_add(1);
        if self.messages > QUEUE {
            self.current = false;
        }
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
            self.doubt();
        }
    }

    fn doubt(&mut self) {
        self.current = false;
        self.candidate = None;
        if matches!(self.sleep, Some((Pause::CatchUp, _))) {
            self.has_no_scout();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;
    use kubeplane_clock::PausedClock;
    use std::sync::Arc;

    fn start(confirm: bool) -> (PausedClock, Progress) {
        let clock = PausedClock::starting_at("2026-01-01T00:00:00Z".parse().unwrap());
        (clock.clone(), Progress::new(Arc::new(clock), confirm))
    }

    fn old() -> Progress {
        start(true).1
    }

    /// What is done after the time for another question.
    fn later(clock: &PausedClock, progress: &mut Progress) -> Option<Step> {
        assert_eq!(progress.wait().now_or_never(), None, "not at once");
        clock.advance(AGAIN);
        progress.wait().now_or_never().map(|()| progress.waited())
    }

    /// Sends scouts until they are believed.
    fn prove(progress: &mut Progress, reached: u64) {
        for round in 1..=3 {
            progress.scout_started(Revision(reached + round));
            let step = progress.scout_returned();
            let expected =
                if round < 3 { Step::Scout } else { Step::Bookmark(Revision(reached + 1)) };
            assert_eq!(step, expected);
        }
    }

    #[test]
    fn a_new_etcd_is_believed() {
        let (clock, mut progress) = start(false);
        assert_eq!(progress.wanted(Revision(7)), Step::Ask);
        assert_eq!(progress.answered(Revision(7), true), Step::Bookmark(Revision(7)));
        assert_eq!(later(&clock, &mut progress), None, "it is answered");
    }

    #[test]
    fn a_new_etcd_that_does_not_answer_or_lags_behind_is_asked_again() {
        let (clock, mut progress) = start(false);
        assert_eq!(progress.wanted(Revision(9)), Step::Ask);
        for reached in [7, 8] {
            assert_eq!(later(&clock, &mut progress), Some(Step::Ask), "no answer");
            let reached = Revision(reached);
            assert_eq!(progress.answered(reached, true), Step::Bookmark(reached));
        }
        assert_eq!(later(&clock, &mut progress), Some(Step::Ask), "too early an answer");
        assert_eq!(progress.answered(Revision(10), true), Step::Bookmark(Revision(10)));
        assert_eq!(later(&clock, &mut progress), None);
    }

    #[test]
    fn an_old_etcd_is_asked_again_for_who_asked_while_it_was_asked() {
        let (clock, mut progress) = start(true);
        assert_eq!(progress.wanted(Revision(1)), Step::Scout);
        assert_eq!(progress.wanted(Revision(9)), Step::Wait, "one is out");
        prove(&mut progress, 6);
        assert_eq!(later(&clock, &mut progress), Some(Step::Ask));
        for _ in 0..2 {
            assert_eq!(progress.answered(Revision(9), true), Step::Ask);
        }
        assert_eq!(progress.answered(Revision(9), true), Step::Bookmark(Revision(9)));
        assert_eq!(later(&clock, &mut progress), None);
    }

    #[test]
    fn an_old_etcd_is_believed_when_nothing_came_between() {
        let mut progress = old();
        assert_eq!(progress.wanted(Revision(0)), Step::Scout);
        assert_eq!(progress.wanted(Revision(0)), Step::Wait, "one is out");
        progress.scout_started(Revision(5));
        progress.disturbed();
        assert_eq!(progress.scout_returned(), Step::Scout, "an event came: from the start");
        prove(&mut progress, 6);
        assert_eq!(
            progress.wanted(Revision(0)),
            Step::Ask,
            "it is not behind, so a question is enough"
        );
        assert_eq!(progress.answered(Revision(8), true), Step::Ask);
        assert_eq!(progress.answered(Revision(8), true), Step::Ask);
        progress.disturbed();
        for _ in 0..2 {
            assert_eq!(progress.answered(Revision(9), true), Step::Ask);
        }
        assert_eq!(progress.answered(Revision(10), true), Step::Bookmark(Revision(9)));
    }

    #[test]
    fn a_burst_or_another_stream_brings_doubt() {
        let mut progress = old();
        progress.wanted(Revision(0));
        prove(&mut progress, 1);
        for _ in 0..128 {
            progress.disturbed();
        }
        assert_eq!(progress.wanted(Revision(0)), Step::Scout);
        prove(&mut progress, 200);
        progress.reconnected(true);
        assert_eq!(progress.wanted(Revision(0)), Step::Scout);
    }
}
