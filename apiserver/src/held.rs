//! What lasts as long as a connection that was taken over.

use http::Extensions;
use std::{any::Any, sync::Arc};

/// What steps of the pipeline note the end of a request by. The answer holds it; whoever takes a connection over, and
/// goes on with it after the answer, holds it too, until the connection has ended.
#[derive(Debug, Clone, Default)]
pub struct Held(Vec<Arc<dyn Any + Send + Sync>>);

impl Held {
    /// Of a request; empty when no step wants to know.
    #[must_use]
    pub fn of(extensions: &Extensions) -> Self {
        extensions.get::<Self>().cloned().unwrap_or_default()
    }

    /// Adds something that is dropped last.
    pub(crate) fn add(extensions: &mut Extensions, what: Arc<dyn Any + Send + Sync>) {
        extensions.get_or_insert_default::<Self>().0.push(what);
    }
}
