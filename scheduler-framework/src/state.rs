use crate::Snapshot;
use std::{
    any::{Any, TypeId},
    collections::HashMap,
    fmt,
};

type Values = HashMap<TypeId, Box<dyn Any + Send + Sync>>;

/// The names of a few plugins: asked for so often, for each node, that looking at each beats a tree.
#[derive(Debug, Clone, Default)]
pub(crate) struct Skipped(Vec<&'static str>);

impl Skipped {
    pub(crate) fn insert(&mut self, plugin: &'static str) {
        if !self.contains(plugin) {
            self.0.push(plugin);
        }
    }

    pub(crate) fn contains(&self, plugin: &str) -> bool {
        self.0.contains(&plugin)
    }
}

/// What plugins keep for one pod during one scheduling cycle, by type: each plugin uses types of its own.
#[derive(Default)]
pub struct CycleState {
    values: Values,
    /// Let go once a node is chosen.
    brief: Values,
    snapshot: Snapshot,
    pub(crate) skip_filter: Skipped,
    pub(crate) skip_score: Skipped,
    /// Whether single plugins are timed in this cycle.
    pub(crate) sampled: bool,
    /// The class of the pod, if that decides where it fits, once somebody asked.
    pub(crate) kind: Option<Option<u128>>,
}

impl CycleState {
    /// Nothing kept yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Nothing kept yet, in a cycle that sees these nodes.
    #[must_use]
    pub fn of(snapshot: Snapshot) -> Self {
        Self { snapshot, ..Self::default() }
    }

    /// All nodes of this cycle, and the objects beside them.
    #[must_use]
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// Keeps a value, in place of one of the same type.
    pub fn insert<T: Any + Send + Sync>(&mut self, value: T) {
        self.values.insert(TypeId::of::<T>(), Box::new(value));
    }

    /// Keeps a value until a node is chosen: what Filter and Score need, but nothing after them. A type is
    /// kept either so or by [`insert`](Self::insert).
    pub fn insert_until_placed<T: Any + Send + Sync>(&mut self, value: T) {
        self.brief.insert(TypeId::of::<T>(), Box::new(value));
    }

    /// The value of a type.
    #[must_use]
    pub fn value<T: Any>(&self) -> Option<&T> {
        let id = TypeId::of::<T>();
        self.brief.get(&id).or_else(|| self.values.get(&id))?.downcast_ref()
    }

    /// The value of a type, to change.
    pub fn value_mut<T: Any>(&mut self) -> Option<&mut T> {
        let id = TypeId::of::<T>();
        self.brief.get_mut(&id).or_else(|| self.values.get_mut(&id))?.downcast_mut()
    }

    /// A node is chosen: lets go of what was needed for that.
    pub(crate) fn set_placed(&mut self) {
        self.brief.clear();
        self.snapshot = Snapshot::default();
    }
}

impl fmt::Debug for CycleState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CycleState")
            .field("values", &(self.values.len() + self.brief.len()))
            .field("skip_filter", &self.skip_filter)
            .field("skip_score", &self.skip_score)
            .finish_non_exhaustive()
    }
}
