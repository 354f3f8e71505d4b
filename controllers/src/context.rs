use kubeplane_client::{EventRecorder, Informers};
use kubeplane_clock::{Seed, SharedClock};
use std::fmt;

/// What a controller works with. Cheap to clone.
#[derive(Clone)]
pub struct Context {
    pub(crate) client: kube::Client,
    pub(crate) informers: Informers,
    pub(crate) clock: SharedClock,
    pub(crate) recorder: EventRecorder,
    pub(crate) seed: Seed,
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("informers", &self.informers).finish_non_exhaustive()
    }
}

impl Context {
    /// For writes, and for reads that must not be old; it has the controller's own identity.
    #[must_use]
    pub fn client(&self) -> kube::Client {
        self.client.clone()
    }

    /// The shared caches.
    #[must_use]
    pub fn informers(&self) -> &Informers {
        &self.informers
    }

    /// The time.
    #[must_use]
    pub fn clock(&self) -> &SharedClock {
        &self.clock
    }

    /// The wall time now, as written into objects.
    #[must_use]
    pub fn now(&self) -> jiff::Timestamp {
        self.clock.now()
    }

    /// For events about objects, with the controller as their source.
    #[must_use]
    pub fn recorder(&self) -> &EventRecorder {
        &self.recorder
    }

    /// The source of chance.
    #[must_use]
    pub fn seed(&self) -> &Seed {
        &self.seed
    }
}
