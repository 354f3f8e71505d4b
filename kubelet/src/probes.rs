//! Startup, readiness and liveness of containers.
//!
//! [`machine`] decides, [`action`] asks the container, [`prober`] runs both for every probe of a pod.

pub(crate) mod action;
pub(crate) mod grpc;
pub(crate) mod machine;
pub(crate) mod prober;

use kubeplane_runtime_cri::ContainerId;
use parking_lot::Mutex;
use std::{collections::HashMap, fmt};

/// Which of the three probes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Kind {
    Startup,
    Readiness,
    Liveness,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Startup => "Startup",
            Self::Readiness => "Readiness",
            Self::Liveness => "Liveness",
        })
    }
}

/// What is known of a container by one probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Success,
    Failure,
    Unknown,
}

/// The present outcomes of the probes of one pod.
#[derive(Debug, Default)]
pub(crate) struct Results(Mutex<HashMap<(Kind, ContainerId), Outcome>>);

impl Results {
    pub(crate) fn liveness(&self, id: &ContainerId) -> Option<Outcome> {
        self.of(Kind::Liveness, id)
    }

    pub(crate) fn readiness(&self, id: &ContainerId) -> Option<Outcome> {
        self.of(Kind::Readiness, id)
    }

    pub(crate) fn startup(&self, id: &ContainerId) -> Option<Outcome> {
        self.of(Kind::Startup, id)
    }

    fn of(&self, kind: Kind, id: &ContainerId) -> Option<Outcome> {
        self.0.lock().get(&(kind, id.clone())).copied()
    }

    /// Remembers an outcome; true when it is another than before.
    pub(crate) fn set(&self, kind: Kind, id: &ContainerId, outcome: Outcome) -> bool {
        self.0.lock().insert((kind, id.clone()), outcome) != Some(outcome)
    }

    pub(crate) fn remove(&self, kind: Kind, id: &ContainerId) {
        self.0.lock().remove(&(kind, id.clone()));
    }
}
