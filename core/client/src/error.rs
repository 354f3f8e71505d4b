use std::{borrow::Cow, path::PathBuf};

/// The result of what this crate does.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong between a component and the API server.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The API server refused the request or could not be reached.
    #[error("{}", brief(.0))]
    Api(#[from] kube::Error),
    /// The requested resourceVersion is no longer (or not yet) served; list again.
    #[error("resource version is not available: {message}")]
    Expired {
        /// What the server said.
        message: String,
    },
    /// A response was not what the API promises.
    #[error("cannot decode {what}: {source}")]
    Decode {
        /// What was being read.
        what: Cow<'static, str>,
        /// Why it could not be read.
        source: serde_json::Error,
    },
    /// Reading a watch failed half-way.
    #[error("watch interrupted: {0}")]
    Interrupted(#[source] std::io::Error),
    /// A request could not be built.
    #[error("cannot build request: {0}")]
    Request(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The owner is not what it was when the decision to adopt was taken.
    #[error("{0}")]
    CannotAdopt(String),
    /// A selector that has no meaning.
    #[error("invalid selector: {0}")]
    Selector(String),
    /// Several independent steps failed; the first is the source.
    #[error("{count} errors, the first: {first}")]
    Several {
        /// How many.
        count: usize,
        /// The first of them.
        #[source]
        first: Box<Error>,
    },
    /// What is kept of a kind was decided already: there is an informer of it, or another transform.
    #[error("too late to say what is kept of objects of the kind {kind}")]
    TransformTooLate {
        /// The kind.
        kind: Cow<'static, str>,
    },
    /// A kubeconfig, or a file that it names, cannot be read or used.
    #[error("kubeconfig {}: {source}", path.display())]
    Kubeconfig {
        /// The kubeconfig.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Leadership was lost while it was needed.
    #[error("lost the lease {namespace}/{name}")]
    LeadershipLost {
        /// The lease's namespace.
        namespace: String,
        /// The lease's name.
        name: String,
    },
}

/// What the server said, without the client's decoration.
fn brief(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if !status.message.is_empty() => status.message.clone(),
        other => other.to_string(),
    }
}

impl Error {
    /// The server's own answer, if it gave one.
    #[must_use]
    pub fn status(&self) -> Option<&kube::core::Status> {
        match self {
            Self::Api(kube::Error::Api(status)) => Some(status),
            Self::Several { first, .. } => first.status(),
            _ => None,
        }
    }

    /// Whether the object is not there, or nothing is served where it would be: of what an API server does not know at
    /// all it says so in no Status.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.status().is_some_and(|status| status.code == 404 || status.is_not_found())
    }

    /// Whether someone else wrote the object in between.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        self.status().is_some_and(kube::core::Status::is_conflict)
    }

    /// Whether an object of that name is there already.
    #[must_use]
    pub fn is_already_exists(&self) -> bool {
        self.status().is_some_and(kube::core::Status::is_already_exists)
    }

    /// All of `errors` as one; `Ok` when there is none.
    ///
    /// # Errors
    /// The only error, or [`Error::Several`].
    pub fn collect(errors: Vec<Self>) -> Result<()> {
        let count = errors.len();
        match errors.into_iter().next() {
            None => Ok(()),
            Some(only) if count == 1 => Err(only),
            Some(first) => Err(Self::Several { count, first: Box::new(first) }),
        }
    }
}
