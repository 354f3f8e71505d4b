use std::{
    any::{Any, TypeId},
    collections::{BTreeSet, HashMap},
    fmt,
};

/// What plugins keep for one pod during one scheduling cycle, by type: each plugin uses types of its own.
#[derive(Default)]
pub struct CycleState {
    values: HashMap<TypeId, Box<dyn Any + Send + Sync>>,
    pub(crate) skip_filter: BTreeSet<&'static str>,
    pub(crate) skip_score: BTreeSet<&'static str>,
    /// Whether single plugins are timed in this cycle.
    pub(crate) sampled: bool,
}

impl CycleState {
    /// Nothing kept yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Keeps a value, in place of one of the same type.
    pub fn insert<T: Any + Send + Sync>(&mut self, value: T) {
        self.values.insert(TypeId::of::<T>(), Box::new(value));
    }

    /// The value of a type.
    #[must_use]
    pub fn value<T: Any>(&self) -> Option<&T> {
        self.values.get(&TypeId::of::<T>()).and_then(|value| value.downcast_ref())
    }

    /// The value of a type, to change.
    pub fn value_mut<T: Any>(&mut self) -> Option<&mut T> {
        self.values.get_mut(&TypeId::of::<T>()).and_then(|value| value.downcast_mut())
    }
}

impl fmt::Debug for CycleState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CycleState")
            .field("values", &self.values.len())
            .field("skip_filter", &self.skip_filter)
            .field("skip_score", &self.skip_score)
            .finish()
    }
}
