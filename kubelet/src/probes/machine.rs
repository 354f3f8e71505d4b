use super::{Kind, Outcome};
use k8s_openapi::api::core::v1::Probe;
use kubeplane_runtime_cri::ContainerId;
use std::time::Duration;

/// What a probe must know of its container before each turn.
#[derive(Debug, Clone)]
pub(crate) struct Subject {
    pub(crate) id: ContainerId,
    pub(crate) state: SubjectState,
    pub(crate) started: bool,
    pub(crate) pod_deleting: bool,
    /// Known as ready to the API, so that a restart of the kubelet does not make it unready.
    pub(crate) was_ready: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SubjectState {
    Running { since: Duration },
    Ended { restarts: bool },
    Waiting,
}

/// What to do in one turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Ask the container now.
    Probe,
    /// Nothing to do until the container changes.
    Idle,
    /// Nothing to do for this long.
    Wait(Duration),
    /// Never again.
    Stop,
}

/// An outcome to remember.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    Set(ContainerId, Outcome),
    Forget(ContainerId),
}

/// The thresholds and delays of one probe of one container, over all its restarts.
#[derive(Debug)]
pub(crate) struct Machine {
    kind: Kind,
    initial_delay: Duration,
    failure_threshold: u32,
    success_threshold: u32,
    container: Option<ContainerId>,
    on_hold: bool,
    last: Option<Outcome>,
    run: u32,
}

impl Machine {
    pub(crate) fn new(kind: Kind, probe: &Probe) -> Self {
        let count = |value: Option<i32>, default| {
            value.and_then(|value| u32::try_from(value).ok()).filter(|v| *v > 0).unwrap_or(default)
        };
        let delay = probe.initial_delay_seconds.and_then(|s| u64::try_from(s).ok()).unwrap_or(0);
        Self {
            kind,
            initial_delay: Duration::from_secs(delay),
            failure_threshold: count(probe.failure_threshold, 3),
            success_threshold: count(probe.success_threshold, 1),
            container: None,
            on_hold: false,
            last: None,
            run: 0,
        }
    }

    /// Decides about one turn at the time `now` on the wall clock's scale of `since`.
    pub(crate) fn turn(&mut self, subject: &Subject, now: Duration) -> (Turn, Vec<Change>) {
        let mut changes = Vec::new();
        if self.container.as_ref() != Some(&subject.id) {
            self.adopt(subject, &mut changes);
        }
        if self.on_hold {
            return (Turn::Idle, changes);
        }
        let since = match subject.state {
            SubjectState::Waiting => return (Turn::Idle, changes),
            SubjectState::Ended { restarts } => {
                changes.push(Change::Set(subject.id.clone(), Outcome::Failure));
                return (if restarts { Turn::Idle } else { Turn::Stop }, changes);
            }
            SubjectState::Running { since } => since,
        };
        if subject.pod_deleting && self.kind != Kind::Readiness {
            changes.push(Change::Set(subject.id.clone(), Outcome::Success));
            return (Turn::Stop, changes);
        }
        let age = now.saturating_sub(since);
        if age < self.initial_delay {
            return (Turn::Wait(self.initial_delay - age), changes);
        }
        if subject.started == (self.kind == Kind::Startup) {
            return (Turn::Idle, changes);
        }
        (Turn::Probe, changes)
    }

    fn adopt(&mut self, subject: &Subject, changes: &mut Vec<Change>) {
        if let Some(old) = self.container.replace(subject.id.clone()) {
            changes.push(Change::Forget(old));
        }
        let initial = match self.kind {
            Kind::Startup if subject.started => Outcome::Success,
            Kind::Startup => Outcome::Unknown,
            Kind::Liveness => Outcome::Success,
            Kind::Readiness if subject.was_ready => Outcome::Success,
            Kind::Readiness => Outcome::Failure,
        };
        changes.push(Change::Set(subject.id.clone(), initial));
        self.on_hold = false;
        self.last = None;
        self.run = 0;
    }

