mod handler;
mod pending;

pub(crate) use handler::Handler;
pub use handler::Registration;
pub(crate) use pending::Pending;

use crate::{
    cache::Cache,
    object::{Object, typed},
};
use futures::Stream;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use std::{
    fmt,
    marker::PhantomData,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

/// What happened to one object, as a reader of a cache sees it.
#[derive(Debug)]
pub enum Change<K: ?Sized> {
    /// An object that was not there.
    Added(Arc<K>),
    /// The same object (by uid) in a newer state; states in between may have been skipped.
    Updated {
        /// The state this reader saw before.
        old: Arc<K>,
        /// The state now.
        new: Arc<K>,
    },
    /// An object that is gone, in its last known state.
    Deleted(Arc<K>),
}

impl<K: ?Sized> Clone for Change<K> {
    fn clone(&self) -> Self {
        match self {
            Self::Added(object) => Self::Added(object.clone()),
            Self::Updated { old, new } => Self::Updated { old: old.clone(), new: new.clone() },
            Self::Deleted(object) => Self::Deleted(object.clone()),
        }
    }
}

impl<K: ?Sized> Change<K> {
    /// The newest state the change shows.
    #[must_use]
    pub fn object(&self) -> &Arc<K> {
        match self {
            Self::Added(object) | Self::Deleted(object) => object,
            Self::Updated { new, .. } => new,
        }
    }

    /// The state before, when the object was known.
    #[must_use]
    pub fn old(&self) -> Option<&Arc<K>> {
        match self {
            Self::Updated { old, .. } => Some(old),
            _ => None,
        }
    }

    /// Whether the object is gone.
    #[must_use]
    pub fn is_deleted(&self) -> bool {
        matches!(self, Self::Deleted(_))
    }
}

impl Change<dyn Object> {
    pub(crate) fn typed<K: Send + Sync + 'static>(self) -> Option<Change<K>> {
        Some(match self {
            Self::Added(object) => Change::Added(typed(object)?),
            Self::Updated { old, new } => Change::Updated { old: typed(old)?, new: typed(new)? },
            Self::Deleted(object) => Change::Deleted(typed(object)?),
        })
    }
}

/// The changes of an informer's objects, from its present state on; ends when the informer stops.
///
/// A reader that falls behind sees fewer, larger steps: updates of one object collapse into one.
pub struct Changes<K> {
    pending: Arc<Pending>,
    kind: PhantomData<fn() -> K>,
}

impl<K> Changes<K> {
    pub(crate) fn of(cache: &Cache) -> Self {
        Self::new(Pending::of(cache, None))
    }

    pub(crate) fn new(pending: Arc<Pending>) -> Self {
        Self { pending, kind: PhantomData }
    }
}

impl<K> fmt::Debug for Changes<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Changes").finish_non_exhaustive()
    }
}

impl<K: Send + Sync + 'static> Stream for Changes<K> {
    type Item = Change<K>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Change<K>>> {
        while let Some(change) = ready!(self.pending.poll(context)) {
            if let Some(change) = change.typed() {
                return Poll::Ready(Some(change));
            }
        }
        Poll::Ready(None)
    }
}

/// What happened to one object, as far as its metadata tell.
pub struct MetadataChange(Change<dyn Object>);

impl fmt::Debug for MetadataChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(change) = self;
        f.debug_struct("MetadataChange")
            .field("metadata", self.metadata())
            .field("deleted", &change.is_deleted())
            .finish()
    }
}

impl MetadataChange {
    /// Those of the newest state, without `managedFields`.
    #[must_use]
    pub fn metadata(&self) -> &ObjectMeta {
        self.0.object().metadata()
    }

    /// Whether the object is gone.
    #[must_use]
    pub fn is_deleted(&self) -> bool {
        self.0.is_deleted()
    }
}

/// What one change of an object does to its metadata, for those who say whether they want to know of it.
#[derive(Debug, Clone, Copy)]
pub struct MetadataStep<'a> {
    /// Those before; `None` of an object that was not there, and of one that is gone.
    pub old: Option<&'a ObjectMeta>,
    /// Those after it, or the last ones.
    pub new: &'a ObjectMeta,
    /// Whether the object is gone.
    pub deleted: bool,
}

/// As [`Changes`], of objects of any one kind.
pub struct MetadataChanges {
    pending: Arc<Pending>,
}

impl MetadataChanges {
    pub(crate) fn of(cache: &Cache) -> Self {
        Self { pending: Pending::of(cache, None) }
    }

    pub(crate) fn only(
        cache: &Cache,
        wanted: impl Fn(MetadataStep<'_>) -> bool + Send + Sync + 'static,
    ) -> Self {
        let wanted = move |change: &Change<dyn Object>| {
            let old = change.old().map(|old| old.metadata());
            let (new, deleted) = (change.object().metadata(), change.is_deleted());
            wanted(MetadataStep { old, new, deleted })
        };
        Self { pending: Pending::of(cache, Some(Box::new(wanted))) }
    }
}

impl fmt::Debug for MetadataChanges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MetadataChanges").finish_non_exhaustive()
    }
}

impl Stream for MetadataChanges {
    type Item = MetadataChange;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<MetadataChange>> {
        self.pending.poll(context).map(|change| change.map(MetadataChange))
    }
}
