mod client;
mod gather;

pub use client::ClientSource;

use crate::Result;
use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use kube::discovery::ApiResource;
use std::{fmt, fmt::Debug, time::Duration};

/// What an informer wants to see: all objects of a resource that match, in all namespaces.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Query {
    /// The resource.
    pub resource: ApiResource,
    /// A field selector in its text form; empty matches everything.
    pub field_selector: String,
    /// A label selector in its text form; empty matches everything.
    pub label_selector: String,
    /// Only metadata is wanted.
    pub metadata_only: bool,
}

impl Query {
    /// Every object of `resource`, whole.
    #[must_use]
    pub fn all(resource: ApiResource) -> Self {
        Self {
            resource,
            field_selector: String::new(),
            label_selector: String::new(),
            metadata_only: false,
        }
    }

    /// The path of the collection, as in `/apis/apps/v1/deployments`.
    #[must_use]
    pub fn path(&self) -> String {
        let root = if self.resource.group.is_empty() { "api" } else { "apis" };
        format!("/{root}/{}/{}", self.resource.api_version, self.resource.plural)
    }
}

impl fmt::Display for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.resource.plural)?;
        if !self.resource.group.is_empty() {
            write!(f, ".{}", self.resource.group)?;
        }
        for (name, selector) in [("fields", &self.field_selector), ("labels", &self.label_selector)]
        {
            if !selector.is_empty() {
                write!(f, " {name}({selector})")?;
            }
        }
        Ok(())
    }
}

/// A list: every matching object as its JSON text, and the version it shows.
#[derive(Debug, Clone, Default)]
pub struct Listed {
    /// The resourceVersion to watch from.
    pub resource_version: String,
    /// The objects; `kind` and `apiVersion` may be missing.
    pub items: Vec<Bytes>,
}

/// One step of a watch. Objects are JSON text.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum SourceEvent {
    /// An object was created or began to match.
    Added(Bytes),
    /// An object changed.
    Modified(Bytes),
    /// An object is gone or no longer matches; this is its last state.
    Deleted(Bytes),
    /// Nothing matched up to this resourceVersion.
    Bookmark(String),
}

/// The steps of one watch; ends when the server ends it.
pub type SourceEvents = BoxStream<'static, Result<SourceEvent>>;

/// Where informers get their objects from: the API over a client, or a part of the same process.
///
/// # Contract
/// `list` shows one state, named by its resourceVersion; `watch` after that version delivers every later
/// change of a matching object once and in order. A version that cannot be served any more is
/// [`crate::Error::Expired`], from either call or from within a watch; the informer then lists again.
#[async_trait]
pub trait InformerSource: Debug + Send + Sync + 'static {
    /// All matching objects. `at_least` is a resourceVersion the answer must not be older than, or empty for the
    /// newest: whatever was written before the call is in the answer. An informer begins with that.
    ///
    /// # Errors
    /// When the list cannot be read.
    ///
    /// # Cancellation
    /// Dropping the future has no effect but the lost answer.
    async fn list(&self, query: &Query, at_least: &str) -> Result<Listed>;

    /// What happens after `after`, for about `lifetime`.
    ///
    /// # Errors
    /// When the watch cannot be opened; later errors are items of the stream, which then ends.
    ///
    /// # Cancellation
    /// Dropping the future or the stream closes the watch.
    async fn watch(&self, query: &Query, after: &str, lifetime: Duration) -> Result<SourceEvents>;
}
