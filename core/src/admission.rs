//! The step between authorization and validation: change what is written, or refuse it.

use crate::{
    Definition, Object,
    auth::{Authorizer, UserInfo},
    reader::{ObjectReader, ObjectUpdater},
    status::ApiResult,
};
use async_trait::async_trait;

use std::{fmt::Debug, sync::Arc};

/// What a write does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Makes an object.
    Create,
    /// Changes one.
    Update,
    /// Removes one.
    Delete,
    /// Opens a connection, as exec does.
    Connect,
}

/// Which of the two things a step does; the other is not asked of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Does {
    /// It changes objects and judges them.
    #[default]
    Both,
    /// It changes objects, and judges none.
    Mutates,
    /// It judges objects, and changes none.
    Validates,
}

/// One write on its way.
#[derive(Debug)]
pub struct Request<'a> {
    /// What it does.
    pub operation: Operation,
    /// The verb of the request, as who authorizes knows it: `patch` where the operation is an update by a patch.
    pub verb: &'a str,
    /// The kind written.
    pub definition: &'a Arc<Definition>,
    /// The subresource, or the empty text.
    pub subresource: &'a str,
    /// The namespace, or the empty text.
    pub namespace: &'a str,
    /// The name; empty for a create with `generateName`.
    pub name: &'a str,
    /// The object to be written; `None` for a delete.
    pub object: Option<&'a mut Object>,
    /// The object as stored; `None` for a create.
    pub old: Option<&'a Object>,
    /// The options as sent (CreateOptions, DeleteOptions, ...).
    pub options: &'a Object,
    /// Nothing is to be stored: no side effects either.
    pub dry_run: bool,
    /// Who writes.
    pub user: &'a UserInfo,
    /// Warnings to the client.
    pub warnings: &'a Warnings,
    /// Annotations for the audit log, and the wish to run again.
    pub notes: &'a Notes,
    /// Reads of other objects.
    pub reader: &'a Arc<dyn ObjectReader>,
    /// Changes of other objects, as charging a quota is; not to be used when `dry_run`.
    pub updater: &'a dyn ObjectUpdater,
    /// Says what the user may do beside this write.
    pub authorizer: &'a Arc<dyn Authorizer>,
}

/// One admission step, an original's plug-in.
///
/// # Contract
/// All `mutate`s run in the order of assembly (once more when a step asks [`Notes::run_again`]), then the object
/// is validated, then all `validate`s run.
/// `validate` must not change the object. `handles` is asked first and must be cheap.
///
/// # Errors
/// An error refuses the write and is sent to the client as it is.
///
/// # Cancellation
/// The write is not made.
#[async_trait]
pub trait Admission: Debug + Send + Sync + 'static {
    /// The original's name of the step, as in `NamespaceLifecycle`.
    fn name(&self) -> &'static str;

    /// Whether the step looks at such a write at all.
    fn handles(&self, operation: Operation, definition: &Definition, subresource: &str) -> bool;

    /// What the step does: both, if it does not say.
    fn does(&self) -> Does {
        Does::Both
    }

    /// Whether the step looks at the sets in `metadata.managedFields`. Those that do not are shown the sets as the writer
    /// keeps them ([`packed`](crate::apply::pack_managers)), which saves taking them apart.
    fn sees_managers(&self) -> bool {
        true
    }

    /// Changes the object.
    async fn mutate(&self, _request: &mut Request<'_>) -> ApiResult<()> {
        Ok(())
    }

    /// Accepts or refuses.
    async fn validate(&self, _request: &Request<'_>) -> ApiResult<()> {
        Ok(())
    }
}

mod notes;
mod warnings {
    use std::sync::{Mutex, PoisonError};

    /// Warnings for the client of one request, sent as `Warning` headers. Duplicates are dropped.
    #[derive(Debug, Default)]
    pub struct Warnings(Mutex<Vec<String>>);

    impl Warnings {
        /// Adds one.
        pub fn add(&self, text: impl Into<String>) {
            let text = text.into();
            let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if !all.contains(&text) {
                all.push(text);
            }
        }

        /// Takes all.
        #[must_use]
        pub fn take(&self) -> Vec<String> {
            std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
        }
    }
}

pub use notes::Notes;
pub use warnings::Warnings;