    /// Counts what the container answered; the outcome to remember when a threshold is reached.
    pub(crate) fn record(&mut self, outcome: Outcome) -> Option<Change> {
        if self.last == Some(outcome) {
            self.run += 1;
        } else {
            self.last = Some(outcome);
            self.run = 1;
        }
        let threshold = match outcome {
            Outcome::Success => self.success_threshold,
            Outcome::Failure => self.failure_threshold,
            Outcome::Unknown => 1,
        };
        if self.run < threshold {
            return None;
        }
        let ends = self.kind == Kind::Startup
            || (self.kind == Kind::Liveness && outcome == Outcome::Failure);
        if ends {
            // Until there is a new container: probing one that is being stopped tells nothing.
            self.on_hold = true;
            self.run = 0;
        }
        self.container.clone().map(|id| Change::Set(id, outcome))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn running(id: &str, since: u64, started: bool) -> Subject {
        Subject {
            id: id.into(),
            state: SubjectState::Running { since: Duration::from_secs(since) },
            started,
            pod_deleting: false,
            was_ready: false,
        }
    }

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn readiness_starts_unready_and_needs_its_thresholds() {
        let probe = Probe {
            initial_delay_seconds: Some(5),
            success_threshold: Some(2),
            failure_threshold: Some(2),
            ..Probe::default()
        };
        let mut machine = Machine::new(Kind::Readiness, &probe);
        let subject = running("c1", 100, true);
        let (turn, changes) = machine.turn(&subject, seconds(102));
        assert_eq!(turn, Turn::Wait(seconds(3)));
        assert_eq!(changes, [Change::Set("c1".into(), Outcome::Failure)]);
        assert_eq!(machine.turn(&subject, seconds(105)).0, Turn::Probe);
        assert_eq!(machine.record(Outcome::Success), None);
        assert_eq!(
            machine.record(Outcome::Success),
            Some(Change::Set("c1".into(), Outcome::Success))
        );
        assert_eq!(machine.record(Outcome::Failure), None);
        assert!(machine.record(Outcome::Failure).is_some());
    }

    #[test]
    fn liveness_holds_after_a_failure_until_there_is_a_new_container() {
        let probe = Probe { failure_threshold: Some(1), ..Probe::default() };
        let mut machine = Machine::new(Kind::Liveness, &probe);
        assert_eq!(machine.turn(&running("c1", 0, true), seconds(1)).0, Turn::Probe);
        assert!(machine.record(Outcome::Failure).is_some());
        assert_eq!(machine.turn(&running("c1", 0, true), seconds(2)).0, Turn::Idle);
        let (turn, changes) = machine.turn(&running("c2", 2, true), seconds(3));
        assert_eq!(turn, Turn::Probe);
        assert_eq!(changes[0], Change::Forget("c1".into()));
        assert_eq!(changes[1], Change::Set("c2".into(), Outcome::Success));
    }

    #[test]
    fn other_probes_wait_for_startup_and_startup_ends_once_started() {
        let mut liveness = Machine::new(Kind::Liveness, &Probe::default());
        assert_eq!(liveness.turn(&running("c", 0, false), seconds(1)).0, Turn::Idle);
        let mut startup = Machine::new(Kind::Startup, &Probe::default());
        assert_eq!(startup.turn(&running("c", 0, false), seconds(1)).0, Turn::Probe);
        assert!(startup.record(Outcome::Success).is_some());
        assert_eq!(startup.turn(&running("c", 0, true), seconds(2)).0, Turn::Idle);
    }

    #[test]
    fn a_pod_that_is_being_deleted_is_only_probed_for_readiness() {
        let mut subject = running("c", 0, true);
        subject.pod_deleting = true;
        let mut liveness = Machine::new(Kind::Liveness, &Probe::default());
        assert_eq!(liveness.turn(&subject, seconds(1)).0, Turn::Stop);
        let mut readiness = Machine::new(Kind::Readiness, &Probe::default());
        assert_eq!(readiness.turn(&subject, seconds(1)).0, Turn::Probe);
    }
}
