/// Why a scheduler could not be built or go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Two plugins of a profile have the same name.
    #[error("profile {profile:?}: plugin {plugin:?} is there twice")]
    DuplicatePlugin {
        /// The profile.
        profile: String,
        /// The plugin.
        plugin: &'static str,
    },
    /// A profile needs exactly one plugin that sorts the queue.
    #[error("profile {profile:?}: needs exactly one QueueSort plugin, found {found}")]
    QueueSort {
        /// The profile.
        profile: String,
        /// How many there are.
        found: usize,
    },
    /// There is one queue: the same plugin sorts it in all profiles.
    #[error("different queue sort plugins for profile {profile:?}: {plugin:?}, first: {first:?}")]
    DifferentQueueSort {
        /// The profile.
        profile: String,
        /// Its plugin.
        plugin: &'static str,
        /// That of the first profile.
        first: &'static str,
    },
    /// A profile needs a plugin that binds.
    #[error("profile {profile:?}: needs a Bind plugin")]
    NoBind {
        /// The profile.
        profile: String,
    },
    /// Two profiles have the same scheduler name.
    #[error("profile {0:?} is there twice")]
    DuplicateProfile(String),
    /// A pod asks for a profile that is not served.
    #[error("no profile {0:?}")]
    NoSuchProfile(String),
    /// There is no such pod.
    #[error("pods {namespace}/{name} not found")]
    NoSuchPod {
        /// The namespace.
        namespace: String,
        /// The name.
        name: String,
    },
    /// A plugin failed.
    #[error("{0}")]
    Plugin(String),
    /// There is no profile.
    #[error("a scheduler needs a profile")]
    NoProfile,
}
