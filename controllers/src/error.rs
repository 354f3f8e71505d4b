/// What can go wrong in a controller or its manager.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The API server refused or could not be reached.
    #[error(transparent)]
    Client(#[from] kubeplane_client::Error),
    /// An object is not what its kind promises.
    #[error("{0}")]
    Invalid(String),
    /// Work remains that others must do first.
    #[error("{0}")]
    Incomplete(String),
    /// Two controllers have the same name.
    #[error("controller {0:?} is added twice")]
    Duplicate(String),
    /// `--controllers` names one that is not there.
    #[error("{0:?} is not in the list of known controllers")]
    Unknown(String),
    /// A controller ended by itself.
    #[error("controller {0} ended")]
    Ended(String),
}

impl From<kube::Error> for Error {
    fn from(error: kube::Error) -> Self {
        Self::Client(error.into())
    }
}

impl Error {
    /// The server's own answer, if it gave one.
    #[must_use]
    pub fn status(&self) -> Option<&kube::core::Status> {
        match self {
            Self::Client(error) => error.status(),
            _ => None,
        }
    }

    /// Whether the object is not there.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.status().is_some_and(kube::core::Status::is_not_found)
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

    /// Whether nothing can be created because the namespace is going away.
    #[must_use]
    pub fn is_namespace_terminating(&self) -> bool {
        let details = self.status().and_then(|status| status.details.as_ref());
        details.is_some_and(|details| {
            details.causes.iter().any(|cause| cause.reason == "NamespaceTerminating")
        })
    }

    /// The text a user is shown: the server's message without the client's decoration.
    #[must_use]
    pub fn text(&self) -> String {
        self.status().map_or_else(|| self.to_string(), |status| status.message.clone())
    }
}

/// What came of a delete, or of a change to an object that may have gone meanwhile: that it is not there is as good as
/// done (404 becomes `Ok`), for a level-triggered controller hears of its going anyway. What the server answered is left
/// out; whoever needs it asks for it.
///
/// # Errors
/// Every other failure as it is, a conflict too.
pub fn unless_gone<T>(result: Result<T, kube::Error>) -> Result<(), Error> {
    match result {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 || status.is_not_found() => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::core::Status;

    #[test]
    fn only_absence_is_as_good_as_done() {
        let refused = |code, reason: &str| {
            let status = Status::failure("no", reason).with_code(code);
            unless_gone::<()>(Err(kube::Error::Api(status.boxed())))
        };
        assert!(unless_gone(Ok(1)).is_ok());
        assert!(refused(404, "NotFound").is_ok());
        assert!(refused(409, "Conflict").is_err_and(|error| error.is_conflict()));
    }
}
