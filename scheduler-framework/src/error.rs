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
    /// A profile needs exactly one plugin that sorts the queue, the same in all profiles.
    #[error("profile {profile:?}: needs exactly one QueueSort plugin, found {found}")]
    QueueSort {
        /// The profile.
        profile: String,
        /// How many there are.
        found: usize,
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
